"""Patch embeddings with another step: tokens at shared places stay, the position table is made for the finer grid."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.errors import PlanError
from stridewise.ir import Table
from stridewise.models.zoo import declare_missing_ops
from stridewise.surgery.declared import resampled


class Tokens(nn.Module):
    """Patches, class tokens before them, a position table, attention. kind: what the table is added to."""

    def __init__(self, kind: str = "tokens", size: int = 64, before: int = 1) -> None:
        super().__init__()
        side = size // 16
        self.kind, self.before = kind, before
        self.patches = nn.Conv2d(3, 8, 16, 16)
        self.cls = nn.Parameter(torch.randn(1, before, 8))
        shape = {"tokens": (1, before + side**2, 8), "map": (1, 8, side, side), "patches": (1, side**2, 8)}[kind]
        self.pos_embed = nn.Parameter(torch.randn(shape))
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x)
        if self.kind == "map":
            x = x + self.pos_embed
        x = x.flatten(2).transpose(1, 2)
        if self.kind == "patches":
            x = x + self.pos_embed
        x = torch.cat([self.cls, x], 1)
        if self.kind == "tokens":
            x = x + self.pos_embed
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out(functional.scaled_dot_product_attention(q, k, v)[:, 0])


@pytest.mark.parametrize("kind", ["tokens", "map", "patches"])
@pytest.mark.parametrize(("size", "step"), [(64, 8), (80, 4), (64, 5)])
def test_overlapping_patches_keep_their_weights_and_get_a_table(kind, size, step):
    torch.manual_seed(0)
    net, x = Tokens(kind, size).eval(), torch.rand(1, 3, size, size)
    weight, table, tokens = net.patches.weight.clone(), net.pos_embed, net.patches(x)
    graph = sw.trace(net, (3, size, size))
    plan = sw.plan(graph, {"patches": step})
    done = sw.apply(net, plan)
    side = (size - 16) // step + 1
    assert torch.equal(net.patches.weight, weight)
    if 16 % step == 0:
        assert torch.allclose(net.patches(x)[..., :: 16 // step, :: 16 // step], tokens, atol=1e-5)
    assert any(f"position table {size // 16}x{size // 16} -> {side}x{side}" in line for line in done.changes)
    assert net(x).shape == (1, 5)
    # Attention compares every token with every other: its work grows with the square of their number.
    before, after = (sw.show(g).layers for g in (graph, sw.trace(net, (3, size, size))))
    old, new = (sum(r.macs for r in rows if not r.params) for rows in (before, after))
    assert new * ((size // 16) ** 2 + 1) ** 2 == old * (side**2 + 1) ** 2
    promised = {r.key: r.out_size for r in sw.show(graph, [plan]).views[1].layers}
    assert promised == {r.key: r.out_size for r in after}
    done.undo()
    assert net.pos_embed is table


def test_a_table_is_resampled_as_timm_does_it():
    declare_missing_ops()
    pytest.importorskip("timm")
    from timm import layers

    table = torch.randn(1, 2 + 12, 6, dtype=torch.float64)
    ours = resampled(table, Table(shape=(1, 14, 6), dims=(1,), begin=2), (3, 4), (7, 5))
    theirs = layers.resample_abs_pos_embed(table, (7, 5), old_size=(3, 4), num_prefix_tokens=2)
    assert torch.equal(ours, theirs)
    map_of = resampled(table[:, 2:].reshape(1, 3, 4, 6), Table(shape=(1, 3, 4, 6), dims=(1, 2)), (3, 4), (7, 5))
    assert torch.allclose(map_of.flatten(1, 2), ours[:, 2:])


class Relative(nn.Module):
    """A table of biases for pairs of tokens, through an index; or a table computed from a parameter of its own."""

    def __init__(self, pairs: bool) -> None:
        super().__init__()
        self.patches, self.pairs = nn.Conv2d(3, 8, 16, 16), pairs
        self.table = nn.Parameter(torch.randn(1, 16, 16) if pairs else torch.randn(1, 16, 4))
        self.wide = nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.pairs:
            return (x @ x.transpose(1, 2) + self.table).softmax(-1) @ x
        return x + self.wide(self.table)


@pytest.mark.parametrize(("pairs", "said"), [(True, "position table"), (False, "no weight of that shape is the table")])
def test_a_table_that_cannot_be_made_anew_is_refused_by_the_plan(pairs, said):
    net = Relative(pairs)
    with pytest.raises(PlanError, match=said):
        sw.plan(sw.trace(net, (3, 64, 64)), {"patches": 8})


class Distances(nn.Module):
    """A table with an entry for every distance between two rows, picked by distances of the map's own size."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.patches, self.how = nn.Conv2d(3, 8, 4, 4), how
        self.table = nn.Parameter(torch.randn(31, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x)
        rows = torch.arange(x.shape[2])
        far = (rows[:, None] - rows[None]) + 15
        if self.how == "index":
            picked = self.table[far]
        elif self.how == "embedding":
            picked = functional.embedding(far, self.table)
        elif self.how == "select":
            picked = self.table.index_select(0, far.flatten()).view(*far.shape, 8)
        else:
            picked = self.table.gather(0, far.view(-1, 1).expand(-1, 8)).view(*far.shape, 8)
        return torch.einsum("bchw,hkc->bhwk", x, picked)


@pytest.mark.parametrize("how", ["index", "embedding", "select", "gather"])
def test_a_table_that_is_too_short_for_the_plan_is_refused_by_it(how):
    net, x = Distances(how), torch.rand(1, 3, 64, 64)
    graph = sw.trace(net, (3, 64, 64))
    assert not graph.unknown
    sw.apply(net, sw.plan(graph, {"patches": 8})).undo()
    with pytest.raises(PlanError, match=r"index \d+ is out of bounds for dimension 0 with size 31"):
        sw.plan(graph, {"patches": 2})
    net.patches.stride = (2, 2)
    with pytest.raises((IndexError, RuntimeError)):  # as torch says it of the model itself
        net(x)


class Windowed(nn.Module):
    """Attention in windows of 4x4 with a table of biases for the pairs in one; the second map is one window."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, 3, 8, 1), nn.Conv2d(8, 8, 2, 2)
        self.table = nn.ParameterList([nn.Parameter(torch.randn(1, 16, 16)) for _ in range(2)])

    def windows(self, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        n, c, high, wide = x.shape
        x = x.view(n, c, high // 4, 4, wide // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        x = (x @ x.transpose(1, 2) + table).softmax(-1) @ x
        x = x.view(n, high // 4, wide // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(n, c, high, wide)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.windows(self.down(self.windows(self.stem(x), self.table[0])), self.table[1])


@pytest.mark.parametrize(("request_", "side"), [({"stem": 4}, 8), ({"stem": 2}, 16), ({"down": 1}, 8)])
def test_tables_for_the_windows_of_a_map_hold_at_its_other_sizes(request_, side):
    net, x = Windowed().eval(), torch.rand(1, 3, 64, 64)
    graph = sw.trace(net, (3, 64, 64))
    plan = sw.plan(graph, request_)
    found = sw.apply(net, plan)
    assert net(x).shape == (1, 8, side, side)
    found.undo()
    for name, step in request_.items():
        if step < getattr(net, name).stride[0]:
            with pytest.raises(PlanError, match=r"cannot grow|not followed"):
                sw.plan(graph, {name: step}, keep_weights=True)
