"""How every size along an axis grows with the input, and from where on that repeats: the proof behind `sizes`.

Every map is quasi-linear once enough positions come in (`AxisMap.pace`), and so are sums and compositions of such.
Where two sizes have to agree, equal rates repeat with the least common multiple of their periods, and different rates
agree no more beyond some size. What holds up to one period beyond that size therefore holds for ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from stridewise.analyses.limits import AxisSizes, Step, remainder
from stridewise.axis import AxisMap
from stridewise.errors import GeometryError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """One size as a function of the input's, n >= since: it repeats after `period`, `rate * period` more each time.

    rate * n + low <= size <= rate * n + high, wherever the network runs.
    """

    period: int = 1
    rate: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    since: int = 1

    def reaches(self, size: int) -> int:
        """The input from which on at least `size` is reached; as it is where it doesn't grow."""
        return max(self.since, math.ceil((size - self.low) / self.rate)) if self.rate else self.since


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be said of all sizes: from `since` on they repeat after `period`; from `end` on none works."""

    since: int
    period: int
    end: int | None

    @property
    def upto(self) -> int:
        """As far as has to be looked."""
        return self.since + 2 * self.period if self.end is None else self.end


def outlook(sizes: AxisSizes, several: Sequence[int]) -> Outlook:
    """From where on the sizes along an axis repeat. several: slots on which more than one position is wanted."""
    paces, ends = [Pace()], []
    for step in sizes.steps:
        pace, end = _pace(step, paces)
        paces.append(pace)
        if end is not None:
            ends.append(max(end, 1))
    since = max(pace.since for pace in paces)
    since = max([since, *(paces[s].reaches(2) for s in several)])
    return Outlook(since=since, period=math.lcm(*(p.period for p in paces)), end=min(ends, default=None))


def _pace(step: Step, paces: Sequence[Pace]) -> tuple[Pace, int | None]:
    """How a step grows, and the size from which on it fails for ever, where there is one."""
    source = paces[step.source]
    if step.constant:
        size = step.of(())
        return Pace(rate=Fraction(0), low=Fraction(size), high=Fraction(size)), None
    if step.change is not None:
        return _through(step.change, source, step.above)
    if step.parts:
        of = [paces[s] for s in step.parts]
        return Pace(
            period=math.lcm(*(p.period for p in of)),
            rate=sum((p.rate for p in of), Fraction(0)),
            low=sum((p.low for p in of), Fraction(0)),
            high=sum((p.high for p in of), Fraction(0)),
            since=max(p.since for p in of),
        ), None
    if step.cut is not None:
        return _cut(paces[step.source], paces[step.cut]), None
    if step.agree:
        return _agreed([paces[s] for s in step.agree], step.spreads)
    if step.pinned is not None:
        held = Fraction(step.pinned)
        fixed = replace(source, rate=Fraction(0), low=held, high=held)
        return fixed, math.floor((held - source.low) / source.rate) + 1 if source.rate else None
    gain = int(source.rate * source.period)
    return replace(source, period=source.period * (step.block // math.gcd(step.block, gain))), None


def _through(change: AxisMap, source: Pace, above: int) -> tuple[Pace, int | None]:
    """How what comes out of a map grows."""
    turn, gain, start = change.pace()
    start = max(start, above + 1)
    if not source.rate:
        out = [n for size in range(math.ceil(source.low), math.floor(source.high) + 1) for n in _out(change, size)]
        low, high = Fraction(min(out, default=1)), Fraction(max(out, default=1))
        return replace(source, low=low, high=high), None if out else source.since
    slope, since = Fraction(gain, turn), source.reaches(start)
    over = [n - slope * size for size in range(start, start + turn) for n in _out(change, size)]
    if not over:
        return replace(source, rate=Fraction(0), low=Fraction(1), high=Fraction(1), since=since), since
    grown = int(source.rate * source.period)
    return Pace(
        period=source.period * (turn // math.gcd(turn, grown)) if gain else 1,
        rate=source.rate * slope,
        low=source.low * slope + min(over),
        high=source.high * slope + max(over),
        since=since,
    ), None


def _out(change: AxisMap, size: int) -> list[int]:
    """What a map makes of `size` positions, nothing where they do not fit."""
    try:
        return [change.out_size(size)]
    except GeometryError:
        return []


def _cut(size: Pace, whole: Pace) -> Pace:
    """How a size grows that is cut out of `whole`: in the end the slower of both, the lesser where they keep pace."""
    slow, fast = (size, whole) if size.rate <= whole.rate else (whole, size)
    since, low = max(size.since, whole.since), slow.low
    if slow.rate < fast.rate:
        since = max(since, math.ceil((slow.high - fast.low) / (fast.rate - slow.rate)) + 1)
    else:
        low = min(size.low, whole.low)
    return replace(slow, period=math.lcm(size.period, whole.period), low=low, since=since)


def _agreed(of: Sequence[Pace], spreads: bool) -> tuple[Pace, int | None]:
    """How sizes that have to agree grow. Where one position may be spread, it agrees with any number of them."""
    fastest = max(of, key=lambda p: p.rate)
    alike = [p for p in of if p.rate == fastest.rate]
    period, since, end = math.lcm(*(p.period for p in of)), max(p.since for p in of), None
    for other in of:
        if other.rate == fastest.rate:
            continue
        parts = math.floor((other.high - fastest.low) / (fastest.rate - other.rate)) + 1
        if other.rate or not spreads:
            end = parts if end is None else min(end, parts)
        since = max(since, parts)
    if spreads and fastest.rate:
        since = max(since, *(p.reaches(2) for p in of))
    low, high = min(p.low for p in alike), max(p.high for p in alike)
    return Pace(period=period, rate=fastest.rate, low=low, high=high, since=since), end


def columns(sizes: AxisSizes, upto: int, first: int = 1) -> tuple[list[list[int | None]], dict[int, int], set[int]]:
    """Every slot's size at the inputs `first` to `upto` (None where there is none); the step that fails, by input; the
    inputs at which a window leaves a remainder."""
    found: list[list[int | None]] = [list(range(first, upto + 1))]
    failed: dict[int, int] = {}
    uneven: set[int] = set()
    for at, step in enumerate(sizes.steps):
        if step.change is not None:
            before = found[step.source]
            inner = {n for n in before if n is not None}
            table = {n: out[0] for n in inner if n > step.above and (out := _out(step.change, n))}
            made = [None if n is None else table.get(n) for n in before]
            window = step.window
            if window is not None and window.stride > 1:
                odd = {n for n in table if remainder(window, n)}
                uneven.update(i for i, n in enumerate(before, first) if n in odd)
        elif step.constant:
            made = [step.of(())] * (upto - first + 1)
        else:
            made = _rowwise(step, found)
        for i, size in enumerate(made):
            if size is None and i + first not in failed and all(found[s][i] is not None for s in step.reads):
                failed[i + first] = at
        found.append(made)
    return found, failed, uneven


def _rowwise(step: Step, found: Sequence[Sequence[int | None]]) -> list[int | None]:
    """What a step makes of the sizes before it, None where they don't suit it."""
    used = step.reads
    made: list[int | None] = []
    known: dict[tuple[int | None, ...], int | None] = {}
    for row in zip(*(found[s] for s in used), strict=True):
        if row not in known:
            known[row] = None if None in row else _one(step, dict(zip(used, row, strict=True)))
        made.append(known[row])
    return made


def _one(step: Step, row: dict[int, int | None]) -> int | None:
    sizes: list[int] = [0] * (max(row) + 1)
    for slot, size in row.items():
        sizes[slot] = size or 0
    try:
        made = step.of(sizes)
    except GeometryError:
        return None
    return made if step.fits(sizes, made) else None
