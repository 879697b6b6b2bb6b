"""Layers that are read without their forward: the op and arguments are those that the forward dispatches."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import stridewise as sw
from stridewise.tracing import targets
from stridewise.tracing.trace import trace as trace_once

LAYERS = [
    nn.Conv1d(4, 6, 3, 2, 1),
    nn.Conv2d(4, 6, 3, 2, 1),
    nn.Conv2d(4, 4, (1, 3), (1, 2), (0, 1), dilation=(1, 2), groups=2, bias=False),
    nn.Conv3d(4, 6, 3, (1, 2, 2), 1),
    nn.BatchNorm1d(4),
    nn.BatchNorm2d(4, eps=1e-3, momentum=None),
    nn.BatchNorm2d(4, affine=False),
    nn.BatchNorm3d(4, momentum=0.01),
    nn.MaxPool2d(2),
    nn.MaxPool2d((3, 2), (2, 1), (1, 0), ceil_mode=True),
    nn.MaxPool2d(3, 2, 1, dilation=2),
    *(
        kind(inplace)
        for kind in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid)
        for inplace in (False, True)
    ),
    nn.Sigmoid(),
    nn.Identity(),
    nn.Dropout(0.3),
    nn.Dropout2d(0.3),
]
RANKS = {nn.Conv1d: 3, nn.BatchNorm1d: 3, nn.Conv3d: 5, nn.BatchNorm3d: 5}


class Recording(TorchDispatchMode):
    """Notes the first op that takes `x`."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.x = x
        self.seen: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and args[0] is self.x:
            assert not kwargs
            self.seen.append((func, args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_op_is_the_one_that_the_forward_dispatches(layer):
    layer.eval()
    x = torch.rand(2, 4, *(8,) * (RANKS.get(type(layer), 4) - 2))
    with torch.no_grad(), Recording(x) as recording:
        out = layer(x)
    known = targets.direct(layer)
    assert known is not None
    target, held, numbers = known(layer, layer, x.dim())
    args = (x, *held, *numbers)
    func = None if target is None else targets.dispatched(target)
    if func is None:
        assert out is x
        assert not recording.seen
        return
    assert recording.seen[0][0] is func
    given = recording.seen[0][1]  # without trailing defaults
    whole = [*given, *(a.default_value for a in func._schema.arguments[len(given) :])]
    for ours, torchs in zip(args, whole, strict=True):
        assert ours is torchs or ours == torchs


def test_every_known_class_is_tested():
    assert {type(layer) for layer in LAYERS} == set(targets.known_layers())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 4, 3, padding="same"), (1, 4, 8, 8)),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), (1, 4, 8, 8)),
        (nn.Conv2d(4, 4, 3), (4, 8, 8)),
        (nn.BatchNorm2d(4, track_running_stats=False), (1, 4, 8, 8)),
        (nn.BatchNorm2d(4), (1, 4, 8)),
        (nn.MaxPool2d(2, return_indices=True), (1, 4, 8, 8)),
        (nn.MaxPool2d(2), (4, 8, 8)),
    ],
    ids=str,
)
def test_what_only_the_forward_knows_is_left_to_it(layer, shape):
    known = targets.direct(layer.eval())
    assert known is None or known(layer, layer, len(shape)) is None


class Warming(nn.Module):
    """Puts its norm into training mode on the way."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        self.norm.train()
        return self.norm(self.conv(x))


def test_a_layer_in_training_mode_is_left_to_its_forward(long_way):
    short, long = sw.trace(Warming(), (3, 8, 8)), long_way(Warming(), (3, 8, 8))
    assert (short.nodes, short.tensors, short.grids) == (long.nodes, long.tensors, long.grids)
    assert any(grid.mixes for grid in short.grids)
    assert not any(grid.mixes for grid in sw.trace(nn.Sequential(*Warming().train().children()), (3, 8, 8)).grids)


class Louder(nn.ReLU):
    def forward(self, x):
        return super().forward(x[:, :, ::2, ::2])


def test_a_subclass_a_hook_an_own_forward_and_a_parametrization_are_followed():
    own = nn.ReLU()
    own.forward = lambda x: torch.relu(x[:, :, ::2, ::2])
    hooked = nn.ReLU()
    hooked.register_forward_pre_hook(lambda layer, args: (args[0][:, :, ::2, ::2],))
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, 2, 1))
    behind = nn.ReLU()
    behind.register_forward_hook(lambda layer, args, out: out[:, :, ::2, ::2])
    for layer in (Louder(), own, hooked, behind, normed):
        graph = sw.trace(nn.Sequential(nn.Conv2d(3, 4, 1), layer), (3, 8, 8))
        assert graph.tensors[graph.outputs[0]].shape == (1, 4, 4, 4)


@pytest.fixture
def long_way(monkeypatch):
    """A trace in which every layer's forward runs."""

    def trace(*args):
        with monkeypatch.context() as patched:
            patched.setattr("stridewise.tracing.tracer.direct", lambda layer: None)
            return sw.trace(*args)

    return trace


def test_the_graph_is_the_same_as_by_the_forwards(long_way):
    model = sw.load("torchvision:mobilenet_v2", device="meta")
    short, long = sw.trace(model, (3, 65, 70)), long_way(model, (3, 65, 70))
    assert (short.nodes, short.tensors, short.grids) == (long.nodes, long.tensors, long.grids)


