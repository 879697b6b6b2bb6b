"""Damaged files and drawn node soup: each is read or refused in one line; none hangs and none is "not foreseen"."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_nets import Net, onnx

from stridewise import show
from stridewise.errors import LoadError, StridewiseError
from stridewise.onnxfile.read import read_onnx

helper, TensorProto = onnx.helper, onnx.TensorProto
# How many are drawn here; the sweep under `-m zoo` draws ten times as many.
COUNT = 60


def whole() -> bytes:
    """A file with windows, shape arithmetic, a branch, a resize and views."""
    net = Net(1, 3, 32, 32, opset=17)
    x = net.conv("x", 4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1], name="stem")
    shape = net.add("Shape", x)
    size = net.add("Slice", shape, net.ints(2), net.ints(4), net.ints(0))
    doubled = net.add("Concat", net.ints(1, 4), net.add("Mul", size, net.ints(2, 2)), axis=0)
    y = net.add("Resize", x, "", "", doubled, mode="nearest")
    y = net.add("MaxPool", y, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)
    y = net.add("Reshape", y, net.ints(1, 2, 2, -1, 16))
    y = net.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = net.add("Flatten", y, axis=3)
    branch = [
        helper.make_graph(
            [helper.make_node(op, [y], [f"{op}_out"])], op, [], [helper.make_empty_tensor_value_info(f"{op}_out")]
        )
        for op in ("Relu", "Sigmoid")
    ]
    y = net.add("If", net.constant(np.array(True)), then_branch=branch[0], else_branch=branch[1])
    return net.bytes(y)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with bits flipped, cut short, bytes put in, or fields of its messages exchanged."""
    kind = rng.choice(("bit", "cut", "insert", "field", "field", "field"))
    out = bytearray(data)
    if kind == "bit":
        for _ in range(rng.randint(1, 8)):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del out[rng.randrange(len(out)) :]
    elif kind == "insert":
        at = rng.randrange(len(out))
        out[at:at] = rng.randbytes(rng.randint(1, 9))
    else:
        return exchanged(data, rng)
    return bytes(out)


