"""What one training gave: the plan, the seed, the budget, the accuracy and how sure it is. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stridewise.plans import Plan

_Z95 = 1.959964  # the 97.5 % point of the normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One pass over the training pictures: its mean loss, and the accuracy on the held-out ones after it."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecord:
    """One training. accuracy: measured, a share of `pictures` held-out pictures; low, high: its 95 % Wilson interval.

    budget: epochs. correct: one entry a held-out picture, so that two networks can be compared picture by picture.
    seconds: of this process, those before a resume not counted. `float(record)` is the accuracy.
    """

    task: str
    model: str
    data: str
    plan: Plan
    seed: int
    budget: int
    steps: int
    accuracy: float
    low: float
    high: float
    pictures: int
    curve: tuple[Epoch, ...]
    seconds: float
    conditions: Mapping[str, Any] = field(default_factory=dict)
    correct: tuple[bool, ...] = field(default=(), repr=False)

    def __float__(self) -> float:
        return self.accuracy

    def __str__(self) -> str:
        return (
            f"accuracy {self.accuracy:.1%} ({self.low:.1%} to {self.high:.1%}, measured on {self.pictures:,} pictures) "
            f"after {self.budget} epochs of {self.model} on {self.data}, seed {self.seed}, {self.seconds:.0f} s"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `correct` is written as hexadecimal bits, the first picture the highest."""
        return {
            "schema": "stridewise.train/1",
            "task": self.task,
            "model": self.model,
            "data": self.data,
            "plan": self.plan.to_toml(),
            "seed": self.seed,
            "budget": self.budget,
            "steps": self.steps,
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            "pictures": self.pictures,
            "curve": [{"loss": e.loss, "accuracy": e.accuracy} for e in self.curve],
            "seconds": self.seconds,
            "conditions": dict(self.conditions),
            "correct": to_bits(self.correct),
        }


def to_bits(correct: tuple[bool, ...]) -> str:
    """Booleans as hexadecimal text, padded at the end to whole bytes."""
    packed = bytes(
        sum(bit << (7 - i) for i, bit in enumerate(correct[begin : begin + 8])) for begin in range(0, len(correct), 8)
    )
    return packed.hex()


def from_bits(text: str, count: int) -> tuple[bool, ...]:
    """The first `count` booleans of what `to_bits` wrote."""
    return tuple(bool(byte >> (7 - i) & 1) for byte in bytes.fromhex(text) for i in range(8))[:count]


def wilson(successes: int, total: int, z: float = _Z95) -> tuple[float, float]:
    """The interval that holds a share with 95 % confidence after `successes` of `total`.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    share, spread = successes / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)
