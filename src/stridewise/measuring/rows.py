"""What was measured of one network: each figure with how it was come by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stridewise.findings import Finding
from stridewise.measuring.box_shift import BoxShift
from stridewise.measuring.dense_shift import DenseShift
from stridewise.measuring.detail import Detail
from stridewise.measuring.field import EffectiveField
from stridewise.measuring.intervals import Interval
from stridewise.measuring.latency import Latency
from stridewise.measuring.shift import Shift
from stridewise.report.values import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """What follows from the geometry. peak_bytes is an estimate (liveness over the executed order, batch 1)."""

    macs: int
    params: int
    output_stride: tuple[str, ...]
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; each with its kind."""
        return {
            "macs": {"kind": "exact", "value": self.macs},
            "params": {"kind": "exact", "value": self.params},
            "output_stride": {"kind": "exact", "value": list(self.output_stride)},
            "peak_activation_bytes": {"kind": "estimated", "value": self.peak_bytes},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One plan's figures; None for what was not asked for. accuracy: share of pictures, unmoved, with 95 % interval."""

    name: str
    exact: Exact
    latency: Latency | None = None
    memory: bool = False
    shift: Shift | DenseShift | BoxShift | None = None
    detail: Detail | None = None
    fields: tuple[EffectiveField, ...] | None = None
    accuracy: Interval | None = None
    accuracy_versus: Interval | None = None
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        out: dict[str, Any] = {"plan": self.name, **self.exact.to_json()}
        if self.latency is not None:
            out["latency"] = self.latency.to_json()
            if self.memory:
                out["memory"] = {"kind": "measured", "peak_bytes": self.latency.peak_bytes}
        for key in ("shift", "detail"):
            value = getattr(self, key)
            if value is not None:
                out[key] = value.to_json()
        if self.fields is not None:
            out["fields"] = {"kind": "measured", "maps": [f.to_json() for f in self.fields]}
        if self.accuracy is not None:
            versus = None if self.accuracy_versus is None else self.accuracy_versus.to_json()
            out["accuracy"] = {"kind": "measured", **self.accuracy.to_json(), "versus_first": versus}
        out["findings"] = plain(self.findings)
        return out
