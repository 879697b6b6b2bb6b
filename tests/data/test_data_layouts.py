"""Data sets as other tools leave them on a disk: each is read as its maker means it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stridewise.data import Dataset, open_dataset
from stridewise.data.grids import Grid, nearest, resized
from stridewise.errors import DataError, MissingExtraError

Build = Callable[[str], Path]
RNG = np.random.default_rng(5)


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(part) for name, part in dataset.splits.items()}


def save(path: Path, pixels: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8) if pixels is None else pixels).save(path)


def labelled(folder: Path, stem: str, labels: Path) -> None:
    save(folder / f"{stem}.jpg")
    labels.mkdir(parents=True, exist_ok=True)
    (labels / f"{stem}.txt").write_text("0 .5 .5 .2 .2\n")


def test_a_data_yaml_says_where_pictures_lie(tmp_path: Path) -> None:
    for split, stems in {"train": "ab", "val": "c", "more": "d"}.items():
        for stem in stems:
            labelled(tmp_path / "set" / "images" / split, stem, tmp_path / "set" / "labels" / split)
    (tmp_path / "set" / "val.txt").write_text("./images/val/c.jpg\n")
    text = "path: set\ntrain: [images/train, images/more]\nval: val.txt\ntest: images/none\nnames: {0: cell}\n"
    (tmp_path / "data.yaml").write_text(text)
    for place in (tmp_path / "data.yaml", tmp_path):
        dataset = open_dataset(place, "detect")
        assert sizes(dataset) == {"train": 3, "val": 1}
        assert dataset.classes == ("cell",)
        assert all(len(s.boxes or ()) == 1 for s in dataset.samples)
        assert any("nothing lies where it says for test" in note for note in dataset.report.notes)


def test_roboflow_exports(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        labelled(tmp_path / split / "images", split, tmp_path / split / "labels")
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['cell']\n"
    (tmp_path / "data.yaml").write_text(text)
    assert sizes(open_dataset(tmp_path)) == {"train": 1, "val": 1, "test": 1}


def test_labels_beside_their_pictures(tmp_path: Path) -> None:
    for split in ("train", "val"):
        labelled(tmp_path / split, split, tmp_path / split)
    (tmp_path / "obj.names").write_text("cell\n")
    dataset = open_dataset(tmp_path)
    assert sizes(dataset) == {"train": 1, "val": 1}
    assert dataset.classes == ("cell",)


def test_several_coco_files_in_one_folder(build: Build) -> None:
    root = build("coco")
    path = root / "annotations" / "train.json"
    table = json.loads(path.read_text())
    path.unlink()
    for name, chosen in {"instances_train_part1": [0], "instances_train_part2": [1], "instances_val2017": [2]}.items():
        images = [table["images"][n] for n in chosen]
        known = {image["id"] for image in images}
        part = {**table, "images": images, "annotations": [a for a in table["annotations"] if a["image_id"] in known]}
        path.with_name(f"{name}.json").write_text(json.dumps(part))
    (root / "annotations" / "captions_val2017.json").write_text("{}")
    dataset = open_dataset(root)
    assert sizes(dataset) == {"train": 2, "val": 1}
    shutil.move(root / "annotations" / "instances_val2017.json", root / "val.json")
    shutil.rmtree(root / "annotations")
    assert sizes(open_dataset(root)) == {"val": 1}


@pytest.mark.parametrize("suffix", ["_mask", "_L", "_labelIds", "_gt", "_odd"])
@pytest.mark.parametrize("apart", [True, False])
def test_masks_with_a_suffix(tmp_path: Path, suffix: str, apart: bool) -> None:
    for n, stem in enumerate("abc"):
        save(tmp_path / ("images" if apart else "") / f"{stem}.png")
        save(tmp_path / ("masks" if apart else "") / f"{stem}{suffix}.png", np.full((8, 10), n % 2, np.uint8))
        save(tmp_path / ("masks" if apart else "") / f"{stem}_color.png", np.full((8, 10), 77, np.uint8))
    if apart is False:
        for stem in "abc":
            (tmp_path / f"{stem}_color.png").unlink()
    dataset = open_dataset(tmp_path, "segment", mask_suffix="_odd" if suffix == "_odd" else None)
    assert dataset.classes == ("0", "1")
    assert [s.mask.load().max() for s in dataset.samples if s.mask] == [0, 1, 0]


def test_cityscapes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / "leftImg8bit" / split / "ulm" / f"{split}_1_leftImg8bit.png")
        home = tmp_path / "gtFine" / split / "ulm"
        save(home / f"{split}_1_gtFine_labelIds.png", np.full((8, 10), 7, np.uint8))
        save(home / f"{split}_1_gtFine_instanceIds.png", np.full((8, 10), 9, np.uint8))
    dataset = open_dataset(tmp_path, "segment")
    assert sizes(dataset) == {"train": 1, "val": 1}
    assert dataset.classes == ("7",)


def test_a_vocdevkit_as_torchvision_unpacks_it(build: Build, tmp_path: Path) -> None:
    year = tmp_path / "root" / "VOCdevkit" / "VOC2012"
    shutil.copytree(build("voc"), year)
    for path in sorted((year / "JPEGImages").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
        annotation = year / "Annotations" / f"{path.stem}.xml"
        annotation.write_text(annotation.read_text().replace(".png", ".jpg"))
    save(year / "SegmentationClass" / "a.png", np.full((20, 30), 15, np.uint8))
    (year / "ImageSets" / "Segmentation").mkdir()
    (year / "ImageSets" / "Segmentation" / "val.txt").write_text("a\n")
    for place in (tmp_path / "root", year.parent, year):
        assert sizes(open_dataset(place, "detect")) == {"train": 3}
        masks = open_dataset(place, "segment")
        assert sizes(masks) == {"val": 1}
        assert masks.classes[15] == "person"
        assert not masks.report.dropped
    pytest.importorskip("torch")
    from stridewise.models.zoo import declare_missing_ops

    declare_missing_ops()
    pytest.importorskip("torchvision")
    from torchvision.datasets import VOCDetection

    theirs = VOCDetection(str(tmp_path / "root"), year="2012", image_set="train")
    ours = {Path(s.name).stem: s for s in open_dataset(tmp_path / "root", "detect").samples}
    for _, target in theirs:
        read = target["annotation"]
        assert len(ours[Path(read["filename"]).stem].boxes or ()) == len(read.get("object", []))


def test_imagefolder_with_metadata(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "label": "dog"}, {"file_name": "b.png", "label": "cat"}, {"file_name": "../x.png"}]
    for split in ("train", "validation"):
        for row in rows[:2]:
            save(tmp_path / "c" / split / row["file_name"])
        (tmp_path / "c" / split / "metadata.jsonl").write_text("\n".join([*map(json.dumps, rows), "{", "[]"]))
    dataset = open_dataset(tmp_path / "c")
    assert (dataset.task, dataset.classes) == ("classify", ("cat", "dog"))
    assert sizes(dataset) == {"train": 2, "val": 2}
    assert {d.reason: d.count for d in dataset.report.dropped} == {
        "no object with a file_name": 4,
        "no file name inside the data set": 2,
    }
    save(tmp_path / "d" / "train" / "a.png")
    row = {"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4], [0, 0, 5]], "categories": [4, 2]}}
    (tmp_path / "d" / "train" / "metadata.jsonl").write_text(json.dumps(row))
    (sample,) = open_dataset(tmp_path / "d").samples
    assert sample.boxes is not None
    assert sample.boxes.corners.tolist() == [[1, 2, 4, 6]]
    save(tmp_path / "e" / "train" / "a.png")
    (tmp_path / "e" / "train" / "metadata.csv").write_text("file_name,label\na.png,cat\n")
    assert open_dataset(tmp_path / "e").classes == ("cat",)


def test_medmnist_pictures_and_volumes(tmp_path: Path) -> None:
    for shape in ((4, 28, 28), (4, 28, 28, 3), (4, 28, 28, 28), (4, 50), (4, 20, 18, 5)):
        arrays = {f"{s}_images": RNG.integers(0, 256, shape, dtype=np.uint8) for s in ("train", "val", "test")}
        labels = {f"{s}_labels": np.array([[0], [1], [1], [0]], np.uint8) for s in ("train", "val", "test")}
        np.savez(tmp_path / "m.npz", **arrays, **labels)
        dataset = open_dataset(tmp_path / "m.npz")
        assert sizes(dataset) == {"train": 4, "val": 4, "test": 4}
        x, y = dataset.arrays("train")
        assert y.tolist() == [0, 1, 1, 0]
        assert x.shape == {3: (4, 28, 28, 3), 2: (4, 50, 1)}.get(len(shape), shape if shape[-1] < 28 else (*shape, 1))
        np.testing.assert_array_equal(x[..., 0], arrays["train_images"].reshape(*x.shape[:-1], -1)[..., 0])
    np.savez(tmp_path / "chest.npz", train_images=np.zeros((4, 8, 8), np.uint8), train_labels=np.zeros((4, 14), int))
    with pytest.raises(DataError, match="train has 14 labels a picture"):
        open_dataset(tmp_path / "chest.npz")


def test_volumes_and_their_masks(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = RNG.normal(size=(6, 7, 8)).astype(np.float32)
    labels = RNG.integers(0, 3, (6, 7, 8)).astype(np.int16)
    for folder, array in (("imagesTr", values), ("labelsTr", labels)):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, np.diag([3.0, 1, 1, 1])), tmp_path / folder / "case.nii.gz")
    dataset = open_dataset(tmp_path, "segment")
    (sample,) = dataset.samples
    assert (dataset.axes, sample.size, sample.spacing) == (3, (6, 7, 8), (3.0, 1.0, 1.0))
    x, y = dataset.mask_arrays()
    np.testing.assert_array_equal(x[0, ..., 0], values)
    np.testing.assert_array_equal(y[0], labels)
    tiff = pytest.importorskip("tifffile")
    for name in ("cat", "dog"):
        (tmp_path / "c" / name).mkdir(parents=True)
        tiff.imwrite(tmp_path / "c" / name / "a.tif", (values * 100).astype(np.int16))
    stacks = open_dataset(tmp_path / "c")
    assert stacks.axes == 3
    np.testing.assert_array_equal(stacks.arrays()[0][0, ..., 0], (values * 100).astype(np.int16))
    (tmp_path / "c" / "cat" / "b.nii.gz").write_bytes(b"none")
    assert [d.reason for d in open_dataset(tmp_path / "c").report.dropped] == ["truncated or broken"]


def test_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    wave = np.sin(np.arange(400) / 5).astype(np.float32) * 0.5
    for name in ("low", "high"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", wave, 8000, subtype="FLOAT")
    dataset = open_dataset(tmp_path)
    x, _ = dataset.arrays()
    assert (dataset.axes, dataset.channels, dataset.classes) == (1, 1, ("high", "low"))
    np.testing.assert_array_equal(x[0, :, 0], wave)
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"stridewise\[audio\]"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("shape", [(9, 1), (9, 14, 2), (5, 6, 7, 3)])
def test_values_are_resized_as_pillow_resizes(shape: tuple[int, ...]) -> None:
    values = RNG.normal(size=shape).astype(np.float32)
    to = tuple(max(2, n // 2 + 1) for n in shape[:-1])
    ours = resized(values, to)
    assert ours.shape == (*to, shape[-1])
    if len(shape) == 3:
        for channel in range(shape[-1]):
            theirs = Image.fromarray(values[..., channel]).resize(to[::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(ours[..., channel], np.asarray(theirs), atol=1e-5)
        labels = RNG.integers(0, 5, shape[:2], dtype=np.uint8)
        theirs = Image.fromarray(labels).resize(to[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(nearest(labels, to), np.asarray(theirs))
    assert resized(np.ones_like(values), to) == pytest.approx(1)
    assert Grid(name="x", source=values, axes=len(to)).size() == shape[:-1]
