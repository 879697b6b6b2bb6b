"""How true is what Stridewise says: drawn networks against torch, counted row by row.

    python benchmarks/truth.py [--networks 2000] [--requests 1000] [--seed 0] [--list] [--kinds along,crop] [--only 17]

Networks are those of `tests/strategies.py`. Each row asks one thing, and a network either keeps it, has it *unknown*
(said so in the report), or breaks it:

    size      a tensor's grid is the tensor, at the traced size and at two others; an axis said to have no positions
              left (pooled, then spread) is right where the map is one and the same all along it
    field     every position that autograd's gradient reaches lies in the stated field, or `global` is said
    stride    the field moves with the position as the gradient does, no wider than it (linear networks; where a map is
              so small that every position lies at a border of some map, at larger inputs)
    smallest  the smallest input is what trying gives
    macs      multiply-adds are those that torch's FlopCounterMode counts

A network that takes more than 8 GB is left out, its seed listed. `control` counts the networks in which a field made
one position narrower is caught by the same gradients. Prints a table, then one JSON line. `--list` names each fault by
its seed; `--only` takes one seed apart.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from truth_requests import requests

import stridewise as sw
from strategies import Drawn, Network, network
from stridewise.analyses.cost import macs
from stridewise.analyses.fields import Fields, fields
from stridewise.analyses.limits import smallest_input
from stridewise.analyses.sizes import grid_sizes
from stridewise.axis import Field
from stridewise.ir import Graph, Tensor

_MOST_BYTES = 8 * 10**9
ROWS = ("size", "field", "stride", "smallest", "macs")


@dataclass(slots=True)
class Count:
    """What one row came to: networks that keep it, have it unknown, break it (with what was said of each)."""

    right: int = 0
    unknown: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A drawn network, its graph, and the index of each step's last tensor."""

    drawn: Drawn
    graph: Graph
    tensors: dict[str, Tensor]


def opened(drawn: Drawn) -> Case:
    """The network traced. Raises: StridewiseError."""
    graph = sw.trace(drawn.model, drawn.shape)
    made = dict(graph.modules)
    named = {f"steps.{i}": graph.tensors[made[f"steps.{i}"]] for i in range(len(drawn.kinds)) if f"steps.{i}" in made}
    return Case(drawn=drawn, graph=graph, tensors=named)


