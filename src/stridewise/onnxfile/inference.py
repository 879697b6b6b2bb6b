"""What onnx's own inference says of sizes: once for the whole graph, and node by node where sizes are others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import onnx
from onnx import TensorProto, helper, shape_inference

from stridewise.onnxfile.nodes import LIMIT


class Kind(NamedTuple):
    """Element type of a value, and its sizes; None where they are not known."""

    elem: int
    shape: tuple[int, ...] | None

    def proto(self) -> onnx.TypeProto:
        """The same for onnx."""
        return helper.make_tensor_type_proto(self.elem, self.shape)


def kind_of(kind: onnx.TypeProto) -> Kind | None:
    """The element type and sizes that a type states; None where it is no tensor's."""
    if not kind.HasField("tensor_type"):
        return None
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return Kind(tensor.elem_type, None)
    shape = tuple([d.dim_value for d in tensor.shape.dim])
    known = all(shape) or all(d.HasField("dim_value") for d in tensor.shape.dim)
    return Kind(tensor.elem_type, shape if known else None)


def inferred(model: onnx.ModelProto, inputs: Mapping[str, Kind]) -> dict[str, Kind]:
    """The kinds of all values of the graph where its inputs are these; nothing of those that onnx cannot tell.

    What the file itself says of sizes is not asked: it may hold for other inputs. No weight is read. Entries are not
    followed: onnx writes one down for every position of a row, however long a damaged file makes it.
    """
    try:
        found = shape_inference.infer_shapes(_outline(model, inputs))
    except Exception:  # noqa: BLE001 - it gives up on some graphs as a whole; each node is asked then
        return {}
    kinds = {info.name: kind_of(info.type) for info in (*found.graph.value_info, *found.graph.output)}
    return {name: kind for name, kind in kinds.items() if kind is not None and kind.shape is not None}


def _outline(model: onnx.ModelProto, inputs: Mapping[str, Kind]) -> onnx.ModelProto:
    """The model with these inputs, without the entries of large constants and without what it says of sizes."""
    out = onnx.ModelProto(ir_version=model.ir_version)
    out.opset_import.extend(model.opset_import)
    graph = out.graph
    graph.name = "outline"
    graph.node.extend(model.graph.node)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= LIMIT:
            graph.initializer.append(tensor)
        else:
            graph.initializer.append(TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type))
    graph.input.extend([onnx.ValueInfoProto(name=name, type=kind.proto()) for name, kind in inputs.items()])
    graph.output.extend([onnx.ValueInfoProto(name=info.name) for info in model.graph.output])
    return out


def infer_node(
    node: onnx.NodeProto,
    schema: Any,
    kinds: Mapping[str, Kind],
    data: Mapping[str, TensorProto],
    imports: Sequence[onnx.OperatorSetIdProto],
    ir_version: int,
) -> list[Kind | None]:
    """The kinds of a node's outputs by onnx's inference on this node alone. kinds, data: of its operands.

    Raises: whatever onnx raises where the node does not take them.
    """
    types = {name: kind.proto() for name, kind in kinds.items()}
    found = shape_inference.infer_node_outputs(
        schema,
        node,
        types,
        dict(data),
        opset_imports=list(imports),
        ir_version=ir_version,
    )
    return [kind_of(found[n]) if n in found else None for n in node.output]
