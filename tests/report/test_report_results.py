"""Every result shows itself in every form: one document behind them all."""

import json
from xml.etree import ElementTree

import jsonschema
import pytest
from torch import nn

import stridewise as sw
from stridewise.cli import main
from stridewise.schemas import schema_of
from stridewise.tasks.record import Epoch, TrainRecord


@pytest.fixture(scope="module")
def results():
    net = nn.Sequential(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3)))
    graph = sw.trace(net, (3, 64, 64), name="small")
    plan = sw.plan(graph, {"1": 1})
    record = TrainRecord(
        task="classify", model="m", data="d", plan=plan, seed=0, budget=2, steps=4, score=0.5, metric="accuracy",
        low=0.4, high=0.6, pictures=1, curve=(Epoch(loss=2.0, score=0.25), Epoch(loss=1.0, score=0.5)), seconds=1.0,
        notes=("a note",), correct=(True,),
    )  # fmt: skip
    measured = sw.measure(net, [plan], what=["latency"], input=(3, 64, 64))
    return {
        "show": sw.show(graph), "plans": sw.show(graph, [plan]), "check": sw.check(graph), "plan": plan,
        "front": sw.front(graph), "train": record, "measure": measured, "apply": sw.apply(net, plan),
        "slide": sw.slide([[0, 0, 1, 1]] * 4, "sobel-x"),
    }  # fmt: skip


KINDS = ("show", "plans", "check", "plan", "front", "train", "measure", "apply", "slide")


@pytest.mark.parametrize("kind", KINDS)
def test_every_form(results, kind):
    result = results[kind]
    assert str(result).strip()
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["schema"].startswith("stridewise.")
    page, fragment, text = result.to_html(), result._repr_html_(), result.to_markdown()
    assert page.startswith("<!doctype html>")
    assert page.count("<html") == page.count("</html>") == 1
    assert fragment.startswith('<div class="stridewise">')
    assert result.document().title in text.replace("\\", "")
    for form in (page, fragment):
        assert "http://" not in form.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("show", 3), ("plans", 6), ("plan", 1), ("train", 2), ("measure", 2), ("apply", 1)],
)
def test_a_frame_has_a_row_of_each(results, kind, rows):
    pytest.importorskip("pandas")
    assert len(results[kind].to_frame()) == rows


def test_a_frame_holds_numbers(results):
    pytest.importorskip("pandas")
    assert results["show"].to_frame()["macs"].sum() == results["show"].totals.macs
    assert list(results["train"].to_frame().columns) == ["epoch", "loss", "score"]
    assert len(results["check"].to_frame()) == len(results["check"])
    assert len(results["front"].to_frame()) == len(results["front"]) == len(list(results["front"]))


@pytest.mark.parametrize(("kind", "plots"), [("show", 1), ("plans", 2), ("front", 1), ("train", 2), ("slide", 1)])
def test_pictures_as_svg_and_as_a_figure(results, kind, plots):
    assert len(sw.figure(results[kind]).axes) == plots
    if kind != "slide":
        tree = ElementTree.fromstring(results[kind].to_svg())
        assert len([e for e in tree.iter() if e.tag.endswith("desc")]) == plots


@pytest.mark.parametrize("kind", ["check", "plan", "apply"])
def test_what_has_no_picture_says_so(results, kind):
    with pytest.raises(sw.UsageError, match="has no picture; print it"):
        sw.figure(results[kind])
    with pytest.raises(sw.UsageError, match="there is no chart of it"):
        results[kind].to_svg()
    with pytest.raises(sw.UsageError, match="a result is wanted"):
        sw.figure(results[kind].to_json())


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_is_what_its_schema_says(results, kind):
    found = json.loads(json.dumps(results[kind].to_json()))
    schema = schema_of(found["schema"].removeprefix("stridewise.").removesuffix("/1"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found, schema)
    for key in schema["required"]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({k: v for k, v in found.items() if k != key}, schema)


def test_lists_of_the_package_are_what_their_schemas_say(capsys):
    for name in ("ops", "rules"):
        with pytest.raises(SystemExit):
            main(["rule" if name == "rules" else name, "--json"])
        jsonschema.validate(json.loads(capsys.readouterr().out), schema_of(name))


def test_data_and_studies_are_what_their_schemas_say():
    jsonschema.validate(sw.fit("builtin:digits", task="classify").to_json(), schema_of("fit"))
    jsonschema.validate(sw.fit("builtin:digit-scenes", task="detect").to_json(), schema_of("fit"))
    graph = sw.trace(nn.Sequential(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3))), (3, 32, 32), name="three")
    plans = [sw.plan(graph, {"1": 1}), sw.plan(graph, {"2": 1})]
    study = sw.search(graph, score=lambda plan, budget, seed: 0.5 + seed / 100, plans=plans, budget=1)
    jsonschema.validate(json.loads(json.dumps(study.to_json())), schema_of("search"))
    assert "<svg" in study._repr_html_()
    assert len(sw.figure(study).axes) == 2


def test_a_schema_is_printed_or_the_nearest_named(capsys, refused):
    with pytest.raises(SystemExit):
        main(["schema", "show"])
    assert json.loads(capsys.readouterr().out) == schema_of("show")
    assert refused("schema", "shwo") == (2, "error: no schema 'shwo': did you mean show?\n")


def test_the_ladder_of_a_signal_and_of_a_volume():
    for made, shape in ((nn.Conv1d(3, 3, 3, 2), (3, 64)), (nn.Conv3d(3, 3, 3, 2), (3, 16, 16, 16))):
        assert "stride 2" in sw.show(sw.trace(made, shape)).to_svg()


def test_one_epoch_is_not_many(results):
    assert "1 picture)" in str(results["train"])
    assert "2 epochs" in str(results["train"])
