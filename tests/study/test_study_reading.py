"""A search learns from the pictures that can be read and says which it left out."""

import numpy as np
from PIL import Image

from stridewise.study.training import TrainScore


def test_a_broken_picture_is_left_out_and_told(tmp_path):
    for split, kind, number in np.ndindex(2, 2, 3):
        path = tmp_path / ("train", "val")[split] / ("cat", "dog")[kind] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    broken = tmp_path / "train" / "cat" / "0.png"
    broken.write_bytes(broken.read_bytes()[:400])
    splits = TrainScore("classify", "builtin:resnet20-narrow", str(tmp_path)).splits
    assert len(splits.train.pixels) == 5
    assert any("0.png" in note for note in splits.notes)
