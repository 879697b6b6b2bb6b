"""What is wrong with a data set is counted, named, left out or refused in one line; nothing else ever comes out."""

import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stridewise.data import FORMATS, Dataset, Picture, PictureError, open_dataset
from stridewise.data import picture as picture_module
from stridewise.data.cleaning import clean_boxes
from stridewise.data.report import Tally
from stridewise.errors import DataError, StridewiseError

Build = Callable[[str], Path]
Layouts = dict[str, Callable[[Path], None]]


def dropped(report: object) -> dict[tuple[str, str], int]:
    return {(d.what, d.reason): d.count for d in report.dropped}  # type: ignore[attr-defined]


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    kind = draw(st.sampled_from(["cut", "flip", "insert", "replace", "word"]))
    at, junk = draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=40))
    word = draw(
        st.sampled_from([b"-1", b"1e999", b"null", b"NaN", b"[]", b"999999999999", b'"', b"{", b"<a>", b"\xff"])
    )

    def damaged(data: bytes) -> bytes:
        place = int(at * len(data))
        return {
            "cut": data[:place],
            "flip": data[:place] + bytes(b ^ 0xFF for b in data[place : place + len(junk)]) + data[place + len(junk) :],
            "insert": data[:place] + junk + data[place:],
            "replace": junk,
            "word": data[:place] + word + data[place + len(word) :],
        }[kind]

    return damaged


def opened_or_refused(root: Path, format: str | None) -> Dataset | None:
    message = ""
    try:
        return open_dataset(root, format=format).verified()
    except StridewiseError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    assert len(message) < 500
    return None


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 100), damage(), st.booleans())
def test_readers_survive_broken_files(
    layouts: Layouts, name: str, which: int, damaged: Callable[[bytes], bytes], found: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        layouts[name](root)
        files = sorted(p for p in root.rglob("*") if p.is_file())
        victim = files[which % len(files)]
        victim.write_bytes(damaged(victim.read_bytes()))
        dataset = opened_or_refused(root / "set.npz" if name == "npz" else root, None if found else name)
        if dataset is not None:
            assert dataset.report.kept == len(dataset.samples) <= dataset.report.found
            for sample in dataset.samples:
                assert sample.picture.load().shape == (*sample.size, 3)
                if sample.boxes is not None and len(sample.boxes):
                    height, width = sample.size
                    assert np.isfinite(sample.boxes.corners).all()
                    assert (sample.boxes.corners >= 0).all()
                    assert (sample.boxes.corners <= [width, height, width, height]).all()
                    assert (sample.boxes.corners[:, 2:] > sample.boxes.corners[:, :2]).all()
                    assert sample.boxes.classes.max() < len(dataset.classes)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_a_picture_error(data: bytes) -> None:
    with pytest.raises(PictureError, match="x: "):
        Picture(name="x", source=data).load()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_after_a_pickle_head_are_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test_batch"
        path.write_bytes(b"\x80\x02" + data)
        with pytest.raises(DataError, match="CIFAR batch"):
            open_dataset(folder, format="cifar")


def test_a_pickle_cannot_change_what_reads_it(tmp_path: Path) -> None:
    build_on_function = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}U\x05_makeNsb."
    (tmp_path / "test_batch").write_bytes(build_on_function)
    with pytest.raises(DataError, match="state of a function"):
        open_dataset(tmp_path, format="cifar")
    objects = pickle.dumps({"data": np.array(["x"], dtype=object), "labels": [0]}, protocol=2)
    (tmp_path / "test_batch").write_bytes(objects)
    with pytest.raises(DataError, match="something else than bytes"):
        open_dataset(tmp_path, format="cifar")


