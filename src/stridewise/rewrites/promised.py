"""Whether a changed network measures what its plan promised."""

from __future__ import annotations

from stridewise.analyses.strides import is_site_window
from stridewise.errors import PlanError
from stridewise.ir import Graph


def check_promised(found: Graph, expected: Graph, undone: str) -> None:
    """Raise PlanError where the sizes of `found`, read after the change, are not `expected`; `undone` ends the line."""
    real = {n.key: n for n in found.nodes if n.site and n.grid is not None}
    for node in expected.nodes:
        # A resize may have become several on coarse grids; what is made of them is compared behind it.
        if node.grid is None or node.key not in real or not is_site_window(expected, expected.grids[node.grid]):
            continue
        promised, again = expected.grids[node.grid].sizes, real[node.key]
        # Positions put together from phases are several an old position of a grid until a window settles them.
        plain = found.tensors[again.outputs[0]].shape[-len(promised) :]
        measured = found.grids[again.grid or 0].sizes
        if promised not in (measured, plain):
            raise PlanError(f"{node.key}: measures {measured} after the change, {promised} was promised; {undone}")
