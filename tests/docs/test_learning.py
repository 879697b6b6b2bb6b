"""The learning path: ten steps, each with a picture, a command, a question and an answer; pages and terminal alike."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stridewise.cli import cli
from stridewise.lessons import lessons

ROOT = Path(__file__).parents[2]


def test_there_are_ten_steps_and_each_is_whole() -> None:
    every = lessons()
    assert len(every) == 10
    assert [lesson.page for lesson in every] == sorted(lesson.page for lesson in every)
    for lesson in every:
        assert lesson.text, lesson.title
        assert lesson.picture, lesson.title
        assert lesson.commands, lesson.title
        assert lesson.question.endswith("?"), lesson.title
        assert lesson.answer, lesson.title
        assert not re.search(r"\*\*|`|<!--|\]\(|<details", lesson.text + lesson.question + lesson.answer), lesson.title


def test_every_picture_of_the_pages_is_there() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).is_file(), f"{page.name}: {name}"


def test_addresses_name_areas_that_the_page_has() -> None:
    rooms = (ROOT / "src/stridewise/report/static/rooms.js").read_text(encoding="utf-8")
    for lesson in lessons():
        area = re.search(r"area=(\w+)", lesson.address)
        assert area is not None, lesson.title
        assert f'["{area[1]}"' in rooms, lesson.title
        assert "network=builtin:resnet20" in lesson.address


def test_the_steps_are_listed_and_told_as_json() -> None:
    listed = CliRunner().invoke(cli, ["learn", "--list"])
    assert len(listed.output.splitlines()) == 10
    told = json.loads(CliRunner().invoke(cli, ["learn", "9", "--json"]).output)
    assert [step["step"] for step in told["steps"]] == [9, 10]
    assert told["schema"] == "stridewise.learn/1"


def test_a_step_is_walked_where_nobody_can_press_a_key(capfd: pytest.CaptureFixture[str]) -> None:
    from stridewise.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["learn", "10"])
    out, _ = capfd.readouterr()
    assert stop.value.code == 0
    assert "Step 10 of 10. Choosing" in out
    assert "output stride 4" in out  # what the command printed
    assert out.index("Question:") < out.index("Answer:")


def test_q_stops_on_a_terminal_and_says_how_to_go_on() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "stridewise", "learn", "2"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    os.write(ours, b"\nq\n")
    out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "Step 2 of 10" in out
    assert "Step 3 of 10" not in out
    assert "stridewise learn 3" in err


def test_a_step_that_there_is_not_is_refused(refused) -> None:
    code, err = refused("learn", "11")
    assert code == 2
    assert "there are 10" in err


def test_help_lists_every_command_in_a_group() -> None:
    told = CliRunner().invoke(cli, ["--help"]).output
    for group in ("See", "Change", "Measure", "Choose", "Train", "Learn"):
        assert f"\n{group}:\n" in told
    context = click.Context(cli)
    for name in re.findall(r"^  (\w+) ", told.partition("See:")[2], re.MULTILINE):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
