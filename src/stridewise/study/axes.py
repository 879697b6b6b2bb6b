"""A shortlist as parallel coordinates: one axis for each place where its plans differ, with each plan's step there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stridewise.plans import Plan, Setting
from stridewise.study.candidates import common_name


def plan_axes(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Plain values, an entry a place: its name, the sites that always step alike there, each plan's step.

    A plan that does not name a site leaves it as it was; slots are written with a plus.
    """
    every = [{**plan.sites, **{f"+{key}": setting for key, setting in plan.insert.items()}} for plan in plans]
    columns: dict[tuple[bool, tuple[tuple[int, ...], ...]], list[str]] = {}
    for key in dict.fromkeys(key for settings in every for key in settings):
        was = next(settings[key].was for settings in every if key in settings)
        column = tuple(_step(settings.get(key), was) for settings in every)
        columns.setdefault((key.startswith("+"), column), []).append(key)  # a slot is another place than a site
    ordered = sorted(columns.items(), key=lambda entry: _natural(entry[1][0]))
    return [
        {"name": _name(sites), "sites": sites, "strides": [list(step) for step in column]}
        for (_, column), sites in ordered
    ]


def _natural(key: str) -> list[tuple[int, int, str]]:
    """Names in the order of their numbers, layer2 before layer10: a plan does not say which site runs first."""
    parts = re.findall(r"\d+|\D+", key.removeprefix("+"))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _step(setting: Setting | None, was: tuple[int, ...]) -> tuple[int, ...]:
    return was if setting is None or not setting.stride else setting.stride


def _name(sites: Sequence[str]) -> str:
    return sites[0] if len(sites) == 1 else common_name(tuple(sites))
