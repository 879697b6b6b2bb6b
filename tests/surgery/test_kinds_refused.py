"""What no kind can do: one line each, and the model as it was. And how kinds are written: requests, files, commands."""

import copy

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import stridewise as sw
from stridewise.cli.measure import command as measure_command
from stridewise.cli.set import command
from stridewise.cli.show import command as show_command
from stridewise.errors import PlanError
from stridewise.plans import Setting
from stridewise.rewrites.preview import preview

from .kind_nets import Residual
from .networks import Same


class Mixed(nn.Module):
    """A pool, a dilated convolution, one that wraps around, one with SAME padding, and parallel paths of two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.same = Same(4, 4, 3, 2)
        self.spread = nn.Conv2d(4, 4, 3, 2, 2, dilation=2)
        self.round = nn.Conv2d(4, 4, 3, 2, 1, padding_mode="circular")
        self.once = nn.Conv2d(4, 4, 1, 4)
        self.first, self.second = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.twice = nn.Conv2d(4, 4, 3, 1, 1)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.round(self.spread(self.same(self.pool(self.stem(x)))))
        return self.last(self.twice(self.twice(self.once(x) + self.second(self.first(x)))))


@pytest.fixture(scope="module")
def graph():
    return sw.trace(Mixed(), (3, 256, 256), name="mixed")


@pytest.mark.parametrize(
    ("request_", "options", "words"),
    [
        ({"stem": "2:blur:9"}, {}, "stem: a blur's filter has 2 to 7 taps, not 9"),
        ({"stem": "2:blur:1"}, {}, "2 to 7 taps, not 1"),
        ({"stem": "2:cubic"}, {}, "is no stride; write 2, 1x2, 2:blur:3"),
        ({"stem": "2:mean:3"}, {}, "is no stride"),
        ({"stem": "2:mean:zero"}, {}, "is no stride"),
        ({"stem": "1:blur"}, {}, "stem: steps by 1, so 'blur' would change nothing; write stem=2:blur"),
        ({"last": "polyphase"}, {}, "steps by 1"),
        ({"pool": "space-to-depth"}, {}, "pool: space-to-depth grows a kernel, and a pool has none; use blur"),
        ({"spread": "space-to-depth"}, {}, "is dilated"),
        ({"same": "space-to-depth"}, {}, "follows the input's size"),
        ({"+stem": "2:space-to-depth"}, {}, "a step is inserted as blur, polyphase, mean or max"),
        ({"+stem": "2:stride"}, {}, "a step is inserted as"),
        ({"stem": "1x2:mean:max:4"}, {}, "is no stride"),
        ({"stem": "blur"}, {"keep_weights": True}, "changes values; plan without --keep-weights"),
        ({"stem": "space-to-depth"}, {"keep_weights": True}, "changes values"),
        ({"first": "polyphase", "once": "polyphase"}, {}, "another amount"),
        ({"twice": "blur"}, {}, "steps by 1"),
    ],
)
def test_requests_are_refused_in_one_line(graph, request_, options, words):
    with pytest.raises(PlanError) as error:
        sw.plan(graph, request_, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"downsample": "cubic"}, "downsample 'cubic' is none of"),
        ({"downsample": "blur", "filter": 8}, "2 to 7 taps, not 8"),
        ({"downsample": "mean", "filter": 3}, "a filter is for blur"),
        ({"downsample": "blur", "border": "edge"}, "border 'edge' is none of"),
        ({"downsample": "max", "border": "zero"}, "a border is for blur and polyphase"),
        ({"downsample": "blur", "was": (1, 1)}, "another network, or changed already"),
        ({"downsample": "blur", "stride": (2,)}, "1 strides for 2 axes"),
        ({"downsample": "space-to-depth", "site": "round"}, "not those of a plain convolution padded with zeros"),
        ({"downsample": "blur", "filter": 7, "site": "second", "size": 96}, "border needs 4x4 positions or more"),
        ({"downsample": "blur", "site": "nowhere"}, "no such site"),
    ],
)
def test_plans_made_by_hand_are_refused_too_and_the_model_stays(settings, words):
    settings = dict(settings)
    model = Mixed()
    before = {path: dict(vars(m)) for path, m in model.named_modules()}
    hooks = {path: (dict(m._forward_hooks), dict(m._forward_pre_hooks)) for path, m in model.named_modules()}
    key, size = settings.pop("site", "stem"), settings.pop("size", 256)
    plan = sw.Plan(sites={key: Setting(**{"stride": (2, 2), "was": (2, 2), **settings})})
    with pytest.raises(PlanError) as error:
        sw.apply(model, plan, input=(3, size, size))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    for path, module in model.named_modules():
        assert vars(module).keys() == before[path].keys()
        assert all(vars(module)[name] is value for name, value in before[path].items())
        assert (dict(module._forward_hooks), dict(module._forward_pre_hooks)) == hooks[path]


def test_a_plan_is_not_applied_twice():
    model = Residual()
    plan = sw.plan(sw.trace(model, (3, 32, 32)), {"stem": "blur"})
    done = sw.apply(model, plan)
    with pytest.raises(PlanError, match="changed already"):
        sw.apply(model, plan)
    done.undo()
    sw.apply(model, plan)


def test_a_file_names_the_kind_alone_or_with_a_stride(tmp_path):
    model = Residual()
    graph = sw.trace(model, (3, 32, 32))
    text = 'format = 1\n[sites."stem"]\ndownsample = "blur"\nfilter = 5\nborder = "circular"\n'
    plan = sw.Plan.from_toml(text)
    assert preview(graph, plan).changes[0].how == "blur 5, border circular"
    sw.apply(model, plan, input=(3, 32, 32))
    with pytest.raises(PlanError, match="steps by 1"):
        sw.apply(model, plan, input=(3, 32, 32))
    full = sw.plan(graph, {"stem": "4:blur:5:circular", "conv1": "1x2:polyphase"})
    full.write(tmp_path / "p.toml")
    assert sw.Plan.read(tmp_path / "p.toml") == full
    assert full.sites["stem"] == Setting(stride=(4, 4), was=(2, 2), downsample="blur", filter=5, border="circular")
    assert full.sites["down.0"].downsample == "polyphase"


def test_a_module_gives_its_kind_to_every_site_in_it_that_steps():
    graph = sw.trace(Wrapped(), (3, 32, 32))
    plan = sw.plan(graph, {"net": "blur:3"})
    assert {key: s.downsample for key, s in plan.sites.items()} == dict.fromkeys(
        ["net.stem", "net.conv1", "net.down.0"], "blur"
    )
    plan = sw.plan(graph, {"net": "4:mean", "net.down.0": "blur"})
    assert {key: (s.downsample, s.stride) for key, s in plan.sites.items()} == {
        "net.stem": ("mean", (2, 2)),
        "net.conv1": ("mean", (2, 2)),
        "net.down.0": ("blur", (2, 2)),
    }


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Residual()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def test_kinds_go_to_slots_too():
    model = sw.load("builtin:resnet20")
    graph = sw.trace(model, (3, 33, 32))
    for kind in ("blur:3", "polyphase", "mean", "max"):
        plan = sw.plan(graph, {"+layers.3": f"2:{kind}", "+layers.1": f"1x2:{kind}"})
        other = copy.deepcopy(model)
        done = sw.apply(other, plan, input=(3, 33, 32))
        found = sw.show(sw.trace(other, (3, 33, 32))).to_json()
        assert sw.show(graph, [plan]).to_json()["plans"][0]["layers"] == found["layers"]
        other(torch.randn(1, 3, 33, 32))
        done.undo()
        assert sw.show(sw.trace(other, (3, 33, 32))).to_json()["layers"] == sw.show(graph).to_json()["layers"]


def run(tool, *arguments):
    return CliRunner().invoke(tool, arguments, catch_exceptions=False).stdout


def test_the_command_line_says_what_each_kind_costs(tmp_path):
    file = str(tmp_path / "blur.toml")
    out = run(command, "torchvision:resnet18", "conv1=2:blur:5", "layer4=2:space-to-depth", "-o", file, "--verify")
    assert "stride 2 -> 2 by blur 5, border reflect" in out
    assert "multiply-adds 118 M -> 472 M, its step 20.1 M" in out  # 7x7x3x64 at 224x224; 5x5x64 at 112x112
    assert "parameters 11.7 M -> 15.6 M" in out  # 3 x (256 x 512 x 9 + 256 x 512) more
    assert "every size is the promised one" in out
    shown = run(show_command, "torchvision:resnet18", "--plan", file)
    assert "conv1/blur, new in blur" in shown
    assert "layer4.0.conv1" in shown


@pytest.mark.filterwarnings("ignore")
def test_plans_of_kinds_are_measured_beside_each_other(tmp_path):
    files = []
    for kind in ("blur", "polyphase"):
        files += ["--plan", str(tmp_path / f"{kind}.toml")]
        run(command, "builtin:resnet20", f"+layers.3=2:{kind}", f"+layers.6=2:{kind}", "-o", files[-1])
    out = run(measure_command, "builtin:resnet20", *files, "--what", "shift", "--images", "4")
    assert "blur" in out
    assert "polyphase" in out
