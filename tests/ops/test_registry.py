"""An op says all that other rooms ask of it, or is refused in one line and leaves the registry as it was."""

from dataclasses import replace

import pytest

import stridewise as sw
from stridewise.ops.registry import all_ops, find_onnx, find_torch, generation, op_named
from stridewise.surgery.actions import replacement
from stridewise.tracing.calls import functions
from stridewise.tracing.shape_functions import SHAPES
from stridewise.tracing.targets import known_layers

OPS = list(all_ops())


def said(**more):
    """An op that says everything."""
    whole = {
        "name": "halves",
        "about": "every second position",
        "read": lambda call: call.same(call.value(0)),
        "torch": ("swtest.halves",),
        "onnx": ("example::Halves",),
        "mixes": "window",
        "dilated": ("window",),
        "between": "never",
        "functions": {"swtest.halves": {}},
        "space": lambda draw, target: None,
    }
    return sw.Op(**{**whole, **more})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "op '': give it a name of its own and say in `about` what it does"),
        ({"name": "unknown"}, "op 'unknown': give it a name of its own"),
        ({"about": ""}, "op 'halves': give it a name of its own and say in `about` what it does"),
        ({"torch": (), "onnx": ()}, "op 'halves': answers for no target; give `torch` or `onnx`"),
        ({"read": None}, "op 'halves': `read` is no function of a call"),
        ({"read_onnx": "x"}, "op 'halves': `read_onnx` is no function of a call"),
        ({"mixes": None}, "op 'halves': `mixes` is None; say one of nothing, channels, window, axis, everything"),
        ({"mixes": "some"}, "op 'halves': `mixes` is 'some'"),
        ({"dilated": ()}, r"op 'halves': `dilated` is \(\); say a tuple of same, window, "),
        ({"dilated": ("wide",)}, r"op 'halves': `dilated` is \('wide',\)"),
        ({"between": None}, "op 'halves': `between` is None; say one of never, affine, bends, order"),
        ({"functions": None}, "op 'halves': `functions` is None; name the torch functions that become it"),
        ({"space": None}, "op 'halves': `space` is None; say how a test draws a call"),
        ({"pointwise": True}, "op 'halves': is `pointwise` and mixes 'window'; a pointwise op mixes nothing"),
        ({"name": "conv"}, "op 'conv': 'conv' is described already, by 'conv'"),
        ({"onnx": ("example::Halves", "Conv")}, "op 'halves': 'Conv' is described already, by 'conv'"),
    ],
)
def test_an_op_that_leaves_something_out_is_refused_and_nothing_is_left_of_it(change, message):
    before = generation(), list(all_ops())
    with pytest.raises(sw.UsageError, match=message) as error:
        sw.register(said(**change))
    assert "\n" not in str(error.value)
    assert (generation(), list(all_ops())) == before
    assert find_torch("swtest.halves") is find_onnx("example::Halves") is None
    assert op_named("halves").name == "unknown"


def test_what_is_no_op_is_refused():
    with pytest.raises(sw.UsageError, match=r"a sw\.Op is wanted, not dict"):
        sw.register({"name": "halves"})


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_what_ops_name_is_there(op):
    """Functions and layers of torch, shape rules, and a form for every action that a function can be asked for."""
    for name in op.functions or ():
        assert functions()[name], f"torch has no function {name}"
    assert all(rule in SHAPES for rule in op.shapes.values())
    assert all(find_torch(target) is op for target in op.shapes)
    known = {layer.__name__ for layer in known_layers()}
    assert {name for name, say in op.layers.items() if say is not None} <= known
    for kind in set(op.dilated) & {"window", "pad", "resize", "coarse", "phases"}:
        for name in op.functions or ():
            assert replacement(op, kind, name) is not None, f"{name} has no form for '{kind}'"


def test_every_shape_rule_serves_an_op():
    assert {rule for op in OPS for rule in op.shapes.values()} == set(SHAPES)


def test_an_op_says_how_it_is_named():
    assert op_named("conv").named("aten.convolution.default", {"kernel": (3, 3), "transposed": True}, True) == (
        "conv_transpose2d"
    )
    assert op_named("matmul").named("aten.addmm.default", {}, True) == "linear"
    assert op_named("matmul").named("aten.bmm.default", {}, False) == "matmul"
    assert op_named("lp_pool").named("LpPool", {}, False) == "LpPool"
    assert replace(op_named("conv"), name="mine").named is op_named("conv").named
