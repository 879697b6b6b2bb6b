"""Small ONNX models for tests, and onnxruntime's word on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


class Net:
    """A model that grows by one node a call; `add` returns the name of the node's first output."""

    def __init__(self, *shape: Any, opset: int = 21, kind: int = TensorProto.FLOAT) -> None:
        self.opset, self.nodes, self.weights = opset, [], []
        self.inputs = [helper.make_tensor_value_info("x", kind, list(shape))]
        self.random = np.random.default_rng(len(shape))

    def weight(self, *shape: int) -> str:
        """A positive weight, so that no two paths cancel."""
        return self.constant(self.random.uniform(0.5, 1.5, shape).astype(np.float32))

    def constant(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def add(self, op: str, *inputs: str, outs: int = 1, name: str = "", domain: str = "", **attributes: Any) -> Any:
        at = len(self.nodes)
        outputs = [f"{op}_{at}_{i}" for i in range(outs)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, domain=domain, **attributes))
        return outputs[0] if outs == 1 else outputs

    def conv(self, x: str, *shape: int, name: str = "", **attributes: Any) -> str:
        return str(self.add("Conv", x, self.weight(*shape), name=name, **attributes))

    def model(self, *outputs: str) -> Any:
        """The model; every output is typed by onnxruntime."""
        infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, infos, self.weights)
        sets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=sets, ir_version=10)

    def bytes(self, *outputs: str) -> bytes:
        return bytes(self.model(*outputs).SerializeToString())


def run(data: bytes, *arrays: np.ndarray) -> list[np.ndarray]:
    """The outputs onnxruntime gives, nothing optimised away."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True))))


def exposed(data: bytes) -> tuple[bytes, list[str]]:
    """The model with every float tensor it makes as an output, and their names."""
    model = onnx.load_from_string(data)
    model = onnx.shape_inference.infer_shapes(model)
    kinds = {v.name: v.type.tensor_type.elem_type for v in [*model.graph.value_info, *model.graph.output]}
    shape_ops = {"Constant", "Shape", "ConstantOfShape", "Cast"}
    names = [
        out
        for node in model.graph.node
        for out in node.output
        if out and kinds.get(out, 1) != TensorProto.INT64 and node.op_type not in shape_ops
    ]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return bytes(model.SerializeToString()), names
