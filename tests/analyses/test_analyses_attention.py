"""What attention computes follows the sizes: its scores grow with the square of the positions."""

import torch
from torch import nn

from stridewise.analyses import cost
from stridewise.rewrites.restride import with_sizes
from stridewise.tracing.trace import trace


class Attention(nn.Module):
    """A convolution, then every position looks at every other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)[:, None]
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(tokens, tokens, tokens)[0]


def test_activations_of_attention_at_another_size() -> None:
    moved = with_sizes(trace(Attention(), (3, 16, 16)), (24, 32))
    anew = trace(Attention(), (3, 24, 32))
    for graph in (moved, anew):
        sizes = [g.sizes for g in graph.grids]
        positions = 12 * 16
        assert cost.activations(graph, sizes) == positions * 6 + positions * 6 + positions**2
