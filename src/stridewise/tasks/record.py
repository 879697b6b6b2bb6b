"""What one training gave: the plan, the seed, the budget, the score and how sure it is. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stridewise.plans import Plan
from stridewise.shown import Shown

_Z95 = 1.959964  # the 97.5 % point of the normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One pass over the training pictures: its mean loss, and the score on the held-out ones after it."""

    loss: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecord(Shown):
    """One training. score: measured on `pictures` held-out pictures, named by `metric`; low, high: its 95 % interval
    where it has one (Wilson for accuracy, resampled pictures otherwise); figures: what else was measured.

    budget: epochs asked for, of which `curve` has those done. correct: one entry a held-out picture of a classifier, so
    that two networks can be compared picture by picture. seconds: of this process, those before a resume not counted.
    notes: what the user should know. finished: False where it was told to stop before its budget.
    `float(record)` is the score.
    """

    task: str
    model: str
    data: str
    plan: Plan
    seed: int
    budget: int
    steps: int
    score: float
    metric: str
    low: float | None
    high: float | None
    pictures: int
    curve: tuple[Epoch, ...]
    seconds: float
    figures: Mapping[str, float | None] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    finished: bool = True
    correct: tuple[bool, ...] = field(default=(), repr=False)

    def __float__(self) -> float:
        return self.score

    @property
    def accuracy(self) -> float:
        """The score of a classifier. Raises: AttributeError for another task, whose score is no accuracy."""
        if self.task != "classify":
            raise AttributeError(f"the score of {self.task} is {self.metric}: read .score")
        return self.score

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f"{self.low:.1%} to {self.high:.1%}, "
        told = ", ".join(f"{name} {value:.1%}" for name, value in self.figures.items() if value is not None)
        return (
            f"{self.metric} {self.score:.1%} ({interval}measured on {self.pictures:,} pictures) after "
            f"{len(self.curve)} epochs of {self.model} on {self.data}, seed {self.seed}, {self.seconds:.0f} s"
        ) + (f"\n{told}" if told else "")

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
            "metric": self.metric,
            "score": self.score,
            "low": self.low,
            "high": self.high,
            "figures": dict(self.figures),
            "pictures": self.pictures,
            "curve": [{"loss": e.loss, "score": e.score} for e in self.curve],
            "seconds": self.seconds,
            "conditions": dict(self.conditions),
            "notes": list(self.notes),
            "finished": self.finished,
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
