"""Limits that are measured: plans whose networks take too long leave the shortlist before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stridewise.errors import PlanError, UsageError
from stridewise.study.candidates import Candidate
from stridewise.study.training import TrainScore

_ROUNDS = 15


def check_latency(limit: str) -> tuple[float, bool]:
    """(number, whether it is a share of the default's time): "0.8x", or "12ms" in seconds. Raises: UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(x|ms)", limit)
    if not found or not float(found[1]):
        raise UsageError(f'max_latency: "0.8x" of the network as it is, or "12ms", not {limit!r}')
    return (float(found[1]), True) if found[2] == "x" else (float(found[1]) / 1e3, False)


def measured(score: TrainScore, chosen: Sequence[Candidate]) -> dict[str, tuple[float, float]]:
    """By plan its (ratio to the default's time, seconds) for one picture on one thread. Plans that the task cannot be
    built on are left out."""
    targets = {c.name: c.target for c in chosen if c.variant or c.origin == "default" or score.builds(c.plan)}
    return {found.name: (found.ratio, found.median) for found in score.latency(targets, rounds=_ROUNDS)}


def fast_enough(
    chosen: Sequence[Candidate], times: Mapping[str, Sequence[float]], limit: str, model: str
) -> frozenset[str]:
    """The plans that keep the limit. Raises: PlanError naming the fastest where none does."""
    most, share = check_latency(limit)
    value = {name: ratio if share else seconds for name, (ratio, seconds) in times.items()}
    kept = frozenset(name for name, took in value.items() if took <= most)
    if not kept - {chosen[0].name}:
        fastest = min(value, key=value.__getitem__)
        ratio, seconds = times[fastest]
        raise PlanError(
            f"{model}: no plan of the shortlist takes {limit} or less; the fastest, {fastest}, was measured at "
            f"{ratio:.2f}x ({1e3 * seconds:.2f} ms): raise the limit, or give --trials or --max-macs to look at others"
        )
    return kept
