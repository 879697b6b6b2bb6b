"""Which dimensions are positions is read from the first windows; arguments of every form reach the forward."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import stridewise as sw
from stridewise.cli import main
from stridewise.errors import TraceError
from stridewise.tracing.inputs import arguments_of, called, drawn


class Behind(nn.Module):
    """`conv` behind `change`, any function."""

    def __init__(self, conv, change):
        super().__init__()
        self.conv, self.change = conv, change

    def forward(self, x):
        return self.conv(self.change(x))


class Turned(nn.Sequential):
    """Its parts, then channels before positions."""

    def forward(self, x):
        return super().forward(x).transpose(1, 2)


class Folded(nn.Module):
    """Frames one by one: (N, T, C, H, W) in, the time in the batch of the convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x):
        return self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])


flat = nn.Conv2d(3, 4, 3, 2, 1)
LAYOUTS = {
    "(N,C,H,W)": (flat, (3, 32, 24), [2, 2]),
    "(N,H,W,C)": (Behind(flat, lambda x: x.permute(0, 3, 1, 2)), (32, 24, 3), [2, 2]),
    "(N,H,W)": (Behind(nn.Conv2d(1, 4, 3, 2, 1), lambda x: x[:, None]), (32, 24), [2, 2]),
    "(N,T)": (Behind(nn.Conv1d(1, 4, 10, 5), lambda x: x[:, None]), (160,), [5]),
    "(N,T,C)": (Behind(nn.Conv1d(80, 4, 3, 2, 1), lambda x: x.transpose(1, 2)), (100, 80), [2]),
    "(N,T,F), norm before": (
        Behind(nn.Conv1d(8, 4, 3, 2, 1), Turned(nn.LayerNorm(16), nn.Linear(16, 8))),
        (100, 16),
        [2],
    ),
    "(N,T,F) as a picture": (
        Behind(nn.Conv2d(1, 4, 3, (2, 1), 1), lambda x: x.unsqueeze(1).transpose(2, 3)),
        (100, 16),
        [2, 1],
    ),
    "(N,T,C,H,W), tubes": (Behind(nn.Conv3d(3, 4, 2, 2), lambda x: x.transpose(1, 2)), (4, 3, 16, 16), [2, 2, 2]),
    "(N,T,C,H,W), frames": (Folded(), (4, 3, 16, 16), [1, 2, 2]),
    "space to depth": (Behind(nn.Conv2d(12, 4, 3, 1, 1), nn.PixelUnshuffle(2)), (3, 32, 24), [2, 2]),
    "from a vector": (
        Behind(nn.Conv2d(4, 4, 3, 2, 1), nn.Sequential(nn.Linear(10, 64), nn.Unflatten(1, (4, 4, 4)))),
        (10,),
        None,
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_positions_are_where_the_first_window_reads_them(name):
    model, shape, stride = LAYOUTS[name]
    if stride is None:  # the input's positions are gone before the first window
        with pytest.raises(TraceError, match="it has no strides to show"):
            sw.trace(model, shape)
        return
    graph = sw.trace(model, shape)
    found = sw.show(graph).to_json()["outputs"][0]
    made = model(torch.rand(1, *shape))
    assert found["cumulative_stride"] == stride
    sizes = [n for n in made.shape[1:] if n != 4] if name != "(N,T,C,H,W), frames" else [4, 8, 8]
    assert sorted(found["size"]) == sorted(sizes)
    # The gradient of one position lands on as many input positions as its field has.
    x = torch.rand(1, *shape, requires_grad=True)
    middle = tuple(n // 2 for n in made.shape)
    model(x)[middle].backward()
    read = (x.grad[0] != 0).nonzero()
    spans = [int(axis.max() - axis.min()) + 1 for axis in read.T]
    positions = [d for d, n in enumerate(shape) if n in graph.size]
    assert sorted(spans[d] for d in positions) == sorted(found["receptive_field"])


def test_plans_keep_weights_in_every_layout():
    torch.manual_seed(0)
    last = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1)
    )
    model = Behind(last, lambda x: x.permute(0, 3, 1, 2)).double()
    x = torch.rand(1, 33, 40, 3, dtype=torch.double)
    before = model(x)
    plan = sw.plan(sw.trace(model, (33, 40, 3)), output_stride=2, keep_weights=True)
    done = sw.apply(model, sw.Plan.from_toml(plan.to_toml()))
    assert done.certificate.exact
    assert torch.allclose(model(x)[..., ::2, ::2], before, atol=1e-12)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.conv, self.look = nn.Embedding(50, 8), nn.Conv1d(8, 4, 3, 2, 1), nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, ids, image=None, *, scale=1.0, mode="plain"):
        y = self.conv(self.embed(ids).transpose(1, 2)) * scale
        if mode == "picture":
            return self.look(image) * y.mean((1, 2))[:, None, None, None]
        return y


