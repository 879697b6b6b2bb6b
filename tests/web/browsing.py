"""How the browser tests look at the page."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]


def opened(page: Any, address: str) -> Any:
    page.goto(address)
    page.wait_for_selector("#ladder .rise")
    return page


def until(page: Any, holds: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for something on the page; its content security policy forbids Playwright's own way."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        page.wait_for_timeout(40)


def place(page: Any, locator: Any) -> Any:
    """The box of an element once it stays where it is: the page moves things while its parts arrive."""
    before = None
    deadline = time.monotonic() + 10
    while (box := locator.bounding_box()) is None or box != before:
        assert time.monotonic() < deadline, "it never came to rest"
        before = box
        page.wait_for_timeout(150)
    return box


def fact(page: Any, name: str) -> str:
    return page.locator(".fact", has_text=name).first.locator(".value").inner_text()


def rises(page: Any) -> list[str]:
    return [r.get_attribute("data-key") for r in page.locator("#ladder .rise").all()]


def settled(page: Any, read: Callable[[Any], Any]) -> None:
    """Wait until what is read stays the same: the last answer to a drag comes after the hand has let go."""
    before = None
    while (now := read(page)) != before:
        before = now
        page.wait_for_timeout(300)


def answered(page: Any, act: Any) -> None:
    with page.expect_response(lambda r: "/api/what-if" in r.url):
        act()
    page.wait_for_timeout(120)


def serious(page: Any) -> list[Any]:
    """What axe-core finds wrong that keeps people out."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (v["id"], [n["target"] for n in v["nodes"]][:3], v["nodes"][0]["failureSummary"])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def rebuilt(rows: list[dict[str, Any]], edits: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that the page makes of an answer."""
    out: list[dict[str, Any]] = []
    at = 0
    for edit in edits["rows"]:
        if isinstance(edit, dict):
            out.append(edit)
        elif len(edit) == 1:
            out += rows[at : at + edit[0]]
            at += edit[0]
        else:
            i, which, *values = edit
            out.append({**rows[i], **dict(zip(edits["sets"][which], values, strict=True))})
            at = i + 1
    return out


def fields_by(told: dict[str, Any]) -> dict[str, Any]:
    """The fields by layer that the page makes of an answer."""
    of = [{**f, "axes": [f["axes"][a] if isinstance(a, int) else a for a in f["axes"]]} for f in told["of"]]
    return {key: of[which] for key, which in told["at"].items()}
