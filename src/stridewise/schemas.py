"""JSON schemas of what commands print with --json and results give as `to_json()`: `stridewise schema show`.

A field that is not listed is an error where all are known (`whole`); figures of measurements may hold more.
Source: JSON Schema, draft 2020-12.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from stridewise.errors import UsageError

Schema: TypeAlias = dict[str, Any]

_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string"}
_YES: Schema = {"type": "boolean"}
_ANY: Schema = {}
_STEP: Schema = {"anyOf": [_WHOLE, {"type": "string", "pattern": "^-?[0-9]+/[0-9]+$"}]}
_KIND: Schema = {"enum": ["exact", "estimated", "measured"]}


def _many(entry: Schema) -> Schema:
    return {"type": "array", "items": entry}


def _maybe(entry: Schema) -> Schema:
    return {"anyOf": [entry, {"type": "null"}]}


def _by_name(entry: Schema) -> Schema:
    return {"type": "object", "additionalProperties": entry}


def _whole(fields: Mapping[str, Schema], more: Mapping[str, Schema] | None = None) -> Schema:
    """An object with all of `fields`, perhaps some of `more`, and nothing else."""
    return {**_open(fields, more), "additionalProperties": False}


def _open(fields: Mapping[str, Schema], more: Mapping[str, Schema] | None = None) -> Schema:
    """An object with all of `fields`, perhaps some of `more`, and whatever else."""
    return {"type": "object", "properties": {**fields, **(more or {})}, "required": list(fields)}


_SIZES, _STEPS = _many(_WHOLE), _many(_STEP)
_INPUT = {"anyOf": [_SIZES, _by_name(_SIZES)]}
_FINDING = _whole(
    {"rule": _TEXT, "severity": {"enum": ["info", "warning", "error"]}, "key": _TEXT, "message": _TEXT},
    {"file": _TEXT, "line": _WHOLE},
)
_SCALE = _whole({"unit": _TEXT, "step": _many(_NUMBER)})
_SCALED = _by_name(_maybe(_many(_maybe(_NUMBER))))
_LAYER = _whole(
    {
        "key": _TEXT,
        "op": _TEXT,
        "kernel": _SIZES,
        "stride": _STEPS,
        "dilation": _SIZES,
        "padding": _many(_SIZES),
        "groups": _WHOLE,
        "channels": _maybe(_SIZES),
        "in_size": _SIZES,
        "out_size": _SIZES,
        "cumulative_stride": _many(_maybe(_STEP)),
        "receptive_field": _SIZES,
        "start": _SIZES,
        "global": _YES,
        "field_share": _many(_NUMBER),
        "macs": _WHOLE,
        "params": _WHOLE,
        "activations": _WHOLE,
        "read_coverage": _NUMBER,
        "channel_ceiling": _maybe(_NUMBER),
    },
    {"scaled": _SCALED},
)
_SEEN = {
    "totals": _open(
        {
            "macs": _WHOLE,
            "params": _WHOLE,
            "activations": _WHOLE,
            "peak_activation_bytes": _WHOLE,
            "output_stride": _STEPS,
            "receptive_field": _SIZES,
            "start": _SIZES,
            "smallest_input": _many(_maybe(_WHOLE)),
        },
        {"kept_bytes": _WHOLE, "scaled": _SCALED},
    ),
    "outputs": _many(
        _open(
            {
                "name": _TEXT,
                "size": _SIZES,
                "cumulative_stride": _many(_maybe(_STEP)),
                "receptive_field": _SIZES,
            },
            {"scaled": _SCALED},
        )
    ),
    "layers": _many(_LAYER),
}
_VIEW = {**_SEEN, "findings": _many(_FINDING)}
_SETTING = _open({}, {"stride": _SIZES, "was": _SIZES, "downsample": _TEXT, "filter": _WHOLE, "border": _TEXT})
_CERTIFICATE = _whole({"exact": _YES, "means": _many(_TEXT), "phase": _SIZES, "reasons": _many(_TEXT)})
_POINT = _open(
    {"macs": _WHOLE, "peak_bytes": _WHOLE, "activations": _WHOLE, "output_stride": _STEPS, "changes": _WHOLE},
    {"sites": _by_name(_SIZES), "insert": _by_name(_SIZES), "on_front": _YES},
)
_RULE = _whole(
    {
        "schema": {"const": "stridewise.rule/1"},
        **dict.fromkeys(("id", "name", "severity", "what", "why", "example", "fix"), _TEXT),
        "see": _many(_TEXT),
    }
)
_SHOW = (
    {
        "model": _TEXT,
        "input": _INPUT,
        **_VIEW,
        "groups": _many(
            _whole({"id": _TEXT, "sites": _many(_TEXT), "stride": _SIZES, "free": _YES, "allowed": _SIZES})
        ),
        "slots": _many(
            _whole(
                {
                    "key": _TEXT,
                    "aliases": _many(_TEXT),
                    "size": _SIZES,
                    "cumulative_stride": _STEPS,
                    "stride": _SIZES,
                    "downsample": _maybe(_TEXT),
                }
            )
        ),
        "unknown": _many(_whole({"key": _TEXT, "op": _TEXT, "message": _TEXT})),
    },
    {"scale": _SCALE, "notes": _many(_TEXT), "plans": _many(_open({"plan": _TEXT, **_VIEW}))},
)
_FIT_ROW = _open({"strides": _many(_SIZES), "positions": _NUMBER, "classes": _many({"type": "object"})})
_MEASURED_ROW = _open(
    {
        "plan": _TEXT,
        "macs": _open({"kind": _KIND, "value": _WHOLE}),
        "params": _open({"kind": _KIND, "value": _WHOLE}),
        "findings": _many(_FINDING),
    }
)
_RECOMMENDED = _open({"plan": _TEXT, "kind": _TEXT, "reasons": _many(_TEXT), "toml": _TEXT})

_RUNS = _many({"type": "array", "items": _maybe(_WHOLE), "minItems": 3, "maxItems": 3})
_PLANS = {
    "configuration": _TEXT,
    "patch": _SIZES,
    "strides": _many(_SIZES),
    "kernels": _many(_SIZES),
    "features": _SIZES,
}
_MAYBE_SIZES = _many(_maybe(_WHOLE))

# name -> (how an object of it is closed, fields, fields that may be missing)
_TABLE: dict[str, tuple[Callable[..., Schema], Mapping[str, Schema], Mapping[str, Schema]]] = {
    "show": (_open, *_SHOW),
    "beside": (
        _whole,
        {
            "models": _many(_open({"model": _TEXT, "input": _by_name(_SIZES), **_SEEN})),
            "pairs": _many(_whole({"layers": _many(_maybe(_WHOLE)), "differs": _many(_TEXT)})),
        },
        {"scale": _SCALE},
    ),
    "check": (_whole, {"model": _TEXT, "findings": _many(_FINDING)}, {}),
    "sizes": (
        _whole,
        {
            "model": _TEXT,
            "input": _INPUT,
            "axes": _many(
                _whole(
                    {
                        "axis": _WHOLE,
                        "traced": _WHOLE,
                        "works": _RUNS,
                        "no_remainder": _RUNS,
                        "divisor": _maybe(_WHOLE),
                        "refused": _many(_whole({"layer": _TEXT, "why": _TEXT, "sizes": _RUNS})),
                        "since": _WHOLE,
                        "period": _WHOLE,
                        "proven": _YES,
                    }
                )
            ),
            "ties": _many(_TEXT),
            "notes": _many(_TEXT),
            "near": _maybe(
                _whole(
                    {
                        "size": _SIZES,
                        "works": _YES,
                        **dict.fromkeys(("below", "above", "even", "pad", "crop"), _MAYBE_SIZES),
                        "why": _many(_TEXT),
                    }
                )
            ),
        },
        {
            "scale": _SCALE,
            "scaled": _whole({"axes": _many(_open({"works": _many(_ANY)})), "near": _maybe(_SCALED)}),
        },
    ),
    "plans": (_whole, {"changes": _many(_TEXT), **_PLANS}, {}),
    "plans-fit": (
        _whole,
        {
            "model": _TEXT,
            "rows": _many(
                _whole(
                    {
                        "name": _TEXT,
                        **_PLANS,
                        "coarsest": _SIZES,
                        "voxel_mm": _many(_NUMBER),
                        "field_mm": _many(_NUMBER),
                        "macs": _WHOLE,
                    }
                )
            ),
        },
        {},
    ),
    "out-sizes": (_whole, {"layer": _TEXT, "lengths": _SIZES, "sizes": _SIZES}, {}),
    "lengths": (_whole, {"layer": _TEXT, "axis": _WHOLE, "formula": _many(_TEXT), "python": _TEXT}, {}),
    "places": (
        _whole,
        {
            "layer": _TEXT,
            "to": {"enum": ["pixels", "cells"]},
            "points": _many(_SIZES),
            "centres": _many(_many(_maybe(_NUMBER))),
            "boxes": _many(_many(_maybe(_SIZES))),
            "approximate": _YES,
        },
        {"scale": _SCALE, "scaled": _by_name(_many(_ANY))},
    ),
    "cells": (
        _whole,
        {
            "layer": _TEXT,
            "size": _SIZES,
            "stride": _STEPS,
            "first": _STEPS,
            "field": _SIZES,
            "centres_by_axis": _many(_many(_NUMBER)),
            "off_corner": _STEPS,
            "off_middle": _STEPS,
        },
        {"scale": _SCALE, "scaled": _by_name(_many(_ANY))},
    ),
    "plan": (
        _whole,
        {"format": {"const": 1}},
        {
            "model": _TEXT,
            "fingerprint": _TEXT,
            "input": _INPUT,
            "keep_weights": _YES,
            "means": {"enum": ["dense", "grid"]},
            "sites": _by_name(_SETTING),
            "insert": _by_name(_SETTING),
            "expect": _by_name(_SIZES),
        },
    ),
    "apply": (
        _open,
        {"changes": _many(_TEXT), "certificate": _maybe(_CERTIFICATE)},
        {"findings": _many(_FINDING), "path": _TEXT},
    ),
    "front": (
        _open,
        {
            "model": _TEXT,
            "input": _INPUT,
            "limits": _by_name(_ANY),
            "kind": _TEXT,
            "tolerance": _NUMBER,
            "current": _POINT,
            "points": _many(_POINT),
        },
        {},
    ),
    "fit": (
        _open,
        {
            "task": {"enum": ["detect", "segment", "classify"]},
            "data": _TEXT,
            "split": _maybe(_TEXT),
            "pictures": _WHOLE,
            "objects": _WHOLE,
            "classes": _many(_TEXT),
            "picture_size": _SIZES,
            "resize": _maybe(_SIZES),
            "receptive_field": _maybe(_SIZES),
            "limits": _by_name(_NUMBER),
            "sets": _many(_FIT_ROW),
            "singles": _many(_FIT_ROW),
            "recommended": _maybe(_many(_SIZES)),
            "data_report": _open({"found": _WHOLE, "kept": _WHOLE, "notes": _many(_TEXT)}),
        },
        {
            "scale": _SCALE,
            "scaled": _whole(
                {
                    "sets": _many(_many(_many(_NUMBER))),
                    "recommended": _maybe(_many(_many(_NUMBER))),
                    "receptive_field": _maybe(_many(_NUMBER)),
                    "sizes": _maybe(_by_name(_NUMBER)),
                }
            ),
        },
    ),
    "measure": (
        _open,
        {
            "model": _TEXT,
            "input": _SIZES,
            "what": _many(_TEXT),
            "conditions": _by_name(_ANY),
            "plans": _many(_MEASURED_ROW),
            "notes": _many(_TEXT),
        },
        {},
    ),
    "search": (
        _open,
        {
            "model": _TEXT,
            "input": _SIZES,
            "task": _TEXT,
            "data": _TEXT,
            "metric": _TEXT,
            "state": {"enum": ["finished", "interrupted"]},
            "limits": _by_name(_ANY),
            "recommended": _RECOMMENDED,
            "plans": _many(_open({"macs": _open({"kind": _KIND, "value": _WHOLE}), "trainings": _many(_ANY)})),
            "notes": _many(_TEXT),
            "method": _many(_TEXT),
            "times": _open({"seconds": _NUMBER, "trainings": _by_name(_many(_NUMBER))}),
        },
        {},
    ),
    "train": (
        _open,
        {
            "task": _TEXT,
            "model": _TEXT,
            "data": _TEXT,
            "plan": _TEXT,
            "seed": _WHOLE,
            "budget": _WHOLE,
            "metric": _TEXT,
            "score": _NUMBER,
            "low": _maybe(_NUMBER),
            "high": _maybe(_NUMBER),
            "pictures": _WHOLE,
            "curve": _many(_open({"loss": _NUMBER, "score": _NUMBER})),
            "seconds": _NUMBER,
            "notes": _many(_TEXT),
            "finished": _YES,
            "correct": _TEXT,
        },
        {},
    ),
    "slide": (
        _open,
        {
            "input": _SIZES,
            "kernel": _whole({"name": _TEXT, "size": _SIZES, "weight": _many(_ANY)}),
            "groups": _WHOLE,
            "slides": _many(_open({"stride": _SIZES, "out_size": _SIZES, "macs": _WHOLE, "formula": _many(_TEXT)})),
        },
        {},
    ),
    "rules": (_whole, {"rules": _many(_RULE)}, {}),
    "ops": (_whole, {"ops": _many(_open({"name": _TEXT, "about": _TEXT, "site": _YES}))}, {}),
}
NAMES = tuple(_TABLE)


def schema_of(name: str) -> Schema:
    """The JSON schema of a result. Raises: UsageError naming the nearest, for one that does not exist."""
    if name not in _TABLE:
        near = difflib.get_close_matches(name, NAMES, n=1)
        advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(NAMES)}"
        raise UsageError(f"no schema '{name}': {advice}")
    close, fields, more = _TABLE[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"stridewise {name}",
        **close({"schema": {"const": f"stridewise.{name}/1"}, **fields}, more),
    }