@dataclass
class Batch:
    image: torch.Tensor
    depth: torch.Tensor


class InADict(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(1, 4, 3, 2, 1)

    def forward(self, batch):
        return {"sum": self.a(batch["image"]) + self.b(batch["depth"])}


class InARecord(InADict):
    def forward(self, batch: Batch):
        return Batch(self.a(batch.image) + self.b(batch.depth), batch.depth)


def strides(graph):
    return [o["cumulative_stride"] for o in sw.show(graph).to_json()["outputs"]]


def test_whole_numbers_and_plain_values_are_given_by_name():
    graph = sw.trace(Named(), {"ids": "77:int64"})
    assert strides(graph) == [[2]]
    assert graph.input == "77:int64"
    spec = {"ids": "77:int64", "image": (3, 32, 32), "mode": "=picture", "scale": 2.0}
    graph = sw.trace(Named(), spec)
    assert strides(graph) == [[2, 2]]
    plan = sw.plan(graph, {"look": 1})
    assert plan.input == {"ids": "77:int64", "image": (3, 32, 32), "mode": "=picture", "scale": "=2.0"}
    again = sw.Plan.from_toml(plan.to_toml())
    assert again.input == plan.input
    model = Named()
    sw.apply(model, again)
    args, named = called(model.forward, drawn(again.input, torch.Generator()))
    assert model(*args, **named).shape == (1, 4, 32, 32)


@pytest.mark.parametrize("kind", [InADict, InARecord])
def test_a_forward_that_takes_one_dict_or_record_is_given_it_by_name(kind):
    graph = sw.trace(kind(), {"image": (3, 32, 32), "depth": (1, 32, 32)})
    assert strides(graph)[0] == [2, 2]


def test_the_command_line_says_dtype_layout_and_values(tmp_path, monkeypatch, capsys):
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.e, self.c = nn.Embedding(9, 8), nn.Conv1d(8, 4, 3, 2, 1)\n\n"
        "    def forward(self, ids, t, scale=1.0, mode='no'):\n        assert (scale, mode) == (2.0, 'yes')\n"
        "        return self.c(self.e(ids).transpose(1, 2)) * t * scale\n\n\n"
        "def picture():\n    return nn.Conv2d(3, 4, 3, 2, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    given = ["--input", "ids=77:int64", "--input", "t=", "--arg", "scale=2.0", "--arg", "mode=yes"]
    said = [
        (["show", "nets.py:Net", *given], "output stride 2 "),
        (["show", "nets.py:picture", "--input", "3x32x24", "--layout", "CHW"], "last map 16×12"),
        (["show", "nets.py:picture", "--layout", "NCHW"], "last map 112×112"),
        (["set", "nets.py:Net", *given, "c=1", "-o", "plan.toml"], "c"),
    ]
    for argv, wanted in said:
        with pytest.raises(SystemExit) as left:
            main(argv)
        out = capsys.readouterr()
        assert not left.value.code, out.err
        assert wanted in out.out
    assert sw.Plan.read("plan.toml").input["scale"] == "=2.0"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("77:int64x", "torch has no dtype 'int64x'; say float32, int64 or bool"),
        ("3x0x4:int64", "sizes are whole numbers from 1 joined by x"),
        ("3x4x4@NCH", "layout NCH names 3 dimensions, and there are 4"),
        ("3x4x4@NCCH", "a layout names each dimension once"),
        ({"x": None, "y": [1.5]}, "input y: sizes are whole numbers from 1"),
    ],
)
def test_an_input_that_cannot_be_read_is_one_line(spec, said):
    with pytest.raises(TraceError, match=said):
        arguments_of(spec)


def test_whole_numbers_are_advised_where_a_table_is_asked():
    with pytest.raises(TraceError, match=r"it takes whole numbers: say 77:int64$"):
        sw.trace(nn.Sequential(nn.Embedding(9, 4), nn.Conv1d(77, 4, 1)), (77,))
    with pytest.raises(TraceError, match="there is no input 'y'; there are x"):
        sw.trace(flat, {"x": (3, 32, 32)}, layout={"y": "NCHW"})


def test_a_layout_that_is_said_overrules_what_is_read():
    model = Behind(nn.Conv2d(3, 4, 3, 2, 1), lambda x: x.permute(0, 3, 1, 2))
    assert sw.trace(model, (32, 24, 3), layout="NHWC").size == (32, 24)
    assert sw.trace(model, (32, 24, 3), layout="NHWX").size == (32, 24, 3)
    unbatched = sw.trace(nn.Conv2d(3, 4, 3, 2, 1), (3, 32, 24), layout="CHW")
    assert strides(unbatched) == [[2, 2]]
