"""On real pictures: bounds fall as strides grow, and blood cells are as large as their paper trail says."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from stridewise.data import open_dataset
from stridewise.datafit import fit, stride_set
from stridewise.datafit.figures import BoxRow, MaskRow

ROOT = Path(os.environ.get("STRIDEWISE_DATA", ""))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("STRIDEWISE_DATA" not in os.environ, reason="STRIDEWISE_DATA names no folder of picture sets"),
]


def test_the_oracle_falls_with_the_stride_on_camvid() -> None:
    whole = open_dataset(ROOT / "camvid", "segment")
    data = replace(whole, splits={"val": whole.splits["val"][::12]})
    rows = [row for row in fit(data, strides=(1, 2, 4, 8, 16, 32)).rows if isinstance(row, MaskRow)]
    for figures in ("miou", "boundary_f1"):
        values = [getattr(row, figures) for row in rows]
        assert values == sorted(values)
        assert values[-1] == 1.0
    assert rows[-1].vanished == 0.0
    assert rows[0].miou < 0.7


def test_blood_cells_are_reachable_at_stride_32() -> None:
    result = fit(ROOT / "bccd")
    assert result.objects == 2381 + 214 + 209 + 967 + 87 + 83
    assert result.recommended == stride_set("32")
    coarse = result.row(stride_set("32"))
    assert isinstance(coarse, BoxRow)
    assert coarse.overall.reachable is not None
    assert 0.99 < coarse.overall.reachable < 1.0
    assert coarse.classes[2].cells_p5 == 1
    assert "these classes do not keep it: Platelets" in str(result)
    assert fit(ROOT / "bccd", resize=(240, 320)).recommended == stride_set("16,32")
