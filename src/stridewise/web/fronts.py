"""The exact cost front for the page: thinned to what can be drawn, and the plan behind a point."""

from __future__ import annotations

from typing import Any

from stridewise.errors import UsageError
from stridewise.web.whatif import Studied, wishes

Json = dict[str, Any]
_DRAWN = 40  # points an output stride


def drawn_front(studied: Studied) -> Json:
    """The front by output stride, at most 40 points each, evenly taken, the first and last among them."""
    found = studied.front
    groups: dict[tuple[Any, ...], list[int]] = {}
    for at, point in enumerate(found.points):
        groups.setdefault(point.output_stride, []).append(at)
    rows = []
    for indices in groups.values():
        thin = (
            indices
            if len(indices) <= _DRAWN
            else [indices[i * (len(indices) - 1) // (_DRAWN - 1)] for i in range(_DRAWN)]
        )
        rows += [{"index": i} | found.points[i].to_json(False) for i in thin]
    return {
        "all": len(found.points),
        "points": rows,
        "current": found.current.to_json(False) | {"on_front": found.holds_current},
    }


def front_changes(studied: Studied, asked: Json) -> Json:
    """What the plan behind a point changes, as the page writes wishes. Raises: UsageError."""
    found, index = studied.front, asked.get("index")
    if not isinstance(index, int) or not 0 <= index < len(found.points):
        raise UsageError("index: a point of the front is wanted")
    return {"changes": wishes(found.points[index].plan)}
