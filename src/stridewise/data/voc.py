"""Pascal VOC XML: `Annotations/*.xml` beside `JPEGImages/`, splits in `ImageSets/Main/{train,val,test}.txt`.

Source: the VOC development kit; corners count pixels from 1 and include the last one, so x0 = xmin - 1 and x1 = xmax.
Objects marked difficult are no objects, as in the kit's own evaluation: nothing counts there.
"""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from stridewise.data.cleaning import (
    clean_boxes,
    finish,
    ids_said,
    inside,
    name_in,
    picture_files,
    readable_header,
    step,
    subfolders,
)
from stridewise.data.picture import Picture, turned_corners
from stridewise.data.records import Dataset, Progress, Sample
from stridewise.data.report import Tally
from stridewise.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_BYTES_LIMIT = 16_000_000


def looks_like(root: Path) -> bool:
    """Whether there is a folder of XML annotations, there or in a `VOCdevkit`."""
    return any(True for home in homes(root) for _ in (home / "Annotations").glob("*.xml"))


def homes(root: Path) -> list[Path]:
    """Where the layout lies: `root`, or the years in it or in its `VOCdevkit`, as torchvision unpacks them."""
    above = [path for path in (root, root / "VOCdevkit") if path.is_dir()]
    years = [p for path in above for p in subfolders(path) if p.name.startswith("VOC2") and p.is_dir()]
    return [root, *years]


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The boxes at `root`; classes are the sorted names found in the files.

    Raises: DataError when there are no annotations, or nothing is left of them.
    """
    files = [(home, path) for home in homes(root) for path in sorted((home / "Annotations").glob("*.xml"))]
    if not files:
        raise DataError(f"{root}: no Annotations/*.xml: expected the layout of Pascal VOC")
    tally = Tally()
    tally.found = len(files)
    parsed = [(home, path, tree) for home, path in files if (tree := _parse(path, root, tally)) is not None]
    names = sorted({name for _, _, tree in parsed for entry in tree.findall("object") if (name := _name(entry))})
    index = {name: number for number, name in enumerate(names)}
    split_of = {home: split_lists(home, "Main") for home in homes(root)}
    pictures = {
        home: {path.stem: path for path in picture_files(home / "JPEGImages")}
        for home in homes(root)
        if (home / "JPEGImages").is_dir()
    }
    splits: dict[str, list[Sample]] = {}
    for done, (home, path, tree) in enumerate(parsed, 1):
        sample = _sample(path, tree, root, pictures.get(home, {}), index, tally)
        if sample:
            splits.setdefault(split_of[home].get(path.stem, "all"), []).append(sample)
        step(progress, done, len(parsed))
    tally.note(ids_said(range(len(names)), names))
    bare = sum(len(found) for found in pictures.values()) - len(parsed)
    if bare > 0:
        tally.note(f"{bare:,} pictures have no annotation file and are left out")
    kept = finish(splits, root, "detect", tally)
    return Dataset(task="detect", name=root.name, classes=tuple(names), splits=kept, report=tally.report())


def _parse(path: Path, root: Path, tally: Tally) -> ElementTree.Element | None:
    try:
        text = path.read_bytes() if path.stat().st_size <= _BYTES_LIMIT else b""
        if b"<!" in text.replace(b"<!--", b""):  # a document type could define entities that grow without bound
            raise ValueError("document type")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError, OSError):
        tally.drop("annotation file", "no plain XML that can be read", name_in(root, path))
        return None


def _sample(
    path: Path, tree: ElementTree.Element, root: Path, pictures: dict[str, Path], index: dict[str, int], tally: Tally
) -> Sample | None:
    written = (tree.findtext("filename") or "").strip()
    beside = path.parent.parent / "JPEGImages" / written if inside(written) else None
    source = beside if beside is not None and beside.is_file() else pictures.get(path.stem)
    if source is None:
        tally.drop("annotation file", "without a picture", name_in(root, path))
        return None
    picture = Picture(name=name_in(root, source), source=source)
    header = readable_header(picture, tally)
    if header is None:
        return None
    rows = np.array(_rows(tree.findall("object"), index, name_in(root, path), tally), np.float64).reshape(-1, 6)
    written_size = tuple(tree.findtext(f"size/{side}") for side in ("height", "width"))
    if header.orientation >= 5 and written_size == tuple(map(str, header.stored)) != tuple(map(str, header.size)):
        tally.change("picture", "with boxes drawn on the stored rows: they are turned with it", picture.name)
        rows[:, :4] = turned_corners(rows[:, :4], header.stored, header.orientation)
    plain, ignored = (rows[rows[:, 5] == difficult, :5].tolist() for difficult in (0, 1))
    boxes = clean_boxes(plain, header.size, picture.name, tally, ignored)
    return Sample(picture=picture, size=header.size, boxes=boxes)


def _rows(entries: Iterable[ElementTree.Element], index: dict[str, int], name: str, tally: Tally) -> list[list[float]]:
    """x0, y0, x1, y1, class, and 1 where an object is marked difficult, which counts neither for nor against."""
    rows = []
    for entry in entries:
        difficult = (entry.findtext("difficult") or "").strip() == "1"
        try:
            left, top, right, bottom = (float(entry.findtext(f"bndbox/{corner}") or "") for corner in _CORNERS)
        except ValueError:
            tally.drop("box", "not four numbers", name)
            continue
        if label := _name(entry):
            rows.append([left - 1, top - 1, right, bottom, index[label], difficult])
            if difficult:
                tally.change("box", "marked difficult: nothing counts there", name)
        else:
            tally.drop("box", "without a class name", name)
    return rows


def _name(entry: ElementTree.Element) -> str:
    return (entry.findtext("name") or "").strip()


def split_lists(home: Path, kind: str) -> dict[str, str]:
    """The split of every name that `ImageSets/<kind>/{train,val,test}.txt` list."""
    split_of = {}
    for split in ("test", "val", "train"):
        path = home / "ImageSets" / kind / f"{split}.txt"
        if path.is_file():
            words = (line.split()[:1] for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            split_of.update({word[0]: split for word in words if word})
    return split_of
