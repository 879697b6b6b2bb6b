"""One file an op, one registry. Importing this room registers every op."""

from stridewise.ops import (  # noqa: F401
    conv,
    index,
    join,
    matmul,
    norm,
    pad,
    pointwise,
    pool,
    reduce,
    resize,
    shuffle,
    slice,
    step,
    view,
)
from stridewise.ops.registry import Op as Op
from stridewise.ops.registry import all_ops as all_ops
from stridewise.ops.registry import find_onnx as find_onnx
from stridewise.ops.registry import find_torch as find_torch
from stridewise.ops.registry import op_named as op_named
from stridewise.ops.registry import register as register
