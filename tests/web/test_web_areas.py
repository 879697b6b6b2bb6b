"""Areas whose answer is a document, in a real browser: sizes, units, two networks, several costs, chip limits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import answered, fact, needs_chromium, opened, serious, until

import stridewise as sw
from stridewise.web.server import make_app
from stridewise.web.workbench import Workbench

pytestmark = needs_chromium
NETWORK = """
from torch import nn


def deep():
    convs = [nn.Conv2d(c, 8, 3, s) for c, s in ((3, 2), (8, 5), (8, 2))]
    return nn.Sequential(*convs, nn.ReLU(), nn.Conv2d(8, 4, 1))
"""


@pytest.fixture(scope="module")
def where(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("areas") / "areas.py"
    file.write_text(NETWORK)
    bench = Workbench(["builtin:resnet20", "builtin:resnet20-narrow", f"{file}:deep"])
    with serve(lambda port: make_app(bench, token="t", port=port)) as address:
        yield address


def room(page: Any, name: str) -> Any:
    page.locator(f"#room-{name}").click()
    found = page.locator("#room")
    found.locator("table, .formulas, .findings, img, p").last.wait_for()
    return found


def test_sizes_that_work_are_those_on_which_torch_runs(page: Any, where: str):
    opened(page, where)
    page.locator("#network").select_option("2")
    until(page, lambda: "deep" in page.title())
    found = room(page, "sizes")
    for size in (25, 26, 27, 41, 64):
        page.locator("#near-0").fill(str(size))
        page.locator("#near-0").press("Tab")
        until(page, lambda size=size: f"near {size}x" in found.inner_text().replace("×", "x"))
        convs = [torch.nn.Conv2d(c, 8, 3, s) for c, s in ((3, 2), (8, 5), (8, 2))]
        try:
            torch.nn.Sequential(*convs)(torch.zeros(1, 3, size, 224))
            runs = True
        except RuntimeError:
            runs = False
        said = found.locator(".formulas div", has_text="runs").inner_text()
        assert ("yes" in said) == runs, (size, said)
    page.locator("#near-0").fill("5")
    page.locator("#near-0").press("Tab")
    until(page, lambda: "near=5x224" in page.url)
    until(page, lambda: "near 5x" in found.inner_text().replace("×", "x"))
    assert "pad" in found.inner_text()
    assert "--input" in found.locator(".tools").inner_text()
    assert not serious(page)


def test_a_unit_is_said_everywhere_and_kept_in_the_address(page: Any, where: str):
    opened(page, where)
    page.locator("#unit").fill("0.3m")
    page.locator("#unit").press("Tab")
    until(page, lambda: fact(page, "output stride") == "4×4 = 1.2 m")
    until(page, lambda: "look.unit=0.3m" in page.url)
    address = page.url
    page.locator("#unit").fill("a lot")
    page.locator("#unit").press("Tab")
    page.locator(".card.error", has_text="units are nm").wait_for()
    page.heard.allowed.append("422")
    assert fact(page, "output stride") == "4×4"
    page.goto("about:blank")
    opened(page, address)
    until(page, lambda: fact(page, "output stride") == "4×4 = 1.2 m")
    assert " m" in page.locator("#room tbody td", has_text="=").first.inner_text()


def test_two_networks_stand_beside_each_other(page: Any, where: str):
    opened(page, where + "#area=beside&look.beside=builtin:resnet20-narrow")
    found = page.locator("#room")
    found.locator("table").first.wait_for()
    one, other = (
        sw.show(sw.trace(sw.load(f"builtin:{name}"), (3, 32, 32))) for name in ("resnet20", "resnet20-narrow")
    )
    row = found.locator("tr", has_text="parameters").first.inner_text()
    for count in (one.totals.params, other.totals.params):
        assert f"{count / 1e3:.3g} k" in row
    assert found.locator("img").count() == 2
    assert all(found.locator("img").evaluate_all("(all) => all.map((i) => i.complete && i.naturalWidth > 100)"))
    page.locator("#output-stride").select_option("2")  # the plan in hand, not the original, stands on the left
    until(page, lambda: "(plan)" in found.inner_text())
    assert "2" in found.locator("tr", has_text="output stride").first.inner_text().split("\t")[1]
    assert not serious(page)


def test_the_slider_over_cost_takes_plans_of_one_network(page: Any, where: str):
    opened(page, where + "#area=elastic")
    found = page.locator("#room")
    found.locator("#cost").wait_for()
    answered(page, lambda: (found.locator("#cost").focus(), page.keyboard.press("Home")))
    until(page, lambda: found.locator("#cost-now").inner_text().startswith("0.25x"))
    assert page.locator("#cost").input_value() == "0"
    shown = fact(page, "multiply-adds")
    code = found.locator(".code").inner_text()
    lines: dict[str, Any] = {"sw": sw}
    exec(code, lines)  # what a person copies
    net = lines["net"]
    changed = sw.trace(net.use("0.25x").model, (3, 32, 32))
    assert abs(float(shown.split()[0]) - sw.show(changed).totals.macs / 1e6) < 0.06
    until(page, lambda: "plan=" in page.url)
    address = page.url
    page.get_by_role("button", name="measure each here").click()
    until(page, lambda: found.locator("td", has_text=" ms").count() == len(net.plans), 30)
    page.goto("about:blank")
    opened(page, address)
    until(page, lambda: page.locator("#cost-now").inner_text().startswith("0.25x"))
    assert not serious(page)


def test_a_chips_limits_follow_the_plan(page: Any, where: str, tmp_path: Path):
    opened(page, where)
    page.locator("#network").select_option("2")
    until(page, lambda: "deep" in page.title())
    found = room(page, "chip")
    page.locator("#chip").select_option("ethos-u55")
    until(page, lambda: page.locator("#chip-count").inner_text() == "1 limit broken")
    assert "stride 5" in found.locator(".findings").inner_text()
    found.locator(".findings .link").click()
    assert page.locator(".controls .site").inner_text() == "1"
    for axis in (0, 1):
        page.locator(f"#step-{axis}").fill("4")
        answered(page, lambda axis=axis: page.locator(f"#step-{axis}").press("Tab"))
    until(page, lambda: page.locator("#chip-count").inner_text() == "no limit broken, 1 in the original")
    until(page, lambda: "look.chip=ethos-u55" in page.url)
    address = page.url
    page.goto("about:blank")
    opened(page, address)
    until(page, lambda: page.locator("#chip-count").inner_text() == "no limit broken, 1 in the original")
    assert not serious(page)


def test_no_file_is_read_as_a_chip(page: Any, where: str):
    opened(page, where)
    asked = "fetch('/api/chip', {method: 'POST', body: JSON.stringify({network: 0, target: '/etc/hosts.toml'})})"
    assert "one of" in page.evaluate(f"{asked}.then((r) => r.json())")["error"]
    page.heard.allowed.append("422")
