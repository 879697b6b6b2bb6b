"""Which of many points no other point beats: few multiply-adds, low peak, many activations. NumPy."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[Any]

# Up to this many distinct peaks each is swept by itself; beyond it a tree keeps the best activations by peak.
_FEW_PEAKS = 300


def undominated(state: Ints, macs: Ints, peak: Ints, activations: Ints, changes: Ints, *, final: bool = False) -> Ints:
    """Indices of the points that none of the same state beats, by state and rising multiply-adds.

    A point is beaten when another has no more multiply-adds, no higher peak and no fewer activations, and differs in
    multiply-adds or activations. Points that agree in both are kept while a higher peak buys fewer changes: a peak that
    comes later may make them equal, and then the one with fewer changes is wanted. `final`: no peak comes later.
    """
    order = np.lexsort((*_packed(peak, changes), -activations, *_packed(state, macs)))
    g, m, p, a, c = state[order], macs[order], peak[order], activations[order], changes[order]
    first = np.ones(len(m), dtype=bool)
    first[1:] = (m[1:] != m[:-1]) | (a[1:] != a[:-1]) | (g[1:] != g[:-1])
    alike = np.cumsum(first) - 1
    start = np.flatnonzero(first)[alike]
    keep = ~_beaten(g, p, a, start)
    if final:
        return order[keep & first]
    # Within points of equal multiply-adds and activations: only those with fewer changes than all of lower peak.
    spread = int(c.max(initial=0)) + 1
    lowest = np.minimum.accumulate(c - alike * spread)
    keep[1:] &= first[1:] | (c[1:] - alike[1:] * spread < lowest[:-1])
    return order[keep]


def _packed(high: Ints, low: Ints) -> tuple[Ints, ...]:
    """Sort keys, the last one first: both in one column where that fits into 63 bits, which sorts faster."""
    base = int(low.max(initial=0)) + 1
    if (int(high.max(initial=0)) + 1) * base < 2**63:
        return (high * base + low,)
    return low, high


def _beaten(state: Ints, peak: Ints, activations: Ints, start: Ints) -> Ints:
    """Per point (by state and multiply-adds) whether one before `start` has no higher peak and no fewer activations."""
    out = np.zeros(len(state), dtype=bool)
    rank, levels = _ranked(state, peak)
    # One state after the other lifts the activations out of the reach of the states before.
    lift = int(activations.max(initial=0)) + 1
    lifted = activations + np.concatenate(([0], np.cumsum(state[1:] != state[:-1]))) * lift
    many = levels > _FEW_PEAKS
    for one in np.unique(state[many]):
        first, last = np.searchsorted(state, (one, one + 1))
        rows = slice(int(first), int(last))
        out[rows] = _beaten_by_tree(rank[rows], activations[rows], start[rows] - first, int(levels[first]))
    left = np.flatnonzero(~many)
    place = np.zeros(len(state), dtype=np.int64)
    level = 0
    while len(left):
        # Points left out lie in other states: the one before `start` is still the one before it among those left.
        place[left] = np.arange(len(left))
        here = np.flatnonzero(rank[left] == level)
        at = place[start[left[here]]]
        here, at = here[at > 0], at[at > 0]
        best = np.maximum.accumulate(np.where(rank[left] <= level, lifted[left], -1))
        out[left[here]] = best[at - 1] >= lifted[left[here]]
        level += 1
        left = left[levels[left] > level]
    return out


def _ranked(state: Ints, peak: Ints) -> tuple[Ints, Ints]:
    """Per point the rank of its peak among those of its state, and how many there are."""
    order = np.lexsort((peak, state))
    g, p = state[order], peak[order]
    begins = np.ones(len(g), dtype=bool)
    begins[1:] = g[1:] != g[:-1]
    steps = np.cumsum(begins | np.concatenate(([True], p[1:] != p[:-1]))) - 1
    first = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    inner = steps - steps[first][group]
    highest = inner[np.append(first[1:], len(g)) - 1] + 1
    rank, levels = np.empty_like(inner), np.empty_like(inner)
    rank[order] = inner
    levels[order] = highest[group]
    return rank, levels


def _beaten_by_tree(rank: Ints, activations: Ints, start: Ints, levels: int) -> Ints:
    """The same for one state, with a tree of prefix maxima over the peaks. Source: Fenwick 1994."""
    tree = [-1] * (levels + 1)
    out = np.zeros(len(rank), dtype=bool)
    ranks, values, starts = rank.tolist(), activations.tolist(), start.tolist()
    entered = 0
    for i, (r, value, begin) in enumerate(zip(ranks, values, starts, strict=True)):
        while entered < begin:
            at, seen = ranks[entered] + 1, values[entered]
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
