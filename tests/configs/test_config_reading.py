"""Config files are read, never run; what is no config is one line; findings carry file and line outwards."""

import json

import pytest
from torch import nn

from stridewise.analyses.findings import check
from stridewise.cli import main
from stridewise.cli.exchange import Place, annotations, sarif
from stridewise.configs import read_declared
from stridewise.configs.reading import read_config
from stridewise.configs.values import UNKNOWN
from stridewise.errors import UsageError
from stridewise.tracing.trace import trace

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", BOMB, "values come of its aliases"),
        ("a.yaml", "a: [1, 2", "not YAML"),
        ("a.yaml", "a: !!python/object/apply:os.abort []\n", "declares no stride that is known"),
        ("a.yaml", "- 1\n- 2\n", "holds no keys and values"),
        ("a.yaml", "", "holds no keys and values"),
        ("a.json", '{"a": [1, 2', "not JSON"),
        ("a.json", "[1, 2]", "holds no keys and values"),
        ("a.json", "[" * 100_000, "not JSON|too deep"),
        ("a.json", '{"model_type": "x", "strides": "many"}', "declares no stride that is known"),
        ("a.py", "x = (", "not Python"),
        ("a.py", "x = " + "[" * 300 + "]" * 300, "not Python|declares no stride"),
        ("a.py", "x = " + "-" * 50_000 + "1", "too deep|not Python|declares no stride"),
        ("a.py", "model = dict(strides=[1] * 10**9)\n", "declares no stride that is known"),
        ("a.py", "_base_ = '../gone.py'\nmodel = dict()\n", r"based on ../gone.py \(line 1\), which is not there"),
        ("a.py", "_base_ = 'a.py'\n", "is based on itself"),
        ("a.txt", "strides", "a config ends in"),
        ("a.json", '{"configurations": {}}', "no configuration"),
        ("a.json", '{"configurations": {"2d": {"patch_size": [8, 8]}}}', "whole numbers|a list with an entry"),
    ],
)
def test_what_is_no_config_is_one_line(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as error:
        read_declared(str(path))
    assert "\n" not in str(error.value)


def test_what_is_too_large_or_not_there(tmp_path):
    path = tmp_path / "large.json"
    path.write_text(" " * 4_000_001)
    for name, words in ((path, "over 4,000,000 bytes"), (tmp_path / "none.py", "no such file"), (tmp_path, "a config")):
        with pytest.raises(UsageError, match=words):
            read_config(str(name))


def test_python_is_worked_out_and_never_run(tmp_path):
    path = tmp_path / "c.py"
    path.write_text(
        "import os\nos.abort()\nn = 4\na = dict(x=[n, n * 2] + [1] * 2, **dict(y=-n))\na['z'] = (a['x'][1], n ** 2)\n"
        "a.w = L(FPN)(strides=[n])\nb = os.getcwd()\nif True:\n    a = 1\na.update(dict(v=7 // 2), u=1 / 0)\n"
    )
    found = read_config(str(path)).root
    assert found.get("a").plain() == {
        "x": [4, 8, 1, 1],
        "y": -4,
        "z": [8, 16],
        "w": {"strides": [4], "type": "FPN"},
        "v": 3,
        "u": UNKNOWN,
    }
    assert found.get("a", "z").line == 5


def test_file_and_line_go_out_in_every_form(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "vit", "patch_size": 16}, indent=1))
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 8, 8)), (3, 32, 32))
    found = check(graph, config=str(path)).without(("SW105",))
    (one,) = [f for f in found if f.file]
    assert one.message.startswith(
        f"{path}:3: patch_size: declared stride 16 (patches) is not among the real ones: 1, 8. Correct"
    )
    assert found.to_json()["findings"][0]["line"] == 3
    assert found.to_json()["findings"][0]["file"] == str(path)
    (result,) = sarif([(Place(name="m"), found)])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": path.as_posix()},
        "region": {"startLine": 3},
    }
    assert f"file={path.as_posix()},line=3," in annotations([(Place(name="m"), found)])[0]
    with pytest.raises(SystemExit) as stop:
        main(["check", "builtin:resnet20", "--config", str(path)])
    assert stop.value.code == 3
    assert "declared stride 16" in capsys.readouterr().out
