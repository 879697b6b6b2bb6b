"""The jobs that need a real forward: feature maps, the measured field, latency, the shift test; `measure` does them."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stridewise.convolution.reading import middle, resized
from stridewise.errors import UsageError
from stridewise.ir import Graph
from stridewise.rewrites.restride import restride
from stridewise.web.areas import elastic_of
from stridewise.web.jobs import Report
from stridewise.web.pictures import Pictures, png
from stridewise.web.workbench import Opened, check, running

if TYPE_CHECKING:
    from stridewise.measuring.variants import Variant

Json = dict[str, Any]
_MAPS, _ROUNDS, _MOST_SHIFT, _OTHERS, _KEPT_INPUTS = 12, 15, 64, 4, 4
_NO_MAP = "{}: makes no map of positions under what is compared; choose another layer"


def feature_maps(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """The layer's most varied channels on the picture, under each of the plans that are compared.

    One grey scale a channel, the same for all, so that they can be compared.
    """
    key = str(asked.get("layer", ""))
    check(opened, "maps", report)
    x = _input(opened, pictures)
    outs: list[tuple[str, NDArray[Any]]] = []
    with running(opened, asked) as every:
        for name, plan, variant in every:
            report(0.3 + 0.4 * len(outs), f"running {name}")
            promised = opened.wait().graph if plan is None else restride(opened.wait().graph, plan).graph
            found = _map(variant, promised, key, x)
            if found is not None:
                outs.append((name, found))
    if not outs:
        raise UsageError(_NO_MAP.format(key or "no layer"))
    last = outs[-1][1]
    order = np.argsort(-last.var(axis=(1, 2)), kind="stable")[:_MAPS]
    report(0.9, "drawing")
    return {
        "layer": key,
        "channels": [int(c) for c in order],
        "of": len(last),
        "random": opened.random,
        "maps": [
            {"plan": name, "size": list(found.shape[1:]), "pictures": _pictures(found, [f for _, f in outs], order)}
            for name, found in outs
        ],
    }


def _map(variant: Variant, promised: Graph, key: str, x: Any) -> NDArray[Any] | None:
    """What a layer makes of one picture, (channels, rows, columns); None where it has no such map."""
    from stridewise.measuring.inside import node_maps
    from stridewise.measuring.onnx_run import file_maps

    node = promised.node_named(key)
    if node is None or node.grid is None:
        return None
    own = _keys(variant.graph, promised).get(key, key)
    if variant.model is None:
        made = file_maps(variant.file, [own], x).get(own)
    else:
        made = node_maps(variant.model, variant.graph, [own], x).get(own)
    if made is None or made.dim() != 4 or tuple(made.shape[2:]) != promised.grids[node.grid].sizes:
        return None
    out: NDArray[Any] = made[0].float().numpy()
    return out


def _keys(graph: Graph, promised: Graph) -> Mapping[str, str]:
    """What a changed file calls the steps that a plan inserted: the names that only one side has, in order."""
    names = [[n.key for n in g.nodes if n.key and (n.site or n.counted)] for g in (promised, graph)]
    new, own = ([k for k in one if k not in set(other)] for one, other in (names, names[::-1]))
    return dict(zip(new, own, strict=True)) if len(new) == len(own) else {}


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
    """Where the input moves one position of a layer: its gradient's size, as a picture of heat. Of the last plan."""
    from stridewise.measuring.field import HOLDS, field_energy

    key, at = str(asked.get("layer", "")), asked.get("position")
    if not isinstance(at, list) or len(at) != 2 or any(not isinstance(n, int) for n in at):
        raise UsageError("position: a row and a column are wanted")
    check(opened, "field", report)
    x = _input(opened, pictures)
    with running(opened, asked) as every:
        name, _, variant = every[-1]
        report(0.4, f"running {name}, forwards and backwards")
        energy = field_energy(variant.model, variant.graph, key, x, at)  # type: ignore[arg-type]  # no file here
    order = np.sort(energy.ravel())[::-1]
    reach = int(np.searchsorted(np.cumsum(order), HOLDS * order.sum()) + 1)
    return {
        "layer": key,
        "position": at,
        "picture": _data((energy / (float(energy.max()) or 1.0))[None] ** 0.25),
        "share": reach / energy.size,
        "holds": HOLDS,
        "random": opened.random,
    }


