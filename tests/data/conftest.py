"""Small data sets in every layout, written to disk the way other tools write them."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 20, 30
BOXES = {"a": [(2, 3, 10, 12, 0), (15, 4, 29, 18, 1)], "b": [(0, 0, 5, 20, 1)], "c": []}
"""Boxes (x0, y0, x1, y1, class) by picture; classes are cat and dog."""


@pytest.fixture(autouse=True)
def _apart(own_cache: None) -> None:
    pass


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def folders(root: Path) -> None:
    for split in ("train", "val"):
        for seed, name in enumerate(("cat", "dog")):
            save(picture(seed), root / split / name / "0.png")
            save(picture(seed + 2, 24, 18), root / split / name / "1.jpg")


def coco(root: Path) -> None:
    images, annotations = [], []
    for number, (stem, boxes) in enumerate(BOXES.items()):
        save(picture(number), root / "images" / "train" / f"{stem}.png")
        images.append({"id": number, "file_name": f"{stem}.png", "width": WIDTH, "height": HEIGHT})
        for x0, y0, x1, y1, kind in boxes:
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({"id": len(annotations), "image_id": number, "category_id": kind + 1, "bbox": box})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    table = {"images": images, "annotations": annotations, "categories": categories}
    write(root / "annotations" / "train.json", json.dumps(table))


def yolo(root: Path) -> None:
    write(root / "data.yaml", "train: images/train\nnc: 2\nnames:\n  0: cat\n  1: dog\n")
    for number, (stem, boxes) in enumerate(BOXES.items()):
        save(picture(number), root / "images" / "train" / f"{stem}.png")
        rows = [
            f"{kind} {(x0 + x1) / 2 / WIDTH} {(y0 + y1) / 2 / HEIGHT} {(x1 - x0) / WIDTH} {(y1 - y0) / HEIGHT}"
            for x0, y0, x1, y1, kind in boxes
        ]
        if rows:
            write(root / "labels" / "train" / f"{stem}.txt", "\n".join(rows))


def voc(root: Path) -> None:
    names = ("cat", "dog")
    for number, (stem, boxes) in enumerate(BOXES.items()):
        save(picture(number), root / "JPEGImages" / f"{stem}.png")
        objects = "".join(
            f"<object><name>{names[kind]}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for x0, y0, x1, y1, kind in boxes
        )
        write(
            root / "Annotations" / f"{stem}.xml", f"<annotation><filename>{stem}.png</filename>{objects}</annotation>"
        )
    write(root / "ImageSets" / "Main" / "train.txt", "\n".join(BOXES))


def mask_of(seed: int) -> np.ndarray:
    return np.random.default_rng(100 + seed).integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)


def masks(root: Path) -> None:
    write(root / "classes.txt", "# index name\n0 sky\n1 road\n2 void\n")
    for number, stem in enumerate(BOXES):
        save(picture(number), root / "images" / "train" / f"{stem}.jpg")
        save(Image.fromarray(mask_of(number)), root / "masks" / "train" / f"{stem}.png")


def npz(root: Path) -> None:
    x = np.stack([np.asarray(picture(n)) for n in range(4)])
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "set.npz", x_train=x, y_train=np.array([0, 1, 1, 0]), x_test=x[:1], y_test=np.array([[1]]))


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def mnist(root: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    for stem in ("train", "t10k"):
        write(root / f"{stem}-images-idx3-ubyte", idx(x))
        write(root / f"{stem}-labels-idx1-ubyte", idx(np.array([3, 1, 0, 2], np.uint8)))


def cifar_rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3072), dtype=np.uint8)


def cifar(root: Path) -> None:
    for name, count in (("data_batch_1", 3), ("data_batch_2", 2), ("test_batch", 2)):
        batch = {"data": cifar_rows(count), "labels": list(range(count)), "filenames": ["x.png"] * count}
        write(root / "cifar-10-batches-py" / name, pickle.dumps(batch, protocol=2))
    write(root / "cifar-10-batches-py" / "batches.meta", pickle.dumps({"label_names": ["plane", "car", "bird"]}, 2))


def metadata(root: Path) -> None:
    rows = []
    for number in range(4):
        save(picture(number), root / "train" / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "label": number % 2}))
    write(root / "train" / "metadata.jsonl", "\n".join(rows))


LAYOUTS: dict[str, Callable[[Path], None]] = {
    writer.__name__: writer for writer in (folders, coco, yolo, voc, masks, npz, mnist, cifar, metadata)
}


@pytest.fixture(scope="session")
def layouts() -> dict[str, Callable[[Path], None]]:
    return LAYOUTS


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Path]:
    """Write one layout and return what to open."""

    def built(name: str) -> Path:
        root = tmp_path / name
        LAYOUTS[name](root)
        return root / "set.npz" if name == "npz" else root

    return built
