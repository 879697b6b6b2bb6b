"""What holds for every command: narrow windows, files of another format, streams that are not there, huge numbers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from torch import nn

from stridewise.analyses.findings import check
from stridewise.cli import cli, main
from stridewise.report.terminal import folded, joined
from stridewise.schemas import schema_of
from stridewise.tracing.trace import trace

NET = "builtin:resnet20-narrow"
HUGE = "9" * 20


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """(exit code, output, messages) of a command."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


@pytest.mark.parametrize(
    "words",
    ["rule", "rule SW104", "claims", "ops", "learn --list", f"set {NET} --output-stride 2", f"sizes {NET}"],
)
def test_no_line_is_wider_than_the_window(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = said(capsys, *words.split())
    assert max(map(len, out.splitlines())) <= 40
    monkeypatch.delenv("COLUMNS")  # in a pipe nobody knows the width: a search for a sentence finds it
    assert len(said(capsys, *words.split())[1].splitlines()) <= len(out.splitlines())


def test_a_folded_line_keeps_every_word_and_style():
    line = [("  why ", "dim"), ("positions tell no more places apart ", ""), ("x" * 30, "step")]
    rows = folded(line, 20)
    assert joined(rows).split() == joined([line]).split()
    assert {style for row in rows for piece, style in row if "x" in piece} == {"step"}
    assert all(joined([row]).startswith("    ") for row in rows[1:])


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (f"show {NET} --html x.svg", "x.svg ends in .svg, and .html is written"),
        (f"show {NET} --svg x.html", "x.html ends in .html, and .svg is written"),
        ("fit --data builtin:digits --html x.json", "and .html is written"),
        ("fit --data builtin:digits --look x.svg", "and .png is written"),
        (f"measure {NET} --html x.png", "and .html is written"),
        ("claims kinds -o x.txt", "and .json is written"),
        (f"set {NET} --output-stride 2 --export x.toml", "and .onnx is written"),
        (f"set {NET} --output-stride 2 -o x.json", "a plan is TOML"),
    ],
)
def test_a_name_of_another_format_is_refused(words, wrong, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, told = said(capsys, *words.split())
    assert code == 2
    assert wrong in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [f"show {NET}", f"check {NET}", f"sizes {NET}", f"set {NET} --output-stride 2"])
def test_an_opaque_name_that_nothing_has_is_refused(words, capsys):
    code, _, told = said(capsys, *words.split(), "--opaque", "nope")
    assert code == 2
    assert f"--opaque nope: names no module and no op of {NET}" in told
    assert said(capsys, *words.split(), "--opaque", "layers.1")[0] == 0


def test_an_opaque_name_may_be_of_one_of_several_networks(capsys, tmp_path):
    file = tmp_path / "nets.py"
    file.write_text("from torch import nn\ndef net(): return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3, 2)))\n")
    both = ["check", NET, f"{file}:net", "--input", "3x32x32"]
    assert said(capsys, *both, "--opaque", "layers.1", "--fail-on", "error")[0] == 0
    assert said(capsys, *both, "--opaque", "layers.x", "--fail-on", "error")[0] == 2


def test_a_score_without_its_function_is_told_what_there_is(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise SystemExit(5)\ndef mine(plan, budget, seed): ...\ndef other(): ...\n")
    code, _, told = said(capsys, "search", NET, "--score", str(file))
    assert code == 2
    assert f"{file}:mine (there are mine, other)" in told


def test_a_generator_is_not_told_to_take_a_larger_input():
    make = [nn.ConvTranspose2d(8, 4, 4, 1, 0), nn.ReLU(), nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.Conv2d(4, 3, 3, 1, 1)]
    found = check(trace(nn.Sequential(*make), (8, 1, 1)))
    assert "SW104" not in [f.rule for f in found]
    same = check(trace(nn.Sequential(*[nn.Conv2d(3, 3, 3, 1, 1) for _ in range(6)]), (3, 4, 4)))
    assert "SW104" in [f.rule for f in same]


def numbers() -> Iterator[tuple[str, str]]:
    """Every command with every option of it that takes a whole number."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        for one in command.params:
            if isinstance(one, click.Option) and isinstance(one.type, click.IntRange):
                yield name, one.opts[0]


@pytest.mark.parametrize(("name", "option"), list(numbers()))
def test_a_number_of_twenty_digits_is_refused_in_a_line(name, option, capsys):
    required = {"train": ["classify", NET], "predict": ["run", "x.png"], "rule": [], "schema": []}
    code, _, told = said(capsys, name, *required.get(name, [NET]), option, HUGE)
    assert code == 2
    assert "Traceback" not in told
    assert HUGE in told or "at most" in told or "range" in told


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "2>/dev/full"])
def test_work_goes_on_without_an_input_or_messages(closed):
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m stridewise rule SW999x {closed}"], check=False)
    assert done.returncode == 2
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m stridewise rule SW104 {closed}"], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith(b"SW104")


@pytest.mark.parametrize("words", ["rule", "claims", "ops", "schema", "learn --list", "--help", f"sizes {NET} --json"])
def test_output_that_is_lost_is_an_error(words, capsys, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, _, told = said(capsys, *words.split())
        assert (code, told.count("\n")) == (1, 1)
        assert "cannot be written: No space left on device" in told
    monkeypatch.setattr(sys, "stdout", None)
    code, _, told = said(capsys, *words.split())
    assert (code, told.count("\n")) == (1, 1)
    assert "standard output is closed" in told


def test_lengths_as_json_keep_to_their_schema(capsys):
    jsonschema = pytest.importorskip("jsonschema")
    code, out, _ = said(capsys, "places", NET, "layers.4", "--lengths", "32,33", "--json")
    assert code == 0
    jsonschema.validate(json.loads(out), schema_of("out-sizes"))
    assert len(json.loads(out)["sizes"]) == 2
    assert said(capsys, "places", NET, "layers.4", "--lengths", "32", "--md")[0] == 2
