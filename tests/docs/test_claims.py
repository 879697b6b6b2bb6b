"""`stridewise claims` prints the figures that docs/stride.md shows."""

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stridewise.cli import cli

ROOT = Path(__file__).parents[2]


def test_claims_are_listed_with_what_they_test() -> None:
    told = CliRunner().invoke(cli, ["claims"]).output
    page = (ROOT / "docs/stride.md").read_text(encoding="utf-8")
    for line in told.splitlines():
        name, _, words = line.partition(" ")
        assert words.strip(), name
        assert f"claims {name}" in page or f"claims {name}" in (ROOT / "docs/measure.md").read_text(encoding="utf-8")


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_cost_that_a_first_step_makes_is_that_of_the_page(tmp_path: Path, one_thread: None) -> None:
    kept = tmp_path / "claims.json"
    kept.write_text('{"memory": 1}')
    ran = CliRunner().invoke(cli, ["claims", "cost", "-o", str(kept)], catch_exceptions=False)
    figures = json.loads(ran.output.splitlines()[-1])["cost"]
    stored = json.loads((ROOT / "benchmarks/results/claims.json").read_text(encoding="utf-8"))["cost"]
    assert figures == stored
    assert json.loads(kept.read_text()) == {"memory": 1, "cost": figures}


def test_a_claim_that_there_is_not_is_refused(refused) -> None:
    code, err = refused("claims", "nothing")
    assert code == 2
    assert "cost" in err