def test_truncated_and_unreadable_pictures_are_counted_and_named(build: Build) -> None:
    root = build("folders")
    whole = (root / "train" / "cat" / "1.jpg").read_bytes()
    (root / "train" / "cat" / "1.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    (root / "train" / "dog" / "0.png").write_bytes(b"no picture")
    dataset = open_dataset(root)
    assert dropped(dataset.report) == {("picture", "not a picture of a known kind"): 1}
    assert len(dataset.samples) == 7
    verified = dataset.verified()
    assert dropped(verified.report)["picture", "truncated or broken"] == 1
    assert verified.report.kept == len(verified.samples) == 6
    assert "train/cat/1.jpg" in str(verified.report)
    assert "6 of 8 pictures used" in str(verified.report)
    with pytest.raises(PictureError, match=r"train/cat/1\.jpg: truncated or broken\. Replace it"):
        dataset.arrays("train", size=(8, 8))


def test_a_picture_over_the_limit_is_not_decoded(monkeypatch: pytest.MonkeyPatch, build: Build) -> None:
    monkeypatch.setattr(picture_module, "PIXEL_LIMIT", 500)
    dataset = open_dataset(build("folders"))
    assert {s.size for s in dataset.samples} == {(24, 18)}
    assert dropped(dataset.report) == {("picture", "over the limit of 500 pixels"): 4}


def test_postscript_is_never_handed_to_another_program(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(PictureError, match="not a picture of a known kind"):
        Picture(name="a.png", source=tmp_path / "a.png").size()


def test_sixteen_bit_and_transparent_pictures_keep_their_look(tmp_path: Path) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    loaded = Picture(name="deep", source=tmp_path / "deep.png").load()
    np.testing.assert_array_equal(loaded[:, :, 0], deep // 257)
    clear = Image.new("P", (4, 4), 1)
    clear.putpalette([0, 0, 0, 9, 8, 7])
    clear.save(tmp_path / "clear.png", transparency=bytes([0, 128]))
    assert Picture(name="clear", source=tmp_path / "clear.png").load()[0, 0].tolist() == [9, 8, 7]


def test_boxes_that_cannot_be_are_counted(build: Build) -> None:
    root = build("coco")
    path = root / "annotations" / "train.json"
    table = json.loads(path.read_text())
    odd = [
        {"image_id": 0, "category_id": 1, "bbox": [1, 1, 0, 5]},
        {"image_id": 0, "category_id": 1, "bbox": [100, 1, 5, 5]},
        {"image_id": 0, "category_id": 1, "bbox": [-5, -5, 8, 8]},
        {"image_id": 77, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"image_id": 0, "category_id": 9, "bbox": [1, 1, 5, 5]},
        {"image_id": 0, "category_id": 1, "bbox": [1, 1, 5]},
        {"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1},
    ]
    table["annotations"] += odd
    path.write_text(json.dumps(table))
    dataset = open_dataset(root)
    assert dropped(dataset.report) == {
        ("box", "zero area"): 1,
        ("box", "outside the picture"): 1,
        ("box", "without a picture"): 1,
        ("box", "of an unknown category"): 1,
        ("box", "not four numbers"): 1,
    }
    assert any("clipped" in note for note in dataset.report.notes)
    boxes = dataset.samples[0].boxes
    assert boxes is not None
    assert boxes.corners[-1].tolist() == [0, 0, 3, 3]
    assert boxes.ignored is not None
    assert boxes.ignored.corners.tolist() == [[1, 1, 6, 6]]
    assert any("nothing counts there (train.json annotation ?)" in note for note in dataset.report.notes)


def test_boxes_must_be_finite_numbers() -> None:
    tally = Tally()
    nan, inf = float("nan"), float("inf")
    rows = [[0, nan, 5, 5, 0], [0, 0, inf, 5, 0], [1, 2, 3, 4, 1], [-inf, 0, 5, nan, 0]]
    boxes = clean_boxes(rows, (10, 10), "a", tally)
    assert boxes.corners.tolist() == [[1, 2, 3, 4]]
    assert boxes.classes.tolist() == [1]
    assert dropped(tally.report()) == {("box", "not finite numbers"): 3}


def test_yolo_lines_and_label_files_that_cannot_be_are_counted(build: Build) -> None:
    root = build("yolo")
    labels = root / "labels" / "train"
    (labels / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n0 half 1 1 1\n0 0.5 0.5\n1 .1 .1 .4 .1 .4 .5 .1 .5\n")
    (labels / "ghost.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    dataset = open_dataset(root)
    assert dropped(dataset.report) == {
        ("box", "a line that is not `class cx cy w h`"): 2,
        ("label file", "no picture of its name"): 1,
    }
    boxes = dataset.samples[0].boxes
    assert boxes is not None
    np.testing.assert_allclose(boxes.corners[1], [3, 2, 12, 10])


def test_masks_of_another_size_or_with_unknown_ids_are_counted(build: Build) -> None:
    root = build("masks")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(root / "masks" / "train" / "a.png")
    Image.fromarray(np.full((20, 30), 37, np.uint8)).save(root / "masks" / "train" / "b.png")
    (root / "images" / "train" / "lonely.jpg").write_bytes((root / "images" / "train" / "a.jpg").read_bytes())
    dataset = open_dataset(root)
    assert dropped(dataset.report) == {
        ("picture", "no mask of its name"): 1,
        ("mask", "another size than its picture"): 1,
    }
    assert dropped(dataset.verified().report)["mask", "id 37 belongs to no class"] == 1


def test_one_class_is_refused_in_a_line(build: Build) -> None:
    root = build("folders")
    for split in ("train", "val"):
        for path in (root / split / "dog").iterdir():
            path.unlink()
    with pytest.raises(DataError, match="one class folder, 'cat': classification needs two or more"):
        open_dataset(root, "classify")


def test_a_folder_where_nothing_can_be_read_is_refused(build: Build) -> None:
    root = build("masks")
    for path in (root / "images" / "train").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"no picture is left to segment: 3 pictures: not a picture of a known kind \(images"
    ):
        open_dataset(root)


def test_an_entity_bomb_is_not_parsed(build: Build) -> None:
    root = build("voc")
    (root / "Annotations" / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "boo">]><annotation>&b;</annotation>')
    dataset = open_dataset(root)
    assert dropped(dataset.report) == {("annotation file", "no plain XML that can be read"): 1}


def test_short_idx_files_say_how_short(build: Build) -> None:
    root = build("mnist")
    path = root / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="3,131 of 3,136 bytes are there"):
        open_dataset(root)
