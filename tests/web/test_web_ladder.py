"""The ladder of branched networks: lanes, labels apart, stretches and zoom; and the whole page by keys alone."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from browsing import fact, needs_chromium, opened, rises, serious, until

from stridewise.web.server import make_app
from stridewise.web.workbench import Workbench

pytestmark = needs_chromium

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F


def deep(width, count=7):
    return nn.Sequential(*(nn.Conv2d(width, width, 3, 1, 1) for _ in range(count)))


class Hrnet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
        self.begin = nn.ModuleList([nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)])
        self.stages = nn.ModuleList(nn.ModuleList(deep(4) for _ in range(n)) for n in (2, 3, 3))
        self.down = nn.ModuleList(nn.Conv2d(4, 4, 3, 2, 1) for _ in range(6))
        self.up = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(6))

    def forward(self, x):
        maps, used = [self.stem(x)], 0
        for number, stage in enumerate(self.stages):
            if number < 2:
                maps.append(self.begin[number](maps[-1]))
            maps = [branch(m) for branch, m in zip(stage, maps)]
            fused = list(maps)
            for a in range(len(maps) - 1):
                fused[a + 1] = fused[a + 1] + self.down[used](maps[a])
                up = F.interpolate(self.up[used](maps[a + 1]), scale_factor=2.0, mode="bilinear")
                fused[a] = fused[a] + up
                used = (used + 1) % 6
            maps = fused
        return maps


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, 4, 3, 1, 1) for a in (3, 4, 4, 4))
        self.up = nn.ModuleList(nn.ConvTranspose2d(4, 4, 2, 2) for _ in range(3))
        self.join = nn.ModuleList(nn.Conv2d(8, 4, 3, 1, 1) for _ in range(3))

    def forward(self, x):
        kept = []
        for at, conv in enumerate(self.down):
            x = conv(x)
            if at < 3:
                kept.append(x)
                x = F.max_pool2d(x, 2)
        for up, join in zip(self.up, self.join):
            x = join(torch.cat([up(x), kept.pop()], 1))
        return x


def six():
    return nn.Sequential(*(nn.Conv2d(3 if n == 0 else 4, 4, 3, 1 + n % 2, 1) for n in range(6)))
"""
ORDER = ("Hrnet", "Unet", "six")


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Any:
    file: Path = tmp_path_factory.mktemp("branched") / "branched.py"
    file.write_text(NETWORKS)
    bench = Workbench([f"{file}:{name}" for name in ORDER], input=(3, 64, 64))
    with serve(lambda port: make_app(bench, token="t", port=port)) as where:
        yield where


def chosen(page: Any, address: str, name: str) -> None:
    """Open the page on a network and wait for its ladder."""
    opened(page, address)
    if ORDER.index(name):
        before = page.locator("#ladder svg").inner_html()
        page.locator("#network").select_option(str(ORDER.index(name)))
        until(page, lambda: page.locator("#ladder svg").count() and page.locator("#ladder svg").inner_html() != before)


def over(page: Any) -> list[tuple[str, str]]:
    """The pairs of texts on the ladder that lie on each other, a chip as large as its ground."""
    boxes = page.locator("#ladder svg.drawing").evaluate(
        """svg => [...svg.querySelectorAll("text")].map((text) => {
            const shape = text.classList.contains("chip-text") ? text.parentNode.querySelector(".chip") : text;
            const { left, right, top, bottom } = shape.getBoundingClientRect();
            return { said: text.textContent, left, right, top: top + 2, bottom: bottom - 2 };
        }).filter((box) => box.right > box.left)"""
    )
    return [
        (a["said"], b["said"])
        for a, b in combinations(boxes, 2)
        if a["left"] < b["right"] and b["left"] < a["right"] and a["top"] < b["bottom"] and b["top"] < a["bottom"]
    ]


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("width", [1400, 390])
def test_labels_of_the_ladder_never_lie_on_each_other(page: Any, branched: str, name: str, width: int):
    page.set_viewport_size({"width": width, "height": 900})
    chosen(page, branched, name)
    assert page.locator("#ladder .chip").count() >= 2
    assert not over(page)
    page.locator("#ladder .rise").last.focus()
    assert not over(page)


def test_branches_are_lanes_beside_each_other(page: Any, branched: str):
    chosen(page, branched, "Hrnet")
    bars = page.locator("#ladder .bar line:not(.hidden)").evaluate_all(
        "lines => lines.map((line) => ['y1', 'x1', 'x2'].map((name) => Number(line.getAttribute(name))))"
    )
    lanes = {y: [(a, b) for row, a, b in bars if row == y] for y in {y for y, _, _ in bars}}
    finest = sorted(lanes)[2:5]  # strides 4, 8 and 16
    shared = [max(b for _, b in lanes[y]) for y in finest]
    assert max(shared) - min(shared) < 40  # all three go on to the end, at the same depths
    assert page.locator("#ladder .also").count() > 0  # steps that go with another stand where they are


