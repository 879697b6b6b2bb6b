"""Signals, volumes and grey pictures are trained on, judged, used and measured as colour pictures are."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import stridewise as sw
from stridewise.errors import DataError
from stridewise.tasks.pictures import augmented

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SIZES = {1: (256,), 2: (24, 32), 3: (16, 16, 16)}


class Net(nn.Module):
    """Three steps of 2 on any number of axes; ends in a map."""

    def __init__(self, axes: int, channels: int = 1) -> None:
        super().__init__()
        width = (channels, 8, 16, 16)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(CONV[axes](a, b, 3, stride=2, padding=1, bias=False), NORM[axes](b), nn.ReLU())
                for a, b in pairwise(width)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def line() -> nn.Module:
    return Net(1)


def grey() -> nn.Module:
    return Net(2)


def volume() -> nn.Module:
    return Net(3)


MAKERS = {1: line, 2: grey, 3: volume}


def waves(axes: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a wave along the last axis, fast or slow: (count, *sizes), classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    phase = rng.uniform(0, 6.28, (count, 1))
    steps = np.arange(SIZES[axes][-1]) * np.where(labels, 1.5, 0.4)[:, None] + phase
    values = np.sin(steps).reshape(count, *(1,) * (axes - 1), -1) + 0.3 * rng.normal(size=(count, *SIZES[axes]))
    if axes == 2:
        return np.clip(128 + 50 * values, 0, 255).astype(np.uint8), labels
    return values.astype(np.float32), labels


def written(path: Path, axes: int) -> Path:
    (x, y), (u, v) = waves(axes, 64, 0), waves(axes, 24, 1)
    np.savez(path / f"{axes}.npz", x_train=x, y_train=y, x_val=u, y_val=v)
    return path / f"{axes}.npz"


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_classes_on_any_number_of_axes(tmp_path: Path, axes: int) -> None:
    data, run = written(tmp_path, axes), tmp_path / "run"
    record = sw.train(
        "classify", MAKERS[axes], data=data, epochs=4, batch=16, rate=1e-2, augment=("shift", "flip"), run=run
    )
    assert record.score > 0.9
    trained = sw.load_trained(run, MAKERS[axes])
    assert trained.data.shape == (1, *SIZES[axes])
    assert trained.standard.white == (255 if axes == 2 else 1)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("head", ["decoder", "atrous"])
def test_masks_on_any_number_of_axes(tmp_path: Path, axes: int, head: str) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(24, *SIZES[axes])).astype(np.float32)
    masks = np.zeros(values.shape, np.uint8)
    masks[:, SIZES[axes][0] // 2 :] = 1
    values += 3 * masks
    np.savez(tmp_path / "m.npz", x_train=values[:16], y_train=masks[:16], x_val=values[16:], y_val=masks[16:])
    record = sw.train(
        "segment", MAKERS[axes], data=tmp_path / "m.npz", epochs=8, batch=4, rate=1e-2, head=head, width=8
    )
    assert record.score > 0.8


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_networks_on_any_number_of_axes_are_measured(tmp_path: Path, axes: int) -> None:
    model = nn.Sequential(MAKERS[axes](), Mean()).eval()
    for data in (None, written(tmp_path, axes)):
        found = sw.measure(
            model, what=["shift", "detail", "fields"], data=data, input=(1, *SIZES[axes]), images=4, drawn=4
        )
        row = found.rows[0]
        assert len(row.shift.reach) == axes
        assert row.shift.reach == (8,) * axes
        assert all(len(field.effective) == axes for field in row.fields)
        assert row.detail.pictures == 4
    if axes == 1:
        with pytest.raises(sw.StridewiseError, match="the data have 1 axes, the network reads 2"):
            sw.measure(Net(2).eval(), what=["fields"], data=written(tmp_path, 1), input=(1, 24, 32))


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mean(2)


def test_a_network_of_other_axes_or_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line: reads data of 1 axes, 3 has volumes, of 3 axes"):
        sw.train("classify", line, data=written(tmp_path, 3), epochs=1, batch=8)

    def five() -> nn.Module:
        return Net(2, channels=5)

    with pytest.raises(DataError, match="takes 5 channels, 2 has 1 or 3"):
        sw.train("classify", five, data=written(tmp_path, 2), epochs=1, batch=8)


@pytest.mark.parametrize("axes", [1, 3])
def test_pictures_and_masks_move_together_on_every_axis(axes: int) -> None:
    marks = torch.zeros(6, *SIZES[axes])
    marks[(slice(None), *(slice(4, 8),) * axes)] = 1
    x, y = augmented(marks[:, None].clone(), marks.to(torch.uint8), ("shift", "flip"), torch.Generator().manual_seed(0))
    seen = y != 255
    assert torch.equal(x[:, 0][seen], y[seen].float())
    assert not torch.equal(y, marks.to(torch.uint8))


def test_measuring_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    sw.measure("builtin:resnet20-narrow", what=["latency"], rounds=10)
    assert torch.equal(torch.rand(2), expected)
