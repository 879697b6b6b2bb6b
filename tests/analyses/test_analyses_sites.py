"""SW101, SW102, SW104 to SW106: each fires where it should and not beside it; the framework is the oracle."""

from fractions import Fraction

import pytest
import torch
from analysis_nets import Fn, chain, found, keys, positive, reach, read_mask
from torch import nn

from stridewise.analyses.fields import evaluate
from stridewise.analyses.sites import coverage
from stridewise.tracing.trace import trace


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [
        (1, 2, 1), (2, 2, 1), (2, 3, 1), (3, 2, 2), (3, 2, 1), (3, 3, 3), (5, 4, 2), ((1, 3), (2, 2), 1),
        ((3, 3), (1, 2), (1, 2)), ((2, 1), (2, 1), 1),
    ],
)  # fmt: skip
def test_unread_positions_are_those_without_gradient(kernel, stride, dilation):
    net = chain(nn.Conv2d(1, 1, kernel, stride, 0, dilation))
    # A period in the middle of a map, away from the borders.
    inner = read_mask(net, (1, 72, 72))[24:48, 24:48]
    share = Fraction(int(inner.sum()), inner.numel())
    state = evaluate(trace(net, (1, 72, 72)))
    assert coverage(state.windows(state.graph.sites[0])) == share
    fired = found(net, "SW101", (1, 72, 72))
    assert bool(fired) == (share < 1)
    if fired:
        assert f"{float(share) * 100:.0f} %" in fired[0].message


def test_a_message_says_where_what_and_what_to_do():
    (finding,) = found(chain(nn.Conv2d(3, 8, 3, 2, 2, dilation=2)), "SW101")
    assert finding.key == "0"
    assert finding.severity == "info"
    assert finding.message == (
        "0: its windows read 25 % of the positions: dilation 2 and stride 2 share the factor 2. "
        "Widen the kernel, or average before the step"
    )


@pytest.mark.parametrize("size", range(12, 26))
@pytest.mark.parametrize(
    "site",
    [
        nn.Conv2d(1, 1, 3, 2),
        nn.Conv2d(1, 1, 3, 2, 1),
        nn.Conv2d(1, 1, 7, 4, 3),
        nn.MaxPool2d(2),
        nn.AvgPool2d(3, 2),
        nn.Conv2d(1, 1, 1, 2),
    ],
)
def test_a_remainder_is_a_row_that_only_one_border_reads(site, size):
    """Padded by hand, a remainder shows as rows at the end without gradient that a further window would have read."""
    pad = site.padding if isinstance(site.padding, int) else site.padding[0]
    stride = site.stride if isinstance(site.stride, int) else site.stride[0]
    kernel = site.kernel_size if isinstance(site.kernel_size, int) else site.kernel_size[0]
    bare = nn.Conv2d(1, 1, kernel, stride)
    rows = read_mask(bare, (1, size + 2 * pad, size + 2 * pad)).any(1)
    unread_end = int((~rows.flip(0)).long().cumprod(0).sum())
    gap = max(stride - kernel, 0)
    assert bool(found(chain(site), "SW102", (1, size, size))) == (unread_end > gap)


def test_the_nearest_sizes_leave_no_remainder_and_all_between_do():
    def net():
        return chain(nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))

    message = found(net(), "SW102", (3, 60, 64))[0].message
    assert "input size 57 or 65" in message
    for size in range(57, 66):
        clean = not found(net(), "SW102", (3, size, size))
        assert clean == (size in (57, 65)), size


def test_one_axis_alone_is_named():
    (finding,) = found(chain(nn.MaxPool2d(2)), "SW102", (3, 8, 9))
    assert finding.message == (
        "0: the last position is dropped at 8×9 along width. No remainder at input size 8 or 10 along width"
    )


def test_a_ceiling_pool_hangs_over_the_end():
    assert "hangs over the end by 1" in found(chain(nn.MaxPool2d(3, 2, ceil_mode=True)), "SW102", (3, 8, 8))[0].message
    assert not found(chain(nn.MaxPool2d(3, 2, ceil_mode=True)), "SW102", (3, 9, 9))


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(5)])
        self.last = nn.Conv2d(1, 1, 3, padding=1, bias=False)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x)
        return self.last(x + self.convs[0](x))


def test_saturation_starts_where_the_gradient_covers_the_input():
    size, wide = 7, 41
    layers = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(6)]
    expected = []
    for depth in range(len(layers)):
        before = chain(*layers[:depth]) if depth else nn.Identity()
        spans = []
        for net in (before, chain(*layers[: depth + 1])):
            rows = {p[0] for p in reach(net, (1, wide, wide), (wide // 2, wide // 2))}
            spans.append(max(rows) - min(rows) + 1)
        if spans[0] >= size and spans[1] > size:
            expected.append(str(depth))
    assert expected == ["3", "4", "5"]
    assert keys(chain(*layers), "SW104", (1, size, size)) == expected
    assert keys(chain(*layers), "SW104", (1, 13, 13)) == []
    assert keys(chain(*layers), "SW104", (1, 12, 12)) == []
    assert keys(chain(*layers), "SW104", (1, 11, 11)) == ["5"]


def test_a_short_path_keeps_a_layer_productive():
    def skip(net, x):
        y = net.c(net.b(net.a(x)))
        return net.d(x + y)

    parts = {name: nn.Conv2d(1, 1, 3, padding=1) for name in "abcd"}
    assert keys(Fn(skip, **parts), "SW104", (1, 7, 7)) == []
    assert keys(chain(*parts.values()), "SW104", (1, 7, 7)) == ["3"]


def test_what_counts_is_the_smallest_field_before_the_layer():
    def forward(net, x):
        y = net.b(net.a(x))
        return net.d(y + net.c(y))

    parts = {name: nn.Conv2d(1, 1, 3, padding=1) for name in "abc"}
    net = Fn(forward, d=nn.Conv2d(1, 1, 5, padding=2), **parts)  # fields 5 (and 7) before d, 9 behind it
    assert keys(net, "SW104", (1, 7, 7)) == []
    assert keys(net, "SW104", (1, 5, 5)) == ["c", "d"]


@pytest.mark.parametrize(("out", "stride", "ceiling"), [(31, 2, "97 %"), (32, 2, None), (8, 1, None), (7, 1, "88 %")])
def test_a_channel_cut_is_said_below_one(out, stride, ceiling):
    fired = found(chain(nn.Conv2d(8, out, 3, stride, 1)), "SW105", (8, 16, 16))
    step = ", step 2×2" if stride == 2 else ""
    assert [f.message for f in fired] == (
        [f"0: at most {ceiling} of the values that come in can go out (8 to {out} channels{step})"] if ceiling else []
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (4, 2, 1), (2, 2, 1), (5, 3, 1), (6, 3, 1), (3, 1, 1), (4, 2, 2)]
)
def test_uneven_overlap_is_a_painted_checkerboard(kernel, stride, dilation):
    net = chain(nn.ConvTranspose2d(1, 1, kernel, stride, dilation=dilation, bias=False))
    with torch.no_grad():
        painted = positive(net)(torch.ones(1, 1, 16, 16, dtype=torch.float64))[0, 0, 6:12, 6:12]
    fired = found(net, "SW106", (1, 16, 16))
    assert bool(fired) == bool(painted.max() > painted.min())
    assert all(f.severity == "warning" for f in fired)
