"""Random small networks under random caps: exact to the last digit, or refused in one line."""

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import stridewise as sw
from stridewise.errors import GeometryError, PlanError, TraceError
from stridewise.surgery.verify import compare

from .networks import Straight


class Sum(nn.Module):
    """Two paths cut to the smaller size of both and added: parallel steps, whatever their windows."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) + self.second(x)


def pair(entries: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(entries, entries)


@st.composite
def layers(draw: st.DrawFn) -> nn.Module:
    kind = draw(st.sampled_from(["conv", "max", "average", "pad"]))
    if kind == "pad":
        sides = draw(st.lists(st.integers(-1, 2), min_size=4, max_size=4))
        return draw(st.sampled_from([nn.ZeroPad2d(tuple(sides)), nn.ReflectionPad2d(1), nn.ReplicationPad2d(2)]))
    kernel, stride = draw(pair(st.integers(1, 4))), draw(pair(st.sampled_from([1, 1, 2, 4])))
    if kind == "conv":
        dilation, padding = draw(pair(st.integers(1, 2))), draw(pair(st.integers(0, 3)))
        return nn.Conv2d(3, 3, kernel, stride, padding, dilation, groups=draw(st.sampled_from([1, 3])))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    ceil = draw(st.booleans())
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding, draw(pair(st.integers(1, 2))), ceil_mode=ceil)
    return nn.AvgPool2d(kernel, stride, padding, ceil, draw(st.booleans()), draw(st.sampled_from([None, 3])))


@st.composite
def branches(draw: st.DrawFn) -> nn.Module:
    """A 3x3 path beside a 1x1 or pooled one of the same step."""
    stride = draw(pair(st.sampled_from([1, 2])))
    side = draw(st.sampled_from([nn.Conv2d(3, 3, 1, stride), nn.MaxPool2d(3, stride, 1), nn.AvgPool2d(3, stride, 1)]))
    return Sum(nn.Conv2d(3, 3, 3, stride, 1), side)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.one_of(layers(), branches()), min_size=1, max_size=5),
    pair(st.sampled_from([1, 2, 4])),
    pair(st.integers(24, 41)),
)
def test_is_exact_or_refused(parts, cap, size):
    torch.manual_seed(0)
    model = Straight(*parts)
    try:
        graph = sw.trace(model, (3, 32, 32))
        sw.trace(model, (3, *size))
    except (TraceError, GeometryError):
        assume(False)
    try:
        plan = sw.plan(graph, output_stride=cap, keep_weights=True)
        found = compare(model, plan, input=(3, *size))
    except PlanError as error:
        assert "\n" not in str(error)
        assert "was promised" not in str(error), f"{error}: a refusal comes before anything is changed"
        return
    assert found.done.certificate.exact
    assert found.outputs <= 1e-12
