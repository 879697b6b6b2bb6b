"""Pascal VOC XML: `Annotations/*.xml` beside `JPEGImages/`, splits in `ImageSets/Main/{train,val,test}.txt`.

Source: the VOC development kit; corners count pixels from 1 and include the last one, so x0 = xmin - 1 and x1 = xmax.
"""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from stridewise.data.cleaning import clean_boxes, finish, inside, name_in, picture_files, readable_size, step
from stridewise.data.picture import Picture
from stridewise.data.records import Dataset, Progress, Sample
from stridewise.data.report import Tally
from stridewise.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_BYTES_LIMIT = 16_000_000


def looks_like(root: Path) -> bool:
    """Whether there is a folder of XML annotations."""
    return any(True for _ in (root / "Annotations").glob("*.xml"))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The boxes at `root`; classes are the sorted names found in the files.

    Raises: DataError when there are no annotations, or nothing is left of them.
    """
    files = sorted((root / "Annotations").glob("*.xml"))
    if not files:
        raise DataError(f"{root}: no Annotations/*.xml: expected the layout of Pascal VOC")
    tally = Tally()
    tally.found = len(files)
    parsed = [(path, tree) for path in files if (tree := _parse(path, root, tally)) is not None]
    names = sorted({name for _, tree in parsed for entry in tree.findall("object") if (name := _name(entry))})
    index = {name: number for number, name in enumerate(names)}
    split_of = _splits(root)
    pictures = (
        {path.stem: path for path in picture_files(root / "JPEGImages")} if (root / "JPEGImages").is_dir() else {}
    )
    splits: dict[str, list[Sample]] = {}
    for done, (path, tree) in enumerate(parsed, 1):
        sample = _sample(path, tree, root, pictures, index, tally)
        if sample:
            splits.setdefault(split_of.get(path.stem, "all"), []).append(sample)
        step(progress, done, len(parsed))
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
    beside = root / "JPEGImages" / written if inside(written) else None
    source = beside if beside is not None and beside.is_file() else pictures.get(path.stem)
    if source is None:
        tally.drop("annotation file", "without a picture", name_in(root, path))
        return None
    picture = Picture(name=name_in(root, source), source=source)
    size = readable_size(picture, tally)
    if size is None:
        return None
    rows = _rows(tree.findall("object"), index, name_in(root, path), tally)
    return Sample(picture=picture, size=size, boxes=clean_boxes(rows, size, picture.name, tally))


def _rows(entries: Iterable[ElementTree.Element], index: dict[str, int], name: str, tally: Tally) -> list[list[float]]:
    rows = []
    for entry in entries:
        try:
            left, top, right, bottom = (float(entry.findtext(f"bndbox/{corner}") or "") for corner in _CORNERS)
        except ValueError:
            tally.drop("box", "not four numbers", name)
            continue
        if label := _name(entry):
            rows.append([left - 1, top - 1, right, bottom, index[label]])
        else:
            tally.drop("box", "without a class name", name)
    return rows


def _name(entry: ElementTree.Element) -> str:
    return (entry.findtext("name") or "").strip()


def _splits(root: Path) -> dict[str, str]:
    split_of = {}
    for split in ("test", "val", "train"):
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        if path.is_file():
            words = (line.split()[:1] for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            split_of.update({word[0]: split for word in words if word})
    return split_of
