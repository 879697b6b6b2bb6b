"""What stays the same under kept weights, decided before any weight is read; whether a change measures as promised."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stridewise.analyses.strides import is_site_window
from stridewise.errors import PlanError, by
from stridewise.findings import Finding
from stridewise.ir import Graph, Node
from stridewise.report.document import Document, Remark, Remarks
from stridewise.rewrites.dilate import Dilation
from stridewise.rules import remarks, terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """With the same weights `new[..., a::m, b::m] == old` at phase (a, b).

    exact: holds for every feature map. means: ops that mix all positions and now mix more of them; what they reach is
    exact except for that. reasons: a line for each limit. tainted: by tensor (graph index), the `means` that reach it.
    """

    exact: bool
    means: tuple[str, ...]
    phase: tuple[int, ...]
    reasons: tuple[str, ...]
    tainted: Mapping[int, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "exact": self.exact,
            "means": list(self.means),
            "phase": list(self.phase),
            "reasons": list(self.reasons),
        }

    def __str__(self) -> str:
        at = ", ".join(map(str, self.phase))
        head = "exact: every feature map" if self.exact else "exact except means: the feature maps"
        return "\n".join([f"{head}, at phase ({at})", *self.reasons])


def change_document(changes: Sequence[str], certificate: Certificate | None, found: Sequence[Finding] = ()) -> Document:
    """What was done to a network: the changes, what stays the same, what still assumes the old strides."""
    told = [] if certificate is None else str(certificate).splitlines()
    kept = Remarks(title="What stays the same" if told else "", remarks=tuple(Remark(text=line) for line in told))
    return Document(
        title="Changed" if changes else "Nothing changed",
        parts=(Remarks(remarks=tuple(Remark(text=line) for line in changes)), kept, remarks(found), terms(found)),
        quiet=True,
    )


def certify(found: Dilation, numbers: Collection[int] = ()) -> Certificate:
    """The certificate of a dilation: follows what every op reads, from the input to the outputs.

    numbers: nodes that compute with numbers worked out from sizes of maps, which a live model tells.
    """
    graph = found.graph
    tainted: dict[int, tuple[str, ...]] = {}
    for node in graph.nodes:
        reached = dict.fromkeys(name for t in node.inputs for name in tainted.get(t, ()))
        action = found.actions.get(node.index)
        if (action is not None and action.kind == "mixes") or node.index in numbers:
            reached[_name(node)] = None
        if reached:
            tainted.update(dict.fromkeys(node.outputs, tuple(reached)))
    mixing = [graph.nodes[i] for i, action in found.actions.items() if action.kind == "mixes"]
    mixing += [graph.nodes[i] for i in sorted(numbers) if graph.nodes[i] not in mixing]
    means = tuple(dict.fromkeys(_name(node) for node in mixing))
    maps = {name for t, names in tainted.items() if _is_map(graph, t) for name in names}
    placed = {grid.node for grid in graph.grids if grid.placed}
    reasons = [
        f"{name}: computes with a number worked out from the size of a map, which is another one now"
        if node.index in numbers
        else f"{name}: takes values made from the map's own size, now {_growth(found, node)} times as large"
        if node.index in placed
        else f"{name}: {'mixes' if name in maps else 'ends in a mean over'} all positions, of which there are now "
        f"{_growth(found, node)} times as many; --means grid takes the old ones"
        for name, node in {_name(n): n for n in mixing}.items()
    ]
    return Certificate(exact=not maps, means=means, phase=(0,) * graph.axes, reasons=tuple(reasons), tainted=tainted)


def _name(node: Node) -> str:
    return node.key or f"{node.path}/{node.op}".lstrip("/")


def _is_map(graph: Graph, tensor: int) -> bool:
    found = graph.tensors[tensor]
    return found.grid is not None and bool(found.volume.over) and any(graph.grids[found.grid].local)


def _growth(found: Dilation, node: Node) -> int:
    return math.prod(found.actions[node.index].m_in)


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
