"""On real sets: shift consistency on photographs, and a network's strides against real boxes."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import nn

import stridewise as sw
from stridewise.cli.fit import command

ROOT = Path(os.environ.get("STRIDEWISE_DATA", ""))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("STRIDEWISE_DATA" not in os.environ, reason="STRIDEWISE_DATA names no folder of picture sets"),
]


def test_trashnet_shift_and_accuracy() -> None:
    model = sw.load("builtin:resnet20-narrow", classes=6)
    found = sw.measure(model, what=["shift", "accuracy"], data=ROOT / "trashnet", images=8, input=(3, 64, 64))
    row = found.rows[0]
    assert found.conditions["data"] == "trashnet"
    assert (row.shift.pictures, row.shift.offsets) == (8, 16)
    assert row.shift.accuracy is not None
    assert row.accuracy.value is not None


def test_camvid_maps_are_compared_on_shared_pixels() -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 3, stride=4, padding=1), nn.Upsample(scale_factor=4)).eval()
    found = sw.measure(net, what="shift", data=ROOT / "camvid", images=3, input=(3, 64, 64))
    assert 0 < found.rows[0].shift.agreement.value < 1


def test_bccd_against_a_network() -> None:
    arguments = ["--data", str(ROOT / "bccd"), "--model", "torchvision:resnet18", "--resize", "120x160", "--json"]
    found = json.loads(CliRunner().invoke(command, arguments, catch_exceptions=False).stdout)
    assert found["model_strides"] == [[32, 32]]
    assert found["findings"][0]["rule"] == "SW301"
