"""Pictures stored turned, with the EXIF tag that says so, are read as displayed; so are their boxes and masks."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from stridewise.data import Dataset, Picture, open_dataset
from stridewise.data.picture import turned
from stridewise.datafit import fit

HEIGHT, WIDTH = 24, 40
ORIENTATIONS = tuple(range(1, 9))
UNDO = {6: 8, 8: 6}
"""What brings the upright picture into the rows that an orientation is stored in; the others undo themselves."""
BOXES = [(4, 2, 14, 11, 0), (20, 8, 39, 23, 1), (1, 15, 9, 22, 1)]


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    return np.asarray(turned(Image.fromarray(pixels), UNDO.get(orientation, orientation)))


def save(pixels: np.ndarray, path: Path, orientation: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored(pixels, orientation)).save(path, exif=exif)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def yolo(root: Path, orientation: int) -> Path:
    save(picture(), root / "images" / "a.png", orientation)
    rows = [
        f"{k} {(x0 + x1) / 2 / WIDTH} {(y0 + y1) / 2 / HEIGHT} {(x1 - x0) / WIDTH} {(y1 - y0) / HEIGHT}"
        for x0, y0, x1, y1, k in BOXES
    ]
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("\n".join(rows))
    return root


def coco(root: Path, orientation: int, boxes: list[list[float]], size: tuple[int, int]) -> Path:
    save(picture(), root / "a.png", orientation)
    annotations = [
        {"id": n, "image_id": 1, "category_id": row[4], "bbox": [row[0], row[1], row[2] - row[0], row[3] - row[1]]}
        for n, row in enumerate(boxes)
    ]
    image = {"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    table = {"images": [image], "annotations": annotations, "categories": categories}
    (root / "all.coco.json").write_text(json.dumps(table))
    return root


def drawn_on_stored_rows(orientation: int) -> list[list[float]]:
    """Each box as the box of its own pixels in the stored rows."""
    found = []
    for x0, y0, x1, y1, kind in BOXES:
        mark = np.zeros((HEIGHT, WIDTH), np.uint8)
        mark[y0:y1, x0:x1] = 1
        rows, columns = np.nonzero(stored(mark, orientation))
        found.append([int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1, kind])
    return found


def corners(dataset: Dataset) -> list[list[float]]:
    (sample,) = dataset.samples
    np.testing.assert_array_equal(sample.picture.load(), picture())
    assert sample.size == (HEIGHT, WIDTH)
    assert sample.boxes is not None
    return np.round(np.column_stack([sample.boxes.corners, sample.boxes.classes]), 6).tolist()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "avif"])
def test_pixels_are_those_pillow_displays(tmp_path: Path, suffix: str, orientation: int) -> None:
    save(picture(), tmp_path / f"a.{suffix}", orientation)
    ours = Picture(name="a", source=tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(ours.load(), shown)
    assert ours.size() == shown.shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_are_in_the_displayed_frame(tmp_path: Path, orientation: int) -> None:
    wanted = [list(map(float, row)) for row in BOXES]
    assert corners(open_dataset(yolo(tmp_path / "y", orientation))) == wanted
    shown = open_dataset(coco(tmp_path / "c", orientation, [list(row) for row in BOXES], (HEIGHT, WIDTH)))
    assert corners(shown) == wanted
    assert any("1 picture: turned upright" in note for note in shown.report.notes) == (orientation != 1)
    if orientation >= 5:  # the size in the file says that they were drawn on the stored rows
        rows = drawn_on_stored_rows(orientation)
        assert corners(open_dataset(coco(tmp_path / "s", orientation, rows, (WIDTH, HEIGHT)))) == wanted


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_are_in_the_displayed_frame(tmp_path: Path, orientation: int) -> None:
    labels = np.random.default_rng(1).integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)
    frames = {"shown": (labels, 1), "tagged": (labels, orientation)}
    if orientation >= 5:
        frames["stored"] = (stored(labels, orientation), 1)
    for name, (mask, tag) in frames.items():
        save(picture(), tmp_path / name / "images" / "a.jpg", orientation)
        save(mask, tmp_path / name / "masks" / "a.png", tag)
        (sample,) = open_dataset(tmp_path / name, "segment").samples
        assert sample.mask is not None
        assert sample.size == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(sample.mask.load(), labels)


def test_eight_orientations_give_the_same_figures(tmp_path: Path) -> None:
    figures = [fit(yolo(tmp_path / str(o), o), strides=(4, 8)).to_json() for o in ORIENTATIONS]
    for other in figures[1:]:
        assert {**other, "data_report": 0, "data": ""} == {**figures[0], "data_report": 0, "data": ""}


def test_broken_metadata_do_not_cost_a_picture(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert Picture(name="a", source=tmp_path / "a.jpg").load().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_a_png_says_its_orientation_before_or_behind_its_pixels(
    monkeypatch: pytest.MonkeyPatch, behind: bool, orientation: int | None
) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("L", (20, 10), 7).save(file, "PNG", **({"exif": exif} if orientation else {}))
    data = file.getvalue()
    if behind and orientation:
        start = data.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        data = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    header = Picture(name="x", source=data).header()
    assert (header.orientation, header.size) == (orientation or 1, (20, 10) if orientation == 6 else (10, 20))
    if not (behind and orientation):  # nothing need be decoded for it
        monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
        assert Picture(name="x", source=data).header() == header
