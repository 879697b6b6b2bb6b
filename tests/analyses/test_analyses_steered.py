"""Sizes steered by numbers in the forward: either right, or said to be unknown; never wrong in silence."""

import re
from dataclasses import replace
from linecache import getline

import pytest
from analysis_nets import Fn
from test_analyses_inputs import really
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.tracing.trace import trace


def odd_pad(net, x):
    """A map brought up and padded where it fell short, as MONAI's BasicUNet does: nothing at an even size."""
    y = net.up(net.b(x))
    short = [x.shape[-1] - y.shape[-1], x.shape[-2] - y.shape[-2]]
    return functional.pad(y, [0, 1 if short[0] else 0, 0, 1 if short[1] else 0], "replicate") + net.a(x)


def filled(net, x):
    """Padded to whole windows inside, as Swin does."""
    y = net.b(x)
    y = functional.pad(y, (0, -y.shape[3] % 4, 0, -y.shape[2] % 4))
    n, c, h, w = y.shape
    return y.view(n, c, h // 4, 4, w // 4, 4).mean((3, 5))


def cropped(net, x):
    return net.u(net.a(x))[:, :, : x.shape[2], : x.shape[3]] + net.a(x)


def came_up(net, x):
    return net.u(net.b(x))[:, :, :16, :16] + net.a(x)


A, B, SAME = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(3, 4, 2, 2), nn.AvgPool2d(7)
UP = nn.Upsample(scale_factor=2)
CROP = slice(None, 16)
NETS = {
    "a branch of one position": (lambda net, x: net.a(x) * net.p(net.a(x)), 12, {"a": A, "p": SAME}),
    "a crop that cuts nothing": (lambda net, x: net.a(x)[..., CROP, CROP] + net.a(x), 16, {"a": A}),
    "a crop of what came up": (came_up, 16, {"a": A, "b": B, "u": UP}),
    "a crop to the other": (cropped, 16, {"a": A, "u": UP}),
    "narrow": (lambda net, x: net.a(x).narrow(2, 0, 16), 16, {"a": A}),
    "expand": (lambda net, x: net.a(x) + net.a(x).mean((2, 3), keepdim=True).expand(-1, -1, 16, 16), 16, {"a": A}),
    "a pad of odd sizes": (odd_pad, 16, {"a": A, "b": B, "up": UP}),
    "filled windows": (filled, 16, {"b": B}),
}


@pytest.mark.parametrize("name", NETS)
def test_sizes_are_right_or_not_known(name):
    forward, size, parts = NETS[name]
    net = Fn(forward, **parts).eval()
    found = sw.sizes(trace(net, (3, size, size)))
    if found.notes:
        assert any("not known" in note for note in found.notes)
        return
    for n in range(1, 50):
        assert (n in found.axes[0]) == really(net, (3, n, size)), n


@pytest.mark.parametrize("name", ["a crop that cuts nothing", "a pad of odd sizes", "filled windows"])
def test_what_a_try_shows_is_said_with_the_size(name):
    forward, size, parts = NETS[name]
    notes = sw.sizes(trace(Fn(forward, **parts).eval(), (3, size, size))).notes
    assert any(re.match(r"axis 0: at \d+ it (runs|fails)", note) for note in notes), notes
    line = re.search(r"numbers first differ at \S*test_analyses_steered.py:(\d+)", notes[0])
    assert line is not None
    said = getline(__file__, int(line[1]))
    assert ("pad(y" in said) if "pad" in name or "filled" in name else ("CROP" in said), said


@pytest.mark.parametrize("name", ["a crop that cuts nothing", "a pad of odd sizes", "filled windows"])
def test_near_a_picture_the_model_itself_answers_where_the_sets_are_disproved(name):
    forward, size, parts = NETS[name]
    net = Fn(forward, **parts).eval()
    graph = trace(net, (3, size, size))
    answers = []
    for n in range(2, 40):
        near = sw.sizes(graph, near=(n, n)).near
        answers.append(near.works)
        assert near.works == (near.above == near.below == (n, n)) == really(net, (3, n, n)), n
        assert near.works or (near.why and n not in near.below + near.above)
    assert True in answers
    assert str(sw.sizes(graph)).splitlines()[1].startswith("not known: axis 0: at ")


def test_a_network_without_such_numbers_is_not_tried():
    graph = trace(nn.Sequential(A, nn.MaxPool2d(2)), (3, 16, 16))
    asked = []
    source = type("Source", (), {"states_limits": False, "refusal": lambda self, sizes: asked.append(sizes)})()
    assert not sw.sizes(replace(graph, source=source)).notes
    assert not asked
