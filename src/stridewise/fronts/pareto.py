"""Which of many points no other point beats: few multiply-adds, low peak, many activations. NumPy."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[Any]

# Up to this many distinct peaks each is swept by itself; beyond it a tree keeps the best activations by peak.
_MANY_PEAKS = 300
# Parts of the peaks in a first, rough sweep.
_ROUGHLY = 12


def undominated(
    state: Ints,
    macs: Ints,
    peak: Ints,
    activations: Ints,
    changes: Ints,
    *,
    final: bool = False,
    sure: Ints | None = None,
) -> Ints:
    """Indices of the points that none of the same state beats, by state and rising multiply-adds.

    A point is beaten when another has no more multiply-adds, no higher peak and no fewer activations, and differs in
    multiply-adds or activations. Points that agree in both are kept while a higher peak buys fewer changes: a peak that
    comes later may make them equal, and then the one with fewer changes is wanted. `final`: no peak comes later. sure:
    the points that may beat others of fewer activations.
    """
    order = np.lexsort((*_packed(peak, changes), -activations, *_packed(state, macs)))
    first = _first(state[order], macs[order], activations[order])
    if final and sure is None:  # of those alike the first has the lowest peak, and beats what the others beat
        order = order[first]
        first = np.ones(len(order), dtype=bool)
    g, p, a, c = state[order], peak[order], activations[order], changes[order]
    alike = np.cumsum(first) - 1
    start = np.flatnonzero(first)[alike]
    keep = ~_beaten(g, p, a, start, None if sure is None else sure[order])
    if final:
        return order[keep & first]
    # Within points of equal multiply-adds and activations: only those with fewer changes than all of lower peak.
    spread = int(c.max(initial=0)) + 1
    lowest = np.minimum.accumulate(c - alike * spread)
    keep[1:] &= first[1:] | (c[1:] - alike[1:] * spread < lowest[:-1])
    return order[keep]


def _first(*columns: Ints) -> Ints:
    """Whether each row differs from the one before it."""
    out = np.ones(len(columns[0]), dtype=bool)
    out[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return out


def _packed(high: Ints, low: Ints) -> tuple[Ints, ...]:
    """Sort keys, the last one first: both in one column where that fits into 63 bits, which sorts faster."""
    base = int(low.max(initial=0)) + 1
    if (int(high.max(initial=0)) + 1) * base < 2**63:
        return (high.astype(np.int64) * base + low,)
    return low, high


def _beaten(state: Ints, peak: Ints, activations: Ints, start: Ints, sure: Ints | None) -> Ints:
    """Per point (by state and multiply-adds) whether one before `start` has no higher peak and no fewer activations."""
    out = np.zeros(len(state), dtype=bool)
    rank, levels = _ranked(state, peak)
    many = levels > _MANY_PEAKS
    for one in np.unique(state[many]):
        first, last = np.searchsorted(state, (one, one + 1))
        rows = slice(int(first), int(last))
        values = activations[rows], (activations if sure is None else np.where(sure, activations, -1))[rows]
        out[rows] = _beaten_by_tree(rank[rows], *values, start[rows] - first, int(levels[first]))
    # One state after the other lifts the activations out of the reach of the states before.
    lifted = activations + np.concatenate(([0], np.cumsum(state[1:] != state[:-1]))) * (activations.max(initial=0) + 1)
    rival = lifted if sure is None else np.where(sure, lifted, -1)
    left = np.flatnonzero(~many)
    if levels.max(initial=0) > 2 * _ROUGHLY:
        # Most are beaten by one of a far lower peak; the fine sweep is left with the others.
        for part in range(1, _ROUGHLY):
            bound = levels[left] * part // _ROUGHLY
            left = _sweep(out, left, lifted, rival, start, rank[left] < bound, rank[left] >= bound)
    level = 0
    while len(left):
        left = _sweep(out, left, lifted, rival, start, rank[left] <= level, rank[left] == level)
        level += 1
        left = left[levels[left] > level]
    return out


def _sweep(out: Ints, left: Ints, lifted: Ints, rival: Ints, start: Ints, lower: Ints, asked: Ints) -> Ints:
    """Mark in `out` those `asked` among the points `left` that one of `lower` peak before their `start` beats.

    Returns the points then left.
    """
    best = np.maximum.accumulate(np.where(lower, rival[left], -1))
    here = left[asked]
    at = np.searchsorted(left, start[here]) if len(here) * 8 < len(left) else _places(left, len(out))[start[here]]
    lost = here[(at > 0) & (best[at - 1] >= lifted[here])]
    if not len(lost):
        return left
    out[lost] = True
    return left[~out[left]]


def _places(left: Ints, count: int) -> Ints:
    """How many of `left` lie before each of `count` points."""
    inside = np.zeros(count + 1, dtype=np.int64)
    inside[left + 1] = 1
    return np.cumsum(inside)


def _ranked(state: Ints, peak: Ints) -> tuple[Ints, Ints]:
    """Per point the rank of its peak among those of its state, and how many there are."""
    order = np.lexsort((peak, state))
    g, p = state[order], peak[order]
    begins = np.ones(len(g), dtype=bool)
    begins[1:] = g[1:] != g[:-1]
    steps = np.cumsum(begins | np.concatenate(([True], p[1:] != p[:-1])), dtype=np.int32) - 1
    first = np.flatnonzero(begins)
    group = np.cumsum(begins, dtype=np.int32) - 1
    inner = steps - steps[first][group]
    highest = inner[np.append(first[1:], len(g)) - 1] + 1
    rank, levels = np.empty_like(inner), np.empty_like(inner)
    rank[order] = inner
    levels[order] = highest[group]
    return rank, levels


def _beaten_by_tree(rank: Ints, activations: Ints, rival: Ints, start: Ints, levels: int) -> Ints:
    """The same for one state, with a tree of prefix maxima over the peaks. Source: Fenwick 1994."""
    tree = [-1] * (levels + 1)
    out = np.zeros(len(rank), dtype=bool)
    ranks, values, rivals, starts = rank.tolist(), activations.tolist(), rival.tolist(), start.tolist()
    entered = 0
    for i, (r, value, begin) in enumerate(zip(ranks, values, starts, strict=True)):
        while entered < begin:
            at, seen = ranks[entered] + 1, rivals[entered]
            while at <= levels and tree[at] < seen:
                tree[at] = seen
                at += at & -at
            entered += 1
        at, best = r + 1, -1
        while at:
            best = max(best, tree[at])
            at -= at & -at
        out[i] = best >= value
    return out
