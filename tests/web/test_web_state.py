"""The page's pure functions, by node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_state_functions():
    ran = subprocess.run(
        ["node", "--test", str(Path(__file__).parent / "state.test.mjs")], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
    assert "# fail 0" in ran.stdout
