"""Levels of a detector move with weights kept, and what its head states of them moves along."""

import pytest
import torch
from torch import nn

import stridewise as sw

from .yolo import Yolo


class Cached(nn.Module):
    """A head that decodes with its strides, keeps the grid of the last forward, and holds anchors in steps."""

    shape = None
    grid = torch.empty(0)

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.stride = inner.stride
        pixels = torch.tensor([[[10.0, 13.0]], [[30.0, 61.0]], [[116.0, 90.0]]])
        self.register_buffer("anchors", pixels / self.stride.view(3, 1, 1))

    def forward(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        maps = self.inner(maps)
        if self.shape != maps[0].shape:
            places = [torch.arange(m.shape[2] * m.shape[3], device=m.device) % m.shape[3] for m in maps]
            self.grid = torch.cat([(p + 0.5) * s for p, s in zip(places, self.stride, strict=True)])
            self.shape = maps[0].shape
        listed = torch.cat([m.flatten(2) for m in maps], 2)
        sizes = torch.cat(
            [
                (a * s)[0, 0].expand(m.shape[2] * m.shape[3])
                for m, a, s in zip(maps, self.anchors, self.stride, strict=True)
            ]
        )
        return torch.cat([self.grid + listed[:, :1], sizes * listed[:, 1:2].exp()], 1), maps


def detector() -> Yolo:
    torch.manual_seed(0)
    net = Yolo().eval()
    name = next(name for name, m in net.named_children() if hasattr(m, "stride"))
    setattr(net, name, Cached(getattr(net, name)))
    net.stride = getattr(net, name).stride
    return net.double()


@pytest.mark.parametrize(("cap", "strides"), [(16, [8, 16, 16]), (8, [8, 8, 8])])
def test_a_head_says_and_uses_the_strides_that_its_maps_have(cap, strides):
    net = detector()
    head = next(m for m in net.modules() if isinstance(m, Cached))
    x = torch.rand(1, 3, 128, 128, dtype=torch.double)
    (boxes, maps), stated, anchors = net(x), net.stride, head.anchors
    plan = sw.plan(sw.trace(net, (3, 128, 128)), output_stride=cap, keep_weights=True)
    done = sw.apply(net, plan)
    assert done.certificate.exact
    assert head.stride.tolist() == net.stride.tolist() == strides
    assert head.stride.dtype == stated.dtype
    again, now = net(x)
    for old, new, was, has in zip(maps, now, (8, 16, 32), strides, strict=True):
        assert torch.allclose(new[..., :: was // has, :: was // has], old, atol=1e-10)
    # A box is as large in pixels at a place both have as it was, and lies half a step of the old grid apart.
    counts, begin, first = [m.shape[2] * m.shape[3] for m in maps], 0, 0
    for old, new, count, was, has in zip(maps, now, counts, (8, 16, 32), strides, strict=True):
        few = boxes[0, :, begin : begin + count].unflatten(1, old.shape[2:])
        many = again[0, :, first : first + new.shape[2] * new.shape[3]].unflatten(1, new.shape[2:])
        same = many[:, :: was // has, :: was // has]
        assert torch.allclose(same[1], few[1])
        assert torch.allclose(few[0] - same[0], torch.full_like(few[0], (was - has) / 2))
        begin, first = begin + count, first + new.shape[2] * new.shape[3]
    assert [f.message for f in done.findings if f.rule == "SW201"] == []
    assert any(line.endswith("stride: 8, 16, 32 -> " + ", ".join(map(str, strides))) for line in done.changes)
    assert sw.check(sw.trace(net, (3, 128, 128))).at_least("error") == ()
    done.undo()
    assert net.stride is stated
    assert head.anchors is anchors
    assert torch.equal(net(x)[0], boxes)