def latency(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """One forward under each of the plans that are compared, taken in turn: `measure`'s record of each."""
    import torch

    from stridewise.measuring.latency import latency as timed

    check(opened, "latency", report)
    x = torch.rand(1, *opened.shape())  # what is on it takes no part in how long it takes
    with running(opened, asked) as every:
        found = timed(
            {name: variant.call for name, _, variant in every},
            x,
            rounds=_ROUNDS,
            threads=torch.get_num_threads(),
            tick=lambda done, of: report(done / of, f"round {done} of {of}"),
        )
    return {"plans": [one.to_json() for one in found], "by": "onnxruntime" if opened.is_file else "PyTorch"}


def elastic_latency(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """One forward under each plan of the one network of several costs, in turn: a copy of it, which is switched."""
    import torch

    from stridewise.measuring.latency import latency as timed

    check(opened, "elastic", report)
    net = elastic_of(copy.deepcopy(opened.model()), opened.wait().graph).eval()
    rows = timed(
        {name: lambda x, name=name: net.use(name)(x) for name in net.plans},
        torch.rand(1, *opened.shape()),
        rounds=_ROUNDS,
        threads=torch.get_num_threads(),
        tick=lambda done, of: report(0.1 + 0.9 * done / of, f"round {done} of {of}"),
    )
    return {"plans": [one.to_json() for one in rows]}


def shift_test(opened: Opened, pictures: Pictures, asked: Json, report: Report) -> Json:
    """How far the network's output moves when the picture moves by 1, 2, ... pixels; 1 is as much as another picture,
    or none of its boxes found again.

    Real pixels come in at the border. The curve of each of the plans that are compared has the period of its stride.
    """
    import torch

    from stridewise.measuring.curve import change_curve
    from stridewise.measuring.pictures import load_pictures

    axis = asked.get("axis", 1)
    if axis not in (0, 1):
        raise UsageError("axis: 0 for up and down, 1 for sideways")
    check(opened, "shift", report)
    _, *sizes = opened.shape()
    with running(opened, asked) as every:
        strides = [variant.coarsest[axis] for _, _, variant in every]
        far = min(max(2 * max(strides), 8), _MOST_SHIFT)
        wide = tuple(n + (far if a == axis else 0) for a, n in enumerate(sizes))
        picture = torch.from_numpy(resized(middle(pictures.pixels(), wide), wide)).float()
        others = load_pictures(None, sizes, _OTHERS).pixels
        still = torch.from_numpy(others.copy()).permute(0, 3, 1, 2).float() / 255
        curves = []
        for at, (name, _, variant) in enumerate(every):

            def tick(done: int, at: int = at, name: str = name) -> None:
                report((at + done / (far + 1)) / len(every), f"{name}: moved by {done - 1} of {far} pixels")

            change = change_curve(
                variant.network().predict,
                opened.standardised(picture[None]),
                opened.standardised(still),
                sizes,
                axis,
                tick=tick,
            )
            numbers = [round(float(c), 6) for c in change.values]
            curves.append({"plan": name, "stride": strides[at], "of": change.of, "change": numbers})
    return {
        "axis": axis,
        "shifts": list(range(far + 1)),
        "curves": curves,
        "random": opened.random,
        "picture": "data:image/png;base64," + base64.b64encode(png(picture.numpy())).decode(),
        "size": list(sizes),
    }


def incoming(opened: Opened, pictures: Pictures, key: str) -> NDArray[Any]:
    """What comes into a module on the picture, (channels, rows, columns); of the last few it is kept.

    Raises: UsageError where the network cannot be run here, or the module reads no map.
    """
    at = (key, pictures.number)
    if at not in opened.inner:
        check(opened, "maps", lambda share, doing: None)
        found = _module_input(opened.model(), key, _input(opened, pictures))
        while len(opened.inner) >= _KEPT_INPUTS:
            opened.inner.pop(next(iter(opened.inner)))
        opened.inner[at] = found
    kept: NDArray[Any] = opened.inner[at]
    return kept


def _module_input(model: Any, key: str, x: Any) -> NDArray[Any]:
    """The first input of the module's call that `key` counts ("fc#2"), in one forward. Raises: UsageError."""
    import torch

    path, _, call = key.partition("#")
    met: list[Any] = []
    handle = model.get_submodule(path).register_forward_pre_hook(lambda module, inputs: met.append(inputs[0]))
    try:
        with torch.no_grad():
            model.eval()(x)
    finally:
        handle.remove()
    number = int(call) - 1 if call.isdigit() else 0
    if number >= len(met) or met[number].dim() != 4:
        raise UsageError(f"{key}: reads no map on this picture; choose another layer")
    found: NDArray[Any] = met[number][0].float().numpy()
    return found


def _input(opened: Opened, pictures: Pictures) -> Any:
    """The picture as the network reads it. Shape: (1, channels, rows, columns)."""
    import torch

    channels, *sizes = opened.shape()
    return opened.standardised(torch.from_numpy(pictures.fitted(channels, tuple(sizes))).float()[None])


WORKS: dict[str, Callable[[Opened, Pictures, Json, Report], Json]] = {
    "maps": feature_maps,
    "field": measured_field,
    "latency": latency,
    "elastic": elastic_latency,
    "shift": shift_test,
}
