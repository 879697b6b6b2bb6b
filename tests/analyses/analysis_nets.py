"""Small networks for findings, and the questions that autograd answers about them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch
from torch import nn

from stridewise.analyses.findings import check
from stridewise.findings import Finding
from stridewise.models.load import load
from stridewise.tracing.trace import trace


class Fn(nn.Module):
    """A network from modules by name and a forward over them."""

    def __init__(self, forward: Callable[..., torch.Tensor], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.run = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def chain(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules)


def positive(net: nn.Module) -> nn.Module:
    """Every weight 1, no bias: a position is read exactly when the gradient there is not zero."""
    for parameter in net.parameters():
        parameter.data.fill_(1.0 if parameter.dim() > 1 else 0.0)
    return net.double().eval()


def found(net: nn.Module, rule: str, shape: tuple[int, ...] = (3, 32, 32), **more: object) -> list[Finding]:
    """The findings of one rule."""
    return [f for f in check(trace(net, shape), **more) if f.rule == rule]  # type: ignore[arg-type]


def keys(net: nn.Module, rule: str, shape: tuple[int, ...] = (3, 32, 32)) -> list[str]:
    return [f.key for f in found(net, rule, shape)]


def read_mask(net: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Which input positions any output depends on."""
    x = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    positive(net)(x).sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(0) > 0


def reach(net: nn.Module, shape: tuple[int, ...], at: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The input positions that one output position depends on."""
    x = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    positive(net)(x)[(0, 0, *at)].backward()
    assert x.grad is not None
    return {tuple(p) for p in (x.grad[0].abs().sum(0) > 0).nonzero().tolist()}


def zoo(name: str, device: str = "meta") -> nn.Module:
    """A torchvision network; the test is skipped where torchvision is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    return load(f"torchvision:{name}", device=device)
