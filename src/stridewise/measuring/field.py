"""The effective receptive field: where the gradient of a position really comes from, beside the theoretical field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from stridewise.errors import UsageError
from stridewise.ir import Graph
from stridewise.measuring.capture import watched
from stridewise.measuring.inside import node_edges
from stridewise.measuring.intervals import Floats
from stridewise.measuring.ladder import maps

HOLDS = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveField:
    """The field of one map's middle position, an entry an axis, in input pixels. theoretical: from the geometry, cut at
    the input's borders; reached: where the gradient is not zero; effective: the shortest stretch that holds 95 % of the
    gradient's energy."""

    path: str
    stride: tuple[int, ...]
    theoretical: tuple[int, ...]
    reached: tuple[int, ...]
    effective: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "key": self.path,
            "cumulative_stride": list(self.stride),
            "receptive_field": list(self.theoretical),
            "reached": list(self.reached),
            "effective": list(self.effective),
        }


def effective_fields(
    model: nn.Module, graph: Graph, pictures: torch.Tensor, *, seed: int = 0
) -> tuple[EffectiveField, ...]:
    """The effective field at each cumulative stride, its energy summed over the pictures (N, channels, *sizes).

    The channels of the middle position are added with random signs, so that they do not cancel in a pattern.
    Source: Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural networks", 4.
    """
    ladder = maps(graph)
    seen: dict[str, torch.Tensor] = {}
    energy: dict[str, Any] = {}
    signs = torch.Generator().manual_seed(seed)

    def keep(path: str, taken: torch.Tensor, given: torch.Tensor) -> None:
        seen.setdefault(path, taken if path.startswith("+") else given)

    for picture in pictures.split(1):
        x = picture.detach().clone().requires_grad_(True)
        seen.clear()
        with torch.enable_grad(), watched(model, [m.watch for m in ladder], keep):
            model(x)
            for m in ladder:
                out = seen[m.watch]
                middle = [size // 2 for size in out.shape[2:]]
                energy[m.path] = energy.get(m.path, 0.0) + _energy(out, x, middle, signs)
    found = []
    for m in ladder:
        profiles = [_profile(energy[m.path], axis) for axis in range(len(m.stride))]
        field = zip(m.start, m.field, m.stride, m.size, profiles, strict=True)
        found.append(
            EffectiveField(
                path=m.path,
                stride=m.stride,
                theoretical=tuple(_cut(c, f, s, n, len(p)) for c, f, s, n, p in field),
                reached=tuple(_extent(p) for p in profiles),
                effective=tuple(shortest(p) for p in profiles),
            )
        )
    return tuple(found)


def field_energy(
    model: nn.Module, graph: Graph, key: str, picture: torch.Tensor, position: Sequence[int], seed: int = 0
) -> Floats:
    """The energy of one position's gradient on every input pixel, an entry an axis of the input.

    graph: the model, traced at the sizes of the picture (1, channels, *sizes); key: a layer of it, with a module of its
    own or without. Raises: UsageError for a position or a map that is not there.
    """
    x = picture.detach().clone().requires_grad_(True)
    found = node_edges(model, graph, [key], x).get(key)
    if found is None:
        raise UsageError(f"{key}: no gradient leads from there to the picture in this run; choose another layer")
    edge, shape = found
    grid = next(node.grid for node in graph.nodes if node.key == key)
    sizes = tuple(shape[2:])
    if grid is None or sizes != graph.grids[grid].sizes:
        raise UsageError(f"{key}: gives out no map; choose another layer")
    if len(sizes) != len(position) or any(not 0 <= at < n for at, n in zip(position, sizes, strict=True)):
        where, by = ", ".join(map(str, position)), "x".join(map(str, sizes))
        raise UsageError(f"{key}: there is no position {where} on {by}")
    start = torch.zeros(shape)
    chosen = start[0]
    for at in position:
        chosen = chosen[:, at]
    chosen.copy_(_signs(shape[1], torch.Generator().manual_seed(seed)))
    (gradient,) = torch.autograd.grad([edge], [x], [start])
    return _square(gradient)


def _energy(out: torch.Tensor, x: torch.Tensor, position: Sequence[int], signs: torch.Generator) -> Floats:
    values = out[0]
    for at in position:
        values = values[:, at]
    (gradient,) = torch.autograd.grad((values * _signs(len(values), signs).to(values)).sum(), x, retain_graph=True)
    return _square(gradient)


def _signs(channels: int, draw: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 2, (channels,), generator=draw) * 2.0 - 1


def _square(gradient: torch.Tensor) -> Floats:
    found: Floats = gradient[0].double().square().sum(dim=0).cpu().numpy()
    return found


def _profile(energy: Any, axis: int) -> Floats:
    profile: Floats = energy.sum(axis=tuple(a for a in range(energy.ndim) if a != axis))
    return profile


def _cut(centre: int, field: int, stride: int, size: int, pixels: int) -> int:
    begin = centre + size // 2 * stride - (field - 1) // 2
    return max(min(begin + field, pixels) - max(begin, 0), 0)


def _extent(profile: Floats) -> int:
    there = np.flatnonzero(profile)
    return int(there[-1] - there[0] + 1) if len(there) else 0


def shortest(profile: Floats, holds: float = HOLDS) -> int:
    """Pixels of the shortest stretch of a profile that holds a share of its sum; 0 where it is empty."""
    total = profile.sum()
    if not total > 0:
        return 0
    sums = np.concatenate([[0.0], np.cumsum(profile)])
    ends = np.searchsorted(sums, sums[:-1] + holds * total * (1 - 1e-12), side="left")
    lengths = (ends - np.arange(len(profile)))[ends < len(sums)]
    return int(lengths.min())
