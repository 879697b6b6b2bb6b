"""Downsampling kinds measured through plans: the self-test of shifts, and what crops say."""

from __future__ import annotations

import torch
from torch import nn

import stridewise as sw
from stridewise.models.builtin import ResNet20

from .measure_nets import toy


def circular(model: nn.Module) -> nn.Module:
    """The network with every convolution wrapping around."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"
    return model.eval()


def changes(model: nn.Module, plans: dict[str, sw.Plan], mode: str) -> dict[str, float]:
    """The output's change under shifts, by plan; 1 is what another picture makes."""
    torch.manual_seed(0)
    found = sw.measure(model, plans, what=["shift"], mode=mode, input=(3, 32, 32), images=8)
    return {row.name: row.shift.change.value for row in found.rows}


def test_polyphase_at_sites_changes_nothing_when_rolled() -> None:
    model = toy("plain", circular=True)
    graph = sw.trace(model, (3, 32, 32))
    plans = {
        kind: sw.plan(graph, dict.fromkeys(("0", "2", "4"), f"2:{kind}:circular")) for kind in ("polyphase", "blur")
    }
    found = changes(model, plans, "roll")
    assert found["polyphase"] < 1e-5 < found["blur"] < found["as it is"]


def test_polyphase_at_slots_of_a_residual_network_changes_nothing_when_rolled() -> None:
    model = circular(ResNet20(steps=()))
    graph = sw.trace(model, (3, 32, 32))
    plans = {
        kind: sw.plan(graph, dict.fromkeys(("+layers.3", "+layers.6"), f"2:{kind}"))
        for kind in ("polyphase:circular", "max")
    }
    found = changes(model, plans, "roll")
    assert found["polyphase:circular"] < 1e-5 < found["max"]
    assert found["as it is"] < 1e-5  # it never steps


def test_crops_prefer_blur_to_plain_steps_and_polyphase() -> None:
    model = toy("plain", circular=False)
    graph = sw.trace(model, (3, 32, 32))
    plans = {kind: sw.plan(graph, dict.fromkeys(("0", "2", "4"), kind)) for kind in ("blur", "polyphase")}
    found = changes(model, plans, "crop")
    assert found["blur"] < found["as it is"]
    assert found["blur"] < found["polyphase"]
