"""`stridewise serve` as a program: quick to start, one address, one line when the port is taken, quiet when stopped."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "stridewise", "serve", "builtin:resnet20", "--no-browser"]


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    # A shell that runs the tests behind itself has interrupts ignored, and so would have all that they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    yield running
    running.kill()
    running.communicate()


def processor_seconds(pid: int) -> float:
    """Source: proc(5), stat, utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_it_starts_in_a_second_prints_its_address_and_stops_quietly(program: subprocess.Popen[str]):
    assert program.stdout is not None
    line = program.stdout.readline()
    if sys.platform == "linux":
        assert processor_seconds(program.pid) < 1
    found = re.fullmatch(r"Stridewise: (http://127\.0\.0\.1:(\d+)/\?token=\S+)\n", line)
    assert found
    with urllib.request.urlopen(found[1]) as page:
        assert b"importmap" in page.read()
    second = subprocess.run([*COMMAND, "--port", found[2]], capture_output=True, text=True)
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == (
        f"error: port {found[2]} cannot be used (Address already in use): name another with --port\n"
    )
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=20)
    assert program.returncode == 130
    assert out == ""
    assert err.split() == ["stop", "with", "Ctrl+C", "interrupted"]


def test_ctrl_c_leaves_without_taking_the_interpreter_down():
    """Which aborts where another thread is inside torch; handlers of what was loaded meanwhile still run."""
    code = """
import atexit
from stridewise.cli.serve import _left_at_once
atexit.register(print, "torn down")
with _left_at_once():
    atexit.register(print, "handled")
    raise KeyboardInterrupt
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "handled\n")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--weights", "nope"], "nope: there is no such file of weights"),
        (["--opaque", "nope"], "--opaque nope: names no module and no op of builtin:resnet20"),
        (["--fit", "nope"], "nope: not readable as JSON"),
    ],
)
def test_an_option_that_names_nothing_is_refused_before_the_page_opens(option: list[str], told: str):
    done = subprocess.run([*COMMAND, *option], capture_output=True, text=True)
    assert (done.returncode > 0, done.stdout) == (True, "")
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1
