"""Lengths in a person's own unit: read from text, beside positions in every form, refused in one line."""

import json
from fractions import Fraction

import jsonschema
import pytest
from torch import nn

import stridewise as sw
from stridewise.cli import main
from stridewise.report.scale import Scale
from stridewise.schemas import schema_of


@pytest.mark.parametrize(
    ("text", "step", "unit"),
    [
        ("0.3m", "3/10", "m"),
        ("2um", "2", "um"),
        ("2µm", "2", "um"),
        (".5 mm", "1/2", "mm"),
        ("16000Hz", "1/16", "ms"),
        ("44.1kHz", "10/441", "ms"),
        ("1e-1m", "1/10", "m"),
    ],
)
def test_a_scale_is_exact(text, step, unit):
    read = Scale.read(text)
    assert (read.step, read.unit) == ((Fraction(step),), unit)
    assert Scale.read(read) is read


def test_an_entry_an_axis_or_one_for_all():
    assert Scale.read("1x1x3mm").over(3).step == (1, 1, 3)
    assert Scale.read("3mm").over(3).step == (3, 3, 3)
    assert Scale.read("16000", bare="Hz").over(1).step == (Fraction(1, 16),)
    assert Scale.read("1x3mm").over(2).beside((32, 16)) == " = 32×48 mm"
    assert Scale.read("1x3mm").over(2).beside((32,)) == "", "a map of other axes has no length"
    assert Scale.read("1x3mm").over(2).plain((Fraction(1, 2), None)) == [0.5, None]


WRONG = {
    "mm": "a unit without a number",
    "": "a number without a unit",
    "3": "a number without a unit",
    "3parsec": "no unit 'parsec'",
    "0x1mm": "measures more than 0",
    "1x2kHz": "a rate is one number",
    "-1mm": "no unit '-1mm'",
    "1xmm": "no unit 'xmm'",
    "nanm": "no unit 'nanm'",
    "1" * 99 + "m": "is wanted, not",
    0.3: "is wanted, not '0.3'",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_scale_is_one_line(text):
    with pytest.raises(sw.UsageError, match=WRONG[text]) as error:
        Scale.read(text)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def flat():
    return sw.trace(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, (1, 2), 1)), (3, 32, 48), name="flat")


@pytest.fixture(scope="module")
def sound():
    """The front of wav2vec 2.0: one frame every 20 ms of sound at 16 kHz, each of 25 ms."""
    sizes = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
    layers = [nn.Conv1d(1 if i == 0 else 4, 4, k, s) for i, (k, s) in enumerate(sizes)]
    return sw.trace(nn.Sequential(*layers), (1, 16000), name="sound")


def test_wav2vec_frames_in_ms(sound):
    report = sw.show(sound, scale="16000Hz")
    assert "output stride 320 = 20 ms" in str(report)
    assert "400 = 25 ms" in str(report)
    assert report.to_json()["totals"]["scaled"] == {
        "output_stride": [20],
        "receptive_field": [25],
        "start": [0],
        "smallest_input": [25],
    }
    sizes = sw.sizes(sound, (500,), "16000Hz")
    assert "from 25 every 0.0625" in str(sizes)
    assert sizes.to_json()["scaled"]["axes"][0]["no_remainder"][0][:2] == [25, 20]
    assert sizes.to_json()["scaled"]["near"]["size"] == [31.25]


def test_every_length_is_the_positions_times_the_step(flat):
    report = sw.show(flat, [sw.plan(flat, {"1": 2})], scale="0.5x2mm")
    found = json.loads(json.dumps(report.to_json()))
    jsonschema.validate(found, schema_of("show"))
    assert found["scale"] == {"unit": "mm", "step": [0.5, 2]}
    for view in (found, found["plans"][0]):
        for row in (view["totals"], *view["outputs"], *view["layers"]):
            for name, values in row["scaled"].items():
                assert values == [n * step for n, step in zip(row[name], (0.5, 2), strict=True)], name
    assert "=" not in str(sw.show(flat))
    assert "scaled" not in json.dumps(sw.show(flat).to_json()), "nothing without a scale"
    for text in (str(report), report.to_markdown(), report.to_html()):
        assert "stride, mm" in text


