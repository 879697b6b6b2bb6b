"""Whether a changed model still says what it said: old and new in float64 on random input, phase 0 of the new maps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stridewise.errors import PlanError
from stridewise.frontends.apply import Done, apply_to_model
from stridewise.frontends.torch import InputSpec
from stridewise.plans import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Largest relative difference of the feature map (None: the model gives none) and of the outputs."""

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
    named = spec if isinstance(spec, Mapping) else {"": spec}
    generator = torch.Generator().manual_seed(seed + 1)
    arguments = {k: torch.randn(1, *s, generator=generator, dtype=torch.float64) for k, s in named.items()}
    before = _answers(twin, arguments)
    done = apply_to_model(twin, plan, input=spec)
    after = _answers(twin, arguments)
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


def _answers(model: nn.Module, arguments: Mapping[str, torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    from stridewise.frontends.torch import _tensors

    with torch.no_grad():
        out = model(arguments[""]) if list(arguments) == [""] else model(**arguments)
        found: Any = getattr(model, "forward_features", None)
        features = _tensors(found(arguments[""])) if callable(found) and "" in arguments else []
    return features, _tensors(out)


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
