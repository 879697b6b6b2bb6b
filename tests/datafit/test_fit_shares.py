"""Masks judged by several processes give the figures of one, in order, also when a process dies."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stridewise.data import Codes, Dataset, Mask, Picture, Sample
from stridewise.datafit import fit, shares

pytest.importorskip("scipy.ndimage")
CLASSES = ("sky", "road", "car")


@pytest.fixture
def drawn(tmp_path: Path) -> Dataset:
    """Twelve masks in files, one of them broken."""
    rng, samples, codes = np.random.default_rng(0), [], Codes(values=(0, 1, 2))
    for number in range(12):
        mask, path = (
            np.kron(rng.integers(0, 3, (7, 9)), np.ones((5, 5), int)).astype(np.uint8),
            tmp_path / f"{number}.png",
        )
        Image.fromarray(mask).save(path)
        samples.append(
            Sample(
                picture=Picture(name=path.name, source=path),
                size=mask.shape,
                mask=Mask(name=path.name, source=path, codes=codes),
            )
        )
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:60])
    return Dataset(task="segment", name="drawn", classes=CLASSES, splits={"all": tuple(samples)})


@pytest.mark.skipif(not hasattr(shares.os, "fork"), reason="one process where pipes are not handed on")
@pytest.mark.parametrize("ends", [False, True])
def test_processes_say_what_one_says(drawn: Dataset, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    alone, counted, started = fit(drawn), [], []
    start = shares._started

    def watched() -> shares._Process:
        started.append(start())
        if ends:
            started[-1].child.kill()
        return started[-1]

    monkeypatch.setattr(shares, "_ENOUGH", 1)
    monkeypatch.setattr(shares, "_SHARE", 5)
    monkeypatch.setattr(shares, "_cores", lambda: 2)
    monkeypatch.setattr(shares, "_started", watched)
    judge, here = shares.Share.totals, []
    monkeypatch.setattr(shares.Share, "totals", lambda share: here.append(share) or judge(share))
    together = fit(drawn, progress=lambda done, total: counted.append((done, total)))
    assert together == alone
    assert together.pictures == 11
    assert [entry.names for entry in together.report.dropped] == [("4.png",)]
    assert counted == [(5, 12), (10, 12), (12, 12)]
    assert len(started) == 2
    assert all(process.child.returncode is not None for process in started)
    assert len(here) == (3 if ends else 0)  # the parent judges what no process does, and only that
