"""Fields of an ONNX file: which outputs change in onnxruntime when one row or column of the input does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_nets import Net, run

from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.onnxfile.read import read_onnx

CHANNELS = 2


def reads(data: bytes, size: tuple[int, int], axis: int) -> list[tuple[int, int] | None]:
    """Per output position of `axis` the first and last input position that changes it."""
    pictures = np.ones((size[axis] + 1, CHANNELS, *size), dtype=np.float32)
    for at in range(size[axis]):
        pictures[(at, slice(None), *([slice(None)] * axis), at)] += 1
    (out,) = run(data, pictures)
    changed = np.abs(out[:-1] - out[-1:]) > 1e-6 * np.abs(out[-1:]).max()
    changed = changed.any(axis=(1, 3 - axis))
    found: list[tuple[int, int] | None] = []
    for position in range(changed.shape[1]):
        (hits,) = np.nonzero(changed[:, position])
        found.append((int(hits[0]), int(hits[-1])) if len(hits) else None)
    return found


def check(data: bytes, size: tuple[int, int], exact: bool = True, margin: int = 0) -> int:
    """Compare on both axes wherever the field lies well inside; returns how many positions were compared.

    Near the border what is cropped and padded again reads nothing, which a field does not say.
    """
    graph = read_onnx(data, (CHANNELS, *size))
    assert not graph.unknown
    found = fields(graph, grid_sizes(graph)).full[graph.tensors[graph.outputs[0]].grid or 0]
    compared = 0
    for axis, field in enumerate(found):
        assert field.approximate != exact
        for position, seen in enumerate(reads(data, size, axis)):
            wanted = field.at(position)
            if wanted is None or wanted[0] < margin or wanted[1] >= size[axis] - margin:
                continue
            compared += 1
            if exact:
                assert seen == wanted, (axis, position)
            else:
                assert seen is not None
                assert wanted[0] <= seen[0] <= seen[1] <= wanted[1], (axis, position)
    return compared


def _conv(net: Net, x: str, draw: Any) -> str:
    kernel = [draw(st.integers(1, 3)) for _ in "hw"]
    pads = [draw(st.integers(0, 2)) for _ in "hhww"]
    auto = draw(st.sampled_from(["", "", "SAME_UPPER", "SAME_LOWER"]))
    where = {"auto_pad": auto} if auto else {"pads": pads, "dilations": [draw(st.integers(1, 2)) for _ in "hw"]}
    return net.conv(x, CHANNELS, CHANNELS, *kernel, strides=[draw(st.integers(1, 3)) for _ in "hw"], **where)


def _transposed(net: Net, x: str, draw: Any) -> str:
    kernel, strides = [draw(st.integers(2, 4)) for _ in "hw"], [draw(st.integers(1, 2)) for _ in "hw"]
    pads = [draw(st.integers(0, 1)) for _ in "hhww"]
    auto = draw(st.sampled_from(["", "", "SAME_UPPER", "SAME_LOWER"]))
    where = {"auto_pad": auto} if auto else {"pads": pads, "output_padding": [s - 1 for s in strides]}
    weight = net.weight(CHANNELS, CHANNELS, *kernel)
    return str(net.add("ConvTranspose", x, weight, strides=strides, **where))


def _resize(net: Net, x: str, draw: Any) -> str:
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    place = draw(st.sampled_from(["half_pixel", "asymmetric", "pytorch_half_pixel"]))
    near = draw(st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]))
    scales = [draw(st.sampled_from([0.5, 1.5, 2.0, 3.0])) for _ in "hw"]
    by = net.constant(np.array([1, 1, *scales], dtype=np.float32))
    return str(net.add("Resize", x, "", by, mode=mode, coordinate_transformation_mode=place, nearest_mode=near))


def _pool(net: Net, x: str, draw: Any) -> str:
    kernel = [draw(st.integers(1, 3)) for _ in "hw"]
    strides = [draw(st.integers(1, 3)) for _ in "hw"]
    return str(net.add("AveragePool", x, kernel_shape=kernel, strides=strides, ceil_mode=draw(st.integers(0, 1))))


def _moved(net: Net, x: str, draw: Any) -> str:
    if draw(st.booleans()):
        return str(net.add("Pad", x, net.ints(0, 0, draw(st.integers(-1, 2)), 1, 0, 0, -1, draw(st.integers(-1, 2)))))
    steps = net.ints(draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    return str(net.add("Slice", x, net.ints(1, 0), net.ints(2**62, -1), net.ints(2, 3), steps))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_fields_of_drawn_chains(data: Any) -> None:
    net = Net("n", CHANNELS, "h", "w")
    x = net.conv("x", CHANNELS, CHANNELS, 1, 1)
    for step in data.draw(
        st.lists(st.sampled_from([_conv, _transposed, _resize, _pool, _moved]), min_size=1, max_size=3)
    ):
        x = step(net, x, data.draw)
    check(net.bytes(x), (38, 35), margin=8)


def test_the_oracle_compares_something_and_can_fail() -> None:
    net = Net("n", CHANNELS, "h", "w")
    x = net.conv("x", CHANNELS, CHANNELS, 3, 3, strides=[2, 2], pads=[1] * 4)
    x = net.add("ConvTranspose", x, net.weight(CHANNELS, CHANNELS, 4, 4), strides=[2, 2], pads=[1] * 4)
    data = net.bytes(x)
    assert check(data, (26, 22)) > 30
    assert max(b - a + 1 for a, b in filter(None, reads(data, (26, 22), 0))) == 5  # the hull would say 6
    shifted = Net("n", CHANNELS, "h", "w")
    shifted.conv("x", CHANNELS, CHANNELS, 3, 3, strides=[2, 2], pads=[0, 0, 2, 2])
    assert reads(shifted.bytes("Conv_0_0"), (26, 22), 0)[1] == (2, 4)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_align_corners_is_an_upper_bound(mode: str) -> None:
    net = Net("n", CHANNELS, "h", "w")
    by = net.constant(np.array([1, 1, 2, 2], dtype=np.float32))
    x = net.add("Resize", "x", "", by, mode=mode, coordinate_transformation_mode="align_corners")
    assert check(net.bytes(x), (16, 16), exact=False) > 20


def test_space_to_depth_and_back() -> None:
    net = Net("n", CHANNELS, "h", "w")
    x = net.add("SpaceToDepth", "x", blocksize=2)
    x = net.conv(x, 9 * CHANNELS, 4 * CHANNELS, 3, 3, pads=[1] * 4)
    x = net.add("DepthToSpace", x, blocksize=3)
    assert check(net.bytes(x), (24, 20)) > 40


def test_branches_take_the_hull() -> None:
    net = Net("n", CHANNELS, "h", "w")
    a = net.conv("x", CHANNELS, CHANNELS, 3, 3, strides=[2, 2], pads=[1] * 4)
    b = net.conv("x", CHANNELS, CHANNELS, 1, 1, strides=[2, 2])
    c = net.conv("x", CHANNELS, CHANNELS, 7, 5, strides=[2, 2], pads=[3, 2, 3, 2])
    assert check(net.bytes(net.add("Sum", a, b, c)), (24, 20)) > 10
    assert check(net.bytes(net.add("Concat", a, c, axis=1)), (24, 20)) > 10
