"""Memory: bytes kept for backward against torch's own hooks, the peak against counting what is alive."""

import pytest
import torch
from analysis_nets import chain, zoo
from torch import nn

from stridewise.analyses.cost import kept_bytes, peak_bytes
from stridewise.analyses.sizes import grid_sizes
from stridewise.tracing.trace import trace


def really_kept(net: nn.Module, x: torch.Tensor) -> int:
    """Bytes of the storages that backward saves, parameters and buffers left out."""
    own = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers())}
    saved: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = net(x)
    assert out.requires_grad
    return sum(t.untyped_storage().nbytes() for at, t in saved.items() if at not in own)


def no_dropout(net: nn.Module) -> nn.Module:
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout) or type(module).__name__ == "StochasticDepth":
            module.eval()
    return net


ACTS = [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("act", ACTS)
def test_an_activation_keeps_what_torch_keeps(act, in_place):
    net = no_dropout(
        chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act(inplace=in_place), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3))
    )
    graph = trace(net, (3, 16, 16))
    for batch in (1, 3):
        assert kept_bytes(graph, grid_sizes(graph), batch) == really_kept(net, torch.zeros(batch, 3, 16, 16))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_real_models_keep_what_torch_keeps(name):
    net = no_dropout(zoo(name, "cpu"))
    graph = trace(net, (3, 64, 64))
    assert kept_bytes(graph, grid_sizes(graph), 2) == really_kept(net, torch.zeros(2, 3, 64, 64))


def test_gates_norms_and_attention_keep_what_torch_keeps():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.group = nn.Conv2d(3, 8, 3, 2), nn.LayerNorm(8), nn.GroupNorm(2, 8)
            self.wide, self.gate, self.scale = nn.Linear(8, 16), nn.Conv2d(8, 8, 1), nn.Parameter(torch.ones(16))
            self.last = nn.Conv2d(8, 2, 3)

        def forward(self, x):
            x = self.group(self.stem(x))
            x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
            tokens = self.norm(x.flatten(2).transpose(1, 2))
            tokens = nn.functional.gelu(self.wide(tokens) * self.scale)
            mixed = torch.softmax(tokens @ tokens.transpose(1, 2) / 4, -1) @ tokens
            pooled = nn.functional.adaptive_avg_pool2d(x, 2).sum()
            return self.last(torch.cat([x, -x], 1)[:, 4:12]) + mixed.mean() + pooled

    net = Net().train()
    graph = trace(net, (3, 17, 17))
    assert kept_bytes(graph, grid_sizes(graph), 2) == really_kept(net, torch.zeros(2, 3, 17, 17))


def test_the_peak_is_the_most_that_is_alive_after_any_op():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
            self.c, self.act = nn.Conv2d(8, 4, 1), nn.ReLU(inplace=True)

        def forward(self, x):
            a = self.act(self.a(x))
            b = self.b(a)
            low = nn.functional.max_pool2d(a, 2)
            return self.c(torch.cat([b, low], 1)[:, :8]) + b.view(b.shape)[:, :4]

    graph = trace(Net(), (3, 20, 20))
    sizes = grid_sizes(graph)
    last = {t: len(graph.nodes) for t in graph.outputs}
    for node in reversed(graph.nodes):
        for tensor in (*node.inputs, *node.outputs):
            last.setdefault(tensor, node.index)
    peak = 0
    for node in graph.nodes:
        made = [t for _, t in graph.inputs] + [t for n in graph.nodes[: node.index + 1] for t in n.outputs]
        alive = {graph.tensors[t].storage for t in made if last[t] >= node.index}
        peak = max(peak, sum(graph.tensors[s].volume.at(sizes) * graph.tensors[s].itemsize for s in alive))
    assert peak_bytes(graph, sizes) == peak
