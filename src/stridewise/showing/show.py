"""`show`: every size, stride, field and cost of a network as plain rows, for one or several plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Any

from stridewise.analyses import cost
from stridewise.analyses.declared import cumulative_stride
from stridewise.analyses.fields import State, evaluate
from stridewise.analyses.findings import findings
from stridewise.analyses.limits import smallest_input
from stridewise.analyses.sites import channel_ceiling, coverage
from stridewise.analyses.sizes import where
from stridewise.analyses.strides import Group, groups
from stridewise.axis import AxisMap, Resize, Transposed, Window
from stridewise.errors import UsageError
from stridewise.findings import Finding
from stridewise.ir import Graph, Node, Sizes, Tensor, check_graph
from stridewise.plans import Plan
from stridewise.report.document import Document
from stridewise.report.scale import Scale
from stridewise.report.values import of_fields, plain
from stridewise.rewrites.restride import restride
from stridewise.showing import text
from stridewise.showing.json import layer_json, marks_json, view_json
from stridewise.showing.rows import Layer, Mark, Output, SlotRow, Totals, View
from stridewise.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Shown):
    """What `show` found: the network as it is, then each plan.

    >>> report = sw.show(sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32)))
    >>> layer = report.to_json()["layers"][0]
    >>> layer["key"], layer["out_size"], layer["receptive_field"], layer["macs"]
    ('layers.0.0', [32, 32], [3, 3], 221184)
    """

    model: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    batch: int
    train: bool
    views: tuple[View, ...]
    groups: tuple[Group, ...]
    slots: tuple[SlotRow, ...]
    unknown: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    depths: Mapping[str, int] = field(default_factory=dict, repr=False)
    scale: Scale | None = None

    @property
    def totals(self) -> Totals:
        """The totals of the network as it is."""
        return self.views[0].totals

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network as it is."""
        return self.views[0].layers

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings about the network as it is."""
        return self.views[0].findings

    def document(self) -> Document:
        """What it is, totals, ladder, layers, findings, what is unknown."""
        return text.document(self.model, self.inputs, self.views, self.unknown, self.notes, self.scale)

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.show/1"; plans, where there are any, below "plans"."""
        shapes = {name: list(shape) for name, shape in self.inputs}
        found: dict[str, Any] = {
            "schema": "stridewise.show/1",
            "model": self.model,
            "input": next(iter(shapes.values())) if len(shapes) == 1 else shapes,
            **({} if self.scale is None else {"scale": self.scale.to_json()}),
            **view_json(self.views[0], self.scale),
            "groups": plain(self.groups),
            "slots": [of_fields(slot, "before", "site", "kind", downsample=slot.kind or None) for slot in self.slots],
            "unknown": [{"key": key, "op": op, "message": message} for key, op, message in self.unknown],
            "findings": plain(self.findings),
        }
        if self.notes:
            found["notes"] = list(self.notes)
        if len(self.views) > 1:
            found["plans"] = [
                {"plan": view.plan, **view_json(view, self.scale), "findings": plain(view.findings)}
                for view in self.views[1:]
            ]
        return found

    def page_data(self) -> dict[str, Any]:
        """`to_json` plus what stands on the ladder besides: per view its marks (resizes and joins that are no layers),
        where the slots lie among the layers, and how deep every layer and slot lies."""
        found = self.to_json()
        found["places"] = {
            "slots": {slot.key: slot.before for slot in self.slots},
            "steps_at": {slot.key: slot.site for slot in self.slots if slot.site},
            "depths": dict(self.depths),
        }
        found["marks"] = marks_json(self.views[0])
        for shown, view in zip(found.get("plans", []), self.views[1:], strict=True):
            shown["marks"] = marks_json(view)
        return found

    def _page(self) -> dict[str, Any]:
        return {"kind": "show", "report": self.page_data()}

    def _records(self) -> list[dict[str, Any]]:
        several = len(self.views) > 1
        return [
            ({"plan": view.plan} if several else {}) | layer_json(layer, self.scale)
            for view in self.views
            for layer in view.layers
        ]


