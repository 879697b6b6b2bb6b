"""The jobs that need a real forward: feature maps, the measured field, latency, the shift test."""

from __future__ import annotations

import base64
import contextlib
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stridewise.errors import UsageError
from stridewise.web.jobs import Report
from stridewise.web.pictures import Pictures, middle, png, resized
from stridewise.web.workbench import Opened

Json = dict[str, Any]
_MAPS, _ROUNDS, _MOST_SHIFT = 12, 15, 64
_MOST_MACS = 200e9


def feature_maps(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """The layer's most varied channels on the picture, under the original and under the plan.

    One grey scale a channel, the same for both, so that they can be compared.
    """
    key = str(asked.get("layer", ""))
    x = _input(opened, pictures, report)
    outs: list[tuple[str, NDArray[Any]]] = []
    for label, plan in _versions(opened, asked):
        report(0.3 + 0.4 * len(outs), f"running {label}")
        with _planned(opened, plan) as model:
            found = _output_of(model, key, x)
        if found is not None:
            outs.append((label, found))
    if not outs:
        raise UsageError(f"{key}: no module of that name gives out a map; choose another layer")
    last = outs[-1][1]
    order = np.argsort(-last.var(axis=(1, 2)), kind="stable")[:_MAPS]
    report(0.9, "drawing")
    return {
        "layer": key,
        "channels": [int(c) for c in order],
        "of": len(last),
        "random": opened.weights is None,
        "maps": [
            {"plan": label, "size": list(found.shape[1:]), "pictures": _pictures(found, [f for _, f in outs], order)}
            for label, found in outs
        ],
    }


def _pictures(found: NDArray[Any], every: list[NDArray[Any]], order: NDArray[Any]) -> list[str]:
    out = []
    for channel in order:
        low = min(float(f[channel].min()) for f in every if len(f) > channel)
        high = max(float(f[channel].max()) for f in every if len(f) > channel)
        level = (found[channel] - low) / ((high - low) or 1.0)
        out.append("data:image/png;base64," + base64.b64encode(png(level[None])).decode())
    return out


def measured_field(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """Where the input moves one position of a layer: the size of its gradient, as a picture of heat."""
    import torch

    key, at = str(asked.get("layer", "")), asked.get("position")
    if not isinstance(at, list) or len(at) != 2 or any(not isinstance(n, int) for n in at):
        raise UsageError("position: a row and a column are wanted")
    x = _input(opened, pictures, report).requires_grad_(True)
    label, plan = list(_versions(opened, asked))[-1]
    report(0.4, f"running {label}")
    with _planned(opened, plan) as model, _kept(model, key) as kept, torch.enable_grad():
        model(x)
        if not kept or kept[0].ndim != 4:
            raise UsageError(f"{key}: no module of that name gives out a map; choose another layer")
        rows, columns = kept[0].shape[2:]
        if not (0 <= at[0] < rows and 0 <= at[1] < columns):
            raise UsageError(f"{key}: there is no position {at[0]}, {at[1]} on {rows} × {columns}")
        report(0.7, "backwards")
        kept[0][0, :, at[0], at[1]].sum().backward()
    assert x.grad is not None
    heat = x.grad[0].abs().sum(dim=0).numpy()
    peak = float(heat.max()) or 1.0
    order = np.sort(heat.ravel())[::-1]
    reach = int(np.searchsorted(np.cumsum(order), 0.95 * order.sum()) + 1)
    levels = np.sqrt(heat / peak)
    return {
        "layer": key,
        "position": at,
        "picture": "data:image/png;base64," + base64.b64encode(png(levels[None])).decode(),
        "share": reach / heat.size,
        "random": opened.weights is None,
    }


def latency(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """Milliseconds of one forward under the original and the plan, taken in turn; the ratio of medians."""
    import torch

    from stridewise.frontends.apply import apply_to_model

    x = _input(opened, pictures, report)
    versions = list(_versions(opened, asked))
    times: list[list[float]] = [[] for _ in versions]
    models = [opened.model()]
    for _, plan in versions[1:]:
        models.append(copy.deepcopy(opened.model()))
        apply_to_model(models[-1], plan)
    for turn in range(_ROUNDS + 2):
        for at, model in enumerate(models):
            begun = time.perf_counter()
            with torch.no_grad():
                model(x)
            if turn >= 2:
                times[at].append((time.perf_counter() - begun) * 1e3)
            report((turn + (at + 1) / len(models)) / (_ROUNDS + 2), f"round {turn + 1} of {_ROUNDS + 2}")
    medians = [statistics.median(t) for t in times]
    low, _, high = statistics.quantiles(times[-1], n=4)
    return {
        "before": medians[0],
        "now": medians[-1],
        "ratio": medians[-1] / medians[0],
        "spread": high - low,
        "rounds": _ROUNDS,
        "threads": torch.get_num_threads(),
    }


def shift_test(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """How far the network's last map, taken as one vector of means, moves when the picture moves by 1, 2, ... pixels.

    Real pixels come in at the border. Units: 1 - cosine with the unmoved picture, 0 for no change.
    """
    import torch

    studied = opened.wait()
    channels, *sizes = opened.shape()
    steps = max((int(s) for s in studied.original["totals"]["output_stride"] if isinstance(s, int)), default=32)
    far = min(max(2 * steps, 8), _MOST_SHIFT)
    if len(sizes) != 2 or channels != 3:
        raise UsageError("the shift test needs a network that reads pictures of three channels")
    wide = (sizes[0], sizes[1] + far)
    picture = resized(middle(pictures.pixels(), wide), wide)
    curves = []
    versions = list(_versions(opened, asked))
    for at, (label, plan) in enumerate(versions):
        with _planned(opened, plan) as model:
            vectors = []
            for shift in range(far + 1):
                report((at + shift / (far + 1)) / len(versions), f"{label}: moved by {shift} of {far} pixels")
                cut = _normalised(picture[:, :, shift : shift + sizes[1]])
                vectors.append(_flat(model(torch.from_numpy(cut)[None])))
        first = vectors[0]
        curve = [max(0.0, 1.0 - _cosine(v, first)) for v in vectors]
        curves.append({"plan": label, "change": [round(c, 6) for c in curve]})
    return {"shifts": list(range(far + 1)), "curves": curves, "stride": steps, "random": opened.weights is None}


def _flat(out: Any) -> NDArray[np.float64]:
    while isinstance(out, list | tuple | dict):
        out = next(iter(out.values() if isinstance(out, dict) else out))
    vector: NDArray[np.float64] = out.mean(dim=(2, 3))[0].double().numpy() if out.ndim == 4 else out[0].double().numpy()
    return vector.ravel()


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / ((np.linalg.norm(a) * np.linalg.norm(b)) or 1.0))


def _input(opened: Opened, pictures: Pictures, report: Report) -> Any:
    """The picture as the network reads it. Shape: (1, channels, rows, columns)."""
    import torch

    graph = opened.wait().graph
    if len(graph.inputs) != 1:
        raise UsageError(f"{opened.name}: it reads {len(graph.inputs)} inputs; one picture cannot serve them all")
    macs = opened.wait().original["totals"]["macs"]
    if macs > _MOST_MACS:
        raise UsageError(f"{opened.name}: {macs / 1e9:.0f} G multiply-adds are too many to run on this page")
    report(0.05, f"building {opened.name}")
    channels, *sizes = opened.shape()
    opened.model()
    return torch.from_numpy(_normalised(pictures.fitted(channels, tuple(sizes))))[None]


def _normalised(pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Centred and scaled as most image networks are fed: mean 0.45, deviation 0.225."""
    return ((pixels - 0.45) / 0.225).astype(np.float32)


def _versions(opened: Opened, asked: Json) -> Iterator[tuple[str, Any]]:
    """(label, plan) for the original and, where it changes something, the plan that was asked for."""
    yield "original", None
    if asked.get("changes"):
        yield "plan", opened.wait().plan(asked)


@contextlib.contextmanager
def _planned(opened: Opened, plan: Any) -> Iterator[Any]:
    """The live model under a plan, put back afterwards; no gradients are kept unless asked for."""
    import torch

    from stridewise.frontends.apply import apply_to_model

    model = opened.model()
    done = apply_to_model(model, plan) if plan is not None else None
    try:
        with torch.no_grad():
            yield model
    finally:
        if done is not None:
            done.undo()


@contextlib.contextmanager
def _kept(model: Any, key: str) -> Iterator[list[Any]]:
    """What the module behind a layer's key gives out, in a list that fills as the model runs."""
    path = key.removeprefix("+").split("#")[0].split("/")[0]
    kept: list[Any] = []
    try:
        module = model.get_submodule(path)
    except AttributeError:
        yield kept
        return
    handle = module.register_forward_hook(lambda _module, _args, out: kept.append(out))
    try:
        yield kept
    finally:
        handle.remove()


def _output_of(model: Any, key: str, x: Any) -> NDArray[Any] | None:
    """The map of a layer, (channels, rows, columns); None where it gives out none."""
    with _kept(model, key) as kept:
        model(x)
    if not kept or getattr(kept[0], "ndim", 0) != 4:
        return None
    found: NDArray[Any] = kept[0][0].float().numpy().copy()
    return found


WORKS: dict[str, Callable[[Opened, Pictures, Json, Report], Json]] = {
    "maps": feature_maps,
    "field": measured_field,
    "latency": latency,
    "shift": shift_test,
}
