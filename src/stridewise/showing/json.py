"""Results in plain values: what `--json` prints (DESIGN 7)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from stridewise.analyses.findings import as_json
from stridewise.showing.rows import Layer, View
from stridewise.showing.show import Report


def plain(value: Fraction | int | None) -> int | str | None:
    """A whole number as it is, a Fraction as "1/2"."""
    if value is None or type(value) is int:  # asked first: of a Fraction `isinstance` takes long
        return value
    return value.numerator if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def _plain(values: Sequence[Fraction | int | None]) -> list[int | str | None]:
    return [plain(v) for v in values]


def show_json(report: Report) -> dict[str, Any]:
    """The report as one object, schema "stridewise.show/1"; plans, where there are any, below "plans"."""
    shapes = {name: list(shape) for name, shape in report.inputs}
    first = report.views[0]
    found: dict[str, Any] = {
        "schema": "stridewise.show/1",
        "model": report.model,
        "input": next(iter(shapes.values())) if len(shapes) == 1 else shapes,
        **view_json(first),
        "groups": [
            {
                "id": group.id,
                "sites": list(group.sites),
                "stride": _plain(group.stride),
                "free": group.free,
                "allowed": _plain(group.allowed),
            }
            for group in report.groups
        ],
        "slots": [
            {
                "key": slot.key,
                "aliases": list(slot.aliases),
                "size": list(slot.size),
                "cumulative_stride": _plain(slot.cumulative_stride),
                "stride": list(slot.stride),
                "downsample": slot.kind or None,
            }
            for slot in report.slots
        ],
        "unknown": [{"key": key, "op": op, "message": message} for key, op, message in report.unknown],
        "findings": [as_json(finding) for finding in first.findings],
    }
    if report.notes:
        found["notes"] = list(report.notes)
    if len(report.views) > 1:
        found["plans"] = [
            {"plan": view.plan, **view_json(view), "findings": [as_json(f) for f in view.findings]}
            for view in report.views[1:]
        ]
    return found


def view_json(view: View) -> dict[str, Any]:
    """One view in plain values: totals, outputs, layers."""
    return totals_json(view) | {"layers": [layer_json(layer) for layer in view.layers]}


def totals_json(view: View) -> dict[str, Any]:
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
    return {
        "totals": rows,
        "outputs": [
            {
                "name": out.name,
                "size": list(out.size),
                "cumulative_stride": _plain(out.cumulative_stride),
                "receptive_field": list(out.receptive_field),
            }
            for out in view.outputs
        ],
    }


def layer_json(layer: Layer) -> dict[str, Any]:
    """One row of the table."""
    return {
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
