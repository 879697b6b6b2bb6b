"""A space swept for its front: whole where that is easy, otherwise thinned to a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stridewise.errors import PlanError
from stridewise.fronts.asked import Asked
from stridewise.fronts.compile import compiled
from stridewise.fronts.follow import Follower
from stridewise.fronts.paths import stages
from stridewise.fronts.program import Program
from stridewise.fronts.space import Space
from stridewise.fronts.sweep import NO_ROWS, Layer, Rows, TooManyPointsError, swept

# Points half-way at which the whole front is given up for a thinned one; and the tolerances then tried.
EASY_POINTS = 1_300_000
TOLERANCES = (0.01, 0.05)
THINNED_POINTS = 2_100_000
MOST_POINTS = 5_000_000  # where no tolerance is allowed: minutes and gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A program swept: the kept points of each block, those of the last, how far plans may be from them."""

    program: Program
    layers: list[Layer]
    points: Rows
    tolerance: float


Tries: TypeAlias = Sequence[tuple[float, int, bool]]
"""(tolerance, most points half-way, whether thinned late), to be tried one after the other."""


def tries_for(tolerance: float | None) -> Tries:
    """What to try where `tolerance` is the largest that will do. Raises: PlanError."""
    if tolerance is None:
        thinned = [(t, THINNED_POINTS, late) for late in (False, True) for t in TOLERANCES]
        return ((0.0, EASY_POINTS, False), *thinned)
    if not 0 <= tolerance < 1:
        raise PlanError(f"tolerance: a share from 0 to below 1 is wanted, not {tolerance!r}")
    if not tolerance:
        return ((0.0, MOST_POINTS, False),)
    return ((0.0, EASY_POINTS, False), (tolerance, MOST_POINTS, False), (tolerance, MOST_POINTS, True))


def run(found: Space, asked: Asked, tries: Tries) -> Ran:
    """The program of a space and the points that meet what is asked. Raises: PlanError where they are too many."""
    program = compiled(found, asked.given(found), asked.wanted, asked.target)
    ways = stages(program, Follower(program, asked.smallest_map, asked.wanted))
    if not ways:
        return Ran(program=program, layers=[], points=NO_ROWS, tolerance=0.0)
    count = 0
    for tolerance, most, late in tries:
        try:
            layers, points = swept(ways, asked.limits, most=most, tolerance=tolerance, late=late)
        except TooManyPointsError as error:
            count = error.count
        else:
            return Ran(program=program, layers=layers, points=points, tolerance=tolerance)
    raise PlanError(
        f"{found.graph.model}: too many plans for a front ({count} half-way); name the sites that may change, an "
        "output stride or a budget" + ("" if tries[-1][0] else ", or allow a tolerance")
    )
