"""Values that do not depend on the input stay real; where a forward asks for one that does, the trace ends."""

import itertools

import numpy as np
import pytest
import torch
from test_trace_untouched import assert_untouched
from torch import nn
from torch.nn import functional

import stridewise as sw


class Reads(nn.Module):
    """A convolution of step 2, then what `read(self, y)` makes of it with values of its own."""

    def __init__(self, read):
        super().__init__()
        self.conv, self.read = nn.Conv2d(3, 8, 3, 2, 1), read
        self.stride = torch.tensor([2.0, 4.0])
        self.register_buffer("table", torch.arange(6.0).view(2, 3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.scale = nn.Parameter(torch.tensor([3.0]))
        self.weight = nn.Parameter(torch.full((40, 400), 2.0))

    def forward(self, x):
        return self.read(self, self.conv(x))


def doubled(y, by):
    return functional.interpolate(y, scale_factor=float(by), mode="nearest")


def filled(m, y):
    mask = torch.zeros(4, 4, dtype=torch.bool, device=y.device)
    mask[1:3] = True
    m.count += 1
    assert m.count.item() == 1
    return doubled(y, mask.sum().item() // 4)


def picked(m, y):
    kept = torch.arange(8, device=y.device) >= 4
    return doubled(y[:, kept], 2) if kept.nonzero().shape == (4, 1) else y


VALUES = {
    "full": lambda m, y: y * torch.full((1,), m.stride[0]),
    "item of an attribute": lambda m, y: doubled(y, m.stride[0].item()),
    "tensor of tensors": lambda m, y: doubled(y, torch.tensor([m.stride[0], 1.0]).max()),
    "numpy": lambda m, y: doubled(y, np.asarray(m.stride)[0]),
    "buffer": lambda m, y: doubled(y, m.table.sum(0)[1].int() - 3),
    "tolist of sizes": lambda m, y: functional.interpolate(y, size=(torch.tensor(y.shape[2:]) * 2).tolist()),
    "parameter": lambda m, y: doubled(y, m.scale.abs().ceil().item() - 1),
    "parameter to the CPU": lambda m, y: doubled(y, (m.scale - 1).cpu().tolist()[0]),
    "branch on a large weight": lambda m, y: doubled(y, 2) if (m.weight @ m.weight.t()).mean() > 1 else y,
    "range": lambda m, y: doubled(y, torch.linspace(0, 2, 5, device=y.device)[-1]),
    "written in place": filled,
    "mask": picked,
    "drawn": lambda m, y: doubled(y, torch.rand(3).ceil().max().item() + 1),
    "loop": lambda m, y: [y + 0 for n in m.table[1].int() for _ in range(n)][-1] if m.table.any() else y,
}


@pytest.mark.parametrize("name", VALUES)
def test_a_forward_reads_values_that_do_not_depend_on_the_input(name):
    net = Reads(VALUES[name])
    assert_untouched(net, (3, 32, 32))
    graph = sw.trace(net, (3, 32, 32))
    assert graph.end is None
    assert tuple(sw.show(graph).to_json()["outputs"][0]["size"]) == net(torch.rand(1, 3, 32, 32)).shape[2:]


ASKS = {
    "nonzero": lambda m, y: y.nonzero(),
    "mask": lambda m, y: y[y > 0],
    "branch": lambda m, y: y if y.mean() > 0 else -y,
    "item": lambda m, y: y * y.max().item(),
    "tolist": lambda m, y: y.mean((0, 2, 3)).tolist(),
    "numpy": lambda m, y: torch.from_numpy(y.detach().cpu().numpy()),
    "tensor of it": lambda m, y: torch.tensor([y.sum(), 1.0]),
    "unique": lambda m, y: y.unique(),
    "equal": lambda m, y: y if torch.equal(y, y + 1) else -y,
    "written before": lambda m, y: torch.zeros_like(y).copy_(y).sum().item(),
}


@pytest.mark.parametrize("name", ASKS)
def test_the_trace_ends_where_a_value_of_the_input_is_asked_for(name):
    net = Reads(ASKS[name])
    assert_untouched(net, (3, 32, 32))
    graph = sw.trace(net, (3, 32, 32))
    line = ASKS[name].__code__.co_firstlineno
    assert graph.end is not None
    assert graph.end.where.endswith(f"test_values.py:{line}")
    report = sw.show(graph)
    assert report.to_json()["outputs"] == [
        {"name": "output", "size": [16, 16], "cumulative_stride": [2, 2], "receptive_field": [3, 3]}
    ]
    assert f"the trace ends at {graph.end.where}" in str(report)
    assert [f.rule for f in sw.check(graph) if f.rule == "SW203"] == ["SW203"]


class Detector(nn.Module):
    """Three levels with a head each, whose best predictions alone go out."""

    def __init__(self):
        super().__init__()
        widths = (3, 8, 8, 8)
        self.levels = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        self.lateral = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(3))
        self.heads = nn.ModuleList(nn.Conv2d(8, 5, 3, 1, 1) for _ in range(3))

    def forward(self, x):
        scores = torch.cat([said.flatten(2) for said in self.maps(x)], 2)
        return scores[:, :, scores[0, 4] > 0.5]

    def maps(self, x):
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        up = None
        said = []
        for at in (2, 1, 0):
            here = self.lateral[at](maps[at])
            up = here if up is None else here + functional.interpolate(up, size=here.shape[-2:])
            said.append(self.heads[at](up))
        return said


def test_the_maps_of_a_detector_are_known_where_it_ends():
    net = Detector().eval()
    graph = sw.trace(net, (3, 64, 64))
    found = sw.show(graph).to_json()
    assert sorted(o["cumulative_stride"][0] for o in found["outputs"]) == [2, 4, 8]
    assert found["totals"]["output_stride"] == [8, 8]
    assert found["unknown"] == []
    plan = sw.plan(graph, output_stride=4, keep_weights=True)
    x = torch.rand(1, 3, 64, 64)
    before = net.maps(x)
    done = sw.apply(net, plan)
    after = net.maps(x)
    assert [tuple(m.shape[2:]) for m in after] == [(16, 16), (16, 16), (32, 32)]
    assert torch.allclose(before[0], after[0][..., ::2, ::2], atol=1e-5)
    done.undo()


def test_a_model_without_values_is_built_anew_where_one_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "stored.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.conv = nn.Conv2d(3, 4, 3, 2, 1)\n"
        "        self.anchors = torch.tensor([2.0])\n\n    def forward(self, x):\n"
        "        return nn.functional.interpolate(self.conv(x), scale_factor=self.anchors.item())\n"
    )
    monkeypatch.chdir(tmp_path)
    from stridewise.models.load import open_graph

    graph = open_graph("stored.py:Net", (3, 32, 32))
    assert graph.end is None
    assert sw.show(graph).to_json()["outputs"][0]["size"] == [32, 32]


class Biased(nn.Module):
    """Attention over windows: a learned table picked by a buffer of numbers, as Swin's positions are."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)
        self.table = nn.Parameter(torch.zeros(9, 8))
        self.register_buffer("picks", torch.arange(16) % 9)

    def forward(self, x):
        return self.conv(x) + self.table[self.picks].mean(0).view(1, 8, 1, 1)


def test_weights_picked_by_a_table_without_values_are_shapes_still():
    real = sw.trace(Biased(), (3, 32, 32), name="biased")
    bare = sw.trace(Biased().to("meta"), (3, 32, 32), name="biased")
    assert bare.end is None
    assert (bare.nodes, bare.grids, bare.tensors) == (real.nodes, real.grids, real.tensors)
    assert sw.show(bare).to_json()["outputs"][0]["size"] == [8, 8]
