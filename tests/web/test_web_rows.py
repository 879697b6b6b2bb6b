"""The table of a large network: only the rows in sight are drawn, and it is one stop of the Tab key."""

from typing import Any

import pytest
from browsing import needs_chromium, opened, until

from stridewise.web.server import make_app
from stridewise.web.workbench import Workbench

pytestmark = needs_chromium

DEEP = """
from torch import nn


def deep():
    convs = [nn.Conv2d(3, 4, 3, 2, 1), *(nn.Conv2d(4, 4, 3, 1, 1) for _ in range(150)), nn.Conv2d(4, 4, 3, 2, 1)]
    return nn.Sequential(*convs)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Any:
    file = tmp_path_factory.mktemp("deep") / "deep.py"
    file.write_text(DEEP)
    with serve(lambda port: make_app(Workbench([f"{file}:deep"], (3, 32, 32)), token="t", port=port)) as where:
        yield where


def test_rows_are_drawn_as_they_come_in_sight_and_walked_by_arrows(page: Any, place: str):
    opened(page, place)
    rows = page.locator(".layers tbody tr:not(.gap)")
    until(page, lambda: rows.last.inner_text().startswith("151"))  # the chosen one is in sight
    assert 0 < rows.count() < 50
    assert page.locator(".layers").get_attribute("aria-rowcount") == "153"
    table = page.locator(".scroll.tall")
    table.evaluate("e => (e.scrollTop = 0)")
    until(page, lambda: rows.first.inner_text().startswith("0"))
    table.focus()
    page.keyboard.press("Home")
    until(page, lambda: page.locator(".layers tr.chosen").inner_text().startswith("0"))
    for _ in range(3):
        page.keyboard.press("PageDown")
    until(page, lambda: page.locator(".layers tr.chosen").inner_text().startswith("30"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.layers tbody')") is None
    page.get_by_label("Search").fill("77")
    until(page, lambda: rows.count() == 1)
