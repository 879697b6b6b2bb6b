"""SW103, SW201, SW202, and `check` as a whole."""

import pytest
import torch
from analysis_nets import Fn, chain, found, positive
from torch import nn

import stridewise as sw
from stridewise.analyses.findings import check
from stridewise.axis import Window
from stridewise.tracing.trace import trace


def add(net, x):
    return net.a(x) + net.b(x)


@pytest.mark.parametrize(
    ("b", "aligned"),
    [
        (nn.Conv2d(1, 1, 1, 2, bias=False), True),
        (nn.Conv2d(1, 1, 3, 2, 1, bias=False), True),
        (nn.AvgPool2d(2), False),
        (chain(nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(1, 1, 2, 2, bias=False)), False),
        (nn.Conv2d(1, 1, 5, 2, 2, bias=False), True),
    ],
)
def test_branches_are_aligned_when_their_gradients_balance_at_one_place(b, aligned):
    net = Fn(add, a=nn.Conv2d(1, 1, 3, 2, 1, bias=False), b=b)
    centres = []
    for part in (net.a, net.b):
        x = torch.ones(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
        positive(part)(x)[0, 0, 8, 8].backward()
        rows = x.grad[0, 0].sum(1)
        centres.append(float((rows * torch.arange(32)).sum() / rows.sum()))
    assert (abs(centres[0] - centres[1]) < 1e-9) == aligned
    net.float()
    fired = found(net, "SW103", (1, 32, 32))
    assert bool(fired) != aligned
    if fired:
        assert fired[0].severity == "warning"
        assert f"centres {abs(centres[0] - centres[1]):g} input position" in fired[0].message


def test_phases_side_by_side_are_off_on_purpose():
    def focus(net, x):
        return net.a(torch.cat([x[..., i::2, j::2] for i in range(2) for j in range(2)], 1))

    def uneven(net, x):
        return net.a(torch.cat([net.b(x)[..., ::2, ::2], x[..., 1::2, 1::2]], 1))

    assert not found(Fn(focus, a=nn.Conv2d(4, 4, 3)), "SW103", (1, 16, 16))
    assert found(Fn(uneven, a=nn.Conv2d(2, 4, 3), b=nn.Conv2d(1, 1, 3, padding=1)), "SW103", (1, 16, 16))


def pyramid() -> nn.Module:
    def levels(net, x):
        a = net.a(x)
        b = net.b(a)
        return [a, b, net.c(b)]

    return Fn(levels, **{name: nn.Conv2d(3, 3, 3, 2, 1) for name in "abc"})


@pytest.mark.parametrize(
    ("declared", "wrong"),
    [((2, 4, 8), []), ((4, 8), []), ((4, 8, 16), ["16"]), ((3, 8), ["3"]), (((2, 4), (8, 8)), ["2×4"]), (None, [])],
)
def test_declared_strides_are_compared_with_the_outputs(declared, wrong):
    fired = found(pyramid(), "SW201", (3, 64, 64), declared=declared)
    assert [f.message.split(" is not")[0] for f in fired] == [f"declared: declared stride {w}" for w in wrong]
    assert all(f.severity == "warning" and "real ones: 2, 4, 8." in f.message for f in fired)


def test_one_output_is_declared_by_its_levels():
    net = chain(nn.Conv2d(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1))
    assert not found(net, "SW201", (3, 64, 64), declared=(2, 4, 8))
    assert found(net, "SW201", (3, 64, 64), declared=(16,))


def test_feature_info_rows_are_compared_with_the_module_they_name():
    net = Fn(lambda self, x: self.b(self.a(x)), a=nn.Conv2d(3, 8, 3, 2, 1), b=nn.Conv2d(8, 8, 3, 2, 1))
    net.feature_info = [{"module": "a", "reduction": 2}, {"module": "b", "reduction": 4}]
    assert not found(net, "SW201")
    net.feature_info = [
        {"module": "a", "reduction": 4},
        {"module": "b", "reduction": 4},
        {"module": "z", "reduction": 9},
    ]
    (finding,) = found(net, "SW201")
    assert finding.key == "a"
    assert "declared stride 4, the real one is 2" in finding.message


def test_a_stride_attribute_is_compared_with_the_outputs():
    net = pyramid()
    net.stride = torch.tensor([2.0, 4.0, 8.0])
    assert not found(net, "SW201", (3, 64, 64))
    net.stride = torch.tensor([8.0, 16.0])
    assert [f.key for f in found(net, "SW201", (3, 64, 64))] == ["stride"]


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)
        self.table = nn.Parameter(torch.zeros(1, 4, 8, 8))

    def forward(self, x):
        return self.conv(x) + self.table