def show(
    graph: Graph,
    plans: Sequence[Plan] | Mapping[str, Plan] = (),
    batch: int = 1,
    train: bool = False,
    scale: str | Scale | None = None,
) -> Report:
    """Every size, stride, field and cost of a network, as it is and under each plan.

    plans: plans, or plans by name. batch: pictures at once, for work and bytes. train: also the bytes of activations
    that backward keeps. scale: what a position of the input measures, "16000Hz", "1x1x3mm" or "0.3m": strides, fields
    and positions are said in that unit too.
    Raises: UsageError for a batch below 1 or no such unit, PlanError where a plan does not fit the network.

    >>> report = sw.show(sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32)))
    >>> report.totals.macs, [float(s) for s in report.totals.output_stride]
    (10314048, [4.0, 4.0])
    """
    check_graph(graph, "show")
    if batch < 1:
        raise UsageError(f"batch: a whole number from 1 is wanted, not {batch}")
    measured = None if scale is None else Scale.read(scale).over(graph.axes)
    named = plans.items() if isinstance(plans, Mapping) else ((f"plan {i}", plan) for i, plan in enumerate(plans, 1))
    origin = evaluate(graph)
    views, notes = [view(origin, batch=batch, train=train)], [*([str(graph.end)] if graph.end else []), *graph.notes]
    for name, plan in named:
        changed = restride(graph, plan)
        views.append(view(evaluate(changed.graph), name, batch=batch, train=train))
        notes += [
            f"{name}: {key} gets {rows} more rows of end padding on axis {axis}" for key, axis, rows in changed.pads
        ]
    return Report(
        model=graph.model,
        inputs=tuple((name, (batch, *graph.tensors[t].shape[1:])) for name, t in graph.inputs),
        batch=batch,
        train=train,
        views=tuple(views),
        groups=groups(graph),
        slots=_slots(origin),
        unknown=tuple((u.key, u.op, u.message) for u in graph.unknown),
        notes=tuple(notes),
        depths=_depths(graph),
        scale=measured,
    )


def _depths(graph: Graph) -> dict[str, int]:
    """By layer, and slot with a +, the layers on the longest way to it from an input, itself counted: parallel
    branches lie beside each other."""
    far: dict[int, int] = {}
    out: dict[str, int] = {}
    for node in graph.nodes:
        here = max((far.get(t, 0) for t in node.inputs), default=0) + is_layer(node)
        far.update(dict.fromkeys(node.outputs, here))
        if is_layer(node):
            out[node.key] = here
    return out | {f"+{slot.key}": far.get(slot.tensor, 0) for slot in graph.slots}


def view(
    state: State,
    plan: str = "",
    *,
    batch: int = 1,
    train: bool = False,
    rules: bool = True,
    smallest: bool = True,
) -> View:
    """An evaluated network as rows; rules, smallest: look for findings and the smallest input too, the slow parts."""
    graph = state.graph
    layers = tuple([_layer(state, node, batch) for node in graph.nodes if is_layer(node)])
    return View(
        plan=plan,
        totals=_totals(state, layers, batch, train, smallest),
        outputs=tuple(_output(state, i, t) for i, t in enumerate(graph.outputs)),
        layers=layers,
        findings=tuple(findings(state)) if rules else (),
        marks=_marks(state),
    )


def _marks(state: State) -> tuple[Mark, ...]:
    """What changes the stride or joins off centre without being a layer, in executed order."""
    graph, found = state.graph, []
    forks = {grid for grid, _, _ in state.fields.misaligned}
    before = list(accumulate(map(is_layer, graph.nodes), initial=0))
    full = state.fields.full
    for grid in graph.grids:
        if grid.node is None or not grid.sources or is_layer(graph.nodes[grid.node]) or not all(grid.local):
            continue
        fork = grid.index in forks
        if full[grid.index] is full[grid.sources[0]] and not fork:
            continue
        came = tuple([f.jump for f in full[grid.sources[0]]])
        stride = tuple([f.jump for f in full[grid.index]])
        if len(came) == len(stride) and (came != stride or fork):
            name, size = where(graph, grid), state.sizes[grid.index]
            found.append(Mark(at=before[grid.node], name=name, came=came, stride=stride, size=size, fork=fork))
    return tuple(found)


def _totals(state: State, layers: Sequence[Layer], batch: int, train: bool, smallest: bool) -> Totals:
    graph, sizes = state.graph, state.sizes
    grid = None if graph.last is None else graph.tensors[graph.last].grid
    fields = state.fields.full[grid] if grid is not None else ()
    return Totals(
        macs=sum(layer.macs for layer in layers),
        params=graph.params,
        activations=sum(layer.activations for layer in layers),
        peak_activation_bytes=cost.peak_bytes(graph, sizes) * batch,
        output_stride=tuple(f.jump for f in fields),
        receptive_field=tuple(f.size for f in fields),
        start=tuple(f.start for f in fields),
        smallest_input=smallest_input(graph, state.maps) if smallest else (),
        out_size=sizes[grid] if grid is not None else (),
        in_size=graph.size,
        every_stride=_every_stride(state),
        kept_bytes=cost.kept_bytes(graph, sizes, batch) if train else None,
    )


def _every_stride(state: State) -> tuple[tuple[Fraction, ...], ...]:
    """The strides of all maps that go out, the finest first; none where one alone does."""
    found = {cumulative_stride(state, t) for t in state.graph.outputs} - {None}
    axes = {len(stride) for stride in found if stride is not None}
    return tuple(sorted(s for s in found if s is not None)) if len(found) > 1 and len(axes) == 1 else ()


def _output(state: State, number: int, tensor: int) -> Output:
    found = state.graph.tensors[tensor]
    strides, fields = _geometry(state, found)
    return Output(
        name=f"output {number}" if len(state.graph.outputs) > 1 else "output",
        size=_size(state, found),
        cumulative_stride=strides,
        receptive_field=fields,
    )


