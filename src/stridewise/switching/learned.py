"""Strides as parameters: each step becomes a spectral crop whose box gradient descent moves, judged at its exact cost.

Source: Riad, Teboul, Grangier and Zeghidour 2022, "Learning strides in convolutional neural networks" (DiffStride),
arXiv 2202.01653, section 3: the convolution runs at stride 1, then a low-pass box cut out of its Fourier transform
shrinks the map; the box's edge is a ramp, through which the stride has a gradient. The price is ours: not the sum of
1 / stride**2 over the layers, but the exact multiply-adds of plans with whole strides, interpolated between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from stridewise.analyses import cost
from stridewise.analyses.strides import groups
from stridewise.axis import Window
from stridewise.errors import PlanError, by
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.completion import make_plan, planned
from stridewise.rewrites.restride import Restrided
from stridewise.surgery.apply import apply_to_model
from stridewise.tracing.trace import InputSpec, trace

MOST = 4  # a learned stride never leaves 1..MOST: beyond it no plan of the front steps at once
SPEED = 10.0  # a step of Adam moves a stride by so many times its rate, relatively: weights are many, strides few
RAMP = 2.0  # frequencies over which the box's edge falls; the paper's R is 4, on maps of 32x32 and more


def spectral_crop(x: torch.Tensor, strides: torch.Tensor, *, ramp: float = RAMP) -> torch.Tensor:
    """`x` (batch, channels, *positions) shrunk along each axis to about n / stride positions: its low frequencies.

    strides: one real number from 1 an axis, with a gradient. Of n positions min(n, ceil(n / stride + 2 ramp)) stay: the
    frequencies within n / (2 stride), and those `ramp` beyond, which fall off linearly. Which stay has no gradient.

    >>> spectral_crop(torch.randn(1, 2, 32, 32), torch.tensor([2.0, 1.0])).shape
    torch.Size([1, 2, 20, 32])
    """
    for axis, stride in enumerate(strides, start=2):
        x = _cropped(x, axis, stride, ramp)
    return x


def _cropped(x: torch.Tensor, axis: int, stride: torch.Tensor, ramp: float) -> torch.Tensor:
    n = x.shape[axis]
    kept = n / stride
    inside = kept.item()
    size = min(n, math.ceil(inside + 2 * ramp - 1e-6))
    if size == n and inside / 2 >= n // 2:  # nothing falls: the transform there and back is left out
        return x
    spectrum = torch.fft.fft(x if x.dtype == torch.float64 else x.float(), dim=axis)
    frequencies = torch.cat([torch.arange(0, (size + 1) // 2), torch.arange(-(size // 2), 0)]).to(x.device)
    box = ((kept / 2 - frequencies.abs()) / ramp + 1).clamp(0, 1)
    if size % 2 == 0 and size < n:  # the frequency -size/2 stands for +size/2 too
        box = box * torch.where(frequencies == -(size // 2), 2.0, 1.0)
    shape = [-1 if a == axis else 1 for a in range(x.dim())]
    low = spectrum.index_select(axis, frequencies % n) * box.view(shape)
    out: torch.Tensor = torch.fft.ifft(low, dim=axis).real * (size / n)
    return out.to(x.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A stride that is learned. key: as a request names it; paths: modules behind which the map is cropped."""

    key: str
    paths: tuple[str, ...]
    was: tuple[int, ...]