def maps_of(model: Network, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The sizes that every step gives out at this input. Raises what torch raises."""
    x, found = torch.rand(1, *shape, dtype=torch.float64), {}
    with torch.no_grad():
        for at, step in enumerate(model.steps):
            x = step(x)
            found[f"steps.{at}"] = tuple(x.shape[2:])
    return found


def runs(model: Network, shape: Sequence[int]) -> bool:
    """Whether the network takes an input of this shape, with positions in every map."""
    try:
        x = torch.rand(1, *shape, dtype=torch.float64)
        with torch.no_grad():
            return all((x := step(x)).numel() > 0 for step in model.steps)
    except (RuntimeError, ValueError, IndexError):
        return False


# -- the rows: each answers "" for right, None for unknown, or what is wrong -----------------------------------------


def size(case: Case) -> str | None:
    """A tensor's grid is the tensor, at the traced size and two others."""
    channels, *sizes = case.drawn.shape
    told = False
    for turn, more in enumerate((0, 3, 8)):
        given = tuple(n + more + axis * (turn % 2) for axis, n in enumerate(sizes))
        try:
            real = maps_of(case.drawn.model, (channels, *given))
        except (RuntimeError, ValueError, IndexError):
            continue
        try:
            said = grid_sizes(case.graph, given)
        except sw.StridewiseError as error:
            if not any(grid.alone for grid in case.graph.grids):
                return f"torch runs at {given}: {error}"
            told = True
            continue
        for key, tensor in case.tensors.items():
            if not tensor.known:
                told = True
                if not case.graph.unknown:
                    return f"{key}: unknown, and the report names no op"
                continue
            grid = () if tensor.grid is None else tuple(said[tensor.grid])
            if grid != real[key] and not _is_spread(case, tensor, key, given, grid, real[key]):
                return f"{key}: {grid} said, {real[key]} is right at {given}"
    return None if told else ""


def _is_spread(
    case: Case, tensor: Tensor, key: str, given: Sequence[int], grid: Sequence[int], real: Sequence[int]
) -> bool:
    """Whether a grid is the map but for axes without positions, along which the map holds the same everywhere."""
    if tensor.grid is None or len(grid) != len(real):
        return False
    local = case.graph.grids[tensor.grid].local
    axes = [axis for axis, (n, m) in enumerate(zip(grid, real, strict=True)) if n != m]
    x = torch.rand(1, case.drawn.shape[0], *given, dtype=torch.float64)
    with torch.no_grad():
        for step in list(case.drawn.model.steps)[: int(key.removeprefix("steps.")) + 1]:
            x = step(x)
    return all(not local[a] and torch.allclose(x, x.mean(2 + a, keepdim=True).expand_as(x)) for a in axes)


def reached(model: nn.Module, shape: Sequence[int], steps: int, places: Sequence[Sequence[int]]) -> list[Any]:
    """Per place the (first, last) input position an axis that the gradient of the `steps`-th map reaches there."""
    x = torch.rand(1, *shape, dtype=torch.float64, requires_grad=True)
    y = x
    for step in list(model.steps)[:steps]:
        y = step(y)
    weights = torch.rand(y.shape[1], dtype=torch.float64)
    found = []
    for place in places:
        total = (y[(0, slice(None), *place)] * weights).sum()
        if not total.requires_grad:
            found.append([None] * (len(shape) - 1))
            continue
        (gradient,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
        spans: list[tuple[int, int] | None] = []
        for axis in range(len(shape) - 1):
            if gradient is None:
                spans.append(None)
                continue
            others = [d for d in range(gradient.dim()) if d != 2 + axis]
            hits = gradient.abs().sum(others).nonzero().flatten().tolist()
            spans.append((hits[0], hits[-1]) if hits else None)
        found.append(spans)
    return found


def _places(sizes: Sequence[int], rng: random.Random) -> list[tuple[int, ...]]:
    """The first, the last and three drawn positions of a map."""
    drawn = [tuple(rng.randrange(n) for n in sizes) for _ in range(3)]
    return [tuple(0 for _ in sizes), tuple(n - 1 for n in sizes), tuple(n // 2 for n in sizes), *drawn]


def outside(found: Field, at: int, span: tuple[int, int] | None, size: int) -> bool:
    """Whether a gradient's span leaves the stated field."""
    said = found.at(at)
    return span is not None and (said is None or span[0] < max(said[0], 0) or span[1] > min(said[1], size - 1))


def _gradients(case: Case, shape: Sequence[int]) -> list[tuple[str, Tensor, list[tuple[int, ...]], list[Any]]]:
    """For the last map and one other that are known: the places asked and what the gradient reaches from there."""
    rng = random.Random(case.drawn.seed)
    known = [k for k, t in case.tensors.items() if t.known and t.grid is not None]
    out = []
    for key in {known[-1], rng.choice(known)} if known else ():
        tensor, steps = case.tensors[key], int(key.removeprefix("steps.")) + 1
        sizes = maps_of(case.drawn.model, shape)[key]
        places = _places(sizes, rng)
        out.append((key, tensor, places, reached(case.drawn.model, shape, steps, places)))
    return out


def in_field(case: Case, asked: Any, stated: Fields) -> str | None:
    """Every position that the gradient reaches lies in the field."""
    if not asked:
        return None
    for key, tensor, places, spans in asked:
        if stated.everything[tensor.grid]:
            continue
        wraps = any(step.wraps for step in case.drawn.model.steps)
        if len(stated.full[tensor.grid]) != len(places[0]):
            continue  # another number of axes than the map has: the row of sizes says so
        for place, reach in zip(places, spans, strict=True):
            for axis, (found, at, span) in enumerate(zip(stated.full[tensor.grid], place, reach, strict=True)):
                limit, said = case.drawn.shape[1 + axis], found.at(at)
                if wraps and said is not None and not 0 <= said[0] <= said[1] < limit:
                    continue  # a border that repeats the map: which of its positions lie there is not stated
                if outside(found, at, span, limit):
                    return f"{key}: position {at} of axis {axis} reads {span}, said {found.at(at)}"
    return ""


def moves(case: Case, asked: Any, stated: Fields) -> str | None:
    """In networks without maxima or hulls the gradient reaches both ends of the field, here or at a larger input."""
    said = no_wider(case, asked, stated, case.drawn.shape)
    for more in (16, 47) if said else ():
        channels, *sizes = case.drawn.shape
        shape = (channels, *(n + more for n in sizes))
        try:
            larger = fields(case.graph, grid_sizes(case.graph, shape[1:]))
            if not no_wider(case, _gradients(case, shape), larger, shape):
                return ""
        except (sw.StridewiseError, RuntimeError, ValueError, IndexError):
            continue
    return said


def no_wider(case: Case, asked: Any, stated: Fields, shape: Sequence[int]) -> str | None:
    """The same at one input."""
    if not asked or any(step.picks or step.wraps for step in case.drawn.model.steps):
        return None if not asked else ""
    for key, tensor, places, spans in asked:
        grid = case.graph.grids[tensor.grid]
        if stated.everything[tensor.grid] or not all(grid.local):
            continue
        for axis, found in enumerate(stated.full[tensor.grid]):
            if found.approximate:
                continue
            limit = shape[1 + axis] - 1
            ends = [
                (span, (max(said[0], 0), min(said[1], limit)))
                for place, reach in zip(places, spans, strict=True)
                if (span := reach[axis]) and (said := found.at(place[axis])) and said[0] >= 0 and said[1] <= limit
            ]
            if ends and not any(span == said for span, said in ends):
                return f"{key}: axis {axis} reads {ends[0][0]}, said {ends[0][1]}"
    return ""


def control(asked: Any, stated: Fields, shape: Sequence[int]) -> bool:
    """Whether a field one position narrower at both ends is left by some gradient."""
    for _, tensor, places, spans in asked:
        for place, reach in zip(places, spans, strict=True):
            for axis, (found, at, span) in enumerate(zip(stated.full[tensor.grid], place, reach, strict=True)):
                said = found.at(at)
                narrow = (said[0] + 1, said[1] - 1) if said else None
                if span and (
                    not narrow or span[0] < max(narrow[0], 1) or span[1] > min(narrow[1], shape[1 + axis] - 2)
                ):
                    return True
    return False


def tried(model: Network, shape: Sequence[int]) -> tuple[int | None, ...]:
    """The smallest input by trying: along each axis with the others as they are; where all of them together fail, the
    smallest number that works on every axis at once."""
    channels, *sizes = shape
    alone: list[int | None] = []
    for axis, size in enumerate(sizes):
        others = (sizes[:axis], sizes[axis + 1 :])
        alone.append(next((n for n in range(1, size + 1) if runs(model, (channels, *others[0], n, *others[1]))), None))
    if None in alone or runs(model, (channels, *alone)):  # type: ignore[list-item]
        return tuple(alone)
    for n in range(1, max(sizes) + 1):
        together = tuple(max(a, n) for a in alone)  # type: ignore[type-var]
        if runs(model, (channels, *together)):  # type: ignore[arg-type]
            return together
    return tuple(alone)


def smallest(case: Case) -> str | None:
    """The smallest input is what trying gives."""
    said = smallest_input(case.graph)
    right = tried(case.drawn.model, case.drawn.shape)
    if said == right:
        return ""
    if case.graph.unknown or None in said:
        return None
    return f"{said} said, {right} by trying"


def work(case: Case) -> str | None:
    """Multiply-adds are those that FlopCounterMode counts."""
    # Fused attention on the CPU is not in its table; written out it is.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        case.drawn.model(torch.rand(1, *case.drawn.shape, dtype=torch.float64))
    right, said = counter.get_total_flops() // 2, macs(case.graph, grid_sizes(case.graph))
    return "" if said == right else f"{said} said, {right} counted"


def judge(drawn: Drawn) -> dict[str, str | bool | None]:
    """The answers of every row for one network; "open" where it cannot even be traced."""
    try:
        case = opened(drawn)
        stated = fields(case.graph, grid_sizes(case.graph))
    except sw.StridewiseError as error:
        said = ("no op describes", "is not followed", "meet one position each")
        return {"open": None if any(why in str(error) for why in said) else str(error)}
    asked = _gradients(case, drawn.shape)
    live = any(span for _, _, _, spans in asked for reach in spans for span in reach)
    return {
        "size": size(case),
        "field": in_field(case, asked, stated),
        "stride": moves(case, asked, stated),
        "smallest": smallest(case),
        "macs": work(case),
        "live": live,
        "control": live and control(asked, stated, drawn.shape),
    }


def networks(count: int, seed: int, kinds: tuple[str, ...] = (), tell: Callable[[str], None] = print) -> dict[str, Any]:
    """The rows over `count` networks drawn from `seed` on."""
    rows = {name: Count() for name in (*ROWS, "open")}
    notes: Counter[str] = Counter()
    began = time.monotonic()
    for at in range(seed * 1_000_003, seed * 1_000_003 + count):
        try:
            drawn = network(at, kinds)
            answers = judge(drawn)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "allocate" not in str(error):
                raise
            notes["too large"] += 1
            tell(f"{at}: takes more memory than there is for one network")
            continue
        for name, answer in answers.items():
            if name in ("live", "control"):
                notes[name] += bool(answer)
            elif answer is None:
                rows[name].unknown += 1
            elif answer:
                rows[name].faults.append((at, str(answer)))
                tell(f"{at} {name}: {answer} | {' '.join(labels(drawn))}")
            else:
                rows[name].right += 1
    out: dict[str, Any] = {
        name: {"right": row.right, "unknown": row.unknown, "wrong": len(row.faults)} for name, row in rows.items()
    }
    return {"networks": count, "seed": seed, **out, **notes, "seconds": round(time.monotonic() - began)}


def labels(drawn: Drawn) -> list[str]:
    """The kinds of a network's steps with the line of `strategies.py` that each came from."""
    return [f"{step.kind}@{step.function.__code__.co_firstlineno}" for step in drawn.model.steps]


def table(found: dict[str, Any]) -> str:
    """The counts as a Markdown table."""
    lines = ["| row | right | unknown, said so | wrong |", "| --- | --- | --- | --- |"]
    lines += [f"| {n} | {found[n]['right']} | {found[n]['unknown']} | {found[n]['wrong']} |" for n in (*ROWS, "open")]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=0, help="plans asked of further drawn networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="draw from these kinds alone, with commas between")
    parser.add_argument("--only", type=int, help="one network, taken apart")
    parser.add_argument("--list", action="store_true", help="name each fault")
    given = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kinds = tuple(given.kinds.split(",")) if given.kinds else ()
    if given.only is not None:
        drawn = network(given.only, kinds)
        print(drawn.shape, *labels(drawn), sep="\n")
        for name, answer in judge(drawn).items():
            print(f"{name}: {answer}")
        return
    tell: Callable[[str], None] = print if given.list else lambda line: None
    if given.networks:
        found = networks(given.networks, given.seed, kinds, tell)
        print(table(found))
        print(json.dumps(found))
    if given.requests:
        print(json.dumps(requests(given.requests, given.seed, tell)))


if __name__ == "__main__":
    main()
