"""The rows of a report in plain values, written out by hand: a page asks for thousands of them with every drag."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from stridewise.report.scale import Scale
from stridewise.showing.rows import Layer, View


def plain(value: Fraction | int | None) -> int | str | None:
    """A whole number as it is, a Fraction as "1/2"."""
    if value is None or type(value) is int:  # asked first: of a Fraction `isinstance` takes long
        return value
    return value.numerator if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def _plain(values: Sequence[Fraction | int | None]) -> list[int | str | None]:
    return [plain(v) for v in values]


def view_json(view: View, scale: Scale | None = None) -> dict[str, Any]:
    """One view in plain values: totals, outputs, layers; with a scale each also in its unit, below "scaled"."""
    return totals_json(view, scale) | {"layers": [layer_json(layer, scale) for layer in view.layers]}


def totals_json(view: View, scale: Scale | None = None) -> dict[str, Any]:
    """The totals and outputs of one view."""
    totals = view.totals
    rows: dict[str, Any] = {
        "macs": totals.macs,
        "params": totals.params,
        "activations": totals.activations,
        "peak_activation_bytes": totals.peak_activation_bytes,
        "output_stride": _plain(totals.output_stride),
        "receptive_field": list(totals.receptive_field),
        "start": list(totals.start),
        "smallest_input": list(totals.smallest_input),
    }
    if totals.kept_bytes is not None:
        rows["kept_bytes"] = totals.kept_bytes
    outputs: list[dict[str, Any]] = [
        {
            "name": out.name,
            "size": list(out.size),
            "cumulative_stride": _plain(out.cumulative_stride),
            "receptive_field": list(out.receptive_field),
        }
        for out in view.outputs
    ]
    if scale is not None:
        of = totals
        rows["scaled"] = scale.json(
            output_stride=of.output_stride,
            receptive_field=of.receptive_field,
            start=of.start,
            smallest_input=of.smallest_input,
        )
        for shown, out in zip(outputs, view.outputs, strict=True):
            shown["scaled"] = scale.json(cumulative_stride=out.cumulative_stride, receptive_field=out.receptive_field)
    return {"totals": rows, "outputs": outputs}


def layer_json(layer: Layer, scale: Scale | None = None) -> dict[str, Any]:
    """One row of the table."""
    row = {
        "key": layer.key,
        "op": layer.op,
        "kernel": list(layer.kernel),
        "stride": _plain(layer.stride),
        "dilation": list(layer.dilation),
        "padding": [list(pair) for pair in layer.padding],
        "groups": layer.groups,
        "channels": list(layer.channels) if layer.channels else None,
        "in_size": list(layer.in_size),
        "out_size": list(layer.out_size),
        "cumulative_stride": _plain(layer.cumulative_stride),
        "receptive_field": list(layer.receptive_field),
        "start": list(layer.start),
        "global": layer.everything,
        "field_share": list(layer.field_share),
        "macs": layer.macs,
        "params": layer.params,
        "activations": layer.activations,
        "read_coverage": layer.read_coverage,
        "channel_ceiling": layer.channel_ceiling,
    }
    if scale is not None:
        row["scaled"] = scale.json(
            cumulative_stride=layer.cumulative_stride, receptive_field=layer.receptive_field, start=layer.start
        )
    return row


def marks_json(view: View) -> list[dict[str, Any]]:
    """What stands on the ladder without being a layer."""
    return [
        {
            "at": mark.at,
            "name": mark.name,
            "came": [plain(n) for n in mark.came],
            "stride": [plain(n) for n in mark.stride],
            "size": list(mark.size),
            "fork": mark.fork,
        }
        for mark in view.marks
    ]
