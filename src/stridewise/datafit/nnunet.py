"""The steps of nnU-Net's plans, those of its published rule, and others beside them: fields in mm and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stridewise.analyses import cost
from stridewise.analyses.fields import evaluate
from stridewise.configs.nnunet import Network
from stridewise.configs.nnunet_steps import even, published, with_steps
from stridewise.errors import by
from stridewise.ir import Graph
from stridewise.report.document import Document, Table
from stridewise.report.units import count
from stridewise.report.values import plain
from stridewise.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One choice of steps. coarsest: positions of the last stage, an entry an axis; voxel: its size in mm; field: mm
    that a position of the finest map sees, an entry an axis."""

    name: str
    network: Network
    coarsest: tuple[int, ...]
    voxel: tuple[float, ...]
    field: tuple[float, ...]
    macs: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, with what the plans write."""
        kept = {"coarsest": self.coarsest, "voxel_mm": self.voxel, "field_mm": self.field, "macs": self.macs}
        return {"name": self.name, **self.network.to_json(), **plain(kept)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlansFit(Shown):
    """The steps a configuration has, and two rules' beside them."""

    model: str
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.plans-fit/1"."""
        return {"schema": "stridewise.plans-fit/1", "model": self.model, "rows": [row.to_json() for row in self.rows]}

    def _records(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]

    def document(self) -> Document:
        """A line a choice."""
        first = self.rows[0].network
        head = ("", "steps of its stages", "patch", "coarsest map", "voxel there", "field", "MACs")
        rows = tuple(
            (
                row.name,
                " ".join(by(s) if len(set(s)) > 1 else str(s[0]) for s in row.network.strides),
                by(row.network.patch),
                by(row.coarsest),
                f"{_mm(row.voxel)} mm",
                f"{_mm(row.field)} mm",
                count(row.macs),
            )
            for row in self.rows
        )
        notes = (
            "nnU-Net's rule: each stage halves the axes that keep 4 positions and are below twice as coarse as the "
            "finest of them (Isensee et al. 2021); the patch grows to a multiple.",
            "even: the axes that divide evenly and are below 1.41 times as coarse, so that voxels come near to cubes "
            "and the patch stays. Which of them is more accurate, only training tells.",
        )
        lead = (f"patch {by(first.patch)} at {by(f'{s:g}' for s in first.spacing)} mm",)
        table = Table(title="", head=head, rows=rows, left=frozenset({1}))
        return Document(title=f"{self.model}: {first.name}", lead=lead, parts=(table,), notes=notes)


def _mm(values: Sequence[float]) -> str:
    return by(f"{v:.3g}" for v in values)


def compared(model: str, found: Network, draw: Callable[[Network], Graph]) -> PlansFit:
    """What a configuration's steps are, and what the published rule and the even one make of its patch and spacing.

    draw: the graph of such a network.
    """
    steps, kernels, patch = published(found.patch, found.spacing)
    rows = [("as it is", found), ("nnU-Net's rule", with_steps(found, steps, kernels, patch))]
    if len(ours := even(found.patch, found.spacing)[0]) > 1:
        rows.append(("even", with_steps(found, ours, even(found.patch, found.spacing)[1], found.patch)))
    return PlansFit(model=model, rows=tuple(_row(name, one, draw(one)) for name, one in rows if len(one.strides) > 1))


def _row(name: str, found: Network, graph: Graph) -> Row:
    state = evaluate(graph)
    grid = None if graph.last is None else graph.tensors[graph.last].grid
    sizes = (0,) * len(found.patch) if grid is None else tuple(f.size for f in state.fields.full[grid])
    return Row(
        name=name,
        network=found,
        coarsest=tuple(n // d for n, d in zip(found.patch, found.divisor, strict=True)),
        voxel=tuple(s * d for s, d in zip(found.spacing, found.divisor, strict=True)),
        field=tuple(n * s for n, s in zip(sizes, found.spacing, strict=True)),
        macs=cost.macs(graph, state.sizes),
    )
