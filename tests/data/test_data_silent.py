"""Faults that would shift classes, lose labels or flatter a score without a word: each is refused, or counted."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stridewise.data import Boxes, Picture, PictureError, open_dataset
from stridewise.data.classes import read_data_yaml
from stridewise.data.mask import Shape, Shapes, run_lengths, shape_pixels
from stridewise.errors import DataError

Build = Callable[[str], Path]


def notes(root: Path, task: str | None = None) -> str:
    return "\n".join(open_dataset(root, task).report.notes)  # type: ignore[arg-type]


def test_ids_from_one_are_refused_with_both_ranges(build: Build) -> None:
    root = build("yolo")
    for path in (root / "labels" / "train").iterdir():
        rows = (line.split() for line in path.read_text().splitlines())
        path.write_text("\n".join(" ".join([str(int(k) + 1), *rest]) for k, *rest in rows))
    with pytest.raises(DataError, match=r"ids 1 to 2 in the labels .*2 names for ids 0 to 1: ids begin at 0: take 1"):
        open_dataset(root)
    (root / "data.yaml").write_text("names: [cat, dog, cow]\n")
    assert "begin at 1: no object is of 0 (cat)" in notes(root)


def test_one_id_beyond_the_names_is_refused_with_its_place(build: Build) -> None:
    root = build("yolo")
    with (root / "labels" / "train" / "a.txt").open("a") as file:
        file.write("\n7 .5 .5 .1 .1")
    with pytest.raises(DataError, match=r"ids 0 to 7 in the labels \(as in labels/train/a.txt:3\), 2 names"):
        open_dataset(root)


def test_what_was_taken_for_what_is_said(build: Build) -> None:
    assert "class ids 0 to 1 = cat, dog" in notes(build("yolo"))
    assert "category ids 1 to 2 = cat, dog" in notes(build("coco"))


def test_labels_of_other_names_are_refused(build: Build) -> None:
    root = build("yolo")
    for path in list((root / "labels" / "train").iterdir()):
        path.rename(path.with_stem(f"label_{path.stem}"))
    with pytest.raises(DataError, match=r"none of 2 label files has the name of a picture: labels/train/label_a\.txt"):
        open_dataset(root, "detect", "yolo")


def test_pictures_in_two_splits_are_counted(build: Build) -> None:
    root = build("folders")
    said = notes(root)
    assert "4 pictures: of val is in train too: a score on it says too much" in said
    again = build("npz")
    assert "of test is in train too" in notes(again)


@pytest.mark.parametrize("target", ["..", "."])
def test_a_link_that_leads_back_is_not_followed(build: Build, target: str) -> None:
    root = build("folders")
    (root / "train" / "loop").symlink_to(target)
    (root / "train" / "self").symlink_to("self")
    dataset = open_dataset(root)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.samples) == 8


def test_a_linked_folder_that_is_not_followed_is_counted(build: Build, tmp_path: Path) -> None:
    root = build("folders")
    (tmp_path / "elsewhere").mkdir()
    (root / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    dataset = open_dataset(root)
    assert [str(d) for d in dataset.report.dropped] == [
        "1 folder: a link to a folder, which is not followed (cat/more)"
    ]
    assert len(dataset.samples) == 8


def test_a_yaml_that_would_grow_is_not_expanded(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{c}: &{c} [{', '.join([f'*{b}'] * 9)}]" for b, c in zip("abcdefgh", "bcdefghi", strict=True)]
    path = tmp_path / "data.yaml"
    path.write_text("\n".join([*lines, "names: *i"]))
    with pytest.raises(DataError, match="names: anchors, aliases, tags"):
        read_data_yaml(path)
    path.write_text("names: [" + "a," * 600_000 + "]")
    with pytest.raises(DataError, match="over 1,000,000 bytes"):
        read_data_yaml(path)


YAMLS = [
    "path: ../d # here\ntrain:\n  - a/images\n  - b/images\nval: v.txt\n"
    "names: ['it''s', \"a, \\\"b\\\"\", <b>x</b>, c#d]\n",
    "names: ['a',\n  'b',\n  'c']\nval: v\nnc: 3\n",
    "train: ../train/images\nnames:\n- a\n- 'b # c'\nroboflow:\n  names: 3\n",
    "names:   # list\n    0: person\n    1: bicycle\ndownload: |\n  x: 1\n",
]


@pytest.mark.parametrize("text", YAMLS)
def test_data_yaml_agrees_with_yaml(tmp_path: Path, text: str) -> None:
    wanted = pytest.importorskip("yaml").safe_load(text)
    (tmp_path / "data.yaml").write_text(text)
    found = read_data_yaml(tmp_path / "data.yaml")
    names = wanted["names"]
    assert list(found.names) == (list(names.values()) if isinstance(names, dict) else names)
    assert found.path == wanted.get("path", "")
    listed = {k: [wanted[k]] if isinstance(wanted[k], str) else wanted[k] for k in ("train", "val") if k in wanted}
    assert {split: list(places) for split, places in found.splits.items()} == listed


def test_names_that_are_markup_stay_text(build: Build) -> None:
    root = build("yolo")
    odd = "<img src=x onerror=alert(1)> \"a\" 'b' [red]"
    quoted = odd.replace("'", "''")
    (root / "data.yaml").write_text(f"names: ['{quoted}', dog]\n")
    dataset = open_dataset(root)
    assert dataset.classes[0] == odd
    from stridewise.datafit import fit

    result = fit(dataset)
    assert "<img" not in result.to_html()
    assert odd in str(result)


def encoded(pixels: np.ndarray, suffix: str = "TIFF") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix)
    return file.getvalue()


def test_floats_and_sixteen_bits_follow_one_rule() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for values, wanted in ((ramp, np.round(ramp * 255)), (ramp * 255, np.round(ramp * 255))):
        loaded = Picture(name="x", source=encoded(values)).load()
        np.testing.assert_array_equal(loaded[..., 0], wanted.astype(np.uint8))
    for bad in (ramp * 1000, ramp - 1, np.where(ramp == 0, np.nan, ramp)):
        with pytest.raises(PictureError, match=r"floats outside 0\.\.255"):
            Picture(name="x", source=encoded(bad.astype(np.float32))).load()
    dark = np.full((4, 4), 200, np.uint16)  # is as dark beside others as it is alone
    assert Picture(name="x", source=encoded(dark, "PNG")).load().max() == 0


def test_heic_is_named_and_a_huge_picture_refused(build: Build) -> None:
    root = build("folders")
    (root / "train" / "cat" / "9.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "train" / "cat" / "8.png").write_bytes(b"")
    Image.new("1", (10_000, 10_000)).save(root / "train" / "cat" / "8.png")
    reasons = {d.reason for d in open_dataset(root).report.dropped}
    assert reasons == {"HEIC, which is not read: convert it to PNG", "over the limit of 64,000,000 pixels"}


radii = st.lists(st.floats(4, 9.5), min_size=5, max_size=9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 1), min_size=24, max_size=24))
def test_run_lengths_are_those_of_pycocotools(bits: list[int]) -> None:
    coder = pytest.importorskip("pycocotools.mask")
    mask = np.array(bits, np.uint8).reshape(4, 6)
    packed = coder.encode(np.asfortranarray(mask))
    runs = run_lengths(packed["counts"].decode(), (4, 6))
    assert runs is not None
    np.testing.assert_array_equal(shape_pixels(Shape(index=1, runs=runs), (4, 6)), mask)
    assert run_lengths(list(runs), (4, 6)) == runs
    assert run_lengths([3, 4], (4, 6)) is None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(radii)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_polygons_cover_what_pycocotools_covers(sides: list[float]) -> None:
    coder = pytest.importorskip("pycocotools.mask")
    angles = np.arange(len(sides)) * 2 * np.pi / len(sides)
    points = [(15 + r * np.cos(a), 10 + r * np.sin(a)) for r, a in zip(sides, angles, strict=True)]
    theirs = coder.decode(coder.merge(coder.frPyObjects([[float(v) for p in points for v in p]], 20, 30)))
    ours = Shapes(size=(20, 30), shapes=(Shape(index=1, polygons=(tuple(points),)),)).drawn()
    from scipy.ndimage import binary_dilation

    assert not (ours & ~binary_dilation(theirs, np.ones((3, 3)))).any()
    assert not (theirs & ~binary_dilation(ours, np.ones((3, 3)))).any()


def test_outlines_become_masks_and_crowds_count_nowhere(build: Build) -> None:
    root = build("coco")
    path = root / "annotations" / "train.json"
    table = json.loads(path.read_text())
    for one in table["annotations"]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    table["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": [20, 30], "counts": [40, 20, 540]}}
    path.write_text(json.dumps(table))
    dataset = open_dataset(root, "segment")
    assert dataset.classes == ("background", "cat", "dog")
    mask = dataset.samples[0].mask
    assert mask is not None
    pixels = mask.load()
    assert (pixels[:, 2] == 255).all()
    assert (pixels[5:17, 16:28] == 2).all()
    assert pixels[0, 0] == 0
    boxes = open_dataset(root, "detect").samples[0].boxes
    assert isinstance(boxes, Boxes)
    assert len(boxes) == len(boxes.ignored or ()) == 1


def test_yolo_polygons_become_boxes_or_masks(build: Build) -> None:
    root = build("yolo")
    (root / "labels" / "train" / "a.txt").write_text("1 .1 .1 .4 .1 .4 .5 .1 .5")
    assert "a polygon: the box around it is used" in notes(root)
    dataset = open_dataset(root, "segment")
    assert dataset.classes == ("background", "cat", "dog")
    mask = dataset.samples[0].mask
    assert mask is not None
    assert (mask.load()[2:10, 3:12] == 2).all()
    assert (mask.load() == 2).sum() == 8 * 9
    assert [d.reason for d in dataset.report.dropped] == ["without a polygon"]


def test_difficult_objects_of_voc_are_regions_to_ignore(build: Build) -> None:
    root = build("voc")
    plain = {sample.name: sample.boxes for sample in open_dataset(root, "detect").samples}
    for path in (root / "Annotations").iterdir():
        path.write_text(path.read_text().replace("</name>", "</name><difficult>1</difficult>", 1))
    dataset = open_dataset(root, "detect")
    marked = 0
    for sample in dataset.samples:
        before, boxes = plain[sample.name], sample.boxes
        assert before is not None
        assert boxes is not None
        assert boxes.corners.tolist() == before.corners[1:].tolist()
        if len(before):
            assert boxes.ignored is not None
            assert boxes.ignored.corners.tolist() == before.corners[:1].tolist()
            assert boxes.ignored.classes.tolist() == before.classes[:1].tolist()
            marked += 1
    assert f"{marked} boxes: marked difficult: nothing counts there" in str(dataset.report)


def test_labels_that_fit_no_picture_are_named_whatever_is_asked_for(build: Build) -> None:
    root = build("yolo")
    for label in list((root / "labels").rglob("*.txt")):
        label.rename(label.with_name(f"other-{label.name}"))
    for task in (None, "detect"):
        with pytest.raises(DataError, match=r"label files has the name of a picture: .* beside images/"):
            open_dataset(root, task)  # type: ignore[arg-type]
