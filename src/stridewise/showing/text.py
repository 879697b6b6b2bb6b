"""What `show` has to say as a document: what it is, totals, ladder, layers, findings, what is unknown."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from stridewise.ops import all_ops
from stridewise.report.document import Chart, Document, Facts, Line, Part, Remark, Remarks, Table
from stridewise.report.scale import Scale
from stridewise.report.units import binary, by, change, count, once
from stridewise.rules import remarks, terms
from stridewise.showing.ladder import ladder
from stridewise.showing.rows import Layer, Row, Totals, View, folded

Inputs: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]

HEADS = ("op", "kernel", "step", "channels", "size", "stride", "field", "MACs", "params")
# Columns that a narrow window goes without, in this order.
_DROP = ("params", "channels", "op", "MACs", "kernel", "field", "size")
_LEFT = frozenset({1})


def document(
    model: str,
    inputs: Inputs,
    views: Sequence[View],
    unknown: Sequence[tuple[str, str, str]] = (),
    notes: Sequence[str] = (),
    scale: Scale | None = None,
) -> Document:
    """The document of a network under one or several plans, the first as it is; scale: strides and fields in it too."""
    shapes = ", ".join(f"{name + ' ' if len(inputs) > 1 else ''}{by(shape)}" for name, shape in inputs)
    several = len(views) > 1
    parts: list[Part] = [side_by_side(views, scale) if several else _totals(views[0].totals, scale)]
    parts += [named_ladder(view) for view in views] if several else [_ladder(views[0], "Stride ladder")]
    parts.append(_changed_layers(views, scale) if several else _layers(views[0].layers, scale))
    for view in views:
        title = f"Findings, {view.plan or 'as it is'}" if several else "Findings"
        if view.findings:
            parts.append(remarks(view.findings, title))
    met = tuple(Remark(text=message, label="unknown", level="warning", about=key) for key, _, message in unknown)
    parts += [Remarks(title="Unknown", remarks=met), terms(f for view in views for f in view.findings)]
    return Document(
        title=model,
        aside=f"input {shapes}",
        parts=tuple(parts),
        notes=tuple(f"note: {note}" for note in notes),
    )


def facts(totals: Totals, scale: Scale | None = None) -> list[tuple[str, str]]:
    """What the totals say, by name; scale: lengths in its unit too."""

    def beside(values: Sequence[Fraction | int | None]) -> str:
        return "" if scale is None else scale.beside(values)

    share = [f / n for f, n in zip(totals.receptive_field, totals.in_size, strict=False)]
    every = f" ({', '.join(map(once, totals.every_stride))} go out)" if totals.every_stride else ""
    facts = [
        ("multiply-adds", count(totals.macs)),
        ("parameters", count(totals.params)),
        ("activations", count(totals.activations)),
        ("peak memory", binary(totals.peak_activation_bytes)),
    ]
    if totals.kept_bytes is not None:
        facts.append(("kept for backward", binary(totals.kept_bytes)))
    facts += [
        ("output stride", once(totals.output_stride) + beside(totals.output_stride) + every),
        ("last map", by(totals.out_size)),
        (
            "receptive field",
            f"{by(totals.receptive_field)}{beside(totals.receptive_field)} ({max(share, default=0):.2g}× the input)",
        ),
        ("smallest input", by(totals.smallest_input) + beside(totals.smallest_input)),
    ]
    if scale is not None:
        facts.append(("first field begins at", by(totals.start) + beside(totals.start)))
    return facts


def _totals(totals: Totals, scale: Scale | None) -> Facts:
    """The facts, work and memory first; the geometry begins a line of its own."""
    return Facts(rows=tuple(facts(totals, scale)), breaks=frozenset({"output stride"}))


def side_by_side(views: Sequence[View], scale: Scale | None) -> Table:
    """The totals of every plan in columns, with the change against the network as it is."""
    numbers = [_numbers(view.totals) for view in views]
    tables = [facts(view.totals, scale) for view in views]
    rows = []
    for at, (name, _) in enumerate(tables[0]):
        texts = [table[at][1].split(" (")[0] for table in tables]
        if at < len(numbers[0]):
            changes = [change(n[at], numbers[0][at]) for n in numbers[1:]]
            texts[1:] = [f"{t}  {c}".rstrip() for t, c in zip(texts[1:], changes, strict=True)]
        rows.append((name, *texts))
    names = [view.plan or "as it is" for view in views]
    return Table(title="", head=("", *names), rows=tuple(rows), left=frozenset(range(1, len(names) + 1)))


def _numbers(totals: Totals) -> tuple[int, ...]:
    """The facts that can be compared, in the order of `facts`."""
    kept = () if totals.kept_bytes is None else (totals.kept_bytes,)
    return (totals.macs, totals.params, totals.activations, totals.peak_activation_bytes, *kept)


def named_ladder(view: View) -> Chart:
    """The ladder of one of several views."""
    return _ladder(view, f"Stride ladder, {view.plan or 'as it is'}")


def _ladder(view: View, title: str) -> Chart:
    return ladder(view, view.totals.in_size, title)


def _heads(scale: Scale | None) -> tuple[str, ...]:
    if scale is None:
        return ("layer", *HEADS)
    at = HEADS.index("field") + 1
    return ("layer", *HEADS[:at], f"stride, {scale.unit}", f"field, {scale.unit}", *HEADS[at:])


def cells(row: Row, scale: Scale | None = None) -> tuple[str, ...]:
    """One row of the layer table, without its name."""
    x = row.first
    dilated = f" d{once(x.dilation)}" if any(d != 1 for d in x.dilation) else ""
    grouped = "" if x.groups == 1 else " dw" if x.channels and x.groups == x.channels[0] else f" g{x.groups}"
    reach = once(x.receptive_field)
    if row.repeats > 1 and row.last.receptive_field != x.receptive_field:
        reach += f"…{once(row.last.receptive_field)}"
    reach = ("~" if x.approximate else "") + reach + (" +all" if x.everything else "")
    return (
        _short_op(x) + grouped,
        (once(x.kernel, "") + dilated),
        "" if all(s == 1 for s in x.stride) else once(x.stride, ""),
        f"{x.channels[0]}→{x.channels[1]}" if x.channels else "",
        by(x.out_size, ""),
        "" if None in x.cumulative_stride else once(x.cumulative_stride, ""),
        "all" if None in x.cumulative_stride else reach,
        *_measured(row, scale),
        count(x.macs) if x.macs else "",
        count(x.params) if x.params else "",
    )


def _measured(row: Row, scale: Scale | None) -> tuple[str, ...]:
    """Stride and field of a row in the unit, "" where no positions are left."""
    if scale is None or None in row.first.cumulative_stride:
        return () if scale is None else ("", "")
    spans = dict.fromkeys(scale.number(of.receptive_field) for of in (row.first, row.last))
    return scale.number(row.first.cumulative_stride), "…".join(spans)


def _short_op(layer: Layer) -> str:
    return {"conv_transpose": "up-conv", "max_pool": "max", "avg_pool": "mean", "matmul": "linear"}.get(
        layer.op, layer.op
    )


def _layers(layers: Sequence[Layer], scale: Scale | None) -> Table:
    rows = folded(layers)
    table = [(row.name + (f" ×{row.repeats}" if row.repeats > 1 else ""), *cells(row, scale)) for row in rows]
    steps = frozenset(at for at, row in enumerate(rows) if any(s != 1 for s in row.first.stride))
    return Table(title="Layers", head=_heads(scale), rows=tuple(table), strong=steps, left=_LEFT, drop=_DROP)


def _changed_layers(views: Sequence[View], scale: Scale | None) -> Table | Remarks:
    """The layers whose step, dilation or kernel differs from now: what was and what each plan makes of it."""
    first = {layer.key: layer for layer in views[0].layers}
    rows: list[tuple[str, ...]] = []
    strong: set[int] = set()

    def add(name: str, layer: Layer, stressed: bool) -> None:
        if stressed:
            strong.add(len(rows))
        rows.append((name, *cells(Row(name=name, first=layer, last=layer, repeats=1, at=0), scale)))

    for view in views[1:]:
        for layer in view.layers:
            before = first.get(layer.key)
            if before is None:
                add(f"{layer.key}, new in {view.plan}", layer, True)
            elif (before.stride, before.dilation, before.kernel) != (layer.stride, layer.dilation, layer.kernel):
                add(layer.key, before, False)
                add(f"  {view.plan}", layer, True)
        here = {layer.key for layer in view.layers}
        for layer in views[0].layers:
            if layer.key not in here:
                add(f"{layer.key}, gone in {view.plan}", layer, False)
    if not rows:
        return Remarks(remarks=(), none="No layer's step, dilation or kernel differs.")
    return differing(rows, strong, scale)


def differing(rows: Sequence[tuple[str, ...]], strong: Collection[int], scale: Scale | None) -> Table:
    """A table of layers that differ, all rows but the `strong` paled."""
    return Table(
        title="Layers that differ",
        head=_heads(scale),
        rows=tuple(rows),
        strong=frozenset(strong),
        dim=frozenset(range(len(rows))) - frozenset(strong),
        left=_LEFT,
        drop=_DROP,
    )


def op_table() -> dict[str, Any]:
    """Every op with what it is and the targets it answers for, schema "stridewise.ops/1"."""
    rows = [
        {"name": op.name, "about": op.about, "site": op.site, "torch": list(op.torch), "onnx": list(op.onnx)}
        for op in all_ops()
    ]
    return {"schema": "stridewise.ops/1", "ops": rows}


def op_lines(width: int) -> list[Line]:
    """The table as lines: name and description, then the targets."""
    out: list[Line] = []
    for op in all_ops():
        out.append([(f"{op.name:<16}", "step" if op.site else "head"), (op.about + (" (site)" if op.site else ""), "")])
        for kind, targets in (("torch", op.torch), ("onnx", op.onnx)):
            names = " ".join(target.removeprefix("aten.") for target in targets)
            for at, piece in enumerate(textwrap.wrap(names, width - 24)):
                out.append([(f"{'':<16}{kind if not at else '':<7}{piece}", "dim")])
    return out
