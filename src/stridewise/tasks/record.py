"""What one training gave: the plan, the seed, the budget, the score and how sure it is. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stridewise.plans import Plan
from stridewise.report.document import Chart, Document, Scale, Series
from stridewise.report.units import counted
from stridewise.report.values import of_fields, plain
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

    @property
    def _trained(self) -> str:
        """Which network was judged, and after what."""
        if self.budget == 0:
            return f"of {self.model}, as it is (not trained here)"
        return f"after {counted(len(self.curve), 'epoch')} of {self.model}"

    def document(self) -> Document:
        """The score with its interval, what else was measured, the curves."""
        interval = "" if self.low is None or self.high is None else f"{self.low:.1%} to {self.high:.1%}, "
        score = (
            f"{self.metric} {self.score:.1%} ({interval}measured on {counted(self.pictures, 'picture')}) "
            f"{self._trained} on {self.data}, seed {self.seed}, {self.seconds:.0f} s"
        )
        told = ", ".join(f"{name} {value:.1%}" for name, value in self.figures.items() if value is not None)
        return Document(
            title=f"{self.task}: {self.model} on {self.data}",
            lead=(score, *([told] if told else [])),
            parts=curves(self.curve, self.metric),
            notes=self.notes,
            quiet=True,
        )

    def __str__(self) -> str:
        return "\n".join(self.document().lead)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `correct` is written as hexadecimal bits, the first picture the highest."""
        return {
            "schema": "stridewise.train/1",
            **of_fields(self, plan=self.plan.to_toml(), correct=to_bits(self.correct)),
        }

    def _records(self) -> list[dict[str, Any]]:
        return [{"epoch": number, **plain(epoch)} for number, epoch in enumerate(self.curve, 1)]


def curves(curve: Sequence[Epoch], metric: str) -> tuple[Chart, ...]:
    """Loss and score by epoch; nothing before the first has ended."""
    if not curve:
        return ()
    epochs = Scale(label="epoch")
    loss = tuple((float(number), epoch.loss) for number, epoch in enumerate(curve, 1))
    score = tuple((float(number), epoch.score) for number, epoch in enumerate(curve, 1))
    ends = f"{loss[0][1]:.3g} to {loss[-1][1]:.3g} in {counted(len(curve), 'epoch')}"
    scale = Scale(label=metric, share=True, zero=True)
    return (
        Chart(
            title="mean loss of the training pictures",
            words=f"Loss from {ends}",
            x=epochs,
            y=Scale(label="loss", zero=True),
            series=(Series(points=loss),),
        ),
        Chart(
            title=f"{metric} on the held-out pictures",
            words=f"{metric} {score[-1][1]:.1%} after the last epoch",
            x=epochs,
            y=scale,
            series=(Series(points=score),),
        ),
    )


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
