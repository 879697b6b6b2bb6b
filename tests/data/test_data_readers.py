"""Readers agree with what was written, with other tools' readers, and with each other."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stridewise.data import FORMATS, Dataset, open_dataset
from stridewise.data.classes import read_class_file, read_data_yaml
from stridewise.errors import DataError, UsageError

Build = Callable[[str], Path]
BOXES = {"a": [(2, 3, 10, 12, 0), (15, 4, 29, 18, 1)], "b": [(0, 0, 5, 20, 1)], "c": []}


def boxes_by_stem(dataset: Dataset) -> dict[str, list[tuple[float, ...]]]:
    found = {}
    for sample in dataset.samples:
        assert sample.boxes is not None
        rows = np.column_stack([sample.boxes.corners, sample.boxes.classes])
        found[Path(sample.name).stem] = [tuple(row) for row in np.round(rows, 6).tolist()]
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_found_by_looking(build: Build, name: str) -> None:
    path = build(name)
    dataset = open_dataset(path)
    told = open_dataset(str(path), format=name)
    assert dataset.task in FORMATS[name].tasks
    assert dataset.classes == told.classes
    assert [s.name for s in dataset.samples] == [s.name for s in told.samples]
    assert dataset.report.kept == dataset.report.found == len(dataset.samples) > 0
    assert not dataset.report.dropped
    for sample in dataset.samples:
        pixels = sample.picture.load()
        assert pixels.shape == (*sample.size, 3)
        assert pixels.dtype == np.uint8
        if sample.mask:
            assert sample.mask.load().shape == sample.size


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_three_formats_tell_the_same_boxes(build: Build, name: str) -> None:
    dataset = open_dataset(build(name), "detect")
    assert dataset.classes == ("cat", "dog")
    assert list(dataset.splits) == ["train"]
    assert boxes_by_stem(dataset) == BOXES


def test_coco_agrees_with_pycocotools(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    reader = pytest.importorskip("pycocotools.coco")
    root = build("coco")
    theirs = reader.COCO(str(root / "annotations" / "train.json"))
    for sample in open_dataset(root).samples:
        assert sample.boxes is not None
        (number,) = (i for i, image in theirs.imgs.items() if image["file_name"] == Path(sample.name).name)
        their_boxes = np.array([a["bbox"] for a in theirs.loadAnns(theirs.getAnnIds(imgIds=number))]).reshape(-1, 4)
        ours = sample.boxes.corners.copy()
        ours[:, 2:] -= ours[:, :2]
        np.testing.assert_allclose(ours, their_boxes)


def test_pictures_of_folders_are_pillows(build: Build) -> None:
    root = build("folders")
    dataset = open_dataset(root, "classify")
    assert dataset.classes == ("cat", "dog")
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 4, "val": 4}
    for sample in dataset.samples:
        np.testing.assert_array_equal(sample.picture.load(), np.asarray(Image.open(root / sample.name).convert("RGB")))
        assert dataset.classes[sample.label or 0] == sample.name.split("/")[1]


def test_masks_become_class_indices_and_void_is_ignored(build: Build) -> None:
    root = build("masks")
    dataset = open_dataset(root)
    assert dataset.classes == ("sky", "road")
    for sample in dataset.samples:
        written = np.asarray(Image.open(root / "masks" / "train" / f"{Path(sample.name).stem}.png"))
        assert sample.mask is not None
        np.testing.assert_array_equal(sample.mask.load(), np.where(written == 2, 255, written))


def test_coloured_masks_need_a_class_list(build: Build) -> None:
    root = build("masks")
    colours = np.array([[70, 130, 180], [128, 64, 128], [0, 0, 0]], np.uint8)
    written = {}
    for path in sorted((root / "masks" / "train").iterdir()):
        written[path.stem] = np.asarray(Image.open(path))
        Image.fromarray(colours[written[path.stem]]).save(path)
    (root / "classes.txt").write_text("70 130 180 sky\n128,64,128,road\nvoid 0 0 0\n")
    for sample in open_dataset(root).samples:
        ids = written[Path(sample.name).stem]
        assert sample.mask is not None
        np.testing.assert_array_equal(sample.mask.load(), np.where(ids == 2, 255, ids))
    (root / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"coloured mask.*classes\.txt"):
        open_dataset(root)


def test_a_palette_mask_is_read_by_index_and_255_is_ignored(build: Build) -> None:
    root = build("masks")
    (root / "classes.txt").unlink()
    for path in (root / "masks" / "train").iterdir():
        image = Image.fromarray(np.where(np.asarray(Image.open(path)) == 2, 255, np.asarray(Image.open(path))))
        image.putpalette(list(range(256)) * 3)
        image.save(path)
    dataset = open_dataset(root)
    assert dataset.classes == ("0", "1")
    assert any("no classes.txt" in note for note in dataset.report.notes)
    assert all(set(np.unique(s.mask.load())) <= {0, 1, 255} for s in dataset.samples if s.mask)


def test_a_binary_mask_has_two_classes(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / folder / "a.png")
    (sample,) = open_dataset(tmp_path, "segment").samples
    assert sample.mask is not None
    np.testing.assert_array_equal(sample.mask.load(), np.eye(8))


def test_voc_masks_are_found_for_segmentation(build: Build) -> None:
    root = build("voc")
    for stem in BOXES:
        (root / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / "SegmentationClass" / f"{stem}.png")
    assert open_dataset(root).task == "detect"
    assert open_dataset(root, "segment").task == "segment"


def test_cifar_files_are_read_as_published(build: Build, tmp_path: Path) -> None:
    dataset = open_dataset(build("cifar"))
    assert dataset.classes == ("plane", "car", "bird")
    x, y = dataset.arrays("train")
    rows = np.random.default_rng(3).integers(0, 256, (3, 3072), dtype=np.uint8)
    np.testing.assert_array_equal(x[:3], rows.reshape(3, 3, 32, 32).transpose(0, 2, 3, 1))
    assert y.tolist() == [0, 1, 2, 0, 1]
    records = b"".join(bytes([label]) + row.tobytes() for label, row in enumerate(rows))
    (tmp_path / "data_batch_1.bin").write_bytes(records)
    (tmp_path / "batches.meta.txt").write_text("plane\ncar\nbird\n")
    binary = open_dataset(tmp_path)
    np.testing.assert_array_equal(binary.arrays("train")[0], x[:3])
    assert binary.classes == dataset.classes


def test_a_batch_pickled_by_python_2_is_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    head = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq"
        b"\x05(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ"
        b"\xff\xff\xff\xffJ\xff\xff"
        b"\xff\xffK\x00tb\x89T"
    )
    tail = b"tbU\x06labelsq\x08]q\x09(K\x03K\x07eu."
    (tmp_path / "test_batch").write_bytes(head + rows.nbytes.to_bytes(4, "little") + rows.tobytes() + tail)
    x, y = open_dataset(tmp_path, format="cifar").arrays("test")
    np.testing.assert_array_equal(x, rows.reshape(2, 3, 32, 32).transpose(0, 2, 3, 1))
    assert y.tolist() == [3, 7]


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_a_pickle_cannot_run_anything(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": _Evil(mark), "labels": [1]}, protocol=2))
    with pytest.raises(DataError, match="not admitted"):
        open_dataset(tmp_path, format="cifar")
    assert not mark.exists()
    np.savez(tmp_path / "evil.npz", x=np.array([_Evil(mark)], dtype=object), y=np.zeros(1, int), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        open_dataset(tmp_path / "evil.npz")
    assert not mark.exists()


def test_npz_takes_floats_channels_first_and_masks(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "f.npz", x=np.moveaxis(pixels, 3, 1) / 255.0, y=[0, 1, 0], class_names=["cat", "dog"])
    dataset = open_dataset(tmp_path / "f.npz")
    np.testing.assert_array_equal(dataset.arrays("all")[0], pixels)
    assert dataset.classes == ("cat", "dog")
    masks = np.random.default_rng(1).integers(0, 4, (3, 8, 9))
    np.savez(tmp_path / "m.npz", images=pixels, labels=masks)
    segment = open_dataset(tmp_path / "m.npz", "segment")
    np.testing.assert_array_equal(segment.mask_arrays()[1], masks)
    with pytest.raises(DataError, match="holds what is needed to segment"):
        open_dataset(tmp_path / "m.npz", "classify")


def test_arrays_refuse_mixed_sizes_and_resize(build: Build) -> None:
    dataset = open_dataset(build("folders"))
    with pytest.raises(DataError, match="2 sizes cannot share an array"):
        dataset.arrays("train")
    x, y = dataset.arrays("train", size=(16, 12))
    assert x.shape == (4, 16, 12, 3)
    assert y.tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match="not every picture has a mask"):
        dataset.mask_arrays()
    with pytest.raises(UsageError, match="no split 'dev'"):
        dataset.split("dev")


def test_box_arrays_scale_boxes_with_their_picture(build: Build) -> None:
    x, boxes = open_dataset(build("coco")).box_arrays("train", size=(40, 30))
    assert x.shape == (3, 40, 30, 3)
    np.testing.assert_allclose(boxes[0].corners[0], [2, 6, 10, 24])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [cat, 'hot dog']\n", ("cat", "hot dog")),
        ("nc: 2\nnames:\n  - cat # pet\n  - dog\ntrain: x\n", ("cat", "dog")),
        ("names:\n  1: dog\n\n  0: cat\n", ("cat", "dog")),
        ("names: {0: cat, 1: dog}\n", ("cat", "dog")),
        ("path: x\n", ()),
    ],
)
def test_yaml_names(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "d.yaml").write_text(text)
    assert read_data_yaml(tmp_path / "d.yaml").names == names


def test_yaml_names_with_gaps_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("names:\n  0: cat\n  2: dog\n")
    with pytest.raises(DataError, match="does not number its classes 0 to 1"):
        read_data_yaml(tmp_path / "d.yaml")


def test_class_lines(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("name,r,g,b\n7 sky dome\n1 2 3 road\n4 5 6 7 C#\nlane 2\nwall 9 8 7\n")
    found = [(line.name, line.code, line.colour) for line in read_class_file(path)]
    assert found == [
        ("sky dome", 7, None),
        ("road", None, 0x010203),
        ("C#", 4, 0x050607),
        ("lane 2", None, None),
        ("wall", None, 0x090807),
    ]
    path.write_text("1 2 name\n")
    with pytest.raises(DataError, match=r"classes\.txt:1: '1 2 name' is not"):
        read_class_file(path)


def test_requests_that_do_not_fit_are_one_line(build: Build, tmp_path: Path) -> None:
    root = build("coco")
    with pytest.raises(DataError, match="no object has an outline"):
        open_dataset(root, "segment")
    with pytest.raises(DataError, match="format coco serves detect and segment, not classify"):
        open_dataset(root, "classify", "coco")
    with pytest.raises(UsageError, match="no data format 'tar'"):
        open_dataset(root, format="tar")
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="not a data set of a known layout"):
        open_dataset(tmp_path / "empty")
    with pytest.raises(UsageError, match="no built-in data 'x'"):
        open_dataset("builtin:x")


def test_a_coco_file_alone_finds_its_pictures(build: Build) -> None:
    root = build("coco")
    assert boxes_by_stem(open_dataset(root / "annotations" / "train.json")) == BOXES
    table = json.loads((root / "annotations" / "train.json").read_text())
    table["images"][0]["file_name"] = "../../../etc/a.png"
    (root / "annotations" / "train.json").write_text(json.dumps(table))
    dataset = open_dataset(root)
    assert len(dataset.samples) == 2
    assert "no file name inside the data set" in str(dataset.report)
