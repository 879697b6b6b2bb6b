"""The workflow for GitHub, which nobody here can run: it parses, and what its steps call is there."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
FLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
COMMANDS = [step["run"] for job in FLOW["jobs"].values() for step in job["steps"] if "run" in step]
EXTERNAL = {"pip", "uv", "test", "sudo"}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_step_calls_is_there(command: str) -> None:
    for part in re.split(r"&&|\|\|", command):
        words = shlex.split(part)
        if words[0] == "make":
            assert words[1] in TARGETS
            extras = next((w.partition("=")[2].split() for w in words if w.startswith("WITH=")), [])
            assert set(extras) <= {"core", *PROJECT["optional-dependencies"]}
        elif words[0] == ".venv/bin/python":
            assert all((ROOT / w).is_dir() for w in words if w.startswith("tests/"))
        elif words[0] == ".ci/run":
            assert (ROOT / words[0]).stat().st_mode & 0o100
        else:
            assert words[0] in EXTERNAL


def test_it_runs_every_version_that_the_project_names() -> None:
    named = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert named == set(FLOW["jobs"]["test"]["strategy"]["matrix"]["python"])
    assert all("uses" in step or "run" in step for job in FLOW["jobs"].values() for step in job["steps"])
