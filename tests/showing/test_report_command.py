"""`stridewise show`, `check` and `ops` as a user runs them."""

import json
import subprocess
import sys

import pytest

import stridewise as sw
from stridewise.cli import main

NET = """
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1))

def checkered():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 3, 2))
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return "net.py:plain"


def run(capsys, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_show_prints_the_report(net, capsys):
    code, out, err = run(capsys, "show", net, "--input", "3x32x48")
    assert code == 0
    assert "input 1×3×32×48" in out
    assert "Stride ladder" in out
    assert "\x1b" not in out
    assert err == ""


def test_show_json_is_one_object(net, capsys):
    code, out, _ = run(capsys, "show", net, "--input", "3x32x48", "--json", "--batch", "4", "--train")
    found = json.loads(out)
    assert code == 0
    assert found["input"] == [4, 3, 32, 48]
    assert found["totals"]["kept_bytes"] > 0


def test_show_sets_plans_side_by_side(net, capsys, tmp_path):
    graph = sw.trace(sw.load(net), (3, 224, 224))
    sw.plan(graph, {"2": 1}).write(tmp_path / "finer.toml")
    code, out, _ = run(capsys, "show", net, "--plan", "finer.toml")
    assert code == 0
    assert "as it is" in out.splitlines()[2]
    assert "finer" in out.splitlines()[2]
    code, out, _ = run(capsys, "show", net, "--plan", "finer.toml", "--json")
    assert [plan["plan"] for plan in json.loads(out)["plans"]] == ["finer"]


def test_show_writes_a_page_whole_or_not_at_all(net, capsys, tmp_path):
    code, out, err = run(capsys, "show", net, "--html", "page.html")
    assert (code, out, err) == (0, "", "wrote page.html\n")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    code, _, err = run(capsys, "show", net, "--html", "missing/page.html")
    assert code == 1
    assert err.startswith("error: missing/page.html: cannot be written")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["show", "nosuch.py:f"], 1, "nosuch.py"),
        (["show", "net.py:plain", "--input", "3xx"], 2, "--input '3xx': whole numbers from 1"),
        (["show", "net.py:plain", "--input", "3x32x32", "--input", "t=1"], 2, "several inputs are named each once"),
        (["show", "net.py:plain", "--plan", "nosuch.toml"], 1, "nosuch.toml"),
        (["show", "net.py:plain", "--batch", "0"], 2, "--batch"),
        (["check", "net.py:plain", "--declared", "4,x"], 2, "--declared 'x'"),
        (["check", "net.py:plain", "--fail-on", "never"], 2, "--fail-on"),
    ],
)
def test_errors_are_one_line_and_have_their_code(net, capsys, argv, code, text):
    got, out, err = run(capsys, *argv)
    assert got == code
    assert text in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    ("factory", "options", "code"),
    [
        ("plain", [], 0),
        ("plain", ["--fail-on", "info"], 3),
        ("plain", ["--declared", "2,4"], 0),
        ("plain", ["--declared", "2,8"], 3),
        ("plain", ["--declared", "2,8", "--fail-on", "error"], 0),
        ("checkered", [], 3),
        ("checkered", ["--fail-on", "error"], 0),
    ],
)
def test_check_exits_3_from_the_asked_level_on(net, capsys, factory, options, code):
    got, out, _ = run(capsys, "check", f"net.py:{factory}", "--input", "3x32x32", *options)
    assert got == code
    assert out.strip()


def test_check_json_and_plan(net, capsys, tmp_path):
    graph = sw.trace(sw.load(net), (3, 32, 32))
    sw.plan(graph, {"2": 1}).write(tmp_path / "finer.toml")
    argv = ["check", net, "--input", "3x32x32", "--json", "--declared", "4"]
    assert json.loads(run(capsys, *argv)[1])["schema"] == "stridewise.check/1"
    assert run(capsys, *argv)[0] == 0
    assert run(capsys, *argv, "--plan", "finer.toml")[0] == 3


def test_ops_lists_the_registry(capsys):
    code, out, _ = run(capsys, "ops")
    assert code == 0
    assert "conv " in out
    assert max(map(len, out.splitlines())) <= 100
    names = {op["name"] for op in json.loads(run(capsys, "ops", "--json")[1])["ops"]}
    assert {"conv", "max_pool", "resize", "join"} <= names


def test_a_report_of_a_graph_needs_no_torch():
    code = (
        "import sys; import stridewise as sw; sw.show; sw.check; import stridewise.showing.text;"
        "import stridewise.report.html, stridewise.showing.json, stridewise.cli.show, stridewise.cli.check; "
        "assert not {'torch', 'onnx', 'rich'} & set(sys.modules), set(sys.modules) & {'torch', 'onnx', 'rich'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_nobody_foresaw_is_one_line_too(net, capsys, monkeypatch):
    def fail(*_args, **_kwargs):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("stridewise.models.load.open_graph", fail)
    code, out, err = run(capsys, "show", net)
    assert (code, out) == (1, "")
    assert err == "error: not foreseen, ZeroDivisionError: of all things; --debug shows where\n"
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "show", net])


def test_a_missing_torch_is_named_with_its_extra(net, capsys, monkeypatch):
    def fail(*_args, **_kwargs):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("stridewise.models.load.open_graph", fail)
    code, _, err = run(capsys, "show", net)
    assert code == 1
    assert err == "error: show needs torch, which is not installed: pip install 'stridewise[torch]'\n"
