"""Random small networks under random kinds: what is promised is what torch gives, or a refusal in one line."""

import copy

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import stridewise as sw
from stridewise.errors import GeometryError, PlanError, TraceError
from stridewise.rewrites.restride import restride

from .networks import Straight
from .test_set_random import branches, layers, pair

POINTWISE = st.sampled_from([nn.BatchNorm2d, nn.Identity, lambda _: nn.ReLU(), lambda _: nn.SiLU(inplace=True)])
KINDS = st.sampled_from(
    ["blur:2", "blur:3:zero", "blur:4:circular", "blur:7", "polyphase", "polyphase:circular", "mean", "max"]
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.one_of(layers(), branches(), POINTWISE.map(lambda make: make(3))), min_size=1, max_size=6),
    st.lists(st.one_of(KINDS, st.just("space-to-depth"), st.none()), min_size=6, max_size=6),
    st.sampled_from(["", "2", "1x2", "3"]),
    pair(st.integers(24, 41)),
)
def test_what_is_promised_is_what_torch_gives(parts, kinds, step, size):
    torch.manual_seed(0)
    model = Straight(*parts).eval()
    try:
        graph = sw.trace(model, (3, *size))
    except (TraceError, GeometryError):
        assume(False)
    sites = [n.key for n in graph.sites if any(getattr(w, "stride", 1) > 1 for w in n.attrs["maps"])]
    request = {key: f"{step}:{kind}".lstrip(":") for key, kind in zip(sites, kinds, strict=False) if kind}
    assume(request)
    other = copy.deepcopy(model)
    try:
        plan = sw.plan(graph, request)
        promised = sw.show(restride(graph, plan).graph)
        done = sw.apply(other, plan, input=(3, *size))
    except PlanError as error:
        assert "\n" not in str(error)
        assert "was promised" not in str(error), f"{error}: a refusal comes before anything is changed"
        return
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert tuple(other(x.clone()).shape[2:]) == promised.views[0].outputs[0].size
    found = sw.show(sw.trace(other, (3, *size)))
    for a, b in zip(promised.layers, found.layers, strict=True):
        assert (a.key, a.out_size, a.macs, a.params) == (b.key, b.out_size, b.macs, b.params)
        assert (a.receptive_field, a.start, a.cumulative_stride) == (b.receptive_field, b.start, b.cumulative_stride)
    done.undo()
    with torch.no_grad():
        assert torch.equal(other(x.clone()), model(x.clone()))
