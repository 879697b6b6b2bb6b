"""The sizes on which a network runs, against running it at every size."""

import json
from fractions import Fraction

import pytest
import torch
from analysis_nets import Fn, chain
from hypothesis import given, settings
from hypothesis import strategies as st
from test_analyses_limits import NETS, runs
from torch import nn

import stridewise as sw
from strategies import network
from stridewise.analyses.inputs import sizes
from stridewise.analyses.progressions import Progression, progressions
from stridewise.axis import Adaptive, Phased, Repeat, Resize, Slice, Table, Transposed, Whole, Window
from stridewise.cli import main
from stridewise.errors import GeometryError, StridewiseError, UsageError
from stridewise.tracing.trace import trace

SMALL = st.integers(0, 4)
WINDOWS = st.builds(
    Window,
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    pad_begin=st.integers(-2, 2),
    pad_end=st.integers(-2, 2),
    ceil_mode=st.booleans(),
    same=st.sampled_from(("", "", "end", "begin")),
)
TRANSPOSED = st.builds(
    Transposed, kernel=st.integers(1, 5), stride=st.integers(1, 4), pad_begin=SMALL, pad_end=SMALL, output_padding=SMALL
)
RESIZES = st.builds(Resize, factor=st.builds(Fraction, st.integers(1, 9), st.integers(1, 6)))
ENDS = st.one_of(st.none(), st.integers(-4, 9))
SLICES = st.builds(Slice, start=st.integers(-4, 5), stop=ENDS, stride=st.integers(1, 3), strict=st.booleans())
OTHERS = st.sampled_from(
    (Adaptive(to=3), Whole(), Repeat(times=2, window=3), Table(size=5, to=2), Table(size=5, to=5, spreads=True))
)
PHASED = st.builds(Phased, inner=TRANSPOSED, m_in=st.integers(1, 3), m_out=st.integers(1, 3), offset=st.just(0))


def length(change, size: int) -> int | None:
    try:
        return change.out_size(size)
    except GeometryError:
        return None


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.one_of(WINDOWS, TRANSPOSED, RESIZES, SLICES, OTHERS, PHASED))
def test_every_map_keeps_its_pace(change):
    turn, gain, start = change.pace()
    for n in range(start, start + 3 * turn + 8):
        now, later = length(change, n), length(change, n + turn)
        assert (now is None) == (later is None)
        assert now is None or later == now + gain


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.one_of(WINDOWS, TRANSPOSED, RESIZES, SLICES, OTHERS, PHASED))
def test_every_formula_says_what_comes_out(change):
    for n in range(1, 40):
        size = length(change, n)
        assert size is None or eval(change.formula("n"), {"n": n}) == size, (n, change.formula("n"))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.booleans(), max_size=9), st.lists(st.booleans(), min_size=1, max_size=12))
def test_progressions_are_the_set(head, turn):
    holds = [*head, *turn, *turn]
    found = progressions(holds, len(head) + 1, len(turn))
    real = [*head, *(turn * 5)]
    assert [any(n in each for each in found) for n in range(1, len(real) + 1)] == real


def test_progressions_are_few():
    assert progressions([n % 4 == 0 for n in range(1, 100)], 40, 24) == (Progression(first=4, step=4),)
    assert progressions([n % 6 in (0, 2, 4, 3) for n in range(1, 30)], 1, 6) == (
        Progression(first=2, step=2),
        Progression(first=3, step=3),
    )
    assert progressions([n in (3, 5, 7, 20) for n in range(1, 30)], 30, 0) == (
        Progression(first=3, step=2, last=7),
        Progression(first=20, step=1, last=20),
    )


