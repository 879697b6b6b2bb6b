"""Whether a changed network measures what its plan promised."""

from __future__ import annotations

from stridewise.analyses.strides import is_site_window
from stridewise.errors import PlanError, by
from stridewise.ir import Graph


class UnkeptError(PlanError):
    """A change that was made and does not measure what was promised."""


def check_promised(found: Graph, expected: Graph, undone: str = "") -> None:
    """Raise UnkeptError where the sizes of `found`, read after the change, are not `expected`.

    undone: what ends the line.
    """
    end = undone and f"; {undone}"
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
            raise UnkeptError(
                f"{node.key}: measures {by(measured)} under the plan and not {by(promised)}: the forward computes with "
                f"sizes, or reads what the plan sets; leave the strides there as they are{end}"
            )
    for t, u in zip(expected.outputs, found.outputs, strict=False):
        out = expected.tensors[t]
        size = expected.grids[out.grid].sizes if out.grid is not None and out.volume.over and out.known else ()
        if size and out.shape[-len(size) :] == size and found.tensors[u].shape[-len(size) :] != size:
            shown = by(found.tensors[u].shape)
            raise UnkeptError(
                f"{expected.model}: an output measures {shown} under the plan and not {by(out.shape)}: the forward "
                f"computes with sizes{end}"
            )
