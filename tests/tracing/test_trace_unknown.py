"""Ops without a rule are reported, never guessed; a rule of the user's own makes them known."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.analyses.cost import macs
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.axis import Window
from stridewise.cli import main
from stridewise.ops.draft import Reading
from stridewise.ops.registry import unregister
from stridewise.rewrites.restride import restride
from stridewise.tracing.trace import trace


@torch.library.custom_op("swtest::every_third", mutates_args=())
def every_third(x: torch.Tensor, reach: int) -> torch.Tensor:
    """Keeps every third position; an op that no registry can know."""
    return x[..., ::3, ::3].clone()


@every_third.register_fake
def _(x, reach):
    return x.new_empty(*x.shape[:-2], -(-x.shape[-2] // 3), -(-x.shape[-1] // 3))


class Net(nn.Module):
    """`where`: inside (a block of its own), top (the model's forward), last (nothing behind it)."""

    def __init__(self, where="inside"):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.block = Block()
        self.where = where
        self.head = nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        x = self.block(x) if self.where == "inside" else every_third(x, 5)
        return x if self.where == "last" else self.head(x)


class Block(nn.Module):
    def forward(self, x):
        return every_third(x, 5)


def test_it_is_named_with_what_to_do():
    graph = trace(Net(), (3, 60, 60))
    assert [u.message for u in graph.unknown] == [
        "block: no op describes 'swtest.every_third.default' on ((1, 4, 30, 30),). "
        "Describe it with sw.register, or pass --opaque block"
    ]
    assert [(u.key, u.op) for u in graph.unknown] == [("block", "swtest.every_third.default")]
    top = trace(Net("top"), (3, 60, 60)).unknown[0].message
    assert top.startswith("the model itself: no op describes 'swtest.every_third.default'")
    assert top.endswith("or pass --opaque swtest.every_third.default")


def test_nothing_behind_it_is_claimed():
    graph = trace(Net(), (3, 60, 60))
    assert [s.key for s in graph.sites] == ["stem"]
    assert graph.last is None
    known = [t.known for t in graph.tensors]
    assert known == [True, True, False, False]
    head = next(n for n in graph.nodes if n.key == "head")
    assert head.counted
    assert macs(graph, grid_sizes(graph)) == 30 * 30 * 27 * 4 + 5 * 5 * 36 * 4, "the work is counted as traced"


def test_unknown_is_reported_once_where_it_begins():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = every_third(self.conv(x), 1)
            return torch.relu(x + torch.fft.fft(x).abs()).flatten(2).softmax(-1)

    assert len(trace(Twice(), (3, 60, 60)).unknown) == 1


def test_where_no_positions_are_at_stake_nothing_is_unknown():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2)

        def forward(self, x):
            return torch.special.entr(self.conv(x).mean((2, 3)))

    graph = trace(Head(), (3, 60, 60))
    assert not graph.unknown
    assert graph.last is not None


@pytest.mark.parametrize("opaque", ["block", "swtest.every_third", "swtest.every_third.default"])
def test_an_opaque_module_or_op_is_unknown_without_complaint(opaque):
    graph = trace(Net(), (3, 60, 60), opaque=[opaque])
    assert not graph.unknown
    assert graph.last is None
    assert not graph.tensors[graph.outputs[0]].known


@pytest.mark.parametrize("opaque", ["blo", "head", "stem"])
def test_opaque_names_whole_paths(opaque):
    assert trace(Net(), (3, 60, 60), opaque=[opaque]).unknown


def test_known_ops_inside_an_opaque_module_stay_known():
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 3, 2)), (3, 60, 60), opaque=["0"])
    assert graph.last is not None
    assert [s.key for s in graph.sites] == ["0"]


SAID = {
    "torch": ("swtest.every_third",),
    "mixes": "window",
    "between": "never",
    "space": lambda draw, target: None,
    "functions": {"swtest.every_third": {}},
}


@pytest.fixture
def described():
    def read(call) -> Reading:
        x = call.value(0)
        where = (len(x.shape) - 2, len(x.shape) - 1)
        x, grid = call.windowed(x, where, [Window(stride=3)] * 2)
        return call.dense(grid, x, where, attrs={"reach": call.arg(1, "reach")})

    sw.register(sw.Op(name="every_third", about="every third position", read=read, dilated=("window",), **SAID))
    yield
    unregister("every_third")


