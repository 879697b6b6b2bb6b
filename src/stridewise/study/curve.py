"""What each cost buys: at half to twice the cost of the network as it is the best plan, and where the curve bends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stridewise.study.interval import Estimate
from stridewise.study.racing import MARKS, Contender, Noise, above, best_at

_ROUND = 1 + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The best finalist at most as dear as `mark` times the network as it is. plan: "" where none is; cost: its own,
    as a share of today's; against: its difference to the network as it is; settled: whether that surely lies above
    (or surely below) zero; beyond: the limits end before this mark."""

    mark: float
    plan: str = ""
    cost: float = 0.0
    against: Estimate | None = None
    settled: bool = False
    beyond: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        by = self.against
        return {
            "mark": self.mark,
            "plan": self.plan or None,
            "cost": self.cost or None,
            "against_default": None if by is None else {"mean": by.mean, "low": by.low, "high": by.high},
            "seeds": None if by is None else by.seeds,
            "settled": self.settled,
            "beyond_limits": self.beyond,
        }


def curve(contenders: Sequence[Contender], noise: Noise, *, most: float | None = None) -> tuple[Mark, ...]:
    """A mark each, and one at the limit where that lies beyond them; rivals are left out.

    The first contender is the network as it is. most: the limit on the cost, as a share of today's.
    """
    if not contenders or not contenders[0].outcomes:
        return ()
    first = contenders[0]
    out = []
    dear = [most] if most is not None and most > MARKS[-1] * _ROUND else []
    for mark in (*MARKS, *dear):
        best = best_at(contenders, mark)
        # A mark beyond the limit repeats the one before it: nothing dearer was looked at.
        beyond = most is not None and mark > most * _ROUND and mark > 1
        if best is None:
            out.append(Mark(mark=mark, beyond=beyond))
            continue
        by = noise.difference(best.outcomes, first.outcomes) if best is not first else None
        settled = best is first or (by is not None and above(by, 0.0) is not None)
        out.append(
            Mark(mark=mark, plan=best.name, cost=best.cost / first.cost, against=by, settled=settled, beyond=beyond)
        )
    return tuple(out)


def knee(contenders: Sequence[Contender]) -> str:
    """The plan at which the curve bends: beyond it more cost buys less. That of the plans that no other beats in cost
    and mean which lies furthest above the line from the cheapest to the best, over the logarithm of the cost; "" where
    fewer than three are there, or none lies above it."""
    asked = [c for i, c in enumerate(contenders) if not c.rival and c.outcomes and (c.within or not i)]
    own = sorted(asked, key=lambda c: (c.cost, -c.mean))
    front: list[Contender] = []
    for one in own:
        if not front or one.mean > front[-1].mean:
            front.append(one)
    if len(front) < 3:
        return ""
    x = [math.log(c.cost) for c in front]
    across, up = x[-1] - x[0], front[-1].mean - front[0].mean
    over = [(c.mean - front[0].mean) / up - (at - x[0]) / across for c, at in zip(front, x, strict=True)]
    best = max(range(len(front)), key=over.__getitem__)
    return front[best].name if over[best] > 0 else ""
