"""`check`: every rule (docs/rules.md) that needs the network alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex, overload

from stridewise.analyses.declared import config_differs, declared_differs
from stridewise.analyses.fields import State, evaluate
from stridewise.analyses.sites import axis_names, site_findings, times
from stridewise.analyses.sizes import Maps, name_of, where
from stridewise.analyses.targets import target_findings, target_of
from stridewise.analyses.unread import gridding, never_read
from stridewise.axis import Adaptive, Slice
from stridewise.configs import read_declared
from stridewise.errors import GeometryError
from stridewise.findings import Finding
from stridewise.ir import Graph, check_graph
from stridewise.report.document import Document
from stridewise.report.values import plain
from stridewise.rules import remarks, terms
from stridewise.shown import Shown

SEVERITIES = ("info", "warning", "error")


class Findings(Shown, Sequence[Finding]):
    """The findings about one network, most severe first; prints itself, one line each."""

    __slots__ = ("_found", "model")

    def __init__(self, model: str, found: Sequence[Finding]) -> None:
        self.model = model
        self._found = tuple(sorted(found, key=lambda f: -SEVERITIES.index(f.severity)))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Finding | tuple[Finding, ...]:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Findings) and (self.model, self._found) == (other.model, other._found)

    def __hash__(self) -> int:
        return hash((self.model, self._found))

    def __repr__(self) -> str:
        return str(self)

    def document(self) -> Document:
        """The findings, and what their rules mean."""
        parts = (remarks(self._found, none="No findings."), terms(self._found))
        return Document(title=f"{self.model}, checked", parts=parts, quiet=bool(self._found))

    def __str__(self) -> str:
        if not self._found:
            return f"{self.model}: no findings"
        return "\n".join(f"{f.rule} {f.severity:<7} {f.message}" for f in self._found)

    def _records(self) -> list[dict[str, Any]]:
        return [plain(f) for f in self._found]

    def without(self, rules: Sequence[str]) -> Findings:
        """The findings of all other rules."""
        return Findings(self.model, [f for f in self._found if f.rule not in rules])

    def at_least(self, severity: str) -> tuple[Finding, ...]:
        """The findings of this severity or a higher one."""
        level = SEVERITIES.index(severity)
        return tuple(f for f in self._found if SEVERITIES.index(f.severity) >= level)

    def to_json(self) -> dict[str, object]:
        """Plain values, schema "stridewise.check/1"."""
        return {"schema": "stridewise.check/1", "model": self.model, "findings": plain(self._found)}


def check(
    graph: Graph,
    declared: Sequence[int | Sequence[int]] | None = None,
    maps: Maps | None = None,
    target: str | None = None,
    config: str | None = None,
) -> Findings:
    """What the rules have to say about a network's strides; maps: by grid, what a plan replaces.

    declared: cumulative strides the network is said to have, such as (4, 8, 16, 32). target: a chip or compiler whose
    limits to keep, "ethos-u55", or a file of one's own (.toml). config: a file that declares strides (an mmdetection or
    detectron2 config, a transformers config.json, ...); it is read and never run. Raises: UsageError for a target or a
    config that is none.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> print(next(f for f in sw.check(graph, declared=(1, 2, 8)) if f.rule == "SW201").message)
    declared: declared stride 8 is not among the real ones: 1, 2, 4. ...
    """
    check_graph(graph, "check")
    limits = None if target is None else target_of(target)
    stated = () if config is None else read_declared(config)
    try:
        state = evaluate(graph, maps)
    except GeometryError as error:
        place = str(error).split(":", 1)[0]
        return Findings(graph.model, [Finding(rule="SW202", severity="error", key=place, message=str(error))])
    found = [*findings(state, declared), *config_differs(state, stated)]
    return Findings(graph.model, found if limits is None else [*found, *target_findings(state, limits)])


def findings(state: State, declared: Sequence[int | Sequence[int]] | None = None) -> list[Finding]:
    """The findings about an evaluated network, by rule."""
    found = [
        *site_findings(state),
        *_misaligned(state),
        *gridding(state),
        *never_read(state),
        *declared_differs(state, declared),
        *_pinned(state),
        *_ended(state.graph),
    ]
    return sorted(found, key=lambda f: f.rule)


def _misaligned(state: State) -> Iterator[Finding]:
    """SW103: the parts of a sum or concatenation are centred on different input positions."""
    joins: dict[int, dict[int, str]] = {}
    for grid, axis, centres in state.fields.misaligned:
        if _are_phases(state.graph, grid):
            continue
        joins.setdefault(grid, {})[axis] = f"{float(max(centres) - min(centres)):g}"
    for grid, apart in joins.items():
        name = where(state.graph, state.graph.grids[grid])
        amounts = " and ".join(dict.fromkeys(apart.values()))
        unit = "position" if amounts == "1" else "positions"
        yield Finding(
            rule="SW103",
            severity="warning",
            key=name,
            message=f"{name}: branches meet with centres {amounts} input {unit} apart"
            f"{axis_names(sorted(apart), state.graph.axes)}. Pad or crop one of them so that they lie on each other",
        )


def _are_phases(graph: Graph, join: int) -> bool:
    """Whether a join puts phases x[0::s], x[1::s] of one tensor side by side: space-to-depth, off on purpose."""
    roots = set()
    for source in graph.grids[join].sources:
        grid = graph.grids[source]
        while grid.kind == "map" and any(isinstance(m, Slice) for m in grid.maps):
            grid = graph.grids[grid.sources[0]]
        roots.add(grid.index)
    return len(roots) == 1 and not roots & set(graph.grids[join].sources)


def _pinned(state: State) -> Iterator[Finding]:
    """SW202: what fixes the input size, or forbids a change of stride before it; an error where the size is missed."""
    graph = state.graph
    loose = _moving(graph) if graph.pins else []
    for pin in graph.pins:
        node = graph.nodes[pin.node]
        name = name_of(graph, node)
        now = state.sizes[pin.grid]
        missed = now != pin.sizes and pin.kind in ("position table", "flatten")
        if not missed and not loose[pin.grid] and pin.kind != "size":
            continue  # an adaptive pool before it makes the size: nothing is fixed for the input
        yield Finding(
            rule="SW202",
            severity="error" if missed else "warning" if loose[pin.grid] or pin.kind != "size" else "info",
            key=name,
            message=f"{name}: {pin.message}, made for {times(pin.sizes)}"
            + (f" but {times(now)} arrive: the forward fails" if missed else "")
            + f". {'Export the network with open sizes' if pin.ends else _ADVICE[pin.kind]}",
        )


def _ended(graph: Graph) -> Iterator[Finding]:
    """SW203: the forward asks for a value that depends on the input, and what comes behind is not known."""
    if graph.end is not None:
        yield Finding(rule="SW203", severity="info", key=graph.end.path, message=str(graph.end))


_ADVICE = {
    "position table": "Resize the table with the stride or the input",
    "window": "Keep a multiple of the window, or make the model anew for another size",
    "flatten": "Pool adaptively before the flatten",
    "size": "Strides before it change what it resizes, not what comes out",
}


def _moving(graph: Graph) -> list[bool]:
    """Per grid, whether its sizes move with the input's."""
    moves: list[bool] = []
    for grid in graph.grids:
        if grid.kind == "input":
            moves.append(True)
        elif grid.kind == "fixed" or any(isinstance(m, Adaptive) for m in grid.maps):
            moves.append(False)
        else:
            moves.append(any(moves[s] for s in grid.sources))
    return moves
