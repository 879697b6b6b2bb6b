"""Rules: one list behind `rule`, docs/rules.md, settings and what other programs read."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import stridewise as sw
from stridewise.analyses.findings import check
from stridewise.cli import main
from stridewise.cli.check import Settings, for_model, read_settings
from stridewise.cli.exchange import annotations, place_of, sarif
from stridewise.errors import UsageError
from stridewise.rules import RULES

ROOT = Path(__file__).parents[1]
NET = """
from torch import nn

SIZE = 3

def checkered():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, SIZE, 2))
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return "net.py:checkered"


def run(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_every_rule_that_is_reported_is_listed_and_no_other():
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src/stridewise").rglob("*.py"))
    reported = set(re.findall(r'rule="(SW\d+)"', sources))
    assert reported == {rule.id for rule in RULES}
    for rule in RULES:
        assert all((rule.name, rule.what, rule.why, rule.example, rule.fix)), rule.id
        assert {id for text in rule.see for id in re.findall(r"SW\d+", text)} <= reported


def test_the_page_of_rules_is_up_to_date(capsys, request):
    page = ROOT / "docs" / "rules.md"
    head, line, made = page.read_text(encoding="utf-8").partition("<!-- made by: stridewise rule --all --md -->\n\n")
    code, out, _ = run(capsys, "rule", "--all", "--md")
    assert code == 0
    if request.config.getoption("--update-golden"):
        page.write_text(head + line + out, encoding="utf-8")
        made = out
    assert made == out, "run pytest tests/test_rules.py --update-golden"
    assert all(f"# {rule.id}" in made for rule in RULES)


def test_the_settings_that_the_page_shows_are_read(tmp_path):
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    kept = read_settings(tmp_path)
    found = for_model(kept, str(tmp_path / "models" / "a.onnx"), Settings())
    assert found == Settings(ignore=("SW105", "SW102"), fail_on="warning", declared="8,16,32", input=("3x640x640",))
    assert for_model(kept, "timm:resnet18", Settings(fail_on="error")) == Settings(ignore=("SW105",), fail_on="error")


def test_a_rule_is_explained(capsys):
    code, out, _ = run(capsys, "rule", "sw106")
    assert code == 0
    assert out.startswith("SW106 uneven overlap\n")
    assert "checkerboard" in out
    code, out, _ = run(capsys, "rule")
    assert len(out.splitlines()) == len(RULES) + 3
    assert len(json.loads(run(capsys, "rule", "--json")[1])["rules"]) == len(RULES)
    assert json.loads(run(capsys, "rule", "SW301", "--json")[1])["schema"] == "stridewise.rule/1"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["rule", "SW14"], "no rule 'SW14': did you mean SW104"),
        (["rule", "nothing"], "no rule 'nothing': known are SW101"),
        (["rule", "--all", "SW101"], "leave the ids out"),
        (["check", "net.py:checkered", "--ignore", "SW999"], "--ignore: no rule 'SW999'"),
        (["check", "net.py:checkered", "--json", "--format", "sarif"], "one form at a time"),
        (["check", "net.py:checkered", "--format", "xml"], "'xml' is not one of"),
        (["show", "net.py:checkered", "--json", "--md"], "one form at a time"),
    ],
)
def test_what_does_not_exist_is_refused_in_words(net, capsys, argv, words):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert words in err


def test_ignored_rules_neither_show_nor_fail(net, capsys, tmp_path):
    argv = ["check", net, "--input", "3x32x32"]
    code, out, _ = run(capsys, *argv)
    assert (code, "SW106" in out) == (3, True)
    code, out, _ = run(capsys, *argv, "--ignore", "SW105,sw106")
    assert (code, "SW105" in out, "SW106" in out, "SW102" in out) == (0, False, False, True)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.stridewise.per-file."net.py"]\nignore = ["SW106"]\ninput = "3x32x32"\n'
    )
    code, out, _ = run(capsys, "check", net)
    assert (code, "SW106" in out, "at 32×32" in " ".join(out.split())) == (0, False, True)
    assert run(capsys, "check", net, "--fail-on", "info")[0] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ignore = 3", "ignore: a text or a list of texts is wanted, not 3"),
        ("ignored = []", "unknown key 'ignored'; known are ignore, fail-on"),
        ('ignore = ["SW1000"]', "ignore: no rule 'SW1000'"),
        ('fail-on = "never"', "fail-on is one of info, warning, error, not 'never'"),
        ('per-file = "x"', "per-file: a table is wanted"),
        ("[per-file", "not TOML"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_file(tmp_path, text, words):
    (tmp_path / "pyproject.toml").write_text(f"[tool.stridewise]\n{text}\n")
    with pytest.raises(UsageError) as error:
        read_settings(tmp_path)
    assert words in str(error.value)
    assert "pyproject.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_are_found_from_a_folder_below(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.stridewise]\nfail-on = "error"\n')
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert read_settings(tmp_path / "a" / "b").every.fail_on == "error"


def test_sarif_names_every_finding_and_where_it_lies(net, capsys):
    graph = sw.trace(sw.load(net), (3, 32, 32))
    found = check(graph)
    code, out, _ = run(capsys, "check", net, "--input", "3x32x32", "--format", "sarif")
    log = json.loads(out)
    assert (code, log["version"]) == (3, "2.1.0")
    (only,) = log["runs"]
    results, rules = only["results"], only["tool"]["driver"]["rules"]
    assert [r["message"]["text"] for r in results] == [f.message for f in found]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in results)
    assert {r["level"] for r in results} <= {"note", "warning", "error"}
    place = results[0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "net.py"}, "region": {"startLine": 6}}
    assert (
        "physicalLocation" not in sarif([(place_of("timm:resnet18"), found)])["runs"][0]["results"][0]["locations"][0]
    )


def test_annotations_are_workflow_commands(net):
    graph = sw.trace(sw.load(net), (3, 32, 32))
    first = annotations([(place_of(net), check(graph))])[0]
    assert first.startswith("::warning file=net.py,line=6,title=SW106 uneven overlap::net.py:checkered: 1: kernel 3")
    noted = annotations([(place_of("a,b:c"), check(graph))])[-1]
    assert noted.startswith("::notice title=")
    assert " %25 of the values" in noted


def test_several_models_fail_together(net, capsys):
    plain = "builtin:resnet20"
    code, out, _ = run(capsys, "check", plain, net, "--input", "3x32x32", "--json")
    found = json.loads(out)
    assert (code, found["schema"], len(found["checks"])) == (3, "stridewise.checks/1", 2)
    code, out, _ = run(capsys, "check", plain, net, "--input", "3x32x32")
    assert out.index(f"{plain}:") < out.index(f"{net}:") < out.index("SW106")


def test_the_hook_runs_a_command_that_exists():
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    assert "entry: stridewise check" in text
    assert re.search(r"files: \\\.onnx\$", text)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert version == "stridewise"


def test_all_findings_are_written_where_nobody_looks(net):
    graph = sw.trace(sw.load("torchvision:resnet18"), (3, 224, 224))
    said = str(sw.show(graph))
    assert all(f.key in said for f in sw.show(graph).findings)
    assert said.count("SW102") == len([f for f in sw.show(graph).findings if f.rule == "SW102"])
