"""What cannot be used of a data set is left out of a training, counted and named; a training without any is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from task_nets import Small
from task_scenes import Stages

import stridewise as sw
from stridewise.errors import DataError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def cut_short(path: Path) -> None:
    """Its header stays whole."""
    path.write_bytes(path.read_bytes()[:2000])


@pytest.fixture
def classes(tmp_path):
    for split, count in (("train", 8), ("val", 4)):
        for name in ("a", "b"):
            for number in range(count):
                picture(tmp_path / split / name / f"{number}.png")
    return tmp_path


def test_broken_pictures_are_left_out_and_named(classes):
    cut_short(classes / "train" / "a" / "3.png")
    cut_short(classes / "val" / "b" / "1.png")
    (classes / "train" / "b" / "0.png").write_text("not a picture")
    record = sw.train("classify", Small, data=classes, epochs=1, batch=4, run=classes / "r")
    assert record.notes[0] == "21 of 24 pictures used"
    assert any("2 pictures: truncated or broken (train/a/3.png, val/b/1.png)" in note for note in record.notes)
    assert any("train/b/0.png" in note for note in record.notes)
    assert (record.conditions["train_pictures"], record.pictures) == (14, 7)


def test_whole_data_are_not_spoken_of(classes):
    notes = sw.train("classify", Small, data=classes, epochs=1, batch=4).notes
    assert notes == ("classes 0 to 1 = a, b",)  # what it took for what, and nothing left out


def test_boxes_and_masks_that_are_of_no_use_are_told(tmp_path):
    for split in ("train", "val"):
        coco = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "t"}]}
        for number in range(6):
            picture(tmp_path / "boxes" / "images" / split / f"{number}.png")
            coco["images"].append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
            boxes = [[5, 5, 20, 20], *([[5, 5, 0, 9], [99, 99, 9, 9]] if number == 0 else [])]
            for box in boxes:
                entry = {"id": len(coco["annotations"]), "image_id": number, "category_id": 1, "iscrowd": 0}
                coco["annotations"].append({**entry, "bbox": box, "area": box[2] * box[3]})
            picture(tmp_path / "masks" / "images" / split / f"{number}.png")
            mask = np.zeros((64, 64), np.uint8)
            mask[10:30, 10:30] = 1
            mask[0, 0] = 77 if number == 2 else 0
            (tmp_path / "masks" / "masks" / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "masks" / "masks" / split / f"{number}.png")
        (tmp_path / "boxes" / "annotations").mkdir(exist_ok=True)
        (tmp_path / "boxes" / "annotations" / f"{split}.json").write_text(json.dumps(coco))
    (tmp_path / "masks" / "classes.txt").write_text("0 ground\n1 thing\n")
    found = sw.train("detect", Stages, data=tmp_path / "boxes", epochs=1, batch=4, width=8)
    assert "12 of 12 pictures used" in found.notes
    assert [note for note in found.notes if note.startswith("left out: 2 boxes")]
    found = sw.train("segment", Stages, data=tmp_path / "masks", epochs=1, batch=4, width=8)
    assert found.notes[0] == "10 of 12 pictures used"
    assert any("id 77" in note for note in found.notes)


def test_a_split_of_broken_pictures_alone_is_refused_in_one_line(classes):
    for path in (classes / "val").rglob("*.png"):
        cut_short(path)
    with pytest.raises(DataError, match="no pictures in 'val'") as error:
        sw.train("classify", Small, data=classes, epochs=1, batch=4)
    assert "\n" not in str(error.value)
