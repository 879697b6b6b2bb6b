"""The half of `truth.py` that asks for plans: drawn requests on drawn networks, carried out and held against float64.

Each request ends in one of these ways:

    refused    `sw.plan` says no, in one line
    late       `sw.plan` gave a plan and `sw.apply` refuses it
    sizes      applied, and torch measures something else than was promised
    crash      any other error than a StridewiseError
    applied    carried out; with kept weights the certificate is held against numbers at several sizes:
               exact (true, or *false*), means (it says what is not exact, and that differs, or *needlessly*)

Numbers are compared at every m-th position, relative to the difference that two unrelated pictures make at the same
places. `control`: the neighbouring phase, which a comparison that can fail tells from the old map.
"""

from __future__ import annotations

import copy
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

import stridewise as sw
from strategies import Drawn, network

_EQUAL, _LIVE = 1e-9, 1e-7
# Kinds that plans meet most: windows, joins and what forwards do with sizes.
_KINDS = ("2:blur:3", "2:mean", "2:max", "2:polyphase", "2:space-to-depth", "2:blur:2:zero")
_PLAIN = ("conv", "pool", "branches", "norm", "pointwise", "pad", "crop", "crop join")


def request(graph: Any, rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """A drawn request: (sites, stages and slots with what is asked of them, the keywords of `sw.plan`)."""
    keep = rng.random() < 0.65
    named: dict[str, Any] = {"keep_weights": keep}
    if keep and rng.random() < 0.5:
        named["means"] = "grid"
    axes = graph.axes

    def stride() -> Any:
        return tuple(rng.choice((1, 1, 2, 3)) for _ in range(axes)) if rng.random() < 0.4 else rng.choice((1, 2))

    asked: dict[str, Any] = {}
    way = rng.choice(("cap", "cap", "site", "site", "sites", "stage", "slot", "kind"))
    if way == "cap":
        named["output_stride"] = stride()
        return asked, named
    if not graph.sites:
        return asked, {**named, "output_stride": 1}
    sites = [n.key for n in graph.sites]
    if way == "slot" and graph.slots:
        asked["+" + rng.choice(graph.slots).key] = rng.choice((stride(), "2:mean", "2:blur:3", "2:polyphase", "2"))
        named["keep_weights"] = False
        named.pop("means", None)
    elif way == "stage":
        asked[rng.choice(sites).rpartition(".")[0] or rng.choice(sites)] = stride()
    elif way == "kind":
        asked[rng.choice(sites)] = rng.choice(_KINDS)
        named["keep_weights"] = False
        named.pop("means", None)
    else:
        for key in rng.sample(sites, min(len(sites), 2 if way == "sites" else 1)):
            asked[key] = stride()
    return asked, named


def maps(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every step gives out, and the output."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        step.register_forward_hook(lambda _m, _a, out, name=f"steps.{i}": found.__setitem__(name, out.detach().clone()))
        for i, step in enumerate(model.steps)
    ]
    try:
        with torch.no_grad():
            found["output"] = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def compared(old: nn.Module, new: nn.Module, shape: Sequence[int], seed: int) -> tuple[float, float, str] | None:
    """(worst relative difference at phase 0, worst of the neighbouring phases that differ least, its map); None where
    no map is live. Raises ValueError where a map is no multiple of the old one."""
    generator = torch.Generator().manual_seed(seed)
    one, two = (torch.rand(1, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    before, other, after = maps(old, one), maps(old, two), maps(new, one)
    worst, control, where, live = 0.0, float("inf"), "", False
    for name, a in before.items():
        b = after[name]
        scale = float((a - other[name]).abs().max()) if a.shape == other[name].shape else 0.0
        if scale <= _LIVE * max(float(a.abs().max()), 1e-30):
            continue
        live = True
        if a.dim() != b.dim() or any(m % n for n, m in zip(a.shape, b.shape, strict=True)):
            raise ValueError(f"{name}: {tuple(b.shape)} where it was {tuple(a.shape)}")
        steps = [m // n for n, m in zip(a.shape, b.shape, strict=True)]
        off = float((b[tuple(slice(None, None, s) for s in steps)] - a).abs().max()) / scale
        if not off <= worst:
            worst, where = off, name
        if max(steps) > 1:
            phase = b[tuple(slice(s - 1, None, s) for s in steps)]
            control = min(control, float((phase - a).abs().max()) / scale)
    return (worst, control, where) if live else None


def judge(seed: int) -> tuple[str, str]:
    """How one drawn request ends, and what was said."""
    rng = random.Random(seed)
    drawn: Drawn = network(seed, _PLAIN if rng.random() < 0.5 else ())
    try:
        graph = sw.trace(drawn.model, drawn.shape)
    except sw.StridewiseError as error:
        return "untraced", str(error)
    asked, named = request(graph, rng)
    told = f"{asked} {named}"
    try:
        plan = sw.plan(graph, asked, **named)
    except sw.StridewiseError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001 - any other error is what is counted
        return "crash", f"plan {told}: {type(error).__name__} {error}"
    if not plan:
        return "nothing", ""
    model = copy.deepcopy(drawn.model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        done = sw.apply(model, plan, input=drawn.shape)
    except sw.StridewiseError as error:
        return "late", f"{told}: {type(error).__name__} {error}"
    except Exception as error:  # noqa: BLE001 - any other error is what is counted
        return "crash", f"apply {told}: {type(error).__name__} {error}"
    try:
        found = _certified(drawn, model, done, seed, told) if plan.keep_weights else _sized(drawn, model, done, told)
    except Exception as error:  # noqa: BLE001 - any other error is what is counted
        return "crash", f"run {told}: {type(error).__name__} {error}"
    done.undo()
    state = model.state_dict()
    if state.keys() != before.keys() or any(not torch.equal(v, before[k]) for k, v in state.items()):
        return "crash", f"undo {told}: the model is not what it was"
    return found


def _sized(drawn: Drawn, model: nn.Module, done: Any, told: str) -> tuple[str, str]:
    got = maps(model, torch.rand(1, *drawn.shape, dtype=torch.float64))
    made = dict(done.graph.modules)
    for name, y in got.items():
        tensor = done.graph.tensors[made[name]] if name in made else None
        if tensor is not None and tensor.known and tensor.grid is not None:
            grid = done.graph.grids[tensor.grid]
            promised = grid.sizes
            same = (a == b or not told for a, b, told in zip(y.shape[2:], promised, grid.local, strict=False))
            if len(y.shape) != 2 + len(promised) or not all(same):
                return "sizes", f"{told}: {name} {tuple(promised)} promised, {tuple(y.shape[2:])} measured"
    return "applied", ""


def _certified(drawn: Drawn, model: nn.Module, done: Any, seed: int, told: str) -> tuple[str, str]:
    worst, control, compared_at, where = 0.0, float("inf"), 0, ""
    for more in (0, 1, 2, 5):
        shape = (drawn.shape[0], *(n + more + a * (more > 0) for a, n in enumerate(drawn.shape[1:])))
        try:
            with torch.no_grad():
                drawn.model(torch.rand(1, *shape, dtype=torch.float64))
        except Exception:  # noqa: BLE001 - the network itself takes no such size
            continue
        try:
            found = compared(drawn.model, model, shape, seed + more)
        except (ValueError, RuntimeError, IndexError) as error:
            return ("false" if done.certificate.exact else "sizes"), f"{told}: at {shape} {error} | {done.certificate}"
        if found is None:
            continue
        compared_at += 1
        if not found[0] <= worst:
            worst, where = found[0], f"{found[2]} at {shape}"
        control = min(control, found[1])
    if not compared_at:
        return "not live", ""
    exact = done.certificate.exact and not done.certificate.means
    equal = worst <= _EQUAL
    if exact and not equal:
        return "false", f"{told}: {worst:.1e} off in {where}"
    if control <= _EQUAL and not equal:
        return "blind", told
    if exact:
        return ("exact" if control > _EQUAL else "exact, blind"), ""
    return ("means" if not equal else "needless"), "" if not equal else f"{told}: {done.certificate}"


def requests(count: int, seed: int, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """The ways that `count` requests end, from `seed` on."""
    ends: Counter[str] = Counter()
    began = time.monotonic()
    for at in range(seed * 1_000_003, seed * 1_000_003 + count):
        end, said = judge(at)
        ends[end] += 1
        if end in ("crash", "late", "false", "sizes", "needless", "blind"):
            tell(f"{at} {end}: {said}")
    return {"requests": count, "seed": seed, **dict(sorted(ends.items())), "seconds": round(time.monotonic() - began)}
