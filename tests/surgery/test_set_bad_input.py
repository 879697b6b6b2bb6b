"""What cannot be done is said in one line, and the model is as it was: types, attributes, hooks, weights."""

import copy
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import stridewise as sw
from stridewise.cli import cli
from stridewise.cli.set import command
from stridewise.errors import PlanError, StridewiseError, UsageError
from stridewise.plans import Plan, Setting

from .networks import Branches, Functional, Gated, Straight, everything

SHAPE = (3, 32, 32)


def setting(stride, was) -> Setting:
    return Setting(stride=stride, was=was)


PLANS = {
    "another network's site": (
        Plan(sites={"layer4.0.conv2": setting((1, 1), (2, 2))}, model="timm:resnet18"),
        "layer4.0.conv2: .* has no such site; the plan was made for timm:resnet18",
    ),
    "another network's slot": (
        Plan(insert={"layer3.2": Setting(stride=(2, 2), was=(1, 1), downsample="max")}),
        r"\+layer3.2: .* has no such slot|cannot be had with --keep-weights",
    ),
    "another step there": (
        Plan(sites={"main": setting((1, 1), (4, 4))}),
        "main: steps by 2x2, the plan says it was 4x4: another network, or changed already",
    ),
    "one axis for two": (Plan(sites={"main": setting((1,), (2,))}), "main: 1 strides for 2 axes"),
    "half of a group": (Plan(sites={"main": setting((4, 4), (2, 2))}), "sizes on axis 0 differ"),
    "no window": (Plan(sites={"add": setting((1, 1), (2, 2))}), "add: .* has no such site"),
    "a kind without kept weights": (
        Plan(sites={"main": replace(setting((1, 1), (2, 2)), downsample="blur")}, keep_weights=True),
        "main: downsampling by 'blur' changes values; plan without --keep-weights",
    ),
    "a step with kept weights": (
        Plan(insert={"stem": Setting(stride=(2, 2), was=(1, 1), downsample="max")}, keep_weights=True),
        "cannot be had with --keep-weights|has no such slot",
    ),
    "larger with kept weights": (
        Plan(sites={"main": setting((4, 4), (2, 2)), "pool": setting((4, 4), (2, 2))}, keep_weights=True),
        "cumulative stride 4 becomes 8, which does not divide it; with kept weights possible are 1, 2, 4",
    ),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("case", PLANS)
def test_a_plan_that_does_not_fit_changes_nothing(case, keep):
    plan, text = PLANS[case]
    if keep and not plan.keep_weights:
        if case == "half of a group":
            text = "differ|does not divide"
        plan = replace(plan, keep_weights=True)
    model = Branches()
    before = everything(model)
    with pytest.raises(PlanError, match=text) as error:
        sw.apply(model, plan, input=SHAPE)
    assert "\n" not in str(error.value)
    assert everything(model) == before


REQUESTS = [
    ({"main": 0}, "main: a stride is a whole number from 1"),
    ({"main": -2}, "main: a stride is a whole number from 1"),
    ({"main": 1.5}, "main: a stride is a whole number from 1"),
    ({"main": "1.5"}, "main: '1.5' is no stride"),
    ({"main": True}, "main: a stride is a whole number from 1"),
    ({"main": (1, 2, 1)}, "main: 3 entries for 2 axes"),
    ({"main": ()}, "main: a stride is a whole number from 1"),
    ({"main": 64}, "main: a step of 64x64 is larger than the map it steps over"),
    ({"side": 2}, None),
    ({"main.relu": 2}, "main.relu: no site of that name; near it are main"),
    ({"mian": 1}, "mian: no site of that name; near it are main"),
    ({"+nowhere": 2}, "[+]nowhere: no slot of that name"),
    ({"main": 1, "pool": 4}, "contradicts what is asked of|would have to step by a fraction"),
    ({"main": "2:sharpen"}, "main: '2:sharpen' is no stride; write 2, 1x2, 2:blur:3 or"),
]


@pytest.mark.parametrize(("asked", "text"), REQUESTS)
def test_a_request_that_makes_no_sense_is_one_line(asked, text):
    graph = sw.trace(Branches(), SHAPE)
    if text is None:
        assert sw.plan(graph, asked).sites, "a 1x1 beside the main path may step, and the path follows"
        return
    with pytest.raises(PlanError, match=text) as error:
        sw.plan(graph, asked)
    assert "\n" not in str(error.value)


FIRST = {Branches: "main", Functional: "max_pool2d", Gated: "stem"}


@pytest.mark.parametrize("network", FIRST)
@pytest.mark.parametrize("keep", [True, False])
def test_a_model_already_changed_is_refused_and_stays_changed(network, keep):
    model = network()
    asked = {"output_stride": 1} if network is Functional and keep else {"request": {FIRST[network]: 1}}
    plan = sw.plan(sw.trace(model, SHAPE), keep_weights=keep, **asked)
    done = sw.apply(model, plan, input=SHAPE)
    changed = everything(model)
    with pytest.raises(PlanError, match="changed already") as error:
        sw.apply(model, plan, input=SHAPE)
    assert "\n" not in str(error.value)
    assert everything(model) == changed
    done.undo()
    sw.apply(model, plan, input=SHAPE)


class Late(nn.Module):
    """Its change fails in the middle: the head takes one size only, which shows when it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Straight(nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1))
        self.head = nn.Linear(6 * 64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))


@pytest.mark.parametrize("keep", [True, False])
def test_a_failure_on_the_way_is_taken_back(keep):
    model = Late()
    before, weights = everything(model), copy.deepcopy(model.state_dict())
    plan = Plan(sites={"body.layers.0": setting((1, 1), (2, 2))}, keep_weights=keep, input=SHAPE)
    with pytest.raises(StridewiseError, match="head") as error:
        sw.apply(model, plan)
    assert "\n" not in str(error.value)
    assert everything(model) == before
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


TOML = [
    ("format = 1\nstrides = 3", "unknown key 'strides'"),
    ("format = 2", "format 2 is not 1"),
    ("format = 1\nmeans = 'some'", "means is 'dense' or 'grid'"),
    ("format = 1\n[sites.main]\nstride = [0, 1]", "a stride is a whole number from 1"),
    ("format = 1\n[sites.main]\nstride = [1.5, 1]", "a stride is a whole number from 1"),
    ("format = 1\n[sites.main]\nstep = [1, 1]", "unknown key 'step'"),
    ("format = 1\n[sites]\nmain = 3", "a table is wanted"),
    ("format = 1\n[sites.main]\nwas = [2, 2]", "neither a stride nor a downsample kind"),
    ("format = 1\n[sites.main]\nstride = [1, 1]\ndownsample = 'sinc'", "downsample 'sinc' is none of"),
    ("format = 1\n[sites.main]\nstride = [2, 2]\ndownsample = 'blur'\nfilter = 9", "filter is a whole number"),
    ("format = 1\n[expect]\nstride = 3", "unknown key 'stride'"),
    ("format = ", "not TOML"),
    ("format = 1\nsites = 3", "a table is wanted"),
    ("format = 1\nexpect = 3", "a table is wanted"),
    ("format = 1\ninput = 'large'", "input"),
    ("format = 1\nkeep_weights = 'yes'", "keep_weights"),
    ("format = 1\n[expect]\noutput_stride = 'x'", "output_stride"),
]


@pytest.mark.parametrize(("text", "said"), TOML)
def test_a_broken_plan_file_is_one_line(text, said, tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(PlanError, match=said) as error:
        Plan.read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (["layers.4.conv1=0"], PlanError, "whole number from 1"),
        (["layers.4.conv1=1.5"], (PlanError, UsageError), "is no stride"),
        (["layers.4.conv1=64"], PlanError, "larger than the map"),
        (["layers.4=", "x=1"], UsageError, "a change is written"),
        (["--output-stride", "0"], (PlanError, UsageError), "whole number"),
        (["--output-stride", "64"], PlanError, "output stride 64: the network's is 4"),
        (["--output-stride", "1x1x1"], PlanError, "3 entries for 2 axes"),
    ],
)
def test_the_command_says_it_in_one_line_and_writes_nothing(arguments, kind, text, tmp_path):
    out = ["-o", str(tmp_path / "p.toml"), "--export", str(tmp_path / "m.onnx")]
    with pytest.raises(kind, match=text) as error:
        CliRunner().invoke(command, ["builtin:resnet20", *arguments, *out], catch_exceptions=False)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", [sw.show, sw.check, sw.plan, sw.front])
def test_a_model_where_a_graph_is_wanted_is_told(function):
    with pytest.raises(sw.UsageError, match=rf"{function.__name__}: a graph is wanted, of sw.trace\(model, input\)"):
        function(nn.Conv2d(3, 4, 3))


def test_a_request_where_a_plan_is_wanted_is_told():
    with pytest.raises(PlanError, match=r"apply: a Plan is wanted, of sw.plan\(graph, ...\) .* not dict"):
        sw.apply(nn.Conv2d(3, 4, 3), {"": 2})


@pytest.mark.parametrize(("given", "said"), [(224, "not 224"), (torch.zeros(1, 3, 8, 8), "not 1x3x8x8 numbers")])
def test_something_else_than_sizes_is_told(given, said):
    with pytest.raises(sw.TraceError, match=rf"input: channels and sizes are wanted, as \(3, 224, 224\), {said}"):
        sw.trace(nn.Conv2d(3, 4, 3), given)


class TestAnotherNetwork:
    """A plan whose sites are all there, made for a network that has others besides or others of the same name."""

    OURS = Branches()
    THEIRS = Branches(pool=nn.MaxPool2d(2, 2, ceil_mode=True))

    def plan(self) -> Plan:
        return sw.plan(sw.trace(self.OURS, SHAPE, name="ours"), {"main": 1})

    def test_it_is_refused_in_one_line_and_changes_nothing(self):
        model = copy.deepcopy(self.THEIRS)
        before = everything(model)
        text = "ours has 5 sites, [0-9a-f]{12}; the plan was made for ours, which has 5 sites, .*--force"
        with pytest.raises(PlanError, match=text) as error:
            sw.apply(model, self.plan(), input=SHAPE)
        assert "\n" not in str(error.value)
        assert everything(model) == before

    def test_a_forced_one_and_one_of_an_older_file_are_taken(self):
        plan = self.plan()
        old = "".join(row for row in plan.to_toml().splitlines(keepends=True) if "fingerprint" not in row)
        assert len(old) < len(plan.to_toml())
        for taken in (plan.forced(), Plan.from_toml(old)):
            assert taken.fingerprint == ""
            sw.apply(copy.deepcopy(self.THEIRS), taken, input=SHAPE)

    def test_size_and_width_and_steps_make_no_other_network_and_names_and_kernels_do(self):
        def of(model, size=32):
            return sw.trace(model, (3, size, size)).fingerprint

        ours = of(self.OURS)
        assert ours == of(self.OURS, 37) == of(Branches(stride=2)) == self.plan().fingerprint
        wide = copy.deepcopy(self.OURS)
        wide.after = nn.Conv2d(6, 12, 3, padding=1, stride=2)
        assert of(wide) == ours
        for other in (nn.Conv2d(6, 6, 5, padding=2), nn.Sequential(nn.Conv2d(6, 6, 3, padding=1))):
            changed = copy.deepcopy(self.OURS)
            changed.after = other
            assert of(changed) != ours

    def test_the_file_says_it_and_a_wrong_one_is_one_line(self):
        plan = self.plan()
        again = Plan.from_toml(plan.to_toml())
        assert again.fingerprint == plan.fingerprint
        assert plan.to_json()["fingerprint"] == plan.fingerprint
        assert again.model == "ours"
        for wrong in ('"5 sites"', "5", '""""5 sites, 0123456789ab\\n"""'):
            text = plan.to_toml().replace(f'"{plan.fingerprint}"', wrong)
            with pytest.raises(PlanError, match=r"fingerprint is text such as|not TOML"):
                Plan.from_toml(text)

    @pytest.mark.parametrize("command_", ["show", "check"])
    def test_the_command_line_takes_it_with_force(self, command_, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "nets.py").write_text(
            "from torch import nn\nours = lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3))\n"
            "theirs = lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 5))\n"
        )
        asked = ["nets.py:ours", "--input", "3x32x32", "0=1", "-o", "p.toml"]
        assert CliRunner().invoke(command, asked, catch_exceptions=False).exit_code == 0
        asked = [command_, "nets.py:theirs", "--input", "3x32x32", "--plan", "p.toml"]
        with pytest.raises(PlanError, match=r"py:nets\.py:ours, which has 2 sites"):
            CliRunner().invoke(cli, asked, catch_exceptions=False, standalone_mode=False)
        assert CliRunner().invoke(cli, [*asked, "--force"], catch_exceptions=False).exit_code == 0


def test_requests_may_be_texts_and_wrapped_models_are_meant() -> None:
    model = sw.load("builtin:resnet20-narrow")
    graph = sw.trace(model, (3, 32, 32))
    plan = sw.plan(graph, ["+layers.3=1"])
    assert plan == sw.plan(graph, {"+layers.3": 1}) == sw.plan(graph, "+layers.3=1")
    with pytest.raises(PlanError, match="a request is SITE=STRIDE"):
        sw.plan(graph, ["layers.3"])
    done = sw.apply(torch.nn.DataParallel(model), plan)
    assert sw.show(sw.trace(model, (3, 32, 32))).totals.output_stride == (2, 2)
    done.undo()
    with pytest.raises(UsageError, match="give their file, weights="):
        sw.load("builtin:resnet20-narrow", pretrained=True)