def really(net: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether it runs and leaves a position."""
    try:
        with torch.no_grad():
            return net(torch.zeros(1, *shape, dtype=next(net.parameters()).dtype)).numel() > 0
    except (RuntimeError, ValueError, IndexError):
        return False


def fpn() -> nn.Module:
    def forward(net, x):
        a = net.a(x)
        b = net.b(a)
        c = net.c(b)
        b = b + net.up(c)
        return a + net.up(b)

    convs = {name: nn.Conv2d(i, 4, 3, 2, 1) for name, i in (("a", 3), ("b", 4), ("c", 4))}
    return Fn(forward, up=nn.Upsample(scale_factor=2), **convs)


MORE = {
    "fpn": fpn,
    "instance norm": lambda: chain(nn.Conv2d(3, 4, 3, 2, 1), nn.InstanceNorm2d(4), nn.MaxPool2d(3)),
    "layer norm": lambda: chain(nn.Conv2d(3, 4, 3, 2), nn.LayerNorm([23])),
    "circular": lambda: chain(nn.MaxPool2d(3), nn.CircularPad2d(2), nn.Conv2d(3, 4, 5)),
    "two thirds": lambda: Fn(
        lambda net, x: nn.functional.interpolate(net.a(x), scale_factor=1.5) + nn.functional.pad(x, (0, -12, 0, -12)),
        a=nn.Conv2d(3, 3, 3, 2, 1),
    ),
}


@pytest.mark.parametrize("name", [*NETS, *MORE])
def test_it_runs_at_these_sizes_and_at_no_others(name):
    net = (NETS | MORE)[name]().eval()
    runs(net, 48)  # settles lazy layers
    for axis, along in enumerate(sizes(trace(net, (3, 48, 48))).axes):
        for n in range(1, 90):
            shape = [3, 48, 48]
            shape[1 + axis] = n
            assert (n in along) == really(net, tuple(shape)), (axis, n, along.why(n))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_drawn_networks_run_at_these_sizes_and_at_no_others(seed):
    drawn = network(seed)
    try:
        graph = trace(drawn.model, drawn.shape)
    except StridewiseError:
        pytest.skip("not traced at all")
    if graph.unknown:
        pytest.skip("not followed to its end")
    for axis, along in enumerate(sizes(graph).axes):
        if seed == 8 and axis == 1:
            continue  # a table and a resize to a constant: see below
        for n in range(1, 40):
            shape = list(drawn.shape)
            shape[1 + axis] = n
            assert (n in along) == really(drawn.model, tuple(shape)), (axis, n, along.why(n))


def test_what_grows_faster_than_it_is_cut_out_of_ends():
    """Beyond 6 inputs what is to be cut is less than what it is added to."""
    net = Fn(lambda net, x: (y := net.a(x)) + x[..., : y.shape[2], : y.shape[3]], a=nn.ConvTranspose2d(3, 3, 2, 2, 3))
    (along, _) = sizes(trace(net, (3, 6, 5))).axes
    assert [n for n in range(1, 60) if n in along] == [4, 5, 6]
    assert along.why(9) == "join: at 9, sizes differ: 12 from a, 9 from slice"


def test_what_is_refused_is_explained():
    found = sizes(trace(NETS["u-net"](), (3, 48, 48)), near=(35, 48))
    assert found.axes[0].divisor == 4
    assert [str(p) for p in found.axes[0].works] == ["multiples of 4"]
    assert found.axes[0].why(35) == "concat: at 35, sizes differ: 35 from a, 32 from up"
    near = found.near
    assert near is not None
    assert (near.works, near.above, near.below, near.pad, near.crop) == (False, (36, 48), (32, 48), (1, 0), (3, 0))


def test_ties_are_said():
    net = chain(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 16 * 16, 3))
    found = sizes(trace(net, (3, 32, 32)))
    assert [str(p) for p in found.axes[0].works] == ["31 to 32"]
    assert "axes are tied at 2 (positions are flattened" in found.ties[0]
    assert found.around((40, 31)).above == (None, 31)


@pytest.mark.parametrize("near", [(35,), (0, 35), (35, 35, 35)])
def test_a_picture_of_other_axes_is_refused(near):
    with pytest.raises(UsageError, match="near: 2 sizes from 1 are wanted"):
        sizes(trace(fpn(), (3, 48, 48)), near=near)


def test_the_command_says_it_all(capsys):
    argv = ["sizes", "builtin:resnet20", "--input", "3x32x32", "--near", "33x40"]
    with pytest.raises(SystemExit) as stop:
        main([*argv, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (stop.value.code, found["schema"]) == (0, "stridewise.sizes/1")
    assert found["axes"][0]["works"] == [[4, 1, None]]
    with pytest.raises(SystemExit):
        main(argv)
    assert "works every size from 4" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([*argv[:-1], "0x3"])
    assert (stop.value.code, len(capsys.readouterr().err.splitlines())) == (2, 1)


def test_it_is_public():
    assert sw.sizes is sizes


class Checked(nn.Module):
    """Refuses by itself what would run."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x):
        self.check(x)
        return self.conv(x)

    def check(self, x):
        if any(n % self.every for n in x.shape[2:]):
            raise RuntimeError(f"Expected image height and width divisible by {self.every}")


@pytest.mark.parametrize("every", [1, 8, 32])
def test_what_a_model_refuses_by_itself_counts(every):
    net = Checked(every)
    for along in sizes(trace(net, (3, 64, 64))).axes:
        assert [n for n in range(1, 140) if n in along] == list(range(every, 140, every))
        assert along.divisor == (every if every > 1 else None)
    if every > 1:
        assert "the model itself: Expected image height" in along.why(every + 1)


@pytest.mark.zoo
@pytest.mark.parametrize(
    "kind", ["Unet", "UnetPlusPlus", "FPN", "Linknet", "PSPNet", "DeepLabV3Plus", "MAnet", "UPerNet"]
)
def test_decoders_of_segmentation_models_run_at_these_sizes_and_at_no_others(kind):
    sw.load("torchvision:resnet18", device="meta")  # where its compiled ops do not fit, this says so once
    library = pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        net = getattr(library, kind)("resnet18", encoder_weights=None).eval()
    along = sizes(trace(net, (3, 64, 64))).axes[0]
    for n in range(1, 200):
        try:
            with torch.no_grad():
                net(torch.zeros(1, 3, n, 64, device="meta"))
            real = True
        except (RuntimeError, ValueError):
            real = False
        assert (n in along) == real, (n, along.why(n))
