"""`measure` from the library and the command line: plans side by side, and what is refused in one line."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import stridewise as sw
from stridewise.cli.fit import command as fit_command
from stridewise.cli.measure import command
from stridewise.data import Dataset, Picture, Sample
from stridewise.datafit.network import output_strides
from stridewise.errors import DataError, PlanError, StridewiseError, UsageError
from stridewise.findings import Finding
from stridewise.measuring.maps import as_colours, write_sheet
from stridewise.measuring.memory import peak_memory
from stridewise.measuring.pictures import load_pictures
from stridewise.measuring.variants import first_output, kind_of
from stridewise.tracing.steps import step_of
from stridewise.tracing.trace import trace

NARROW = "builtin:resnet20-narrow"


@pytest.fixture
def finer(tmp_path: Path) -> str:
    """A plan file that takes the first step away."""
    graph = sw.trace(sw.load(NARROW), (3, 32, 32))
    sw.plan(graph, {"+layers.3": 1}).write(tmp_path / "finer.toml")
    return str(tmp_path / "finer.toml")


def run(*arguments: str) -> str:
    return CliRunner().invoke(command, arguments, catch_exceptions=False).stdout


def labelled(count: int = 6, classes: int = 10, size: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    samples = tuple(
        Sample(
            picture=Picture(name=f"{i}", source=rng.integers(255, size=(size, size, 3)).astype(np.uint8)),
            size=(size, size),
            label=i % classes,
        )
        for i in range(count)
    )
    names = tuple(f"class {k}" for k in range(classes))
    return Dataset(task="classify", name="noise", classes=names, splits={"all": samples})


def test_plans_side_by_side_from_the_command_line(finer: str, tmp_path: Path) -> None:
    page, sheet = tmp_path / "m.html", tmp_path / "m.png"
    out = run(
        *(NARROW, "--plan", finer, "--what", "latency,memory,shift,detail,fields", "--images", "4", "--rounds", "10"),
        *("--json", "--html", str(page), "--maps", str(sheet)),
    )
    found = json.loads(out)
    assert found["schema"] == "stridewise.measure/1"
    assert [row["plan"] for row in found["plans"]] == ["as it is", "finer"]
    first, second = found["plans"]
    assert first["output_stride"] == {"kind": "exact", "value": ["4", "4"]}
    assert second["output_stride"]["value"] == ["2", "2"]
    assert second["macs"]["value"] > first["macs"]["value"]
    assert first["latency"]["kind"] == first["shift"]["kind"] == first["detail"]["kind"] == "measured"
    assert second["memory"]["peak_bytes"] > first["memory"]["peak_bytes"]
    assert first["shift"]["offsets"] == second["shift"]["offsets"] == 16
    assert [s["key"] for s in first["detail"]["steps"]] == ["+layers.3", "+layers.6"]
    assert first["fields"]["maps"][0]["receptive_field"] == [15, 15]
    assert "overlap" in found["notes"][-1]
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "detail lost at each step, finer" in text
    with Image.open(sheet) as image:
        assert image.width >= 2 * 240


def test_the_table_shows_figures_with_their_badges() -> None:
    text = str(sw.measure(NARROW, what=["accuracy", "shift"], data=labelled(), images=4, seed=1))
    for words in ("exact", "estimated", "measured", "pairs that agree", "accuracy over offsets", "weights are random"):
        assert words in text
    assert all(len(line) <= 220 for line in text.splitlines())


def test_a_finding_is_told_once_with_the_plans_it_is_about() -> None:
    found = sw.measure(NARROW, [sw.Plan(), sw.Plan()], what=["accuracy"], data=labelled())
    first, second, third = found.rows
    fold, other = (Finding(rule="SW109", severity="info", key=k, message=f"{k} folds") for k in "ab")
    rows = (
        replace(first, findings=(fold, other)),
        replace(second, findings=(fold,)),
        replace(third, findings=(fold, other)),
    )
    told = [line for line in str(replace(found, rows=rows)).splitlines() if "SW109" in line]
    assert told == ["SW109 info    a folds", f"SW109 info    {first.name}, {third.name}: b folds"]


def test_a_live_model_is_left_as_it_was_and_weights_are_shared() -> None:
    torch.manual_seed(3)
    model = sw.load(NARROW).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    plan = sw.plan(sw.trace(model, (3, 32, 32)), {"+layers.3": 1})
    found = sw.measure(model, [plan], what="accuracy", input=(3, 32, 32), data=labelled())
    assert [row.name for row in found.rows] == ["as it is", "plan 1"]
    assert model.training
    assert found.rows[1].exact.output_stride == ("2", "2")
    assert step_of(model.layers[3]).stride == (2, 2)  # the plan went to a copy
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    again = sw.measure(model, what="accuracy", input=(3, 32, 32), data=labelled())
    assert again.rows[0].accuracy == found.rows[0].accuracy


def test_accuracy_is_the_share_that_is_right() -> None:
    data = labelled(count=6, classes=2, size=32)

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).mean(dim=(2, 3)) * 0 + torch.tensor([1.0, 0.0])

    found = sw.measure(Constant(), what="accuracy", input=(3, 32, 32), data=data)
    assert found.rows[0].accuracy.value == 0.5


def test_measured_memory_is_what_a_convolution_holds() -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    model = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2))
    # the convolution's output and the ReLU's are held at once: 2 * 8 * 64 * 64 * 4 bytes; torch's convolution takes
    # room for itself on top, of up to its input and output once more each in blocks of 16 channels
    held = peak_memory(model, torch.randn(1, 3, 64, 64))
    assert 2 * 8 * 64 * 64 * 4 <= held <= 5 * 8 * 64 * 64 * 4


def test_pictures_cover_the_size_and_keep_their_aspect() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 15:25] = 255
    sample = Sample(picture=Picture(name="a", source=pixels), size=(20, 40), label=0)
    data = Dataset(task="classify", name="one", classes=("x",), splits={"all": (sample,)})
    found = load_pictures(data, (40, 40), 5)
    assert found.pixels.shape == (1, 40, 40, 3)
    assert (found.pixels[0, 20, 12:28] > 250).all()
    assert found.pixels[0, 20, :8].max() < 5
    assert "enlarged" in found.report.notes[0]


def test_broken_pictures_are_dropped_and_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            noise = np.random.default_rng(number).integers(255, size=(32, 32, 3)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")
    file = tmp_path / "b" / "2.png"
    file.write_bytes(file.read_bytes()[:900])
    found = sw.measure(NARROW, what="shift", data=tmp_path, images=10)
    assert any("truncated or broken" in note for note in found.notes)
    assert found.conditions["pictures"] == 5


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"what": "speed"}, UsageError, "none of latency, memory"),
        ({"what": "accuracy"}, DataError, "gives no class for its pictures"),
        ({"what": "accuracy", "data": labelled(classes=3)}, DataError, "gives 10 scores, noise has 3 classes"),
        ({"what": "accuracy", "data": labelled(classes=1)}, DataError, "holds one class"),
        ({"what": "detail", "images": 1}, DataError, "two or more are wanted"),
        ({"what": "shift", "images": 0}, UsageError, "one or more of each"),
        ({"what": "latency", "batch": 0}, UsageError, "a batch of 0"),
        ({"what": "latency", "rounds": 3}, UsageError, "10 rounds"),
        ({"what": "shift", "data": "no/such/folder"}, DataError, "no such file or folder"),
        ({"device": "cuda"}, UsageError, "torch sees no GPU"),
        ({"plans": ["no.toml"]}, PlanError, "not a readable plan"),
    ],
)
def test_refuses_in_one_line(settings: dict, error: type[StridewiseError], text: str) -> None:
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=text) as caught:
        sw.measure(NARROW, settings.pop("plans", ()), **settings)
    assert "\n" not in str(caught.value)


def test_a_plan_for_another_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('format = 1\n[sites."conv9"]\nstride = [1, 1]\nwas = [2, 2]\n')
    with pytest.raises(PlanError, match="plan other: conv9"):
        sw.measure(NARROW, [tmp_path / "other.toml"])


def test_an_onnx_file_is_timed_and_moved(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "net.onnx")
    file = str(tmp_path / "net.onnx")
    found = sw.measure(file, what=["latency", "shift"], input=(3, 32, 32), images=3, rounds=10)
    assert found.rows[0].latency.median > 0
    assert found.rows[0].shift.reach == (2, 2)
    with pytest.raises(UsageError, match="look inside a live model"):
        sw.measure(file, what="detail", input=(3, 32, 32), images=3)


def test_outputs_are_told_apart() -> None:
    assert kind_of(torch.zeros(1, 10), 2) == "classify"
    assert kind_of({"out": torch.zeros(1, 10, 4, 4), "aux": None}, 2) == "segment"
    assert kind_of([{"boxes": 0}], 2) == "detect"
    assert first_output((torch.ones(1, 2), torch.zeros(3))).shape == (1, 2)
    with pytest.raises(UsageError, match="neither scores"):
        kind_of(torch.zeros(4), 2)


def test_segmentation_is_measured_by_what_comes_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Upsample(scale_factor=2)).eval()
    found = sw.measure(net, what="shift", input=(3, 32, 32), images=3)
    assert found.rows[0].shift.to_json()["task"] == "segment"


def test_colours_of_a_map_do_not_depend_on_its_scale() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 6, 7))
    assert as_colours(values).shape == (6, 7, 3)
    assert np.abs(as_colours(values).astype(int) - as_colours(3 * values + 1).astype(int)).max() <= 1
    assert as_colours(values[:1]).shape == (6, 7, 3)


def test_output_strides_ignore_an_enlargement_at_the_end() -> None:
    step = nn.Conv2d(3, 5, 3, stride=8, padding=1)
    assert output_strides(trace(nn.Sequential(step, nn.Upsample(scale_factor=8)), (3, 64, 64))) == ((8, 8),)
    assert output_strides(trace(nn.Sequential(step, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 64, 64))) == ((8, 8),)


def test_fit_compares_with_a_network(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef coarse():\n    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=32, padding=1))\n"
    )
    for folder in ("images/train", "labels/train"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    (tmp_path / "set" / "classes.txt").write_text("cell\n")
    for number in range(4):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / "set" / "images" / "train" / f"{number}.png")
        (tmp_path / "set" / "labels" / "train" / f"{number}.txt").write_text("0 0.5 0.5 0.125 0.125\n")
    arguments = ["--data", str(tmp_path / "set"), "--model", f"{tmp_path}/nets.py:coarse"]
    out = CliRunner().invoke(fit_command, arguments, catch_exceptions=False).stdout
    assert "output strides 32" in out
    assert "SW301 warning:" in out
    found = json.loads(CliRunner().invoke(fit_command, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert found["model_strides"] == [[32, 32]]
    assert found["findings"][0]["rule"] == "SW301"


@pytest.mark.filterwarnings("ignore")
def test_a_file_is_measured_at_the_sizes_it_states(tmp_path):
    file = tmp_path / "grey.onnx"
    torch.onnx.export(nn.Conv2d(1, 4, 3, 2, 1), (torch.zeros(1, 1, 20, 24),), file, dynamo=False)
    assert sw.measure(str(file), what=("latency",), rounds=10).input == (1, 20, 24)


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["save", "replace"])
def test_maps_cut_short_leave_no_part_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, problem: BaseException
) -> None:
    def cut(image: object, place: Path, **options: object) -> None:
        if step == "save":
            Path(place).write_bytes(b"\x89PNG")
        raise problem

    monkeypatch.setattr(*((Image.Image, "save") if step == "save" else (Path, "replace")), cut)
    sheet = tmp_path / "maps.png"
    wanted = UsageError if isinstance(problem, OSError) else KeyboardInterrupt
    with pytest.raises(wanted):
        write_sheet(sheet, Image.new("RGB", (64, 64)))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    write_sheet(sheet, Image.new("RGB", (64, 64)))
    assert [path.name for path in tmp_path.iterdir()] == ["maps.png"]
