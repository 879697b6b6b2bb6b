"""Numbers that no machine counts to and names that no file can have: one line, whichever option they come in."""

import pytest

import stridewise as sw
from stridewise.errors import StridewiseError

NET = "builtin:resnet20-narrow"
HUGE, LONG = "9" * 20, "x" * 300


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", NET, "--input", f"3x{HUGE}x32"], "whole numbers from 1 to 2147483647 joined by x"),
        (["show", NET, "--input", f"ids={HUGE}:int64"], "more numbers than any machine holds"),
        (["show", LONG], "a name of 300 letters is none"),
        (["show", f"{LONG}.onnx"], "File name too long"),
        (["show", NET, "--plan", f"{LONG}.toml"], "File name too long"),
        (["show", NET, "--html", f"{LONG}.html"], "File name too long"),
        (["slide", "builtin:digit", "--padding", HUGE], "positions with it are too many"),
        (["slide", "builtin:digit", "--walk", HUGE], "0<=x<=100000"),
        (["slide", "builtin:digit", "--kernel", LONG], "is unknown and no file has that name"),
        (["measure", NET, "--batch", HUGE], "is too large"),
        (["measure", NET, "--seed", HUGE], "is too large"),
        (["measure", NET, "--threads", HUGE], "1<=x<=1024"),
        (["measure", NET, "--device", HUGE], "take cpu, cuda or cuda:1"),
        (["measure", NET, "--weights", LONG], "no such file"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_one_line_says_what_is_too_large(refused, arguments: list[str], told: str) -> None:
    _, err = refused(*arguments)
    assert told.lower() in err.lower()
    assert "not foreseen" not in err
    assert max(map(len, err.splitlines())) < 700


def test_the_library_says_the_same() -> None:
    with pytest.raises(StridewiseError, match="more numbers than any machine holds"):
        sw.trace(sw.load(NET), (3, 10**20, 32))
    with pytest.raises(StridewiseError, match="no file has that name"):
        sw.slide([[0, 1]], LONG)
