"""Every registered target keeps the contract, and each of its checks is seen to fail on an op that lies."""

from dataclasses import replace

import pytest
import torch

import stridewise as sw
from stridewise.axis import Window
from stridewise.ir import Volume
from stridewise.ops.draft import Reading
from stridewise.ops.registry import all_ops, op_named, unregister
from stridewise.ops.space import Trial, X
from stridewise.testing import Broken, check_op

OPS = list(all_ops())
# What is known to be needlessly careful: a triangle from the diagonal stays itself where both axes grow alike.
CAREFUL = {"triangle"}


def one_of_each(op):
    """Of an op's targets one of torch's and one of files."""
    return [*op.torch[:1], *op.onnx[:1]]


@pytest.mark.parametrize("op", [op for op in OPS if op.name not in CAREFUL], ids=lambda op: op.name)
def test_a_share_of_every_op(op, one_thread):
    kept = check_op(op, draws=1, targets=one_of_each(op))
    assert kept.counts["trials"] == len(one_of_each(op))


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("op", "target"),
    [(op, target) for op in OPS for target in op.torch + op.onnx],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_every_target(op, target, one_thread):
    try:
        check_op(op, draws=8, seed=1, targets=[target])
    except Broken as error:
        if op.name in CAREFUL and "nothing differs" in str(error):
            pytest.xfail(str(error))
        raise


def test_every_target_is_drawn():
    for op in OPS:
        for target in op.torch + op.onnx:
            with pytest.raises(Broken, match="declares no space"):
                check_op(replace(op, space=None), targets=[target])
            with pytest.raises(Broken, match="its space draws no call of it"):
                check_op(replace(op, space=lambda draw, target: None), targets=[target])


@torch.library.custom_op("swcontract::every_third", mutates_args=())
def every_third(x: torch.Tensor) -> torch.Tensor:
    return x[..., ::3, ::3].clone()


@every_third.register_fake
def _(x):
    return x[..., ::3, ::3].clone()


@torch.library.custom_op("swcontract::spread", mutates_args=())
def spread(x: torch.Tensor) -> torch.Tensor:
    """Every position less the mean of all."""
    return x - x.mean((2, 3), keepdim=True)


@spread.register_fake
def _(x):
    return torch.empty_like(x)


def read_third(call, window=None, macs=0):
    """The rule of `every_third`, or of what lies about it."""
    x = call.value(0)
    where = (len(x.shape) - 2, len(x.shape) - 1)
    x, grid = call.windowed(x, where, [window or Window(stride=3)] * 2)
    return call.dense(grid, x, where, attrs={"maps": (window or Window(stride=3),) * 2}, macs=Volume(macs))


def space(draw, target):
    return Trial(call=target, shape=draw.shape(), args=(X,))


def third(**more):
    said = {
        "name": "every_third",
        "about": "every third position",
        "read": read_third,
        "mixes": "window",
        "dilated": ("window",),
        "between": "never",
        "torch": ("swcontract.every_third",),
        "functions": {"swcontract.every_third": {}},
        "space": space,
    }
    return sw.Op(**{**said, **more})


def spreading(**more):
    """An op that says it leaves every position to itself, which it does not."""
    told = {
        "name": "spread",
        "about": "less the mean",
        "read": lambda call: call.same(call.value(0)),
        "dilated": ("same",),
        "torch": ("swcontract.spread",),
        "functions": {"swcontract.spread": {}},
    }
    return third(**{**told, **more})


@pytest.fixture
def checked():
    """Check an op of one's own, registered as long as that takes."""

    def check(op):
        sw.register(op)
        try:
            return check_op(op, draws=2)
        finally:
            unregister(op.name)

    return check


def test_an_op_of_ones_own_keeps_the_contract(checked):
    counts = checked(third()).counts
    assert counts["trials"] == counts["known"] == counts["exact"] == 2
    assert counts["carried out"] == 4


def wrong_size(call):
    return read_third(call, Window(stride=3, kernel=2))


def wrong_field(call):
    return read_third(call, Window(stride=3, pad_begin=1, pad_end=-1))


def wide_field(call):
    return read_third(call, Window(stride=3, kernel=3, pad_begin=1, pad_end=1))


def wrong_work(call):
    reading = read_third(call)
    reading.counted, reading.macs = True, Volume(7)
    return reading


def pinned(call):
    x = call.value(0)
    reading = call.mixed(x)
    return Reading(outs=reading.outs, grid=reading.grid)


def failing(action, func, args, kwargs):
    """A form that has shapes and no values."""
    if not args[0].is_meta:
        raise RuntimeError("there is no such form after all")
    return other_values(action, func, args, kwargs)


def other_values(action, func, args, kwargs):
    out = func(args[0][..., :: action.m_in[0], :: action.m_in[1]]) + 1
    return out.repeat_interleave(action.m_out[0], 2).repeat_interleave(action.m_out[1], 3)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (third(read=wrong_size), r"works out \d+ elements at .*, and \d+ come out"),
        (third(read=wrong_field), "outside its field"),
        (third(read=wide_field), "larger than what any position hangs on"),
        (third(read=wrong_work), "multiply-adds, and FlopCounterMode counts"),
        (third(form=other_values), "is certified exact and differs by"),
        (third(form=failing), r"runs at .* no more: RuntimeError: there is no such form after all"),
        (spreading(), "outside its field"),
        (third(read=pinned, mixes="everything", dilated=("mixes",)), r"works out \d+ elements at|reads"),
    ],
    ids=["size", "field", "wide field", "multiply-adds", "certificate", "values", "mean", "mixes"],
)
def test_each_check_fails_on_an_op_that_lies(op, message, checked):
    with pytest.raises(Broken, match=message) as error:
        checked(op)
    assert str(error.value).startswith(f"{op.name} {op.torch[0]}: ")
    assert "\n" not in str(error.value)


def test_an_op_that_is_called_inexact_for_nothing_is_found(checked):
    """A copy that says it mixes all positions."""
    op = third(
        name="careful",
        read=lambda call: call.mixed(call.value(0)),
        torch=("swcontract.itself",),
        mixes="everything",
        dilated=("same", "mixes"),
        functions={"swcontract.itself": {}},
    )
    with pytest.raises(Broken, match="is called exact except means, and nothing differs"):
        checked(op)


@torch.library.custom_op("swcontract::itself", mutates_args=())
def itself(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@itself.register_fake
def _(x):
    return torch.empty_like(x)


def test_a_size_that_is_read_wrong_is_found():
    """An op of a file whose window is one too wide."""
    pool = op_named("max_pool")

    def too_wide(call):
        call.kwargs["kernel_shape"] = [k + 1 for k in call.kwargs["kernel_shape"]]
        return pool.read_onnx(call)

    unregister("max_pool")
    try:
        sw.register(replace(pool, read_onnx=too_wide))
        with pytest.raises(Broken, match=r"cannot be read|works out|reads"):
            check_op(op_named("max_pool"), draws=3, targets=["MaxPool"])
    finally:
        unregister("max_pool")
        sw.register(pool)


def test_a_plan_that_is_refused_late_is_found(checked, monkeypatch):
    def late(*args, **kwargs):
        raise KeyError("stem")

    monkeypatch.setattr("stridewise.testing.in_torch.apply", late)
    with pytest.raises(Broken, match="is planned and then fails: KeyError: 'stem'"):
        checked(third())
