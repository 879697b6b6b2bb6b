"""What is promised of every op, tried on calls drawn from its own space, in torch's form and in that of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stridewise.ops.registry import Op
from stridewise.ops.space import Draw, Trial, is_torch
from stridewise.testing.broken import Broken


@dataclass(slots=True)
class Kept:
    """What was tried and held, counted: trials, known, refused, exact, inexact, by target where it was asked for."""

    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))


def check_op(op: Op, *, draws: int = 3, seed: int = 0, targets: Sequence[str] | None = None) -> Kept:
    """Draw calls of each target from the op's space and hold every promise against the framework.

    Sizes at several inputs, fields position by position, multiply-adds, what a plan promises and what applying it does,
    and the certificate of kept weights in both directions, in float64. targets: those to try, all of them by default.
    Raises: Broken in one line where a promise is not kept, or where the op draws no call of a target.
    """
    kept = Kept()
    for target in op.torch + op.onnx if targets is None else targets:
        if op.space is None:
            raise Broken(f"{op.name} {target}: declares no space, so that nothing can be tried")
        drawn = [op.space(Draw(f"{seed} {number} {target}"), target) for number in range(draws)]
        if all(trial is None for trial in drawn):
            raise Broken(f"{op.name} {target}: its space draws no call of it")
        for trial in drawn:
            if trial is not None:
                check_trial(op, target, trial, kept)
    return kept


def check_trial(op: Op, target: str, trial: Trial, kept: Kept) -> None:
    """Hold every promise on one call. Raises: Broken."""
    kept.counts["trials"] += 1
    try:
        if is_torch(target):
            from stridewise.testing.in_torch import check_call as check_in_torch

            check_in_torch(op, target, trial, kept.counts)
        else:
            from stridewise.testing.in_files import check_call as check_in_files

            check_in_files(op, target, trial, kept.counts)
    except Broken as error:
        raise Broken(f"{op.name} {target}: {error}, for {trial}") from None
