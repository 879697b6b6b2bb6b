"""Whether a changed network measures what its plan promised."""

from __future__ import annotations

from stridewise.errors import PlanError
from stridewise.ir import Graph


def check_promised(found: Graph, expected: Graph, undone: str) -> None:
    """Raise PlanError where the sizes of `found`, read after the change, are not `expected`; `undone` ends the line."""
    real = {n.key: found.grids[n.grid].sizes for n in found.nodes if n.site and n.grid is not None}
    for node in expected.nodes:
        if not node.site or node.grid is None or node.key not in real:
            continue
        if real[node.key] != expected.grids[node.grid].sizes:
            promised = expected.grids[node.grid].sizes
            raise PlanError(
                f"{node.key}: measures {real[node.key]} after the change, {promised} was promised; {undone}"
            )
