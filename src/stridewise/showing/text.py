"""What `show` has to say as a document: what it is, totals, ladder, layers, findings, what is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from stridewise.report.document import Chart, Document, Facts, Part, Remark, Remarks, Table
from stridewise.report.units import binary, by, change, count, once
from stridewise.rules import remarks, terms
from stridewise.showing.fold import Row, folded
from stridewise.showing.ladder import ladder
from stridewise.showing.rows import Layer, Totals, View

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
) -> Document:
    """The document of a network under one or several plans, the first as it is."""
    shapes = ", ".join(f"{name + ' ' if len(inputs) > 1 else ''}{by(shape)}" for name, shape in inputs)
    several = len(views) > 1
    parts: list[Part] = [_side_by_side(views) if several else _totals(views[0].totals)]
    parts += [_ladder(view, several) for view in views]
    parts.append(_changed_layers(views) if several else _layers(views[0].layers))
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


def facts(totals: Totals) -> list[tuple[str, str]]:
    """What the totals say, by name."""
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
        ("output stride", once(totals.output_stride) + every),
        ("last map", by(totals.out_size)),
        ("receptive field", f"{by(totals.receptive_field)} ({max(share, default=0):.2g}× the input)"),
        ("smallest input", by(totals.smallest_input)),
    ]
    return facts


def _totals(totals: Totals) -> Facts:
    """The facts, work and memory first; the geometry begins a line of its own."""
    return Facts(rows=tuple(facts(totals)), breaks=frozenset({"output stride"}))


def _side_by_side(views: Sequence[View]) -> Table:
    """The totals of every plan in columns, with the change against the network as it is."""
    numbers = [_numbers(view.totals) for view in views]
    tables = [facts(view.totals) for view in views]
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


def _ladder(view: View, named: bool) -> Chart:
    title = f"Stride ladder, {view.plan or 'as it is'}" if named else "Stride ladder"
    return ladder(view, view.totals.in_size, title)


def cells(row: Row) -> tuple[str, ...]:
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
        count(x.macs) if x.macs else "",
        count(x.params) if x.params else "",
    )


def _short_op(layer: Layer) -> str:
    return {"conv_transpose": "up-conv", "max_pool": "max", "avg_pool": "mean", "matmul": "linear"}.get(
        layer.op, layer.op
    )


def _layers(layers: Sequence[Layer]) -> Table:
    rows = folded(layers)
    table = [(row.name + (f" ×{row.repeats}" if row.repeats > 1 else ""), *cells(row)) for row in rows]
    steps = frozenset(at for at, row in enumerate(rows) if any(s != 1 for s in row.first.stride))
    return Table(title="Layers", head=("layer", *HEADS), rows=tuple(table), strong=steps, left=_LEFT, drop=_DROP)


def _changed_layers(views: Sequence[View]) -> Table | Remarks:
    """The layers whose step, dilation or kernel differs from now: what was and what each plan makes of it."""
    first = {layer.key: layer for layer in views[0].layers}
    rows: list[tuple[str, ...]] = []
    strong: set[int] = set()

    def add(name: str, layer: Layer, stressed: bool) -> None:
        if stressed:
            strong.add(len(rows))
        rows.append((name, *cells(Row(name=name, first=layer, last=layer, repeats=1, at=0))))

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
    return Table(
        title="Layers that differ",
        head=("layer", *HEADS),
        rows=tuple(rows),
        strong=frozenset(strong),
        dim=frozenset(range(len(rows))) - strong,
        left=_LEFT,
        drop=_DROP,
    )
