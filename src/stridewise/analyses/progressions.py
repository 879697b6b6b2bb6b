"""Sets of whole numbers that repeat in the end, as the fewest arithmetic progressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progression:
    """first, first + step, ... up to `last`, or without end where that is None."""

    first: int
    step: int
    last: int | None = None

    def __contains__(self, number: int) -> bool:
        return (
            self.first <= number
            and (self.last is None or number <= self.last)
            and (number - self.first) % self.step == 0
        )

    def to_json(self) -> list[int | None]:
        """[first, step, last]; last is null where there is none."""
        return [self.first, self.step, self.last]

    def below(self, number: int) -> int | None:
        """The largest of it that is at most `number`."""
        top = number if self.last is None else min(number, self.last)
        return None if top < self.first else top - (top - self.first) % self.step

    def above(self, number: int) -> int | None:
        """The smallest of it that is at least `number`."""
        least = number + (self.first - number) % self.step if number > self.first else self.first
        return least if least in self else None

    def __str__(self) -> str:
        if self.last == self.first:
            return str(self.first)
        if self.last is not None:
            every = "" if self.step == 1 else f" in steps of {self.step}"
            return f"{self.first} to {self.last}{every}"
        if self.step == 1:
            return f"every size from {self.first}"
        if self.first % self.step == 0:
            from_ = "" if self.first == self.step else f" from {self.first}"
            return f"multiples of {self.step}{from_}"
        return f"{self.first}, {self.first + self.step}, {self.first + 2 * self.step}, ..."


def progressions(holds: Sequence[bool], since: int, period: int) -> tuple[Progression, ...]:
    """The numbers n >= 1 for which `holds[n - 1]`; from `since` on they repeat after `period`, 0: there are none.

    `holds` reaches at least one period beyond `since`. Those without end come first, small steps before large ones.
    """
    endless: list[Progression] = []
    if period:
        tail = {n % period for n in range(since, since + period) if holds[n - 1]}
        step = next(d for d in _divisors(period) if all((r + d) % period in tail for r in tail))
        tail = {r % step for r in tail}
        while since > 1 and holds[since - 2] == ((since - 1) % step in tail):
            since -= 1
        endless = [_begun(holds, since, first, every) for first, every in _cover(tail, step)]
    rest = [n for n in range(1, since) if holds[n - 1] and not any(n in each for each in endless)]
    return (*endless, *_runs(rest))


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _cover(tail: set[int], period: int) -> list[tuple[int, int]]:
    """Residues modulo `period` as few classes (residue, step), the wide ones first."""
    left, found = set(tail), []
    for step in _divisors(period) if tail else ():
        for first in sorted({r % step for r in left}):
            members = range(first, period, step)
            if all(r in tail for r in members) and not left.isdisjoint(members):
                found.append((first, step))
                left.difference_update(members)
    return found


def _begun(holds: Sequence[bool], since: int, residue: int, step: int) -> Progression:
    """The class of a residue from the first number on after which all of it hold."""
    first = since + (residue - since) % step
    while first > step and holds[first - step - 1]:
        first -= step
    return Progression(first=first, step=step)


def _runs(numbers: Sequence[int]) -> list[Progression]:
    """A sorted list as runs of equal steps."""
    found, at = [], 0
    while at < len(numbers):
        end = at + 1
        step = numbers[end] - numbers[at] if end < len(numbers) else 1
        while end < len(numbers) and numbers[end] == numbers[end - 1] + step:
            end += 1
        if end - at == 2 and step > 1:  # two numbers are no rule
            end, step = at + 1, 1
        found.append(Progression(first=numbers[at], step=step, last=numbers[end - 1]))
        at = end
    return found


def nearest(sets: Sequence[Progression], number: int) -> tuple[int | None, int | None]:
    """The largest member that is at most, and the smallest that is at least, `number`."""
    below = [n for each in sets if (n := each.below(number)) is not None]
    above = [n for each in sets if (n := each.above(number)) is not None]
    return max(below, default=None), min(above, default=None)


def divisor(sets: Sequence[Progression]) -> int | None:
    """The number whose multiples they are, from some size on; None where there is none above 1."""
    endless = [each for each in sets if each.last is None]
    if len(endless) != 1 or len(sets) > 1 or endless[0].first % endless[0].step:
        return None
    return endless[0].step if endless[0].step > 1 else None
