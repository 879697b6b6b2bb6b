"""The tracer answers some ops without their meta kernels: the answers must be what the kernels would have said."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stridewise.ops import find_torch
from stridewise.ops.draft import Value
from stridewise.tracing.shape_functions import answer_for, empty
from stridewise.tracing.trace import trace

META = torch.device("meta")
aten = torch.ops.aten


def answered(func, *args):
    """What the tracer says to the call, None where it lets the kernel run."""
    returns = func._schema.returns
    in_place = bool(returns[0].alias_info and returns[0].alias_info.is_write)
    answer = answer_for(find_torch(str(func)), str(func), in_place, len(returns))
    assert answer is not None, f"{func} has no answer"
    return answer(args, [described(a) for a in args])


def described(argument):
    """The argument as the tracer's rules see it."""
    if isinstance(argument, torch.Tensor):
        return Value(tuple(argument.shape), None)
    if isinstance(argument, list | tuple) and argument and isinstance(argument[0], torch.Tensor):
        return [described(a) for a in argument]
    return argument


def facts(tensor):
    steps = [step for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]  # one has no next
    return tuple(tensor.shape), tensor.dtype, steps, tensor.device.type


def agree(func, *args):
    """The answer equals the kernel's output; True where there was one."""
    try:
        expected = func(*args)
    except (RuntimeError, ValueError, IndexError):
        expected = None
    given = answered(func, *args)
    if given is None:
        return False
    assert expected is not None, "answered a call that the kernel refuses"
    if isinstance(given, tuple):  # of a normalisation the first output matters, the statistics are for backward
        given, expected = given[0], expected[0]
    assert facts(given) == facts(expected)
    return True


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    each = lambda low, high: draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))  # noqa: E731
    groups, transposed = draw(st.sampled_from([1, 2])), draw(st.booleans())
    taken, made = 2 * groups, draw(st.sampled_from([2, 4, 3]))
    kernel, stride, dilation = each(1, 4), each(1, 3), each(1, 2)
    extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    channels = (taken, made) if transposed else (made, draw(st.sampled_from([taken // groups, taken])))
    x = torch.empty((draw(st.integers(1, 2)), taken, *each(1, 9)), device=META)
    weight = torch.empty((*channels, *kernel), device=META)
    bias = torch.empty((made * groups if transposed else made,), device=META) if draw(st.booleans()) else None
    padding = each(0, 2)
    if draw(st.booleans()):
        stride, padding, dilation = stride[:1], padding[:1], dilation[:1]
        extra = extra[:1]
    return x, weight, bias, stride, padding, dilation, transposed, extra if transposed else [0], groups


@settings(max_examples=150, deadline=None, derandomize=True)
@given(convolutions())
def test_convolution_in_every_form(arguments):
    agree(aten.convolution.default, *arguments)


def test_convolutions_of_networks_are_answered():
    x = torch.empty((1, 4, 9, 9), device=META)
    weight = torch.empty((6, 4, 3, 3), device=META)
    call = (x, weight, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1)
    assert agree(aten.convolution.default, *call)
    transposed = (x, torch.empty((4, 3, 3, 3), device=META), None, [2, 2], [1, 1], [1, 1], True, [1, 1], 2)
    assert agree(aten.convolution.default, *transposed)


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.empty((1, 5, 9, 9), device=META)},
        {0: torch.empty((1, 4, 2, 2), device=META)},
        {0: torch.empty((1, 4, 9, 9), device=META, dtype=torch.float64)},
        {0: torch.empty((1, 9, 9, 4), device=META).permute(0, 3, 1, 2)},
        {2: torch.empty((5,), device=META)},
    ],
)
def test_a_convolution_that_does_not_fit_is_left_to_the_kernel(change):
    x, weight = torch.empty((1, 4, 9, 9), device=META), torch.empty((6, 4, 3, 3), device=META)
    call = [x, weight, None, [2, 2], [0, 0], [1, 1], False, [0, 0], 1]
    for at, value in change.items():
        call[at] = value
    assert answered(aten.convolution.default, *call) is None


_LAYOUTS = {
    "plain": lambda t: t,
    "channels last": lambda t: t.to(memory_format=torch.channels_last),
    "permuted": lambda t: t.permute(0, 2, 3, 1),
    "sliced": lambda t: t[..., ::2],
    "expanded": lambda t: t[:, :1].expand(-1, 4, -1, -1),
    "half": lambda t: t.half(),
    "whole numbers": lambda t: t.int(),
}


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("name", ["relu.default", "sigmoid.default", "silu.default", "relu_.default", "gelu.default"])
def test_pointwise(layout, name):
    x = _LAYOUTS[layout](torch.empty((2, 4, 6, 6), device=META))
    packet, overload = name.split(".")
    if layout == "expanded" and name == "relu_.default":
        pytest.skip("torch refuses to write into an expanded tensor, on real devices only")
    done = agree(getattr(getattr(aten, packet), overload), x)
    assert done == (layout != "whole numbers")


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("other", ["same", "channels", "one", "number", "vector", "larger", "double", "whole"])
@pytest.mark.parametrize("name", ["add.Tensor", "mul.Tensor", "sub.Tensor", "div.Tensor", "add_.Tensor", "mul_.Tensor"])
def test_sums_and_products(layout, other, name):
    x = _LAYOUTS[layout](torch.empty((2, 4, 6, 6), device=META))
    y = {
        "same": x,
        "channels": torch.empty((x.shape[1], 1, 1), device=META, dtype=x.dtype),
        "one": torch.empty((), device=META, dtype=x.dtype),
        "number": 2.0,
        "vector": torch.empty((x.shape[-1],), device=META, dtype=x.dtype),
        "larger": torch.empty((3, *x.shape), device=META, dtype=x.dtype),
        "double": torch.empty(x.shape, device=META, dtype=torch.float64),
        "whole": torch.empty(x.shape, device=META, dtype=torch.int64),
    }[other]
    packet, overload = name.split(".")
    done = agree(getattr(getattr(aten, packet), overload), x, y)
    gates = () if "_" in name else ("larger",)  # a gate may come before what it weighs
    if layout == "plain" and other in ("same", "channels", "one", "number", "vector", *gates):
        assert done


@pytest.mark.parametrize("layout", ["plain", "channels last", "half"])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(layout, affine):
    x = _LAYOUTS[layout](torch.empty((2, 4, 6, 6), device=META))
    vector = torch.empty((4,), device=META)
    weight = vector if affine else None
    assert agree(aten.native_batch_norm.default, x, weight, weight, vector, vector, False, 0.1, 1e-5)
    for wrong in ((x, weight, weight, vector, vector, True, 0.1, 1e-5), (x, None, None, None, None, False, 0.1, 1e-5)):
        assert answered(aten.native_batch_norm.default, *wrong) is None
    long = torch.empty((5,), device=META)
    assert answered(aten.native_batch_norm.default, x, None, None, long, long, False, 0.1, 1e-5) is None


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("over", [1, 2, 4])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(layout, over, affine):
    x = _LAYOUTS[layout](torch.empty((2, 4, 6, 6), device=META))
    shape = list(x.shape[-over:])
    weight = torch.empty(shape, device=META, dtype=x.dtype) if affine else None
    assert agree(aten.native_layer_norm.default, x, shape, weight, weight, 1e-5) == (layout != "whole numbers")
    if layout == "plain":
        wrong = torch.empty((shape[-1] + 1,), device=META)
        assert answered(aten.native_layer_norm.default, x, shape, wrong, wrong, 1e-5) is None
        assert answered(aten.native_layer_norm.default, x, [shape[-1] + 1], None, None, 1e-5) is None


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("dims", [[2, 3], [-1], [1, -1], [0, 1, 2, 3], [], [4]])
@pytest.mark.parametrize("rest", [(), (True,), (False,)])
@pytest.mark.parametrize("name", ["mean.dim", "sum.dim_IntList"])
def test_reductions(layout, dims, rest, name):
    x = _LAYOUTS[layout](torch.empty((2, 4, 6, 6), device=META))
    packet, overload = name.split(".")
    done = agree(getattr(getattr(aten, packet), overload), x, dims, *rest)
    assert done == (layout != "whole numbers" and dims not in ([], [4]))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("inner", [7, 6])
def test_matrix_products(turned, inner):
    a, b = torch.empty((5, 7), device=META), torch.empty((inner, 3), device=META)
    a = a.t().contiguous().t() if turned else a
    fits = inner == 7
    assert agree(aten.mm.default, a, b) == fits
    assert agree(aten.bmm.default, a[None].expand(2, -1, -1), b[None].expand(2, -1, -1)) == fits
    assert agree(aten.addmm.default, torch.empty((3,), device=META), a, b) == fits
    assert agree(aten.addmm.default, torch.empty((5, 3), device=META), a, b) == fits
    assert not agree(aten.addmm.default, torch.empty((4,), device=META), a, b)
    assert not agree(aten.mm.default, a, b.half())


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("dim", [0, 1, -1, 4])
def test_concatenation(layout, dim):
    x = _LAYOUTS[layout](torch.empty((2, 4, 6, 6), device=META))
    y = torch.empty(tuple(n + (at == dim % 4) for at, n in enumerate(x.shape)), device=META, dtype=x.dtype)
    done = agree(aten.cat.default, [x, y, x], dim)
    assert done == (layout in ("plain", "half") and dim < 4)
    assert not agree(aten.cat.default, [x, y[:1]], 1)
    assert not agree(aten.cat.default, [y, y.double()], 1)


def test_tracing_gives_the_shapes_of_a_plain_forward():
    """Every module's output as traced, against the same forward without the tracer."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 8, 3, stride=2, padding="valid")
            self.bn = nn.BatchNorm2d(8)
            self.b = nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1)
            self.c = nn.Conv2d(4, 4, (1, 4), padding="same", groups=2)
            self.scale = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x):
            x = torch.relu_(self.bn(self.a(x)))
            x = self.c(self.b(x))
            return (x + x.mean((2, 3), keepdim=True)).mul_(self.scale)

    net, shapes = Net().eval(), {}
    handles = [
        module.register_forward_hook(lambda m, i, o, name=name: shapes.__setitem__(name, tuple(o.shape)))
        for name, module in net.named_children()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: padding="same" with an even kernel makes a padded copy
        out = net(torch.zeros(1, 3, 21, 30))
    for handle in handles:
        handle.remove()
    graph = trace(net, (3, 21, 30))
    assert graph.tensors[graph.outputs[0]].shape == tuple(out.shape)
    made = {node.path: graph.tensors[node.outputs[0]].shape for node in graph.nodes if node.path}  # the last of each
    assert made == shapes


@st.composite
def pools(draw):
    one_or_two = lambda low, high: draw(  # noqa: E731
        st.one_of(st.integers(low, high).map(lambda n: [n]), st.lists(st.integers(low, high), min_size=2, max_size=2))
    )
    x = torch.empty((draw(st.integers(1, 2)), 3, draw(st.integers(1, 9)), draw(st.integers(1, 9))), device=META)
    if draw(st.booleans()):
        x = draw(st.sampled_from(list(_LAYOUTS.values())))(x)
    return x, one_or_two(1, 4), draw(st.sampled_from([[], one_or_two(0, 3)])), one_or_two(0, 3), draw(st.booleans())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(pools(), st.lists(st.integers(1, 3), min_size=2, max_size=2))
def test_pools_in_every_form(pool, dilation):
    x, kernel, stride, padding, ceil = pool
    for most in (2, 3, 4):
        agree(aten.max_pool2d_with_indices.default, *(x, kernel, stride, padding)[:most])
        agree(aten.avg_pool2d.default, *(x, kernel, stride, padding)[:most])
    agree(aten.max_pool2d_with_indices.default, x, kernel, stride, padding, dilation, ceil)
    agree(aten.avg_pool2d.default, x, kernel, stride, padding, ceil)
    agree(aten.avg_pool2d.default, x, kernel, stride, padding, ceil, False)
    assert not agree(aten.avg_pool2d.default, x, kernel, stride, padding, ceil, False, 3)


def test_pools_of_networks_are_answered():
    x = torch.empty((1, 4, 9, 9), device=META)
    assert agree(aten.max_pool2d_with_indices.default, x, [3, 3], [2, 2], [1, 1], [1, 1], True)
    assert agree(aten.avg_pool2d.default, x, [2], [2], [0], True, False)


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_ops_that_go_by_the_shape_alone(layout):
    x = _LAYOUTS[layout](torch.empty((2, 4, 6, 6), device=META))
    known = layout in ("plain", "half")
    for to in ([3, 4], [12, 7], [1, 1]):
        assert agree(aten.upsample_bilinear2d.default, x, to, False) == known
        assert agree(aten.upsample_bicubic2d.default, x, to, True, 2.0, None) == known
        assert agree(aten.upsample_nearest2d.default, x, to) == known
        assert agree(aten._adaptive_avg_pool2d.default, x, to) == known
    assert not agree(aten.upsample_nearest2d.default, x, [0, 4])
    for rows in ([1, 2], [1, 0, 0, 3], [0, 1, 1, 0, 2, 2], []):
        assert agree(aten.constant_pad_nd.default, x, rows, 0.0) == known
    for wrong in ([-1, 2], [-9, 0], [1], [1] * 10):
        agree(aten.constant_pad_nd.default, x, wrong, 0.0)
    for dim in (0, 1, -1, 4):
        assert agree(aten._softmax.default, x, dim, False) == (known and dim < 4)
    for dims in ([2, 3], [1], [0, 1, 2, 3], [4]):
        for keep in (False, True):
            assert agree(aten.linalg_vector_norm.default, x, 2, dims, keep) == (known and dims != [4])
    agree(aten.linalg_vector_norm.default, x)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([1, 2, 3, 4]), max_size=4),
    st.lists(st.sampled_from([-1, 1, 2, 3, 4, 6, 8, 0]), max_size=5),
    st.sampled_from(list(_LAYOUTS)),
)
def test_views_in_every_form(shape, sizes, layout):
    x = torch.empty(shape, device=META)
    if len(shape) == 4:
        x = _LAYOUTS[layout](x)
    agree(aten.view.default, x, sizes)
    agree(aten.view.default, torch.empty((*shape, 3), device=META)[..., 1:], [*sizes, 2])


def test_views_of_networks_are_answered_and_show_the_same_memory():
    x = torch.empty((3, 4, 6), device=META)[1:]
    assert agree(aten.view.default, x, [2, -1])
    given = answered(aten.view.default, x, [2, -1])
    assert given.storage_offset() == x.storage_offset()
    assert given.untyped_storage()._cdata == x.untyped_storage()._cdata


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([1, 3]), min_size=1, max_size=4), st.lists(st.booleans(), min_size=12, max_size=12))
def test_operands_that_are_broadcast(shape, ones):
    """A gate before what it weighs, and three operands together, some with sizes of 1."""
    parts = [
        torch.empty([1 if one else n for one, n in zip(ones[4 * i :], shape, strict=False)], device=META)
        for i in range(3)
    ]
    whole = torch.empty(shape, device=META)
    for other in (whole, whole.permute(*range(len(shape)))[None].transpose(0, -1), *parts):
        agree(aten.mul.Tensor, parts[0], other)
        agree(aten.addcmul.default, other, parts[1], parts[2])
        agree(aten.addcmul.default, parts[1], other.double(), parts[2])
    turned = torch.empty((2, 5, 6, 4), device=META).permute(0, 3, 1, 2)
    assert agree(aten.mul.Tensor, torch.empty((4, 1, 1), device=META), turned)
    three = [torch.empty(shape, device=META) for shape in ((1, 3), (2, 3), (1,))]
    assert agree(aten.addcmul.default, *three)
    assert not agree(aten.mul.Tensor, torch.empty((4, 5, 1), device=META), turned)


def test_an_empty_tensor_is_what_torch_makes():
    for named in ({}, {"dtype": torch.float64}, {"dtype": torch.int32, "memory_format": torch.contiguous_format}):
        made = empty(([2, 3],), named)
        assert facts(made) == facts(torch.empty([2, 3], device=META, **named))
    assert empty(([1, 2, 3, 4],), {"memory_format": torch.channels_last}) is None


def test_an_output_of_another_dtype_is_left_to_the_kernel():
    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x).mean((2, 3), dtype=torch.float64)

    graph = trace(Mean(), (3, 9, 9))
    assert graph.tensors[graph.outputs[0]].itemsize == 8