def exchanged(data: bytes, rng: random.Random) -> bytes:
    """The file with one field of a node, tensor or the model set to what it should never hold."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
    number = rng.choice((-(2**63), -(2**31), -7, -1, 0, 1, 7, 2**20, 2**31, 2**62))
    ints = [a for n in graph.node for a in n.attribute if a.ints]
    one = rng.choice([a for n in graph.node for a in n.attribute])
    change: Any = rng.choice(
        (
            lambda: node.ClearField("attribute"),
            lambda: node.ClearField("input"),
            lambda: node.ClearField("output"),
            lambda: setattr(node, "op_type", rng.choice(graph.node).op_type),
            lambda: node.input.append(rng.choice(graph.node).output[0]),
            lambda: node.input.__setitem__(0, rng.choice(graph.initializer).name) if node.input else None,
            lambda: rng.choice(ints).ints.__setitem__(0, number),
            lambda: rng.choice(ints).ints.append(number),
            lambda: setattr(one, "i", number),
            lambda: setattr(one, "type", rng.randint(0, 14)),
            lambda: setattr(one, "name", "axis"),
            lambda: tensor.dims.append(min(abs(number), 2**62)),
            lambda: tensor.dims.__setitem__(0, number) if tensor.dims else None,
            lambda: setattr(tensor, "data_type", rng.randint(0, 24)),
            lambda: setattr(tensor, "raw_data", rng.randbytes(len(tensor.raw_data))),
            lambda: tensor.ClearField("raw_data"),
            lambda: setattr(model.opset_import[0], "version", number),
            lambda: setattr(model.opset_import[0], "domain", "nowhere"),
            lambda: graph.node.remove(node),
            lambda: graph.output[0].ClearField("name"),
            lambda: setattr(graph.input[0].type.tensor_type.shape.dim[rng.randrange(4)], "dim_value", number),
        )
    )
    change()
    return bytes(model.SerializeToString())


# Ops of every kind, and what a soup may give them as attributes and constants.
OPS = """Add AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose CumSum DepthToSpace Div Einsum Expand
Flatten Gather GatherND GlobalAveragePool Identity InstanceNormalization LayerNormalization LpPool MatMul MaxPool
MaxUnpool Mul OneHot Pad Range ReduceMean ReduceProd Relu Reshape Resize ScatterND Shape Size Slice Softmax
SpaceToDepth Split Squeeze Tile TopK Transpose Trilu Unsqueeze Upsample Where GridSample NonZero RoiAlign""".split()
FACTS: dict[str, tuple[Any, ...]] = {
    "kernel_shape": ([3, 3], [1, 2], [2], [9, 9], [2**31, 2], [0, 1]),
    "strides": ([2, 2], [1, 3], [2**40, 1], [0, 0]),
    "pads": ([1, 1, 1, 1], [0, 1, 0, 1], [-1, 0, 0, 0], [2**33] * 4, [1]),
    "dilations": ([2, 2], [1, 2], [2**31, 1]),
    "group": (1, 2, 0, -1),
    "axis": (-1, 0, 1, 2, 3, 9, -9),
    "axes": ([0], [2, 3], [-1], [7]),
    "perm": ([0, 2, 3, 1], [0, 1, 2, 3], [0, 0, 0, 0], [3]),
    "auto_pad": ("SAME_UPPER", "SAME_LOWER", "VALID", "OTHER"),
    "ceil_mode": (0, 1, 5),
    "mode": ("nearest", "linear", "cubic", "constant", "edge", "no"),
    "blocksize": (2, 0, -1, 7),
    "keepdims": (0, 1),
    "to": (1, 7, 9, 16, 0, 99),
    "output_padding": ([1, 1], [0, 7]),
    "equation": ("bchw,bcij->bhwij", "ij"),
    "num_outputs": (2, 3, 0),
    "k": (1, 10**9),
}


def soup(rng: random.Random) -> bytes:
    """Nodes of any op on any value, with attributes and constants that seldom fit."""
    opset = rng.choice((7, 9, 10, 11, 13, 17, 19, 21))
    net = Net(1, 3, 16, rng.choice((16, 12, 7)), opset=opset)
    names = ["x", net.conv("x", 4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1])]
    constants = [
        net.ints(
            *rng.choice(((1, 4, -1), (2, 3), (0, 0, 1, 1, 0, 0, 1, 1), (2**40, 2**40, 2**40, 1), (-1,), (1, 4, 16, 16)))
        )
        for _ in range(4)
    ]
    for values in ((1, 1, 2, 2), (1, 1, 0.5, 1e9), (1, 1, float("nan"), -2), ()):
        constants.append(net.constant(np.array(values, dtype=np.float32)))
    constants += [net.weight(4, 4, 3, 3), net.weight(4), net.constant(np.int64(10**12)), net.constant(np.array(True))]
    for _ in range(rng.randint(2, 8)):
        op = rng.choice(OPS)
        schema = next((s for s in onnx.defs.get_all_schemas() if s.name == op), None)
        taken = set(schema.attributes) if schema is not None else set()
        facts = {k: rng.choice(v) for k, v in FACTS.items() if k in taken and rng.random() < 0.7}
        others = rng.choices((*constants, *names, ""), k=rng.randint(0, 3))
        names.append(str(net.add(op, rng.choice(names), *others, **facts)))
    return net.bytes(*names[-2:])


def outcomes(count: int, seed: int) -> Iterator[tuple[bytes, str]]:
    """Damaged files and soups, half and half, and what is said of each: nothing where it is read and shown."""
    data = whole()
    for number in range(count):
        rng = random.Random(seed * 1_000_003 + number)
        drawn = damaged(data, rng) if number % 2 else soup(rng)
        try:
            show(read_onnx(drawn)).to_json()
            yield drawn, ""
        except StridewiseError as error:
            yield drawn, str(error)


def test_the_whole_file_is_read() -> None:
    assert {node.op for node in read_onnx(whole()).nodes} >= {"conv", "max_pool", "resize", "view", "permute"}


def test_damaged_files_are_one_line_each() -> None:
    said = [text for _, text in outcomes(COUNT, seed=0)]
    assert all("\n" not in text for text in said)
    assert 5 < sum(map(bool, said)) < COUNT  # some are refused, some can be read


@pytest.mark.zoo
def test_many_damaged_files_are_one_line_each() -> None:
    assert all("\n" not in text and len(text) < 600 for _, text in outcomes(10 * COUNT, seed=1))


def test_devices_and_pipes_are_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(LoadError, match="is a device, a pipe or a socket"):
            read_onnx(path)


def test_a_row_without_end_takes_no_memory() -> None:
    """onnx's inference of entries writes one down for each position of a row: 10**12 of them here."""
    net = Net(1, 3, 32, 32, opset=17)
    row = net.add("Reshape", "x", net.constant(np.int64(10**12)))
    with pytest.raises(StridewiseError, match="Reshape"):
        read_onnx(net.bytes(net.add("Mul", row, row)))


