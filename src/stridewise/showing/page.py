"""The page's data: `show --json` with the few facts a drawing needs beside it, and the self-contained report."""

from __future__ import annotations

from typing import Any

from stridewise.report.assets import whole_page
from stridewise.showing.json import plain
from stridewise.showing.rows import View
from stridewise.showing.show import Report


def page_data(report: Report) -> dict[str, Any]:
    """`show --json` (DESIGN 7) plus what stands on the ladder besides: per view its marks (resizes and joins that are
    no layers), and where the slots lie among the layers."""
    found = report.to_json()
    found["places"] = {
        "slots": {slot.key: slot.before for slot in report.slots},
        "steps_at": {slot.key: slot.site for slot in report.slots if slot.site},
    }
    found["marks"] = marks_json(report.views[0])
    for shown, view in zip(found.get("plans", []), report.views[1:], strict=True):
        shown["marks"] = marks_json(view)
    return found


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


def page_html(report: Report, fallback: str) -> str:
    """The report as one page that draws itself from a file, without a server or network."""
    return whole_page(f"{report.model} · Stridewise", {"kind": "show", "report": page_data(report)}, fallback)