def test_a_rule_of_ones_own_makes_it_known(described):
    for where in ("inside", "top", "last"):
        graph = trace(Net(where), (3, 60, 60))
        assert not graph.unknown
        found = fields(graph, grid_sizes(graph)).full[graph.tensors[graph.last].grid]
        assert [(f.jump, f.size) for f in found] == ([(6, 3)] * 2 if where == "last" else [(12, 15)] * 2)
        assert grid_sizes(graph, (70, 61))[-1] == tuple(Net(where)(torch.zeros(1, 3, 70, 61)).shape[2:])


def test_a_rule_can_be_given_after_a_first_trace_and_taken_back():
    assert trace(Net(), (3, 60, 60)).unknown
    mine = sw.Op(name="mine", about="nothing", read=lambda call: call.same(call.value(0)), dilated=("same",), **SAID)
    sw.register(mine)
    try:
        assert not trace(Net(), (3, 60, 60)).unknown
        with pytest.raises(sw.UsageError, match=r"op 'again': 'swtest.every_third' is described already, by 'mine'"):
            sw.register(replace(mine, name="again"))
    finally:
        unregister("mine")
    assert trace(Net(), (3, 60, 60)).unknown


@pytest.mark.parametrize("dim", [1, 2])
def test_mirrored_channels_leave_fields_alone_and_mirrored_positions_let_their_line_in(dim):
    class Mirrored(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

        def forward(self, x):
            return self.head(self.stem(x).flip(dim))

    graph = trace(Mirrored(), (3, 32, 32))
    assert not graph.unknown
    assert fields(graph, grid_sizes(graph)).everything[-1] is (dim == 2)
    assert grid_sizes(graph, (47, 32))[-1] == (12, 8)


def test_what_is_announced_on_the_command_line_is_not_reported(tmp_path, capsys):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n"
        "class Top(nn.Module):\n    def forward(self, x):\n        return x.topk(2, -1).values\n\n"
        "def make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), Top())\n"
    )

    def said(command, *more):
        with pytest.raises(SystemExit) as stop:
            main([command, f"{tmp_path / 'net.py'}:make", *more, "--input", "3x32x32"])
        assert not stop.value.code
        return capsys.readouterr().out

    assert "pass --opaque 1" in said("show")
    assert "topk" not in said("show", "--opaque", "1")
    assert "output stride unknown -> unknown" in said("set", "0=1", "--opaque", "1")


class KeepsShape(nn.Module):
    """A picture brought to 32 positions along its shorter side, then filled up to whole steps, as detectors do."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1))

    def forward(self, x):
        scale = 32 / min(x.shape[-2:])
        x = functional.interpolate(x, [int(n * scale) for n in x.shape[-2:]], mode="bilinear")
        high, wide = (-n % 8 for n in x.shape[-2:])
        return self.body(functional.pad(x, (0, wide, 0, high)))


@pytest.mark.parametrize("size", [(32, 32), (40, 40), (24, 50), (61, 35)])
@torch.no_grad()
def test_a_picture_brought_to_a_size_that_is_not_followed_is_known_at_its_own_alone(size):
    torch.manual_seed(0)
    net = KeepsShape().double().eval()
    graph = sw.trace(net, (3, *size))
    x = torch.rand(1, 3, *size, dtype=torch.double)
    before = net(x)
    assert not graph.unknown
    assert graph.grids[graph.tensors[graph.outputs[0]].grid].sizes == before.shape[2:]
    found = sw.sizes(graph)
    assert "other sizes need another trace" in found.disproved[0]
    with pytest.raises(sw.errors.UsageError, match="other sizes need another trace"):
        sw.out_size(graph)
    with pytest.raises(sw.errors.StridewiseError, match="other sizes need another trace"):
        restride(graph, sw.Plan(), (size[0] + 8, size[1]))
    done = sw.apply(net, sw.plan(graph, output_stride=2, keep_weights=True))
    assert done.certificate.exact
    assert torch.allclose(net(x)[..., ::2, ::2], before, atol=1e-12)


def test_a_picture_resized_to_one_size_is_known_at_every_size():
    net = nn.Sequential(nn.Upsample((32, 40)), nn.Conv2d(3, 4, 3, 2, 1))
    graph = sw.trace(net, (3, 20, 50))
    assert not sw.sizes(graph).disproved
    assert sw.out_size(graph, lengths=[7, 99]) == [16, 16]