def test_a_stretch_is_shut_and_opened_and_the_ladder_zoomed_and_panned(page: Any, branched: str):
    chosen(page, branched, "Hrnet")
    fold = page.locator("#ladder .fold").first

    def wide() -> float:
        """How far the first stretch is from the second, beside the second from the third."""
        a, b, c = (float(page.locator("#ladder .fold text").nth(i).get_attribute("x")) for i in range(3))
        return (b - a) / (c - b)

    begun = wide()
    fold.focus()
    page.keyboard.press("Enter")
    until(page, lambda: fold.get_attribute("aria-expanded") == "false")
    shut = wide()
    page.keyboard.press("Enter")
    until(page, lambda: fold.get_attribute("aria-expanded") == "true")
    assert shut < begun < wide()
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    canvas = page.locator("#ladder .canvas")
    until(page, lambda: canvas.evaluate("e => e.scrollWidth > 2 * e.clientWidth"))
    middle = canvas.evaluate("e => (e.scrollLeft + e.clientWidth / 2) / e.scrollWidth")
    assert abs(middle - 0.5) < 0.02  # what was in the middle stays there
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 15)
    before = canvas.evaluate("e => e.scrollLeft")
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 15, steps=3)
    page.mouse.up()
    assert canvas.evaluate("e => e.scrollLeft") == before + 100
    names = page.locator("#ladder .names rect").bounding_box()  # heights keep their names in sight
    assert abs(names["x"] - box["x"]) < 2
    assert "look.zoom=" in page.url
    page.get_by_role("button", name="whole", exact=True).click()
    until(page, lambda: canvas.evaluate("e => e.scrollWidth <= e.clientWidth + 1"))


def test_up_raises_the_slider_s_value_and_down_lowers_it(page: Any, branched: str):
    chosen(page, branched, "six")
    step = page.locator("#ladder .rise").last
    step.focus()
    said = [int(step.get_attribute("aria-valuenow"))]
    for key in ("ArrowDown", "ArrowUp", "ArrowUp"):
        now = said[-1]
        page.keyboard.press(key)
        until(page, lambda now=now: page.locator("#ladder .rise").count() < 3 or read(page) != now)
        said.append(read(page) if page.locator("#ladder .rise").count() == 3 else 2 * now)
    assert said[1] < said[0] < said[3]
    assert said[2] == said[0]


def read(page: Any) -> int:
    return int(page.locator("#ladder .rise").last.get_attribute("aria-valuenow"))


def focused(page: Any) -> str:
    """What has the focus: its id, its name and what it says; nothing where nothing has it."""
    at = "document.activeElement"
    return page.evaluate(
        f"{at} === document.body ? '' : [{at}.id, {at}.getAttribute('aria-label'), {at}.innerText].join(' ')"
    )


def tab_to(page: Any, words: str, key: str = "Tab") -> None:
    """Press Tab until something so named has the focus; every stop on the way is seen to have one."""
    for _ in range(80):
        page.keyboard.press(key)
        if words in focused(page):
            return
    raise AssertionError(f"no way to {words} by keys")


def test_the_whole_way_by_keys_alone(page: Any, branched: str):
    opened(page, branched)
    page.keyboard.press("Tab")
    assert "Skip to the stride ladder" in focused(page)
    page.keyboard.press("Enter")
    until(page, lambda: page.evaluate("document.activeElement.classList.contains('rise')"))
    tab_to(page, "network", "Shift+Tab")
    page.keyboard.press("End")  # the last network of the list
    until(page, lambda: rises(page) == ["1", "3", "5"])
    assert not serious(page)
    page.locator("body").evaluate("e => document.activeElement.blur()")
    tab_to(page, "5: steps by 2")
    page.keyboard.press("ArrowLeft")
    until(page, lambda: rises(page) == ["1", "3", "+4"])
    until(page, lambda: "after 4: steps by 2" in focused(page))  # the hand stays on the step
    page.keyboard.press("ArrowDown")
    until(page, lambda: fact(page, "output stride") == "16×16")
    tab_to(page, "Layers: arrow keys")
    page.keyboard.press("Home")
    until(page, lambda: page.locator(".layers tr.chosen").inner_text().startswith("0"))
    tab_to(page, "room-layers", "Shift+Tab")
    page.keyboard.press("ArrowRight")
    page.locator("#room-convolution[aria-selected=true]").wait_for()
    page.locator(".products").wait_for()
    assert not serious(page)
    tab_to(page, "Export", "Shift+Tab")
    page.keyboard.press("ArrowDown")
    until(page, lambda: "Plan (TOML)" in focused(page))
    with page.expect_download() as taken:
        page.keyboard.press("Enter")
    assert taken.value.suggested_filename == "plan.toml"
    page.keyboard.press("Control+z")
    until(page, lambda: fact(page, "output stride") == "8×8")
    page.keyboard.press("Control+z")
    until(page, lambda: rises(page) == ["1", "3", "5"])
    assert not serious(page)