class LearnedStrides(nn.Module):
    """`model` with strides that are parameters; made by `sw.learned`, which says how to train it.

    log_strides: (steps, axes), natural logarithms of the strides; steps: the keys of the rows; raw: the parameter, a
    tenth of them, so that an optimizer of weights moves them fast enough. `cost()` is the differentiable price,
    `plan()` what the strides are rounded to, `undo()` gives the model back as it was.
    """

    def __init__(self, model: nn.Module, input: InputSpec, at: Sequence[str] | None, ramp: float) -> None:
        super().__init__()
        self.graph = trace(model, input)
        self.model, self.ramp = model, ramp
        found = _steps(self.graph, at)
        self.steps = tuple(step.key for step in found)
        self.raw = nn.Parameter(torch.empty(len(found), self.graph.axes))
        self.start({step.key: step.was for step in found})
        self._now = _macs(self.graph)
        self._prices: dict[tuple[int, ...], float] = {}
        self._done = apply_to_model(model, make_plan(self.graph, {step.key: 1 for step in found}), input=input)
        self._hooks = [
            model.get_submodule(path).register_forward_hook(self._hook(row))
            for row, step in enumerate(found)
            for path in step.paths
        ]

    def _hook(self, row: int) -> Callable[..., torch.Tensor]:
        def crop(_: nn.Module, __: Any, out: torch.Tensor) -> torch.Tensor:
            return spectral_crop(out, self.log_strides[row].exp(), ramp=self.ramp)

        return crop

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own, its steps spectral crops. Strides that an optimizer moved out of 1..4 are put back."""
        with torch.no_grad():
            self.raw.clamp_(0, math.log(MOST) / SPEED)
        return self.model(*args, **kwargs)

    @property
    def log_strides(self) -> torch.Tensor:
        """Natural logarithms of the strides, one row a step."""
        return self.raw * SPEED

    def start(self, strides: Mapping[str, Sequence[float]]) -> None:
        """Put the strides of all steps, a number an axis. Raises: PlanError for a step left out or outside 1..4."""
        for key in self.steps:
            if len(strides.get(key, ())) != self.graph.axes or not all(1 <= s <= MOST for s in strides[key]):
                raise PlanError(f"start: {key} wants {self.graph.axes} strides from 1 to {MOST}: {strides.get(key)}")
        with torch.no_grad():
            self.raw.copy_(torch.tensor([strides[key] for key in self.steps]).float().log() / SPEED)

    def strides(self) -> dict[str, tuple[float, ...]]:
        """The strides as they are now, by step."""
        rows = self.log_strides.detach().clamp(0, math.log(MOST)).exp().tolist()
        return {key: tuple(row) for key, row in zip(self.steps, rows, strict=True)}

    def cost(self) -> torch.Tensor:
        """Multiply-adds as a share of the network's as it was (a scalar with a gradient).

        Exact where every stride is whole: there it is the share of that plan. Between whole strides it is linear in the
        logarithms of the strides on the simplices of Kuhn's triangulation, so continuous; its gradient is made of
        differences between exact plans. Strides that fit no plan cost what the shorter ones of `plan()` do.
        """
        place = self.log_strides.clamp(0, math.log(MOST)).flatten()
        low = [min(int(math.exp(v) + 1e-6), MOST - 1) for v in place.detach().tolist()]
        steps = place.new_tensor([math.log((k + 1) / k) for k in low])
        along = (place - place.new_tensor([math.log(k) for k in low])) / steps
        corner = list(low)
        before = price = self._price(corner)
        total = place.new_tensor(price)
        for index in torch.argsort(along.detach(), descending=True, stable=True).tolist():
            corner[index] += 1
            price = self._price(corner)
            total = total + along[index] * (price - before)
            before = price
        return total

    def plan(self) -> Plan:
        """The consistent plan of the whole strides nearest by ratio; its late steps are shorter where it fits none."""
        return self._fitting([[_whole(s) for s in row] for row in self.strides().values()])[0]

    def _fitting(self, rows: Sequence[Sequence[int]]) -> tuple[Plan, Restrided]:
        """A plan of whole strides, and the graph under it; where none fits, late steps are shortened till one does."""
        left = [list(row) for row in rows]
        while True:
            try:
                return planned(self.graph, {key: tuple(row) for key, row in zip(self.steps, left, strict=True)})
            except PlanError:
                late = next((row for row in reversed(left) if max(row) > 1), None)
                if late is None:
                    raise
                late[late.index(max(late))] -= 1

    def undo(self) -> nn.Module:
        """The model as it was, its weights as trained since."""
        while self._hooks:
            self._hooks.pop().remove()
        self._done.undo()
        return self.model

    def _price(self, corner: Sequence[int]) -> float:
        """The share of the plan of whole strides."""
        key, axes = tuple(corner), self.graph.axes
        if key not in self._prices:
            rows = [key[i : i + axes] for i in range(0, len(key), axes)]
            self._prices[key] = _macs(self._fitting(rows)[1].graph) / self._now
        return self._prices[key]

    def extra_repr(self) -> str:
        """The strides as they are now."""
        return ", ".join(f"{key} {'x'.join(f'{s:.2f}' for s in row)}" for key, row in self.strides().items())


def learned(
    model: nn.Module, input: InputSpec, *, at: Sequence[str] | None = None, ramp: float = RAMP
) -> LearnedStrides:
    """`model` with its strides as parameters, to be trained by a loop of your own; it holds the model until `undo()`.

    at: the steps that are learned, as a plan names them ("layer2.0.conv1", "+layer1.0" behind a module); those of the
    network unless given. Each starts at its stride, and stays within 1 to 4 on each axis. ramp: see `spectral_crop`.
    Add a share of `cost()` to the loss; then `plan()` is the plan to train anew: a spectral crop is no strided window,
    and while strides are learned everything computes at stride 1 first, at many times the cost. Raises: PlanError
    where a step does not exist or is tied, or where the network does not run with smaller steps.

    >>> import torch
    >>> net = sw.learned(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> loss = net(torch.randn(2, 3, 32, 32)).square().mean() + 0.1 * net.cost()
    >>> loss.backward()
    >>> print(net.plan())  # nothing has moved yet
    the plan changes nothing
    """
    return LearnedStrides(model, input, at, ramp)


def _steps(graph: Graph, at: Sequence[str] | None) -> tuple[_Step, ...]:
    """The steps to learn, each with the modules behind which it crops. Raises: PlanError."""
    keys = tuple(dict.fromkeys(at)) if at is not None else _own_steps(graph)
    if not keys:
        raise PlanError(f"{graph.model}: nothing steps that could be learned: name steps, as at=['+features.3']")
    still = dict.fromkeys(keys, 1)
    fine = planned(graph, still)[1].graph
    if fine.pins:
        raise PlanError(f"{graph.model}: {fine.pins[0].message}: learned strides pass through sizes between")
    before, own = _strides(fine), _strides(graph)
    sizes = {path: fine.tensors[tensor].shape[2:] for path, tensor in fine.modules}
    found = []
    for key in keys:
        moved = _strides(planned(graph, {**still, key: 2})[1].graph)
        paths = {place: path for place, (path, stride) in moved.items() if stride != before.get(place, ("", ()))[1]}
        where = f"{graph.model}: {key}"
        if any(s > MOST for s in own.get(next(iter(paths), ""), ("", ()))[1]):
            raise PlanError(f"{where}: it steps further than {MOST}, and strides from 1 to {MOST} are learned")
        if not paths:
            raise PlanError(f"{where}: its step cannot change: learn another")
        if "" in paths.values():
            place = next(place for place, path in paths.items() if not path)
            raise PlanError(f"{where}: no module gives out the map of {place}, to be cropped there: learn another")
        if len({sizes[path] for path in paths.values()}) > 1:
            met = " and ".join(f"{path} {by(sizes[path])}" for path in paths.values())
            raise PlanError(f"{where}: paths that meet differ in size at stride 1 ({met}), so their crops would")
        found.append(_Step(key=key, paths=tuple(paths.values()), was=own.get(next(iter(paths)), ("", ()))[1]))
    return tuple(replace(step, was=step.was or (1,) * graph.axes) for step in found)


def _own_steps(graph: Graph) -> tuple[str, ...]:
    """Where the network steps and may step otherwise: a site or slot of each group."""
    own = {place: stride for place, (path, stride) in _strides(graph).items() if path}
    inside = {graph.nodes[slot.node].key: f"+{slot.key}" for slot in graph.slots if slot.node is not None}
    keys = [
        next(
            (inside.get(site, site) for site in group.sites if 1 < max(own.get(inside.get(site, site), (1,))) <= MOST),
            "",
        )
        for group in groups(graph)
        if group.free and any(s > 1 for s in group.stride)
    ]
    return tuple(filter(None, keys))


def _strides(graph: Graph) -> dict[str, tuple[str, tuple[int, ...]]]:
    """(the module that gives out its map, "" where none does; stride) of every site and inserted step, by its key."""
    given = dict(graph.modules)
    inserted = {slot.node: slot for slot in graph.slots if slot.node is not None}
    found = {
        node.key: (
            node.path if given.get(node.path) == node.outputs[0] else "",
            tuple(int(m.step(1)) if isinstance(m, Window) else 1 for m in graph.grids[node.grid].maps),
        )
        for node in graph.sites
        if node.grid is not None and node.index not in inserted
    }
    return found | {
        f"+{slot.key}": (slot.key, slot.stride) for slot in inserted.values() if any(s > 1 for s in slot.stride)
    }


def _macs(graph: Graph) -> int:
    return cost.macs(graph, [g.sizes for g in graph.grids])


def _whole(stride: float) -> int:
    """The nearest whole stride, by ratio: 1.42 is nearer to 2."""
    low = int(stride)
    return low if stride * stride < low * (low + 1) else low + 1
