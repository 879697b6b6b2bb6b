"""How long `sw.fit` takes on many masks and many boxes, reading apart from judging.

    python benchmarks/fit.py [--masks 20000] [--boxes 200000] [--size 256] [--folder DIR]

Draws a folder of grey pictures and masks (background and five classes of discs, PNG, with classes.txt) and a COCO file
of boxes, in a temporary folder unless one is named, then opens and judges them. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import stridewise as sw
from stridewise.data import open_dataset

CLASSES = ("ground", "ash", "beech", "cedar", "elm", "fir")


def drawn(rng: np.random.Generator, size: int) -> np.ndarray:
    """A mask of twelve discs over a ground, (size, size) uint8."""
    rows, columns = np.ogrid[:size, :size]
    mask = np.zeros((size, size), np.uint8)
    for row, column, radius, label in zip(
        *rng.integers(0, size, (2, 12)), rng.integers(2, size // 8, 12), rng.integers(1, 6, 12), strict=True
    ):
        mask[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = label
    return mask


def masks_at(root: Path, count: int, size: int) -> None:
    """Pictures beside masks; what is there already stays."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    rng = np.random.default_rng(0)
    for number in range(count):
        mask = Image.fromarray(drawn(rng, size))
        mask.save(root / "masks" / f"{number:06}.png")
        Image.fromarray(np.asarray(mask) * 40).save(root / "images" / f"{number:06}.png")


def boxes_at(path: Path, count: int) -> None:
    """A COCO file of 20 boxes a picture."""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 500, (count, 2)), rng.uniform(4, 100, (count, 2))
    boxes = np.round(np.concatenate([corner, side], axis=1), 2).tolist()
    labels = rng.integers(1, 6, count).tolist()
    pictures = -(-count // 20)
    (path.parent / "images").mkdir(exist_ok=True)
    first = path.parent / "images" / "0.jpg"
    Image.new("RGB", (640, 640)).save(first)
    for number in range(1, pictures):
        (first.parent / f"{number}.jpg").unlink(missing_ok=True)
        os.link(first, first.parent / f"{number}.jpg")
    path.write_text(
        json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 640} for i in range(pictures)],
                "annotations": [
                    {"id": i, "image_id": i // 20, "category_id": label, "bbox": box}
                    for i, (box, label) in enumerate(zip(boxes, labels, strict=True))
                ],
                "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
            }
        )
    )


def seconds(what: Path, task: str) -> dict[str, float]:
    """Of reading and of judging."""
    begin = time.perf_counter()
    dataset = open_dataset(what, task)  # type: ignore[arg-type]
    read = time.perf_counter()
    sw.fit(dataset)
    return {"read": round(read - begin, 2), "judge": round(time.perf_counter() - read, 2)}


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=20_000)
    parser.add_argument("--boxes", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        root = options.folder or Path(own)
        masks_at(root / "masks", options.masks, options.size)
        boxes_at(root / "boxes.json", options.boxes)
        found = {"masks": seconds(root / "masks", "segment"), "boxes": seconds(root / "boxes.json", "detect")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = {"masks": options.masks, "boxes": options.boxes, "size": options.size, "cores": cores}
    print(json.dumps({**asked, "seconds": found, "machine": platform.machine(), "numpy": np.__version__}))


if __name__ == "__main__":
    main()