def _geometry(state: State, tensor: Tensor) -> tuple[tuple[Fraction | None, ...], Sizes]:
    """Cumulative strides and field sizes of a tensor; a stride is None where no positions are left on the axis."""
    if tensor.grid is None:
        return (), ()
    fields = state.fields.full[tensor.grid]
    local = state.graph.grids[tensor.grid].local
    if _is_placeless(tensor):
        return (None,) * len(fields), tuple([f.size for f in fields])
    if fields.count(fields[0]) == len(fields) and all(local):  # axes are mostly alike
        return (fields[0].jump,) * len(fields), (fields[0].size,) * len(fields)
    strides = tuple([f.jump if here else None for f, here in zip(fields, local, strict=True)])
    return strides, tuple([f.size for f in fields])


def _size(state: State, tensor: Tensor) -> Sizes:
    """Positions of a tensor, an axis; one where it holds no place on its grid any more, as a class token."""
    if tensor.grid is None:
        return ()
    sizes = state.sizes[tensor.grid]
    return (1,) * len(sizes) if _is_placeless(tensor) else sizes


def _is_placeless(tensor: Tensor) -> bool:
    """Whether a tensor is one vector; tokens cut into windows may be many and still name no axis."""
    vector = len(tensor.shape) - tensor.shape.count(1) < 2
    return vector and tensor.known and not any(part.over for part in (tensor.volume, *tensor.volume.plus))


def is_layer(node: Node) -> bool:
    """Whether a node has a row: sites, and ops with multiply-adds."""
    return bool(node.key) and (node.site or node.counted)


def _layer(state: State, node: Node, batch: int) -> Layer:
    """The row of one node."""
    graph, sizes, attrs = state.graph, state.sizes, node.attrs
    made = graph.tensors[node.outputs[0]]
    grid = made.grid
    windows: tuple[AxisMap, ...] = attrs.get("maps", ())  # of a convolution where no positions are left
    if node.site:
        windows = state.windows(node)
        in_size = sizes[state.incoming(node)]
    else:
        in_size = _size(state, graph.tensors[node.inputs[0]]) if node.inputs else ()
    strides, reach = _geometry(state, made)
    fields = state.fields.full[grid] if grid is not None else ()
    whole = sizes[0]
    ceiling = channel_ceiling(node, windows)
    kernel, stride, dilation, padding, read = _window_row(tuple(windows), in_size)
    return Layer(
        key=node.key,
        op="conv_transpose" if attrs.get("transposed") else node.op,
        kernel=kernel if windows and not isinstance(windows[0], Resize) else tuple(attrs.get("kernel", ())),
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=int(attrs.get("groups", 1)),
        channels=attrs.get("channels"),
        in_size=in_size,
        out_size=_size(state, made),
        cumulative_stride=strides,
        receptive_field=reach,
        start=tuple([f.start for f in fields]),
        everything=grid is not None and state.fields.everything[grid],
        approximate=any(f.approximate for f in fields),
        field_share=tuple([r / n for r, n in zip(reach, whole, strict=False)]),
        macs=node.macs.at(sizes) * batch,
        params=node.params,
        activations=sum([v.at(sizes) for v in cost.computed(graph, node)]) * batch if node.counted else 0,
        read_coverage=read,
        channel_ceiling=None if ceiling is None else float(ceiling),
    )


@lru_cache(maxsize=16384)
def _window_row(
    windows: tuple[AxisMap, ...], in_size: Sizes
) -> tuple[Sizes, tuple[Fraction, ...], Sizes, tuple[tuple[int, int], ...], float]:
    """(kernel, stride, dilation, padding, share of positions read); most layers of a network share a few of these."""
    kernel = tuple([w.kernel if isinstance(w, Window | Transposed) else 1 for w in windows])
    stride = tuple([w.step(n) for w, n in zip(windows, in_size, strict=False)])
    dilation = tuple([w.dilation if isinstance(w, Window | Transposed) else 1 for w in windows])
    padding = tuple([_padding(w, n) for w, n in zip(windows, in_size, strict=False)])
    return kernel, stride, dilation, padding, float(coverage(windows))


def _padding(window: AxisMap, size: int) -> tuple[int, int]:
    if isinstance(window, Window):
        return window.padding(size)
    return (window.pad_begin, window.pad_end) if isinstance(window, Transposed) else (0, 0)


def _slots(state: State) -> tuple[SlotRow, ...]:
    graph = state.graph
    before, layers = [], 0
    for node in graph.nodes:
        layers += is_layer(node)
        before.append(layers)
    made = {tensor: node.index for node in graph.nodes for tensor in node.outputs}
    return tuple(
        SlotRow(
            key=slot.key,
            aliases=slot.aliases,
            size=state.sizes[slot.grid],
            cumulative_stride=tuple(f.jump for f in state.fields.full[slot.grid]),
            stride=slot.stride,
            kind=slot.kind,
            before=before[made[slot.tensor]] if slot.tensor in made else 0,
            site="" if slot.node is None else graph.nodes[slot.node].key,
        )
        for slot in graph.slots
    )
