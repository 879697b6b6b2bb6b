"""The smallest cut between two vertices of a small directed graph with capacities on its arcs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

ENDLESS = 10**9


def smallest_cut(count: int, arcs: Sequence[tuple[int, int, int]], source: int, sink: int) -> tuple[int, set[int]]:
    """(capacity of the cut, vertices on the source's side) for arcs (from, to, capacity).

    The source's side is the largest one, so that a cut lies as late as it can. Source: Edmonds and Karp 1972.
    """
    after: list[list[int]] = [[] for _ in range(count)]
    to: list[int] = []
    left: list[int] = []
    for a, b, capacity in arcs:
        after[a].append(len(to))
        to.append(b)
        left.append(capacity)
        after[b].append(len(to))
        to.append(a)
        left.append(0)
    total = 0
    while total < ENDLESS:
        came = {source: -1}
        queue = deque([source])
        while queue and sink not in came:
            at = queue.popleft()
            for arc in after[at]:
                if left[arc] and to[arc] not in came:
                    came[to[arc]] = arc
                    queue.append(to[arc])
        if sink not in came:
            break
        path = []
        at = sink
        while at != source:
            path.append(came[at])
            at = to[came[at] ^ 1]
        flow = min(left[arc] for arc in path)
        for arc in path:
            left[arc] -= flow
            left[arc ^ 1] += flow
        total += flow
    # Vertices that still reach the sink lie on its side; all others on the source's.
    back = {sink}
    queue = deque([sink])
    while queue:
        at = queue.popleft()
        for arc in after[at]:
            other = to[arc]
            if left[arc ^ 1] and other not in back:
                back.add(other)
                queue.append(other)
    return total, set(range(count)) - back
