"""The `set` command, from its arguments to what it prints and writes."""

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional as F  # noqa: N812

import stridewise as sw
from stridewise.cli.set import command
from stridewise.errors import PlanError, UsageError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return result.stdout


def test_prints_sizes_before_and_after_and_writes_the_plan(tmp_path):
    out = run("builtin:resnet20", "+layers.3=1", "+layers.2=2:max", "-o", str(tmp_path / "p.toml"), "--verify")
    assert "+layers.3" in out
    assert "size 32 -> 16" in out
    assert "every size is the promised one" in out
    plan = sw.Plan.read(tmp_path / "p.toml")
    assert plan.insert["layers.2"].stride == (2, 2)
    assert plan.insert["layers.3"].was == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "nothing is asked for"),
        (("layer1",), "a change is written"),
        (("a=2", "--output-stride", "8.5"), "whole numbers"),
    ],
)
def test_refuses_a_request_it_cannot_read(arguments, text):
    with pytest.raises(UsageError, match=text):
        run("builtin:resnet20", *arguments)


def test_names_sites_near_an_unknown_one():
    with pytest.raises(PlanError, match="no site of that name; near it are"):
        run("builtin:resnet20", "layers.1.conv9=2")


def test_plan_is_a_function_although_a_room_makes_it():
    assert callable(sw.plan)
    assert sw.Plan.__name__ == "Plan"


NETS = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self, step=2):
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))
        self.depth = nn.Sequential(nn.Conv2d(1, 4, 3, step, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))
        self.out = nn.Conv2d(8, 4, 3, 2, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, picture, far):
        return self.head(self.out(self.image(picture) + self.depth(far)).mean((2, 3)))

def two():
    return Two()

def half():
    return Two(1)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return "--input", "picture=3x32x32", "--input"


@pytest.mark.parametrize(("name", "far"), [("two", "far=1x32x32"), ("half", "far=1x16x16")])
def test_several_inputs_are_parallel_paths(nets, name, far):
    out = run(f"nets.py:{name}", *nets, far, "image.0=1", "--keep-weights", "--verify", "-o", "p.toml")
    assert "depth.2  stride 2 -> 1" in out
    off = [float(line.split()[-3]) for line in out.splitlines() if line.startswith("feature map at ")]
    assert off
    assert max(off) < 1e-12
    plan = sw.Plan.read("p.toml")
    assert plan.input == {"picture": (3, 32, 32), "far": tuple(map(int, far[4:].split("x")))}
    assert sw.Plan.from_toml(plan.to_toml()) == plan
    done = sw.apply(sw.load(f"nets.py:{name}"), plan)
    assert done.certificate.exact
    assert "depth.2: stride 2 -> 1" in done.changes


def test_several_inputs_are_written_as_onnx_and_changed_there(nets):
    run("nets.py:two", *nets, "far=1x32x32", "out=1", "--export", "two.onnx")
    out = run("two.onnx", "image.0=1", "--keep-weights", "--verify", "--export", "three.onnx")
    assert "depth.2  stride 2 -> 1" in out
    assert sw.read_onnx("three.onnx").node_named("out").grid is not None


def test_json_holds_what_the_text_says(nets):
    found = json.loads(
        run("nets.py:two", *nets, "far=1x32x32", "image.0=1", "--keep-weights", "--verify", "--code", "--json")
    )
    assert found["schema"] == "stridewise.set/1"
    assert found["input"] == {"picture": [1, 3, 32, 32], "far": [1, 1, 32, 32]}
    assert [c["key"] for c in found["changes"]] == ["image.0", "depth.2"]
    assert found["changes"][0]["size"] == {"before": [16, 16], "after": [32, 32]}
    assert found["totals"]["before"]["output_stride"] == [8, 8]
    assert found["totals"]["after"]["output_stride"] == [4, 4]
    assert found["certificate"]["exact"] is True
    assert found["plan"]["sites"]["depth.2"] == {"stride": [1, 1], "was": [2, 2]}
    assert 'at("image.0").stride = (1, 1)' in found["code"]
    assert found["verified"][-1].startswith("verified: ")


def test_a_site_is_named_once():
    with pytest.raises(UsageError, match=r"layers\.1: asked for twice, 1 and 2; name it once"):
        run("builtin:resnet20", "layers.1=1", "layers.1=2")


def test_results_show_themselves_in_a_notebook_and_as_plain_values():
    model = sw.load("resnet18")
    graph = sw.trace(model, (3, 64, 64))
    plan = sw.plan(graph, {"layer4": 1}, keep_weights=True)
    done = sw.apply(model, plan)
    for result in (graph, plan, done, sw.check(graph), sw.front(graph)):
        assert result._repr_html_().startswith('<div class="stridewise">')
        assert len(str(result)) < 5000
    for result in (plan, done, sw.check(graph), sw.front(graph)):
        json.dumps(result.to_json())
    assert done.to_json()["changes"] == list(done.changes)
    assert plan.to_json()["sites"]["layer4.0.conv1"] == {"stride": [1, 1], "was": [2, 2]}


class Shared(nn.Module):
    """One convolution three times over, one pool and one resize twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x):
        x = self.pool(self.again(self.again(self.again(self.first(x)))))
        return self.up(self.up(self.pool(x)))


def test_the_calls_of_a_shared_module_step_each_as_planned():
    torch.manual_seed(0)
    model, x = Shared(), torch.randn(1, 3, 64, 64)
    graph = sw.trace(model, (3, 64, 64))
    before = model(x)
    done = sw.apply(model, sw.plan(graph, {"again#2": 1, "pool#2": 4}))
    assert done.changes == ("again#2: call 3 of conv2d in Shared with stride 1", *done.changes[1:])
    weight, bias = model.again.weight, model.again.bias
    want = model.first(x)
    for stride in (2, 1, 2):
        want = F.conv2d(want, weight, bias, stride, 1)
    want = F.max_pool2d(F.max_pool2d(want, 2), 2, 4)
    assert torch.equal(model(x), F.interpolate(F.interpolate(want, scale_factor=2), scale_factor=2))
    done.undo()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("more", [(), ("--verify",), ("-o", "{tmp}/p.toml"), ("--json",)])
def test_a_forward_that_does_not_take_the_plan_is_refused_before_anything_is_printed(tmp_path, more):
    source = tmp_path / "flat.py"
    source.write_text(
        "from torch import nn\n"
        "def make():\n"
        "    last = nn.Linear(9408, 2)\n"
        "    return nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1), nn.Flatten(), last)\n"
    )
    asked = [part.format(tmp=tmp_path) for part in more]
    found = CliRunner().invoke(command, [f"{source}:make", "--output-stride", "2", "--keep-weights", *asked])
    assert isinstance(found.exception, PlanError)
    assert "its size cannot grow by 2" in str(found.exception)
    assert not found.stdout
    assert not (tmp_path / "p.toml").exists()


def test_a_plan_says_each_stride_on_one_line():
    text = "format = 1\n\n[sites.a]\nstride = [1, 2]\nwas = [2, 2]\n"
    assert sw.Plan.from_toml(text).to_toml() == text
