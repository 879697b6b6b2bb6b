"""New steps in an ONNX file without kept weights: other strides, end padding, steps inserted at sites and slots."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import onnx
from onnx import helper

from stridewise.axis import Window
from stridewise.errors import PlanError, once
from stridewise.ir import Graph, Node
from stridewise.onnxfile.edit import OPERANDS, Editor, Spot
from stridewise.onnxfile.names import STEP
from stridewise.ops.registry import only_pads
from stridewise.ops.step import Inserted
from stridewise.plans import Plan
from stridewise.rewrites.kinds import made_by
from stridewise.rewrites.places import place_of
from stridewise.rewrites.restride import Restrided

# From here on a padding can go on from the other end.
_WRAPS = 19
POOLS = {"max": "MaxPool", "mean": "AveragePool"}
IN_FILES = ("stride", *POOLS, "blur")


def restep_file(edit: Editor, graph: Graph, plan: Plan, expected: Restrided) -> list[str]:
    """Carry a plan out on the file's nodes; a line for each change. Raises: PlanError where a kind has no such form."""
    lines = [line for key in plan.sites for line in _site(edit, graph, key, plan)]
    for key, axis, rows in expected.pads:
        node = graph.node_named(key)
        assert node is not None
        spot = edit.at(node.index)
        rank = 2 + len(node.attrs["maps"])
        pads = [0] * 2 * rank
        pads[rank + 2 + axis] = rows
        spot.node.input[0] = spot.add("Pad", spot.node.input[0], spot.ints(*pads), since=OPERANDS, mode="edge")
        lines.append(f"{key}: {rows} more of padding at the end of axis {axis}, to meet its parallel path")
    return [*lines, *(_slot(edit, graph, key, plan) for key in plan.insert)]


def _site(edit: Editor, graph: Graph, key: str, plan: Plan) -> list[str]:
    """The op's own stride, or a stride of 1 and a step behind or before it."""
    setting, node = plan.sites[key], graph.node_named(key)
    assert node is not None
    spot, by = edit.at(node.index), once(setting.stride)
    made = made_by(setting)
    if made is None:
        if setting.downsample != "stride":
            raise PlanError(f"{key}: '{setting.downsample}' is not done in a file; apply it to the model, then export")
        spot.set("strides", list(setting.stride))
        _pad_itself(edit, graph, node)
        return [f"{key}: stride {once(setting.was)} -> {by}"]
    spot.set("strides", [1] * len(setting.stride))
    place = place_of(graph, node, made.kind)
    if place.reader is not None:
        _check(key, made)
        spot.node.input[0] = _step(spot, str(spot.node.input[0]), made, _channels(graph, place.tensor), False)
    else:
        _behind(edit, graph, place.tensor, key, made)
    where = "before" if place.reader is not None else "behind"
    return [f"{key}: stride {once(setting.was)} -> 1, {made.kind} step of {by} {where} it"]


def _pad_itself(edit: Editor, graph: Graph, node: Node) -> None:
    """Let a window pad by the rule of "SAME" where a Pad before it did, worked out for the old stride."""
    rules = {m.same for m in node.attrs["maps"] if isinstance(m, Window)} - {""}
    pad = next((n for n in graph.nodes if node.inputs[0] in n.outputs), None)
    spot = edit.at(node.index)
    if not rules or pad is None or not only_pads(pad) or any(a.name == "auto_pad" for a in spot.node.attribute):
        return
    before = edit.at(pad.index)
    before.becomes("Identity", str(before.node.input[0]))
    spot.set("pads", None)
    spot.set("auto_pad", "SAME_UPPER" if rules == {"end"} else "SAME_LOWER")


def _slot(edit: Editor, graph: Graph, key: str, plan: Plan) -> str:
    """A step behind the slot's tensor, or other strides for the one that is there."""
    made = made_by(plan.insert[key], slot=True)
    assert made is not None
    slot = next(s for s in graph.slots if s.key == key or key in s.aliases)
    if slot.node is None:
        _behind(edit, graph, slot.tensor, f"+{key}", made, slot.key)
    else:
        if made.kind not in POOLS or slot.kind not in POOLS:
            raise PlanError(f"+{key}: a {slot.kind} step stands there; change it in the model the file was made from")
        spot = edit.at(slot.node)
        steps = list(made.stride)
        spot.becomes(POOLS[made.kind], str(spot.node.input[0]), kernel_shape=steps, strides=steps)
    return f"+{key}: {made.kind} step of {once(made.stride)} behind it"


def _behind(edit: Editor, graph: Graph, tensor: int, key: str, made: Inserted, slot: str = "") -> None:
    """A step behind what made a tensor; it gives what the tensor's name stands for from then on."""
    _check(key, made)
    maker = next((n for n in graph.nodes if tensor in n.outputs), None)
    if maker is None:
        raise PlanError(f"{key}: a step of the input itself; resize the input instead")
    spot = edit.at(maker.index)
    output = [name for name in spot.node.output if name][maker.outputs.index(tensor)]
    inner = edit.name(spot.name)
    edit.walk.kinds[inner] = edit.walk.kinds[output]
    spot.node.output[list(spot.node.output).index(output)] = inner
    _step(spot, inner, made, _channels(graph, tensor), True)
    last = spot.behind[-1]
    last.output[0] = output
    if slot:
        last.metadata_props.append(onnx.StringStringEntryProto(key=STEP, value=slot))


def _check(key: str, made: Inserted) -> None:
    if made.kind not in IN_FILES:
        raise PlanError(f"{key}: '{made.kind}' is not done in a file; apply it to the model, then export")


def _channels(graph: Graph, tensor: int) -> int:
    return graph.tensors[tensor].shape[1]


def _step(spot: Spot, x: str, made: Inserted, channels: int, behind: bool) -> str:
    """The nodes of a step on x; the name of what it makes. As `tracing.steps` does it on a live model."""
    windows = made.windows
    facts: dict[str, Any] = {"kernel_shape": [w.kernel for w in windows], "strides": [w.stride for w in windows]}
    if made.kind in POOLS:
        if any(w.ceil_mode for w in windows):
            facts["ceil_mode"] = 1
        return spot.add(POOLS[made.kind], x, behind=behind, **facts)
    taps = [[math.comb(w.kernel - 1, i) / 2 ** (w.kernel - 1) for i in range(w.kernel)] for w in windows]
    kernel = np.array([math.prod(each) for each in itertools.product(*taps)])
    shaped = np.broadcast_to(kernel.reshape(1, 1, *facts["kernel_shape"]), (channels, 1, *facts["kernel_shape"]))
    dtype = helper.tensor_dtype_to_np_dtype(spot.edit.walk.kinds[x].elem)
    weight = spot.edit.constant(shaped.astype(dtype))
    begin, end = [w.pad_begin for w in windows], [w.pad_end for w in windows]
    if made.border == "zero":
        facts["pads"] = [*begin, *end]
    else:
        mode = {"reflect": "reflect", "circular": "wrap"}[made.border]
        pads = spot.ints(0, 0, *begin, 0, 0, *end)
        since = _WRAPS if mode == "wrap" else OPERANDS
        x = spot.add("Pad", x, pads, behind=behind, since=since, mode=mode)
    return spot.add("Conv", x, weight, behind=behind, group=channels, **facts)