@pytest.mark.parametrize("scale", ["16000Hz", "1x1x3mm"])
def test_a_scale_of_other_axes_is_refused_by_all(flat, fit, scale):
    for ask in (lambda: sw.show(flat, scale=scale), lambda: sw.sizes(flat, scale=scale), lambda: fit.scaled(scale)):
        with pytest.raises(sw.UsageError, match=r"this one has 2|for 2 axes"):
            ask()


@pytest.fixture(scope="module")
def fit():
    return sw.fit("builtin:digit-scenes", task="detect")


def test_fit_says_strides_and_objects_in_the_unit(fit):
    plain, found = fit, fit.scaled("0.5m")
    table = json.loads(json.dumps(found.to_json()))
    jsonschema.validate(table, schema_of("fit"))
    assert table["scaled"]["recommended"] == [[s / 2 for s in stride] for stride in plain.recommended]
    assert table["scaled"]["sizes"]["median"] == pytest.approx(plain.sizes.median / 2)
    assert "4, 8, 16, 32 *  2, 4, 8, 16" in str(found)
    assert "in m" not in str(plain)
    assert plain.to_json() == {k: v for k, v in found.to_json().items() if k not in ("scale", "scaled")}


def run(capsys, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_the_options_say_the_same(capsys):
    for option, value in (("--gsd", "0.3m"), ("--spacing", "0.3x0.3m"), ("--pixel", "0.3m")):
        assert "output stride 4 = 1.2 m" in run(capsys, "show", "builtin:resnet20", option, value)[1]
    out = run(capsys, "sizes", "builtin:resnet20", "--gsd", "0.3m", "--near", "350x525", "--json")[1]
    jsonschema.validate(json.loads(out), schema_of("sizes"))
    assert json.loads(out)["scaled"]["near"]["even"] == [105.6, 158.4]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--gsd", "m"), "--gsd 'm': a unit without a number"),
        (("--pixel", "3"), "--pixel '3': a number without a unit"),
        (("--rate", "16000"), "belongs to a network of one axis"),
        (("--gsd", "1m", "--rate", "3"), "--rate and --gsd: say one of them"),
    ],
)
def test_options_that_make_no_sense_are_one_line(capsys, options, text):
    code, _, err = run(capsys, "show", "builtin:resnet20", *options)
    assert (code, text in err, err.count("\n")) == (2, True, 1), err


def test_places_lie_at_the_positions_times_the_step(flat):
    by_cell = sw.map_points(flat, "1", [(1, 2), (0, 0)], scale="0.5x2mm")
    found = json.loads(json.dumps(by_cell.to_json()))
    jsonschema.validate(found, schema_of("places"))
    assert found["scaled"]["centres"] == [[r * 0.5, c * 2] for r, c in found["centres"]]
    assert found["scaled"]["boxes"] == [[[n * 0.5 for n in r], [n * 2 for n in c]] for r, c in found["boxes"]]
    by_pixel = sw.map_points(flat, "1", (4, 6), to="cells", scale="0.5x2mm")
    assert by_pixel.to_json()["scaled"] == {"points": [[2, 12]]}
    assert "2, 12" in str(by_pixel)
    grid = sw.cells(flat, "1", scale="0.5x2mm")
    found = json.loads(json.dumps(grid.to_json()))
    jsonschema.validate(found, schema_of("cells"))
    for name in ("stride", "first", "field"):
        assert found["scaled"][name] == [n * step for n, step in zip(found[name], (0.5, 2), strict=True)], name
    assert found["scaled"]["centres_by_axis"][1] == [n * 2 for n in grid.centres_by_axis[1]]
    assert "field, mm" in str(grid)
    for plain in (sw.cells(flat, "1"), sw.map_points(flat, "1", (1, 2))):
        assert "scaled" not in plain.to_json(), "nothing without a scale"
    for ask in (lambda: sw.cells(flat, "1", scale="1x1x3mm"), lambda: sw.map_points(flat, "1", (1, 2), scale="16kHz")):
        with pytest.raises(sw.UsageError, match=r"this one has 2|for 2 axes"):
            ask()
