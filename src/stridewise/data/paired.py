"""Folders of pictures beside folders of masks or label files: which belongs to which."""

from pathlib import Path

from stridewise.data.cleaning import split_name, subfolders

PICTURES = ("images", "JPEGImages", "img", "imgs", "image", "leftImg8bit", "imagesTr")


def paired_folders(root: Path, others: tuple[str, ...]) -> list[tuple[str, Path, Path]]:
    """(split, picture folder, other folder) for `images/train` + `other/train`, `train/images` + `train/other`, flat.

    An empty list when `root` is laid out otherwise.
    """
    found = []
    for parent, split in [(root, None), *((p, split_name(p.name)) for p in subfolders(root) if split_name(p.name))]:
        for pictures in (parent / name for name in PICTURES if (parent / name).is_dir()):
            for other in (parent / name for name in others if (parent / name).is_dir()):
                found += [(split, pictures, other)] if split else _inner(pictures, other)
    return found


def _inner(pictures: Path, other: Path) -> list[tuple[str, Path, Path]]:
    named = [(split_name(p.name), p) for p in subfolders(pictures)]
    inner = [(split, p, other / p.name) for split, p in named if split and (other / p.name).is_dir()]
    return inner or [("all", pictures, other)]
