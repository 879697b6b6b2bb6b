"""What every test may use."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skips import unlisted

# Test processes side by side, and what they start, share the cores: with more threads than cores they wait for each
# other. Set before torch is loaded.
_SIDE_BY_SIDE = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
if _SIDE_BY_SIDE:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(_SIDE_BY_SIDE))))

GOLDEN = Path(__file__).parent / "golden"
ONLY_LISTED = os.environ.get("STRIDEWISE_SKIPS") == "listed"
_skipped: list[tuple[str, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write tests/golden anew instead of comparing.")


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid.partition("::")[0], said.removeprefix("Skipped: ")))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where only listed skips are allowed (CI), another one fails the run; worker processes leave that to the first."""
    if ONLY_LISTED and not hasattr(session.config, "workerinput") and unlisted(_skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = unlisted(_skipped) if ONLY_LISTED else []
    if lines:
        terminalreporter.section("skipped, and not listed in tests/skips.toml", red=True)
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """Compare a text with a file in tests/golden, or write it with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of built-in data stays inside the test run."""
    monkeypatch.setenv("STRIDEWISE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread while a test runs: results that repeat, and room for the other tests."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command in this process, which has its libraries loaded: (exit code, standard output, standard error)."""
    from stridewise.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        signal.signal(signal.SIGTERM, before)
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """A command line that ends with an error, run in this process: (exit code, what it says on standard error)."""
    from stridewise.cli import main

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert stop.value.code in (1, 2), err
        assert out == ""
        return int(stop.value.code), err

    return run
