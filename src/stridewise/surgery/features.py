"""Maps at chosen cumulative strides from any network, found by its graph and not by the names of its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from stridewise.analyses.fields import Fields, fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import PlanError
from stridewise.ir import Graph, Grid, Node, Tensor
from stridewise.tracing.steps import Run, standing_in, step_of
from stridewise.tracing.trace import InputSpec, trace

Stride: TypeAlias = int | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A map that a network has. stride: cumulative, an entry an axis; name: of the module it comes from; centre: where
    the field of position 0 has its middle, in pixels from the input's edge (0.5 is the middle of the first pixel)."""

    stride: tuple[int, ...]
    name: str
    channels: int
    centre: tuple[float, ...]
    copied: bool
    channels_last: bool = False


class _EnoughError(Exception):
    """Every map is there: the rest of the forward is not needed."""


class Features(nn.Module):
    """Runs `model` and returns its maps at `strides`, a list of (N, channels, *sizes).

    names: the module each map comes from; channels: of each map. The forward stops after the last of them, so a head
    is neither paid for nor able to refuse an input size. The model is held as it is and keeps no hooks between calls.
    """

    def __init__(
        self,
        model: nn.Module,
        strides: Sequence[Stride],
        names: Sequence[str],
        channels: Sequence[int],
        copies: Sequence[bool] = (),
        last: Sequence[bool] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.strides = tuple(strides)
        self.names = tuple(names)
        self.channels = tuple(channels)
        self._last = {name for name, moved in zip(names, last, strict=False) if moved}
        # Maps that a later in-place op writes over are copied when they are met.
        self._copied = {name for name, copy in zip(names, copies, strict=False) if copy}

    def forward(self, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        """The maps, in the order of `strides`."""
        found: dict[str, torch.Tensor] = {}
        modules = {name: self.model.get_submodule(name) for name in self.names}

        def keep(name: str, output: torch.Tensor) -> torch.Tensor:
            found[name] = output.clone() if name in self._copied else output
            if len(found) == len(modules) and not torch.compiler.is_compiling():
                raise _EnoughError
            return output

        try:
            with standing_in(modules, lambda name, module, run: _Kept(name, module, run, keep)):
                self.model(*args, **kwargs)
        except _EnoughError:
            pass
        missing = [name for name in self.names if name not in found]
        if missing:
            shown = " and ".join("x".join(map(str, a.shape[1:])) for a in args if isinstance(a, torch.Tensor))
            raise PlanError(
                f"features: {', '.join(missing)} did not run at input {shown or 'of this size'}: the forward takes "
                "another way there; ask for features traced at that input"
            )
        return [found[name].movedim(-1, 1) if name in self._last else found[name] for name in self.names]

    def extra_repr(self) -> str:
        """The strides and where each comes from."""
        return ", ".join(f"{s}: {n} ({c})" for s, n, c in zip(self.strides, self.names, self.channels, strict=True))


Keep: TypeAlias = Callable[[str, torch.Tensor], torch.Tensor]


class _Kept:
    """A module's forward that hands its output to `keep`."""

    def __init__(self, name: str, module: nn.Module, run: Run, keep: Keep) -> None:
        self.name, self.module, self.run, self.keep = name, module, run, keep
        self.step = step_of(module)

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        output: torch.Tensor = self.run(*args, **kwargs)
        if self.step is not None:  # the map lies behind the step inserted here; the hook then does nothing new
            self.keep(self.name, self.step(self.module, args, output))
            return output
        return self.keep(self.name, output)


def features(
    model: nn.Module, strides: Sequence[Stride] = (4, 8, 16, 32), *, input: InputSpec = (3, 224, 224)
) -> Features:
    """A module that returns the model's maps at these cumulative strides (an int, or one entry an axis).

    Of the modules whose output has that stride the last one counts that is not part of a block which steps further
    inside. Raises: PlanError naming the strides there are, or the call that makes a map which no module gives out.

    >>> import torch
    >>> backbone = sw.features(sw.load("builtin:resnet20-narrow"), strides=(1, 4), input=(3, 32, 32))
    >>> [tuple(m.shape) for m in backbone(torch.zeros(1, 3, 32, 32))]
    [(1, 8, 32, 32), (1, 32, 8, 8)]
    """
    graph = trace(model, input)
    found = _levels(model, graph)
    axes = len(next(iter(found), (0, 0)))
    chosen = []
    for stride in strides:
        key = stride if isinstance(stride, tuple) else (stride,) * axes
        if key not in found:
            there = f"there are {strides_told(found)}"
            maker = _called(graph, key)
            if maker is not None:
                raise PlanError(
                    f"features: the map at cumulative stride {told(key)} is what the call {maker} makes, and no module "
                    f"of its own gives it out; pass it through an nn.Identity() in the forward. Of modules {there}"
                )
            raise PlanError(f"features: no map at cumulative stride {told(key)}; {there}")
        chosen.append(found[key])
    return Features(
        model,
        strides,
        [c.name for c in chosen],
        [c.channels for c in chosen],
        [c.copied for c in chosen],
        [c.channels_last for c in chosen],
    )


def levels(model: nn.Module, input: InputSpec = (3, 224, 224)) -> dict[tuple[int, ...], Level]:
    """The map to take at each cumulative stride that the model has maps at, channels first, by its graph; finest
    first."""
    return {stride: level for stride, level in _levels(model, trace(model, input)).items() if not level.channels_last}


def _levels(model: nn.Module, graph: Graph) -> dict[tuple[int, ...], Level]:
    reach = fields(graph, grid_sizes(graph))
    found = sorted(_by_stride(model, graph, reach).items())
    return {stride: _level(graph, reach, stride, name, index) for stride, (name, index) in found}


def named_levels(model: nn.Module, names: Sequence[str], input: InputSpec) -> tuple[Level, ...]:
    """What the maps of these modules are now, under whatever plan the model is. Raises: PlanError for no such map."""
    graph = trace(model, input)
    reach, tensors = fields(graph, grid_sizes(graph)), dict(graph.modules)
    out = []
    for name in names:
        grid = graph.tensors[tensors[name]].grid if name in tensors else None
        jumps = () if grid is None else tuple(f.jump for f in reach.full[grid])
        if not jumps or any(j.denominator != 1 for j in jumps):
            raise PlanError(f"{name}: under this plan its map has no whole stride, and a head reads it")
        out.append(_level(graph, reach, tuple(int(j) for j in jumps), name, tensors[name]))
    return tuple(out)


def _level(graph: Graph, reach: Fields, stride: tuple[int, ...], name: str, index: int) -> Level:
    tensor = graph.tensors[index]
    assert tensor.grid is not None
    last = is_channels_last(tensor, graph.grids[tensor.grid])
    return Level(
        stride=stride,
        name=name,
        channels=tensor.shape[-1 if last else 1],
        centre=tuple(float(f.centre) + 0.5 for f in reach.full[tensor.grid]),
        copied=_overwritten(graph, index),
        channels_last=last,
    )


def _called(graph: Graph, stride: Sequence[int]) -> str | None:
    """The last site in the graph whose output has this cumulative stride, by its key."""
    reach = fields(graph, grid_sizes(graph))
    makers = [
        node.key
        for node in graph.sites
        if node.grid is not None and [f.jump for f in reach.full[node.grid]] == list(stride)
    ]
    return makers[-1] if makers else None


def told(stride: Sequence[int]) -> str:
    """A stride as it is written: one number where the axes agree, else `8x16`."""
    return "x".join(map(str, stride)) if len(set(stride)) > 1 else str(stride[0])


def strides_told(found: Mapping[tuple[int, ...], Level]) -> str:
    """The strides there are, for a message."""
    return ", ".join(told(stride) for stride in sorted(found)) or "none"


def _by_stride(model: nn.Module, graph: Graph, reach: Fields) -> dict[tuple[int, ...], tuple[str, int]]:
    """Per cumulative stride the module and tensor to take."""
    repeated = {node.path for node in graph.nodes if node.call > 1}
    strides: dict[str, tuple[int, ...]] = {}
    batch = graph.tensors[graph.inputs[0][1]].shape[:1]  # maps folded into the batch are no maps of a picture
    for path, index in graph.modules:
        tensor = graph.tensors[index]
        if tensor.grid is None or path in repeated or not tensor.known:
            continue
        grid = graph.grids[tensor.grid]
        jumps = [f.jump for f in reach.full[tensor.grid]]
        laid_out = tensor.shape[2:] == grid.sizes and len(tensor.volume.over) == len(grid.sizes)
        laid_out = (laid_out or is_channels_last(tensor, grid)) and tensor.shape[:1] == batch
        if all(grid.local) and laid_out and all(j.denominator == 1 for j in jumps):
            strides[path] = tuple(int(j) for j in jumps)
    blocks = {b for b in {_block(model, node) for node in graph.nodes if _steps(node)} if _steps_once(b, strides)}
    tensors = dict(graph.modules)
    found: dict[tuple[int, ...], tuple[bool, int, int, str]] = {}
    for path, stride in strides.items():
        if not path:
            continue
        inside = any(path.startswith(f"{b}.") and strides.get(b) != stride for b in blocks)
        found[stride] = max(found.get(stride, (False, -1, 0, "")), (not inside, tensors[path], -path.count("."), path))
    return {stride: (path, index) for stride, (_, index, _, path) in found.items()}


def is_channels_last(tensor: Tensor, grid: Grid) -> bool:
    """Whether a map holds its positions before its channels, as those of Swin do."""
    shape, sizes = tensor.shape, grid.sizes
    return len(shape) == len(sizes) + 2 and shape[1:-1] == sizes and shape[2:] != sizes


def _steps(node: Node) -> bool:
    return node.site and any(getattr(m, "stride", 1) > 1 for m in node.attrs.get("maps", ()))


def _block(model: nn.Module, node: Node) -> str:
    """The innermost module that holds the stepping op among others, containers left out; empty where there is none."""
    path = node.path
    while path:
        module = model.get_submodule(path)
        windows = [m for m in module.modules() if hasattr(m, "stride") and not list(m.children())]
        if type(module) not in (nn.Sequential, nn.ModuleList) and len(windows) > 1:
            return path
        path = path.rpartition(".")[0]
    return ""


def _steps_once(block: str, strides: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a module's output is one step coarser than the finest map inside, and not several (a whole backbone)."""
    if not block or block not in strides:
        return False
    inside = {stride for path, stride in strides.items() if path.startswith(f"{block}.")}
    return len(inside) <= 2


def _overwritten(graph: Graph, index: int) -> bool:
    """Whether a later op writes into the memory of a tensor."""
    root = graph.tensors[index].storage
    return any(
        node.target.split(".")[1].endswith("_") and graph.tensors[t].storage == root
        for node in graph.nodes
        for t in node.outputs
        if t > index
    )
