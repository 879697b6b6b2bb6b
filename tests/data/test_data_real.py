"""Real sets, read as their own files say."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stridewise.data import open_dataset

ROOT = Path(os.environ.get("STRIDEWISE_DATA", ""))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("STRIDEWISE_DATA" not in os.environ, reason="STRIDEWISE_DATA names no folder of picture sets"),
]


def test_bccd_boxes() -> None:
    dataset = open_dataset(ROOT / "bccd")
    assert dataset.classes == ("RBC", "WBC", "Platelets")
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 205, "val": 87}
    kinds = np.concatenate([s.boxes.classes for s in dataset.splits["val"] if s.boxes])
    assert np.bincount(kinds).tolist() == [967, 87, 83]
    table = json.loads((ROOT / "bccd" / "annotations" / "val.json").read_text())
    sample, entry = dataset.splits["val"][0], table["images"][0]
    written = [a["bbox"] for a in table["annotations"] if a["image_id"] == entry["id"]]
    assert sample.boxes is not None
    corners = sample.boxes.corners
    np.testing.assert_allclose(np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), written)


def test_trashnet_classes() -> None:
    dataset = open_dataset(ROOT / "trashnet", "classify")
    counts = {split: np.bincount([s.label or 0 for s in part]).tolist() for split, part in dataset.splits.items()}
    assert dataset.classes == ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    assert counts == {"train": [287, 351, 285, 403, 347, 91], "val": [46, 65, 56, 83, 60, 17]}
    assert {s.size for s in dataset.samples} == {(256, 341)}


def test_camvid_masks() -> None:
    dataset = open_dataset(ROOT / "camvid")
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 367, "val": 101, "test": 116}
    assert len(dataset.classes) == 11
    assert dataset.classes[8] == "Car"
    files = sorted((ROOT / "camvid" / "masks" / "val").glob("*.png"))[:3]
    for sample, path in zip(dataset.splits["val"], files, strict=False):
        written = np.asarray(Image.open(path))
        assert sample.mask is not None
        np.testing.assert_array_equal(sample.mask.load(), np.where(written == 11, 255, written))


def test_cifar_and_fashion_arrays() -> None:
    with np.load(ROOT / "cifar10" / "cifar10.npz") as file:
        data, offsets, labels = (file[f"test_{key}"] for key in ("jpeg", "offsets", "labels"))
    dataset = open_dataset(ROOT / "cifar10" / "cifar10.npz")
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 50000, "test": 5000}
    assert [s.label for s in dataset.splits["test"]] == labels.tolist()
    for index in (0, 4999):
        own = np.asarray(Image.open(io.BytesIO(data[offsets[index] : offsets[index + 1]].tobytes())))
        np.testing.assert_array_equal(dataset.splits["test"][index].picture.load(), own)
    fashion = open_dataset(ROOT / "fashion_mnist" / "fashion_mnist.npz")
    x, y = fashion.arrays("test")
    assert x.shape == (5000, 28, 28, 3)
    assert np.bincount(y).tolist() == [500] * 10
    assert fashion.classes[9] == "Ankle boot"