class Windows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        n, c, h, w = x.shape
        x = x.view(n, c, h // 8, 8, w // 8, 8).permute(0, 2, 4, 3, 5, 1)
        x = torch.softmax(x.flatten(3, 4) @ x.flatten(3, 4).transpose(-1, -2), -1) @ x.flatten(3, 4)
        return x.view(n, h // 8, w // 8, 8, 8, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


def flat(*before: nn.Module) -> nn.Module:
    return chain(nn.Conv2d(3, 4, 3, 2, 1), *before, nn.Flatten(), nn.LazyLinear(5))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Table, "a parameter of shape 1x4x8x8 is added here"),
        (Windows, "positions are split into parts"),
        (lambda: flat(), "positions are flattened into 1024 features"),
        (lambda: flat(nn.AdaptiveAvgPool2d(1)), None),
        (lambda: flat(nn.AdaptiveAvgPool2d(2)), None),
    ],
)
def test_a_pin_is_where_another_input_size_fails(make, kind):
    net = make()
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
        try:
            net(torch.zeros(1, 3, 37, 37))
            runs = True
        except RuntimeError:
            runs = False
    warned = [f for f in found(net, "SW202") if f.severity != "info"]
    assert bool(warned) != runs
    assert all(kind in f.message and f.severity == "warning" for f in warned)


def test_a_pin_that_a_changed_stride_misses_is_an_error():
    graph = trace(Table(), (3, 32, 32))
    grid = graph.sites[0].grid
    maps = {grid: tuple(Window(kernel=4, stride=2, pad_begin=1, pad_end=1) for _ in range(2))}
    errors = check(graph, maps=maps).at_least("error")
    assert [f.rule for f in errors] == ["SW202"]
    assert "made for 8×8 but 16×16 arrive: the forward fails" in errors[0].message
    assert not check(graph).at_least("error")
    net = Table()
    net.conv.stride, net.conv.padding = (2, 2), (1, 1)
    with pytest.raises(RuntimeError):
        net(torch.zeros(1, 3, 32, 32))


def test_a_plan_that_does_not_fit_is_an_error_finding():
    graph = trace(Fn(add, a=nn.Conv2d(3, 3, 3, 2, 1), b=nn.Conv2d(3, 3, 1, 2)), (3, 32, 32))
    grid = graph.sites[0].grid
    found = check(graph, maps={grid: (Window(kernel=3, pad_begin=1, pad_end=1),) * 2})
    assert [(f.rule, f.severity) for f in found] == [("SW202", "error")]
    assert "32 from a, 16 from b" in found[0].message


def test_findings_print_themselves_and_convert():
    found = sw.check(trace(chain(nn.ConvTranspose2d(3, 3, 3, 2), nn.Conv2d(3, 3, 1, 2)), (3, 8, 8), name="net"))
    assert [f.severity for f in found] == sorted((f.severity for f in found), reverse=True)
    assert str(found).startswith("SW106 warning 0: kernel 3 is not a multiple of stride 2")
    assert found.to_json()["schema"] == "stridewise.check/1"
    assert found.to_json()["findings"][0] == {
        "rule": "SW106", "severity": "warning", "key": "0", "message": found[0].message
    }  # fmt: skip
    assert str(sw.check(trace(chain(nn.Conv2d(3, 3, 3, padding=1)), (3, 8, 8), name="net"))) == "net: no findings"
    assert [len(found.at_least(s)) for s in ("error", "warning", "info")] == [0, 1, len(found)]


def test_no_message_is_longer_than_a_line_and_all_say_where():
    def net(self, x):
        y = self.a(x)
        return self.c(self.b(y) + self.d(y))

    convs = {"a": nn.Conv2d(3, 8, 3, 2, 2, 2), "b": nn.AvgPool2d(2, ceil_mode=True), "d": nn.Conv2d(8, 8, 1, 2)}
    parts = Fn(net, c=nn.ConvTranspose2d(8, 2, 3, 2), **convs)
    found = check(trace(parts, (3, 31, 33)), declared=(7,))
    assert {f.rule for f in found} >= {"SW101", "SW102", "SW103", "SW105", "SW106", "SW201"}
    for finding in found:
        assert "\n" not in finding.message
        assert finding.message.startswith(f"{finding.key}: ")