def test_what_does_not_fit_is_refused_with_the_same_words(long_way):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1))
    said = []
    for trace in (sw.trace, long_way):
        with pytest.raises(sw.StridewiseError, match="in '1'") as error:
            trace(model, (3, 8, 8))
        said.append(str(error.value))
    assert said[0] == said[1]


def test_somebody_who_watches_the_calls_sees_them():
    class Watching(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            with Watching():
                return self.conv(x)

    seen = []
    sw.trace(Inside(), (3, 8, 8))
    assert "conv2d" in seen


class Curious(nn.Module):
    """Looks at its layers, hands one on and changes another, before and after they have run."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.act = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU()
        self.unused = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        assert type(self.second) is nn.Conv2d
        x = self.act(self.first(x))
        assert self.first.weight.device.type == "meta"
        assert type(self.first) is nn.Conv2d
        assert "weight" in dict(self.unused.named_parameters())
        assert [name for name, _ in self.named_children()] == ["first", "second", "act", "unused"]
        self.second.stride = (2, 2)
        x = self.act(self.second(x))
        del self.unused.bias
        return self.first(nn.functional.conv2d(x, self.unused.weight)[:, :3])


def test_a_layer_that_is_looked_at_is_the_copy_it_stands_for(long_way):
    model = Curious()
    short, long = sw.trace(model, (3, 32, 32)), long_way(model, (3, 32, 32))
    assert (short.nodes, short.tensors, short.grids) == (long.nodes, long.tensors, long.grids)
    assert model.second.stride == (1, 1)
    assert model.unused.bias is not None
    assert model.first.weight.device.type == "cpu"


def test_a_layer_that_was_given_more_to_hold_is_copied_whole():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model[1].beside = model[0]
    model[0].scale = torch.ones(4)
    assert [targets.direct(layer) for layer in model] == [None, None]


def test_a_hook_that_is_left_in_a_forward_stays_on_the_copy():
    class Hanging(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.two = nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU())

        def forward(self, x):
            for layer in (self.conv, self.two):
                layer.register_forward_hook(lambda layer, args, out: seen.append(type(layer)))
            return self.two(self.conv(x))

    seen = []
    model = Hanging()
    sw.trace(model, (3, 8, 8))
    assert seen == [nn.Conv2d, nn.Sequential]
    assert not model.conv._forward_hooks
    assert not model.two._forward_hooks


def test_a_hook_on_all_modules_runs(long_way):
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda layer, args, out: seen.append(type(layer)))
    try:
        sw.trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), (3, 8, 8))
    finally:
        handle.remove()
    assert seen == [nn.Conv2d, nn.ReLU, nn.Sequential]


class Choosy(nn.Module):
    """Refuses by itself, in a kernel, and, where told, beside numbers on the CPU."""

    def __init__(self, beside: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.AvgPool2d(5)
        self.scales = torch.rand(1, 4, 1, 1)  # few numbers: the structure keeps them as they are
        self.beside = beside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] % 4:
            raise ValueError(f"{x.shape[-1]} is no multiple of 4")
        x = self.pool(torch.relu(self.norm(self.conv(x))))
        return torch.cat([x, x + self.scales if self.beside else x], 1) * x.mean((2, 3), keepdim=True)[:, :1]


@pytest.mark.parametrize("beside", [False, True])
def test_a_model_asked_about_a_size_says_what_its_forward_does(beside, monkeypatch):
    source = sw.trace(Choosy(beside), (3, 32, 32)).source
    runs = []
    forward = Choosy.forward
    monkeypatch.setattr(Choosy, "forward", lambda self, x: runs.append(x) or forward(self, x))
    for size in (2, 4, 8, 12, 30, 32, 33, 64):
        try:
            with torch.no_grad():
                forward(source.model, torch.empty(1, 3, 32, size, device="meta"))
            real = ""
        except (ValueError, RuntimeError) as error:
            real = " ".join(str(error).split())
        assert source.refusal((32, size)) == source.refusal((32, size)) == real
    assert len(runs) == 8


class Fixed(nn.Module):
    """Takes one size only and, after its check, one constant that asks for traces at others."""

    def __init__(self, at_door: bool) -> None:
        super().__init__()
        self.conv, self.at_door = nn.Conv2d(3, 4, 3, 2, 1), at_door

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.at_door and x.shape[-1] != 32:
            raise ValueError(f"got {x.shape[-1]}, wanted 32")
        x = self.conv(x)
        if x.shape[-1] != 16:
            raise ValueError(f"got {x.shape[-1]}, wanted 16")
        return nn.functional.interpolate(x, size=(16, 16))


@pytest.mark.parametrize("at_door", [True, False])
def test_a_model_that_refuses_at_the_door_is_asked_on_its_first_copy(at_door, monkeypatch):
    inside = trace_once.__globals__
    fresh = []
    once = inside["_trace_once"]
    monkeypatch.setitem(inside, "_trace_once", lambda *a, **k: fresh.append(a[1]) or once(*a, **k))
    graph = sw.trace(Fixed(at_door), (3, 32, 32))
    asked = len(fresh)
    monkeypatch.setitem(inside, "refused_again", lambda again, source: again)
    plain = sw.trace(Fixed(at_door), (3, 32, 32))
    assert repr((graph.nodes, graph.grids, graph.pins)) == repr((plain.nodes, plain.grids, plain.pins))
    assert (asked < len(fresh) - asked) is at_door
