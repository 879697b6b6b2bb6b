"""An ONNX file as something to call: its output, the maps inside it, its own filters; onnxruntime runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from stridewise.errors import MissingExtraError, UsageError
from stridewise.measuring.intervals import Floats

_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}


def file_call(path: str, shape: Sequence[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """What runs a batch (N, *shape) through a file and gives its first output; shape: channels and sizes.

    Raises: MissingExtraError without onnxruntime; UsageError for a file that takes no pictures of real numbers.
    """
    run = _runner(_session(path), *_entry(path, shape))
    return lambda x: run(x)[0]


def file_maps(path: str, keys: Sequence[str], x: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """By layer key what the node makes of the pictures x (N, channels, *sizes), for those keys that the file has."""
    from stridewise.onnxfile.file import load
    from stridewise.onnxfile.read import read_model

    shape = tuple(x.shape[1:])
    model, folder, name = load(path)
    graph, walk = read_model(model, folder, shape, name)
    asked: dict[str, str] = {}
    for key in keys:
        node = graph.node_named(key)
        part, at = walk.made[node.index] if node is not None else (-1, 0)
        if part == 0:  # inside a branch of an If nothing can be taken out
            asked[key] = model.graph.node[at].output[0]
    if not asked:
        return {}
    found = _with_outputs(model, folder, list(dict.fromkeys(asked.values())))
    outs = dict(zip(dict.fromkeys(asked.values()), _runner(found, *_entry(path, shape))(x), strict=True))
    return {key: outs[value] for key, value in asked.items()}


def file_filter(path: str, key: str) -> Floats:
    """The weights of a convolution, (channels out, channels in / groups, *kernel). Raises: UsageError where it has none
    of its own that stand in the file."""
    from onnx import numpy_helper

    from stridewise.onnxfile.file import load
    from stridewise.onnxfile.read import read_model

    model, folder, name = load(path)
    graph, walk = read_model(model, folder, None, name)
    node = graph.node_named(key)
    if node is not None:
        part, at = walk.made[node.index]
        made = walk.parts[part].node[at]
        kept = {tensor.name: tensor for tensor in model.graph.initializer}
        if made.op_type == "Conv" and made.input[1] in kept:
            array: Floats = numpy_helper.to_array(kept[made.input[1]], str(folder or "")).astype(np.float64)
            return array
    raise UsageError(f"{key}: has no filter of its own in the file; choose a convolution")


def _session(model: Any) -> Any:
    """A session on as many threads as torch takes. model: a path, or a whole model's bytes."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnxruntime", "onnx", "running an ONNX file") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _entry(path: str, shape: Sequence[int]) -> tuple[str, bool]:
    """The name of the input that takes pictures, and whether it wants their channels last."""
    from stridewise.onnxfile.file import load
    from stridewise.onnxfile.layout import input_shapes

    model, _, name = load(path)
    ((key, (_, layout)),) = list(input_shapes(model.graph, tuple(shape), name).items())[:1]
    return key, layout == "last"


def _runner(session: Any, key: str, last: bool) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """What runs a batch through a session, in parts of the size the file was made for, the last one filled up."""
    entry = next(e for e in session.get_inputs() if e.name == key)
    kind = _TYPES.get(entry.type)
    if kind is None:
        raise UsageError(f"{key}: takes {entry.type}, and pictures here are real numbers: export it with float inputs")
    fixed = entry.shape[0] if entry.shape and isinstance(entry.shape[0], int) else 0

    def call(x: torch.Tensor) -> list[torch.Tensor]:
        given = x.movedim(1, -1) if last else x
        numbers = given.to(kind).cpu().contiguous().numpy()
        step = fixed or len(numbers)
        rows = []
        for begin in range(0, len(numbers), step):
            part = numbers[begin : begin + step]
            missing = step - len(part)
            whole = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            outs = session.run(None, {key: whole})
            rows.append([out[: len(part)] if missing else out for out in outs])
        return [torch.from_numpy(np.concatenate(column)) for column in zip(*rows, strict=True)]

    return call


def _with_outputs(model: Any, folder: Path | None, names: Sequence[str]) -> Any:
    """A session of the model that gives out these values and nothing else; what they do not need is not run."""
    from onnx import TensorProto, ValueInfoProto

    from stridewise.onnxfile.write import write

    outside = any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer)
    del model.graph.output[:]
    model.graph.output.extend(ValueInfoProto(name=name) for name in names)
    if not outside:
        return _session(model.SerializeToString())
    with TemporaryDirectory(prefix="stridewise-") as place:
        write(model, folder, Path(place) / "inside.onnx")
        return _session(str(Path(place) / "inside.onnx"))
