"""A choice among plans that gradient descent makes: Gumbel noise draws one of an elastic network's plans each step.

Source: Jang, Gu and Poole 2017, "Categorical reparameterization with Gumbel-softmax", section 2.2 (straight-through).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from stridewise.errors import PlanError
from stridewise.plans import Plan
from stridewise.switching.elastic import Elastic


class RelaxedChoice(nn.Module):
    """The plans of an elastic network, `net`, and a logit for each; made by `sw.relaxed`, which says how to train."""

    def __init__(self, net: Elastic) -> None:
        super().__init__()
        if not isinstance(net, Elastic):
            raise PlanError(f"relaxed: an elastic network is wanted, not {type(net).__name__}: make one by sw.elastic")
        self.net = net
        self.logits = nn.Parameter(torch.zeros(len(net.plans)))

    def loss(
        self, x: Any, criterion: Callable[[Any], torch.Tensor], *, price: float = 0.1, temperature: float = 1.0
    ) -> torch.Tensor:
        """What a step minimises: `criterion` of the drawn plan's output, plus `price` for each 1x of its cost.

        The weights learn from the drawn plan, the logits from the losses of all plans: those not drawn run without a
        gradient. So a step computes a forward of every plan and a backward of one. The plan drawn stays in use.
        """
        drawn = nn.functional.gumbel_softmax(self.logits, tau=temperature, hard=True)
        names, best = list(self.net.plans), int(drawn.argmax())
        losses = [self.logits.new_zeros(())] * len(names)
        for number in sorted(range(len(names)), key=lambda n: n == best):  # the drawn one last
            with torch.set_grad_enabled(number == best):
                losses[number] = criterion(self.net.use(names[number])(x)) + price * self.net.costs[names[number]]
        return (drawn * torch.stack([each.detach() for each in losses])).sum() - losses[best].detach() + losses[best]

    def shares(self) -> dict[str, float]:
        """How likely each plan is drawn, by name."""
        return dict(zip(self.net.plans, self.logits.detach().softmax(0).tolist(), strict=True))

    def plan(self) -> Plan:
        """The likeliest plan."""
        return self.net.plans[max(self.shares().items(), key=lambda share: share[1])[0]]


def relaxed(net: Elastic) -> RelaxedChoice:
    """The choice among an elastic network's plans as parameters beside its weights; the training loop is your own.

    It judges plans by shared weights, which rank them weakly (docs/learned.md): train what it chooses anew, beside
    others. Raises: PlanError where `net` is not elastic.

    >>> import torch
    >>> choice = sw.relaxed(sw.elastic(sw.load("builtin:resnet20-narrow"), costs=(0.5, 1), input=(3, 32, 32)))
    >>> loss = choice.loss(torch.randn(4, 3, 32, 32), lambda out: out.square().mean())
    >>> loss.backward()
    >>> choice.shares()
    {'0.5x': 0.5, '1x': 0.5}
    """
    return RelaxedChoice(net)
