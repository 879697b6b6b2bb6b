"""The jobs that need a real forward: feature maps, the measured field, latency, the shift test; `measure` does them."""

from __future__ import annotations

import base64
import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stridewise.errors import UsageError
from stridewise.rewrites.restride import restride
from stridewise.web.jobs import Report
from stridewise.web.pictures import Pictures, middle, png, resized
from stridewise.web.workbench import Opened

Json = dict[str, Any]
_MAPS, _ROUNDS, _MOST_SHIFT, _OTHERS = 12, 15, 64, 4
_MOST_MACS = 200e9
_NO_MAP = "{}: no module gives out this map by itself; choose the layer before or behind it"


def feature_maps(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """The layer's most varied channels on the picture, under the original and under the plan.

    One grey scale a channel, the same for both, so that they can be compared.
    """
    from stridewise.measure.capture import run_watched

    key = str(asked.get("layer", ""))
    x = _input(opened, pictures, report)
    outs: list[tuple[str, NDArray[Any]]] = []
    for label, plan in _versions(opened, asked):
        report(0.3 + 0.4 * len(outs), f"running {label}")
        with _planned(opened, plan) as model:
            path = _path(model, key)
            found = next(iter(run_watched(model, [path], x))).get(path) if path else None
        if found is not None and found[1].dim() == 4 and found[1].shape[2:] == _size(opened, plan, key):
            outs.append((label, found[1][0].float().numpy()))
    if not outs:
        raise UsageError(_NO_MAP.format(key))
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
        out.append(_data(((found[channel] - low) / ((high - low) or 1.0))[None]))
    return out


def _data(levels: NDArray[Any]) -> str:
    return "data:image/png;base64," + base64.b64encode(png(levels)).decode()


def measured_field(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """Where the input moves one position of a layer: its gradient's size, as a picture of heat."""
    from stridewise.measure.capture import run_watched
    from stridewise.measure.field import HOLDS, field_energy

    key, at = str(asked.get("layer", "")), asked.get("position")
    if not isinstance(at, list) or len(at) != 2 or any(not isinstance(n, int) for n in at):
        raise UsageError("position: a row and a column are wanted")
    x = _input(opened, pictures, report)
    label, plan = list(_versions(opened, asked))[-1]
    report(0.4, f"running {label}, forwards and backwards")
    with _planned(opened, plan) as model:
        path = _path(model, key)
        if path is None or next(iter(run_watched(model, [path], x)))[path][1].shape[2:] != _size(opened, plan, key):
            raise UsageError(_NO_MAP.format(key))
        energy = field_energy(model, path, x, at)
    order = np.sort(energy.ravel())[::-1]
    reach = int(np.searchsorted(np.cumsum(order), HOLDS * order.sum()) + 1)
    return {
        "layer": key,
        "position": at,
        "picture": _data((energy / (float(energy.max()) or 1.0))[None] ** 0.25),
        "share": reach / energy.size,
        "holds": HOLDS,
        "random": opened.weights is None,
    }


def latency(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """One forward under the original and the plan, taken in turn: `measure`'s record of each."""
    import torch

    from stridewise.frontends.apply import apply_to_model
    from stridewise.measure.latency import latency as timed

    _check(opened, report)
    x = torch.rand(1, *opened.shape())  # what is on it takes no part in how long it takes
    models = {}
    for label, plan in _versions(opened, asked):
        models[label] = opened.model() if plan is None else copy.deepcopy(opened.model())
        if plan is not None:
            apply_to_model(models[label], plan)
    found = timed(
        models,
        x,
        rounds=_ROUNDS,
        threads=torch.get_num_threads(),
        tick=lambda done, of: report(done / of, f"round {done} of {of}"),
    )
    return {"plans": [one.to_json() for one in found]}


def shift_test(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """How far the network's output moves when the picture moves by 1, 2, ... pixels; 1 is as much as another picture.

    Real pixels come in at the border.
    """
    import torch

    from stridewise.measure.curve import change_curve
    from stridewise.measure.pictures import load_pictures
    from stridewise.measure.variants import first_output

    axis = asked.get("axis", 1)
    if axis not in (0, 1):
        raise UsageError("axis: 0 for up and down, 1 for sideways")
    _check(opened, report)
    channels, *sizes = opened.shape()
    strides = opened.wait().original["totals"]["output_stride"]
    if len(sizes) != 2 or channels != 3:
        raise UsageError(f"{opened.name}: the shift test needs a network that reads pictures of three channels")
    step = strides[axis] if isinstance(strides[axis], int) else 32
    far = min(max(2 * step, 8), _MOST_SHIFT)
    wide = tuple(n + (far if a == axis else 0) for a, n in enumerate(sizes))
    picture = torch.from_numpy(resized(middle(pictures.pixels(), wide), wide)).float()
    others = load_pictures(None, sizes, _OTHERS).pixels
    still = torch.from_numpy(others.copy()).permute(0, 3, 1, 2).float() / 255
    curves, versions = [], list(_versions(opened, asked))
    for at, (label, plan) in enumerate(versions):

        def tick(done: int, at: int = at, label: str = label) -> None:
            report((at + done / (far + 1)) / len(versions), f"{label}: moved by {done - 1} of {far} pixels")

        with _planned(opened, plan) as model:
            change = change_curve(
                _predict(model, first_output),
                opened.standardised(picture[None]),
                opened.standardised(still),
                sizes,
                axis,
                tick=tick,
            )
        curves.append({"plan": label, "change": [round(float(c), 6) for c in change]})
    return {
        "axis": axis,
        "shifts": list(range(far + 1)),
        "curves": curves,
        "stride": step,
        "random": opened.weights is None,
        "picture": "data:image/png;base64," + base64.b64encode(png(picture.numpy())).decode(),
        "size": list(sizes),
    }


def _predict(model: Any, first: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda views: first(model(views))


def _input(opened: Opened, pictures: Pictures, report: Report) -> Any:
    """The picture as the network reads it. Shape: (1, channels, rows, columns)."""
    import torch

    _check(opened, report)
    channels, *sizes = opened.shape()
    return opened.standardised(torch.from_numpy(pictures.fitted(channels, tuple(sizes))).float()[None])


def _check(opened: Opened, report: Report) -> None:
    """Refuse what cannot be run here, and build what can."""
    graph = opened.wait().graph
    if len(graph.inputs) != 1:
        raise UsageError(f"{opened.name}: it reads {len(graph.inputs)} inputs; one picture cannot serve them all")
    macs = opened.wait().original["totals"]["macs"]
    if macs > _MOST_MACS:
        raise UsageError(
            f"{opened.name}: {macs / 1e9:.0f} G multiply-adds are too many to run on this page; its geometry works on. "
            "Start with a smaller --input, or run `stridewise measure` in a terminal"
        )
    report(0.05, f"building {opened.name}")
    opened.model()


def _versions(opened: Opened, asked: Json) -> Iterator[tuple[str, Any]]:
    """(label, plan) for the original and, where it changes something, the plan that was asked for."""
    yield "original", None
    if asked.get("changes"):
        yield "plan", opened.wait().plan(asked)


@contextlib.contextmanager
def _planned(opened: Opened, plan: Any) -> Iterator[Any]:
    """The live model under a plan, put back afterwards."""
    from stridewise.frontends.apply import apply_to_model

    model = opened.model()
    done = apply_to_model(model, plan) if plan is not None else None
    try:
        yield model
    finally:
        if done is not None:
            done.undo()


def _path(model: Any, key: str) -> str | None:
    """The path to watch for a layer's key: its module, "+module" for the step behind it; None where there is none."""
    from stridewise.frontends.step import step_of

    path, _, inside = key.split("#")[0].partition("/")
    try:
        module = model.get_submodule(path.removeprefix("+"))
    except AttributeError:
        return None
    return f"+{path}" if inside and step_of(module) is not None else path


def _size(opened: Opened, plan: Any, key: str) -> tuple[int, ...] | None:
    """What a layer's map measures under a plan, None where it has none."""
    graph = opened.wait().graph
    graph = graph if plan is None else restride(graph, plan).graph
    node = graph.node_named(key)
    return None if node is None or node.grid is None else graph.grids[node.grid].sizes


WORKS: dict[str, Callable[[Opened, Pictures, Json, Report], Json]] = {
    "maps": feature_maps,
    "field": measured_field,
    "latency": latency,
    "shift": shift_test,
}
