"""SW108: work that no later op reads. Autograd says which positions are read; moving the step says what it saves."""

import pytest
import torch
from analysis_nets import Fn, chain, found, positive, zoo
from torch import nn

from stridewise.analyses.cost import macs
from stridewise.analyses.fields import evaluate
from stridewise.analyses.sizes import grid_sizes
from stridewise.analyses.unread import waste
from stridewise.tracing.trace import trace


def conv(kernel: int = 3, stride: int = 1, channels: int = 2) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, bias=False)


def two_branches(net, x):
    x = net.a(x)
    return net.b(x).mean() + net.c(x).mean()


def slices(net, x):
    x = net.a(x)
    return net.b(x[..., ::2, ::2]) + net.b(x[..., 1::2, 1::2])


def other_axis(net, x):
    x = net.a(x)
    return net.b(x[..., ::3, :])


def down_nearest(net, x):
    return net.b(nn.functional.interpolate(net.a(x), scale_factor=0.5, mode="nearest"))


CASES = {
    "one by one": chain(conv(), conv(1, 2)),
    "through a 1x1": chain(conv(), conv(1), nn.ReLU(), conv(1, 2)),
    "two steps": Fn(two_branches, a=conv(), b=conv(1, 2), c=conv(1, 3)),
    "slices": Fn(slices, a=conv(), b=conv()),
    "slices behind a 1x1": Fn(lambda net, x: slices(net, net.c(x)), c=conv(), a=conv(1), b=conv()),
    "one axis": Fn(other_axis, a=conv(), b=conv()),
    "nearest": Fn(down_nearest, a=conv(), b=conv()),
    "pooled": chain(conv(), nn.AvgPool2d(2)),
    "gap": chain(conv(), nn.AvgPool2d(2, 3)),
    "sparse": chain(conv(), nn.Conv2d(2, 2, 3, 2, 2, 2, bias=False)),
    "3x3": chain(conv(), conv(3, 2)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_share_is_what_has_no_gradient(name):
    net, size = CASES[name], 24
    state = evaluate(trace(net, (2, size, size)))
    shares = {state.graph.nodes[w.node].path: w.share for w in waste(state)}
    positive(net)
    for path, module in net.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        seen = []

        def keep(_module, _args, out, seen=seen):
            out.retain_grad()
            seen.append(out)

        handle = module.register_forward_hook(keep)
        net(torch.ones(1, 2, size, size, dtype=torch.float64, requires_grad=True)).sum().backward()
        handle.remove()
        if len(seen) > 1:
            continue
        unread = (seen[0].grad[0, 0] == 0).double().mean().item()
        assert float(shares.get(path, 0)) == pytest.approx(unread, abs=1e-12), path
    net.float()


@pytest.mark.parametrize("name", ["one by one", "slices", "sparse"])
def test_what_is_unread_can_be_anything(name):
    """Noise where nobody reads leaves the output as it is; noise in one position that is read does not."""
    net = positive(CASES[name])
    first = net.a if hasattr(net, "a") else net[0]
    out = {}

    def noisy(_module, _args, y):
        keep = out.get("mask")
        return y if keep is None else torch.where(keep, y, torch.randn_like(y))

    handle = first.register_forward_hook(noisy)
    x = torch.randn(1, 2, 24, 24, dtype=torch.float64)
    with torch.no_grad():
        plain = net(x)
        read = torch.zeros(24, 24, dtype=torch.bool)
        read[::2, ::2] = True
        if name == "slices":
            read[1::2, 1::2] = True
        out["mask"] = read
        assert torch.equal(net(x), plain)
        read[2, 2] = False
        assert not torch.equal(net(x), plain)
    handle.remove()
    net.float()


def test_stepping_earlier_saves_exactly_that():
    def total(*strides: int) -> int:
        graph = trace(chain(conv(3, strides[0], 8), nn.ReLU(), conv(1, strides[1], 8)), (8, 24, 24))
        return macs(graph, grid_sizes(graph))

    state = evaluate(trace(chain(conv(3, 1, 8), nn.ReLU(), conv(1, 2, 8)), (8, 24, 24)))
    assert sum(w.macs for w in waste(state)) == total(1, 2) - total(2, 1)


def test_a_residual_network_with_the_step_in_its_first_convolutions_wastes_a_tenth():
    """ResNet-50 as first published ("v1"): 9.7 % of its multiply-adds; torchvision's ("v1.5") wastes nothing."""
    net = zoo("resnet50")
    assert not found(net, "SW108", (3, 224, 224))
    for layer in (net.layer2, net.layer3, net.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    graph = trace(net, (3, 224, 224))
    state = evaluate(graph)
    parts = waste(state)
    assert [graph.nodes[w.node].key for w in parts] == [
        f"layer{n}.conv{c}" for n in ("1.2", "2.3", "3.5") for c in (2, 3)
    ]
    share = sum(w.macs for w in parts) / macs(graph, state.sizes)
    assert round(100 * share, 1) == 9.7
    findings = found(net, "SW108", (3, 224, 224))
    assert [f.key for f in findings] == ["layer1.2.conv2", "layer2.3.conv2", "layer3.5.conv2"]
    assert findings[0].message == (
        "layer1.2.conv2 to layer1.2.conv3 (2 layers): 75 % of the positions are computed and never read: "
        "layer2.0.conv1 and layer2.0.downsample.0 step over them. "
        "Stepping in layer1.2.conv2 instead saves 125,239,296 multiply-adds (3.2 %)"
    )