@pytest.mark.parametrize("length", ["", str(15 << 30), "many"])
def test_entries_beside_the_file_are_read_only_where_they_are_few(tmp_path: Path, length: str) -> None:
    """A shape of four numbers whose bytes are said to be 15 GiB, of a sparse file: its sizes stay unknown."""
    net = Net(1, 3, 32, 32, opset=17)
    x = net.conv("x", 4, 3, 3, 3)
    model = net.model(net.add("Reshape", x, "far"))
    far = TensorProto(name="far", dims=[4], data_type=TensorProto.INT64, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "far.bin"), ("length", length))[: 1 + bool(length)]:
        far.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
    model.graph.initializer.append(far)
    with (tmp_path / "far.bin").open("wb") as out:
        out.truncate(20 << 30)
    onnx.save(model, tmp_path / "n.onnx")
    graph = read_onnx(tmp_path / "n.onnx")
    assert graph.nodes[-1].target == "Reshape"
    assert not graph.tensors[graph.outputs[0]].known


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("/".join(["", *(f"a{i}" for i in range(5000)), "MaxPool"]), ""),
        ("n", "[" + "'a', " * 200_000 + "]"),
        ("n", "[" * 3000 + "]" * 3000),
        ("n", "7"),
    ],
)
def test_module_paths_without_end_are_none(name: str, scopes: str) -> None:
    net = Net(1, 3, 32, 32, opset=17)
    model = net.model(net.add("MaxPool", "x", kernel_shape=[2, 2], name=name))
    if scopes:
        entry = onnx.StringStringEntryProto(key="pkg.torch.onnx.name_scopes", value=scopes)
        model.graph.node[0].metadata_props.append(entry)
    graph = read_onnx(model.SerializeToString())
    assert show(graph).to_json()
    assert [node.path for node in graph.sites] == [name]


def function(name: str, *calls: str) -> Any:
    """A function that calls others of its own domain, or Relu, one behind the other."""
    steps = calls or ("Relu",)
    nodes = [
        helper.make_node(op, [f"v{at}"], [f"v{at + 1}"], domain="my" if calls else "") for at, op in enumerate(steps)
    ]
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return helper.make_function("my", name, ["v0"], [f"v{len(steps)}"], nodes, sets)


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ([function("f", "g"), function("g", "f")], "calls itself"),
        (
            [
                function("f", "f1", "f1"),
                *(function(f"f{i}", f"f{i + 1}", f"f{i + 1}") for i in range(1, 40)),
                function("f40"),
            ],
            "more than 30000 nodes",
        ),
    ],
)
def test_functions_without_end(functions: Any, said: str) -> None:
    net = Net(1, 3, 8, 8, opset=17)
    model = net.model(net.add("f", net.add("MaxPool", "x", kernel_shape=[2, 2]), domain="my"))
    model.functions.extend(functions)
    model.opset_import.append(helper.make_opsetid("my", 1))
    with pytest.raises(LoadError, match=said):
        read_onnx(model.SerializeToString())


def test_a_function_is_put_in_place_of_its_call() -> None:
    net = Net(1, 3, 8, 8, opset=17)
    model = net.model(net.add("f", net.add("MaxPool", "x", kernel_shape=[2, 2]), domain="my"))
    model.functions.extend([function("f", "g", "g"), function("g")])
    model.opset_import.append(helper.make_opsetid("my", 1))
    assert [node.target for node in read_onnx(model.SerializeToString()).nodes] == ["MaxPool", "Relu", "Relu"]


def test_a_file_of_many_gigabytes_is_read_by_its_graph(tmp_path: Path) -> None:
    """A sparse file: two weights of 1.5 GiB each, of which nothing is read."""
    net = Net(1, 3, 32, 32)
    net.conv(net.conv("x", 4, 3, 3, 3, strides=[2, 2]), 4, 4, 3, 3)
    model = net.model("Conv_1_0")
    size = 3 << 29
    for name in ("big", "bigger"):
        model.graph.initializer.append(TensorProto(name=name, dims=[size // 4], data_type=TensorProto.FLOAT))
    file = tmp_path / "large.onnx"
    head = model.SerializeToString()
    tensor = TensorProto(name="huge", dims=[size // 4], data_type=TensorProto.FLOAT).SerializeToString()
    inner = tensor + b"\x4a" + varint(size)  # field 9, raw_data
    field = b"\x2a" + varint(len(inner) + size) + inner  # field 5 of the graph, initializer
    with file.open("wb") as out:
        out.write(head)
        for _ in range(2):  # a message may come in pieces: each adds to the graph
            out.write(b"\x3a" + varint(len(field) + size) + field)
            out.seek(size, os.SEEK_CUR)
        out.truncate()
    assert file.stat().st_size > 2**31
    assert [node.key for node in read_onnx(file).sites] == ["Conv", "Conv#2"]


def varint(value: int) -> bytes:
    """A length as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
