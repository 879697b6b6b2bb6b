"""One bar for every long command: after a second, on a terminal, with how much is done and what is left."""

import io
import sys
from collections.abc import Callable

import pytest

from stridewise.cli import standing
from stridewise.study.run import Standing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    monkeypatch.setattr(standing, "_AFTER", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")

    def install() -> Terminal:  # in the test itself: pytest sets its own at every phase
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return install


def test_what_is_counted_shows_its_share(terminal: Callable[[], Terminal]) -> None:
    screen = terminal()
    with standing.counting("pictures") as progress:
        progress(0, 1200)
        progress(300, 1200)
    assert "pictures" in screen.getvalue()
    assert "25 %" in screen.getvalue()
    assert "300 of 1,200" in screen.getvalue()


def test_a_study_says_which_training_runs_and_what_is_left(terminal: Callable[[], Terminal]) -> None:
    screen = terminal()
    with standing.standing() as tell:
        tell(Standing(done=1, total=4, share=0.4, seconds_left=75.0, doing="plan 3"))
    assert "1 of 4, training plan 3" in screen.getvalue()
    assert "about 1:15 left" in screen.getvalue()


def test_without_a_terminal_there_is_no_bar_and_a_line_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    with standing.counting("pictures") as progress, standing.standing() as tell:
        assert progress is None
        for share in (0.5, 0.6, 1.0):
            tell(Standing(done=int(share), total=1, share=share, seconds_left=None, doing=""))
    assert capsys.readouterr().err == "0 of 1 trainings\n1 of 1 trainings\n"


def test_short_work_has_no_bar(terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "_AFTER", 60.0)
    screen = terminal()
    with standing.counting("pictures") as progress:
        progress(1, 2)
    assert "pictures" not in screen.getvalue()
