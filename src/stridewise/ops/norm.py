"""Normalisation: per channel (nothing moves), over channels, over groups of positions (everything is let in)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import digits, is_plain
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Draw, Given, Trial, Weight, X


def _read_batch(call: Call) -> Reading:
    x = call.value(0)
    # Instance normalisation arrives here as batch normalisation with the input's own statistics.
    own = call.arg(5, "training", False) is True
    reading = call.mixed(x) if own else call.same(x)
    reading.attrs["several"] = own and x.shape[0] == 1
    reading.outs = [reading.outs[0], *[(None, None)] * (len(call.outs) - 1)]
    reading.keeps = "input"
    reading.attrs["statistics"] = 2 * x.shape[1]  # mean and deviation of each channel, kept in training
    return reading


def _read_layer(call: Call) -> Reading:
    x = call.value(0)
    over = len(call.arg(1, "normalized_shape"))
    if over == 1:
        x = call.gathered(x, len(x.shape) - 1)
    if all(is_plain(dim) for dim in x.known[len(x.shape) - over :]):
        reading = call.same(x, keeps="all")
    else:
        reading = call.mixed(x, range(len(x.shape) - over, len(x.shape)))
        reading.keeps = "all"
        for dim in x.known[len(x.shape) - over :]:
            for d in digits(dim):
                held = f"normalised over {d.count} positions by a layer made for them"
                call.pin("flatten", d.grid, held, axes=(d.axis,))
    out, grid = reading.outs[0]
    statistics = (*(out or ())[: len(x.shape) - over], *((1,),) * over)  # one mean and deviation for each token
    reading.outs = [(out, grid), *[(statistics, grid)] * (len(call.outs) - 1)]
    return reading


def _read_group(call: Call) -> Reading:
    reading = call.mixed(call.value(0))
    if call.target.startswith("aten."):  # torch refuses a mean of one number
        batch, channels, groups = call.arg(3, "N"), call.arg(4, "C"), call.arg(6, "group")
        reading.attrs["several"] = batch * channels == groups
    reading.outs = reading.outs[:1] + [(None, None)] * (len(call.outs) - 1)
    reading.keeps = "all"
    return reading


def _read_onnx_batch(call: Call) -> Reading:
    x = call.value(0)
    reading = call.mixed(x) if call.kwargs.get("training_mode", 0) else call.same(x)
    reading.outs = [reading.outs[0], *[(None, None)] * (len(call.outs) - 1)]
    reading.keeps = "input"
    reading.attrs["statistics"] = 2 * x.shape[1]  # mean and deviation of each channel, kept in training
    return reading


def _read_onnx_layer(call: Call) -> Reading:
    x = call.value(0)
    axis = call.kwargs.get("axis", -1) % len(x.shape)
    over = range(axis, axis + 1 if call.target == "LpNormalization" else len(x.shape))
    if len(over) == 1:
        x = call.gathered(x, axis)
    reading = call.same(x) if all(is_plain(x.known[i]) for i in over) else call.mixed(x, over)
    reading.outs = reading.outs[:1] + [(None, None)] * (len(call.outs) - 1)
    reading.keeps = "input"
    return reading


def _read_onnx_local(call: Call) -> Reading:
    return call.same(call.value(0), keeps="input")


def _layer(*ranks: int) -> Callable[..., Any]:
    """How a layer that takes operands of these ranks says its call, where it has running statistics."""

    def say(layer: Any, holder: Any, rank: int) -> tuple[str, tuple[Any, ...], tuple[Any, ...]] | None:
        held, buffers = holder._parameters, holder._buffers
        mean, variance = buffers.get("running_mean"), buffers.get("running_var")
        if rank not in ranks or mean is None or variance is None or len(held) != 2:
            return None
        numbers = False, layer.momentum or 0.0, layer.eps
        return "aten.native_batch_norm.default", (held["weight"], held["bias"], mean, variance), numbers

    return say


def _space(draw: Draw, target: str) -> Trial | None:
    shape, vector = draw.shape(draw.whole(1, 3)), Weight((4,), 0.5, 1.5)
    statistics = (vector, vector, vector, vector)
    by_target: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "aten.native_batch_norm": ((X, *statistics, False, 0.1, 1e-5), {}),
        "aten._native_batch_norm_legit_no_training": ((X, *statistics, 0.1, 1e-5), {}),
        "aten._native_batch_norm_legit": ((X, *statistics, draw.of((False, True)), 0.1, 1e-5), {}),
        "aten._batch_norm_no_update": ((X, *statistics, 0.1, 1e-5), {}),
        "aten.cudnn_batch_norm": ((X, *statistics, False, 0.1, 1e-5), {}),
        "aten.native_layer_norm": ((X, shape[-1:], None, None, 1e-5), {}),
        "aten.native_group_norm": ((X, 2, vector, vector), {}),
        "BatchNormalization": ((X, *statistics), {}),
        "LayerNormalization": ((Given("last"), vector, vector), {"axis": -1}),
        "RMSNormalization": ((Given("last"), vector), {"axis": -1}),
        "LpNormalization": ((X,), {"axis": draw.dim(shape), "p": draw.of((1, 2))}),
        "InstanceNormalization": ((X, vector, vector), {}),
        "GroupNormalization": ((X, vector, vector), {"num_groups": 2}),
        "MeanVarianceNormalization": ((X,), {"axes": [0, *range(2, len(shape) + 1)]}),
        "LRN": ((X,), {"size": 3}),
    }
    args, facts = by_target[target]
    if target == "aten.native_layer_norm" and draw.of((True, False)):
        args = (Given("last"), [4], vector, vector, 1e-5)
    runs = target != "aten.cudnn_batch_norm"
    call = "group_norm" if target == "aten.native_group_norm" else target
    return Trial(call=call, shape=shape, args=args, kwargs=facts, runs=runs, opset=23 if "RMS" in target else 21)


register(
    Op(
        name="batch_norm",
        about="batch normalisation with running statistics: a scale and a shift for each channel",
        mixes="everything",
        dilated=("same", "phases", "mixes"),
        space=_space,
        between="affine",
        functions={"batch_norm": {}, "instance_norm": {}},
        layers={"BatchNorm1d": _layer(2, 3), "BatchNorm2d": _layer(4), "BatchNorm3d": _layer(5)},
        shapes={"aten.native_batch_norm.default": "batch norm"},
        passes_lost=True,
        outputs=1,
        torch=(
            "aten.native_batch_norm",
            "aten._native_batch_norm_legit_no_training",
            "aten._native_batch_norm_legit",
            "aten.cudnn_batch_norm",
            "aten._batch_norm_no_update",
        ),
        onnx=("BatchNormalization",),
        read=_read_batch,
        read_onnx=_read_onnx_batch,
    )
)
register(
    Op(
        name="layer_norm",
        about="normalisation over the last dimensions",
        mixes="axis",
        dilated=("same", "phases", "mixes"),
        space=_space,
        between="bends",
        functions={"layer_norm": {}},
        shapes={"aten.native_layer_norm.default": "layer norm"},
        passes_lost=True,
        torch=("aten.native_layer_norm",),
        onnx=("LayerNormalization", "RMSNormalization", "LpNormalization"),
        read=_read_layer,
        read_onnx=_read_onnx_layer,
    )
)
register(
    Op(
        name="group_norm",
        about="normalisation over groups of channels and all positions",
        mixes="everything",
        dilated=("phases", "mixes"),
        space=_space,
        between="bends",
        functions={"group_norm": {}},
        torch=("aten.native_group_norm",),
        onnx=("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization"),
        read=_read_group,
    )
)
register(
    Op(
        name="local_norm",
        about="normalisation over neighbouring channels (local response normalisation)",
        mixes="channels",
        dilated=("same",),
        space=_space,
        between="bends",
        onnx=("LRN",),
        read=_read_onnx_local,
    )
)
