"""What CI may leave out stands in one file; anything else fails the run there."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from skips import SKIPS, unlisted

HERE = Path(__file__).parent


def test_a_listed_skip_passes_and_one_too_many_or_another_does_not() -> None:
    listed = ("tests/tracing/test_trace_answers.py", "torch refuses to write into an expanded tensor, on real devices")
    assert unlisted([listed]) == []
    assert unlisted([listed, listed]) == [f"{listed[0]}: {listed[1]} (more than 1 times)"]
    assert unlisted([("tests/web/browsing.py", "Chromium is not installed")])


def test_the_list_names_files_that_are_there() -> None:
    for entry in tomllib.loads(SKIPS.read_text(encoding="utf-8"))["skip"]:
        assert entry["test"] == "*" or (HERE.parent / entry["test"]).is_file()
        assert entry["why"]


@pytest.mark.parametrize(("mode", "processes", "code"), [("listed", "0", 1), ("listed", "1", 1), ("", "0", 0)])
def test_a_run_with_another_skip_fails(tmp_path: Path, mode: str, processes: str, code: int) -> None:
    for name in ("conftest.py", "skips.py", "skips.toml"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "test_it.py").write_text("import pytest\n\ndef test_it():\n    pytest.skip('no luck')\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", processes, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "STRIDEWISE_SKIPS": mode},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == code, ran.stdout
    assert ("test_it.py: no luck" in ran.stdout) == bool(code)
