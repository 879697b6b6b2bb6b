"""Whether a changed model still says what it said: old and new in float64 on random input, phase 0 of the new maps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stridewise.errors import PlanError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.surgery.apply import Done, apply_to_model
from stridewise.tracing.inputs import InputSpec, called, drawn
from stridewise.tracing.trace import trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Largest relative difference of the last feature map and of the outputs.

    features: None where that map is an output itself, or no module gives it.
    """

    done: Done
    features: float | None
    outputs: float | None

    def __str__(self) -> str:
        said = [
            f"{what}: relative difference {value:.1e} in float64"
            for what, value in (("feature map", self.features), ("output", self.outputs))
            if value is not None
        ]
        return "\n".join(said) or "no output can be compared"


def compare(model: nn.Module, plan: Plan, *, input: InputSpec | None = None, seed: int = 0) -> Comparison:
    """Apply `plan` to a float64 copy of `model` with random weights in place of near-zero ones, and compare.

    A scale of zero (batch norms at the end of a residual branch, layer scales) would hide any error behind it.
    """
    spec = input or plan.input or (3, 224, 224)
    twin = copy.deepcopy(model).double().eval()
    randomise(twin, seed)
    arguments = drawn(spec, torch.Generator().manual_seed(seed + 1), torch.float64)
    last = None if callable(getattr(twin, "forward_features", None)) else _last_map(trace(twin, spec))
    before = _answers(twin, arguments, last)
    done = apply_to_model(twin, plan, input=spec)
    after = _answers(twin, arguments, last)
    return Comparison(done=done, features=_worst(before[0], after[0]), outputs=_worst(before[1], after[1]))


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Random values for every parameter and running statistic that is constant or near zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            flat = tensor.dim() <= 1 or tensor.numel() == tensor.shape[0] or float(tensor.abs().max()) < 1e-3
            if flat and (isinstance(tensor, nn.Parameter) or "running" in name):
                draw = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                centred = name.endswith(("bias", "running_mean"))
                tensor.copy_((draw - 0.5 if centred else 0.5 + draw).to(tensor.dtype))


def _last_map(graph: Graph) -> str | None:
    """The module that gave out the last feature map, or one on its grid before; None where that map is an output."""
    if graph.last is None or graph.last in graph.outputs:
        return None
    home = graph.tensors[graph.last].grid
    there = [(index, path) for path, index in graph.modules if path and graph.tensors[index].grid == home]
    return max(((index, path) for index, path in there if index <= graph.last), default=(0, None))[1]


def _answers(
    model: nn.Module, arguments: Mapping[str, torch.Tensor], last: str | None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The tensors of the feature map, by `forward_features` or of the module `last`, and those of the output."""
    from stridewise.tracing.trace import _tensors

    kept: list[Any] = []
    hook = None
    if last is not None:
        hook = model.get_submodule(last).register_forward_hook(lambda _module, _args, out: kept.append(out))
    try:
        with torch.no_grad():
            args, named = called(model.forward, arguments)
            out = model(*args, **named)
            found: Any = getattr(model, "forward_features", None)
            if callable(found) and "" in arguments:
                kept.append(found(arguments[""]))
    finally:
        if hook is not None:
            hook.remove()
    return _tensors(kept[-1:]), _tensors(out)


def _worst(old: Sequence[torch.Tensor], new: Sequence[torch.Tensor]) -> float | None:
    """The largest relative difference over pairs, the new ones taken on the old ones' grid."""
    worst = None
    for a, b in zip(old, new, strict=True):
        steps = [n // m if m and n % m == 0 else 0 for n, m in zip(b.shape, a.shape, strict=False)]
        if a.dim() != b.dim() or 0 in steps:
            raise PlanError(f"an output measures {tuple(b.shape)} where it measured {tuple(a.shape)}: no multiple")
        same = b[tuple(slice(None, None, s) for s in steps)]
        found = float((same - a).abs().max() / a.abs().max().clamp_min(1e-300))
        worst = found if worst is None else max(worst, found)
    return worst
