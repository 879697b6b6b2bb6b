"""Reports as files: drawn by the page's own code in Chromium, from file://, with nothing asked of anybody."""

import importlib.util
import json
import random
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import needs_chromium, serious

import stridewise as sw
from stridewise.data import Boxes, Dataset, Picture, Sample
from stridewise.report.chart import svg
from stridewise.report.document import Chart, Scale, Series
from stridewise.report.html import page as html_page
from stridewise.web.server import make_app
from stridewise.web.workbench import Workbench

pytestmark = needs_chromium
NARROW = "builtin:resnet20-narrow"
NASTY = "</script><script>alert('&')</script>"


def graph() -> Any:
    return sw.trace(sw.load(NARROW), (3, 32, 32), name=NARROW)


def measured() -> Any:
    plan = sw.plan(graph(), {"+layers.3": 1, "+layers.1": 2})
    return sw.measure(NARROW, {NASTY: plan}, what=("latency", "shift", "detail"), images=3, rounds=10)


def fitted() -> Any:
    rng = np.random.default_rng(0)
    samples = []
    for at in range(6):
        corners = np.sort(rng.uniform(0, 60, size=(5, 2, 2)), axis=1).reshape(5, 4)
        boxes = Boxes(corners=corners, classes=rng.integers(2, size=5))
        picture = Picture(name=f"{NASTY}{at}", source=np.zeros((64, 64, 3), np.uint8))
        samples.append(Sample(picture=picture, size=(64, 64), boxes=boxes))
    return sw.fit(Dataset(task="detect", name=NASTY, classes=(NASTY, "dog"), splits={"all": tuple(samples)}))


@pytest.mark.parametrize(
    ("made", "title", "drawn"),
    [
        (None, f"Strides for {NARROW}", ["g.plan .mark-of", "table.plans", "g.line path", "circle.dot", "ol li"]),
        (measured, f"{NARROW}, measured", ["table", ".bar-fill"]),
        (fitted, f"Strides for {NASTY}", ["rect.column", "rect.band", "table", ".answer"]),
    ],
    ids=["search", "measure", "fit"],
)
def test_a_result_is_one_file_that_draws_itself(
    page: Any, tmp_path: Path, run: Path, made: Any, title: str, drawn: list[str]
):
    file = tmp_path / "report.html"
    file.write_text(made().to_html() if made else (run / "report.html").read_text())
    page.goto(file.as_uri())
    page.locator(".sheet h2").wait_for()
    assert page.locator(".sheet h2").inner_text() == title
    for what in drawn:
        assert page.locator(what).count() > 0, what
    assert page.locator("button:not([aria-label])", has_text="load").count() == 0
    assert not serious(page)
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [u for u in page.heard.asked if not u.startswith(("data:", "blob:"))] == [file.as_uri()]


def test_without_javascript_the_tables_are_there(browser: Any, tmp_path: Path):
    file = tmp_path / "report.html"
    file.write_text(measured().to_html())
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert NASTY in page.locator(".stridewise table").first.inner_text()
    context.close()


ZOO = "resnet18 resnet50 mobilenet_v2 squeezenet1_1 googlenet densenet121 shufflenet_v2_x0_5 vgg11 regnet_y_400mf"


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_page_shows_what_show_says_of_ten_networks_under_drawn_plans(page: Any, serve: Any, tmp_path: Path):
    bench = Workbench(["builtin:resnet20", *(f"torchvision:{name}" for name in ZOO.split())])
    page.heard.allowed.append("422")
    with serve(lambda port: make_app(bench, token="t", port=port)) as where:
        page.goto(where)
        page.locator("#ladder .rise").first.wait_for()
        for at, opened in enumerate(bench.opened):
            studied = opened.wait()
            draw = random.Random(opened.name)
            places = [group["sites"][0] for group in studied.original["groups"] if group["free"]]
            places += [f"+{slot['key']}" for slot in studied.original["slots"]]
            plan = None
            while not plan:
                wishes = {key: draw.choice(["1", "2", "2x1"]) for key in draw.sample(places, 2)}
                try:
                    plan = sw.plan(studied.graph, wishes)
                    said = json.loads(json.dumps(sw.show(studied.graph, [plan]).to_json()["plans"][0]))
                except sw.StridewiseError:
                    plan = None
            written = ",".join(f"{key}={value}" for key, value in wishes.items())
            page.evaluate("hash => { location.hash = hash; }", f"network={opened.name}&plan={written}&tab=1")
            page.locator(f"#network option[value='{at}']:checked").wait_for(state="attached")
            page.locator("#tab-1", has_text="changed").wait_for()
            page.get_by_role("button", name="Export").click()
            with page.expect_download() as taken:
                page.get_by_role("button", name="Numbers (JSON)").click()
            taken.value.save_as(tmp_path / "numbers.json")
            shown = json.loads((tmp_path / "numbers.json").read_text())
            assert {key: shown[key] for key in ("totals", "outputs", "layers")} == {
                key: said[key] for key in ("totals", "outputs", "layers")
            }, (at, wishes)
            names = page.locator(".layers tbody th button").all_inner_texts()
            every = [row["key"].replace("+", "after ") for row in said["layers"]]
            first = every.index(names[0])  # a long table holds the rows in sight
            assert names == every[first : first + len(names)]
            assert len(names) == len(every) or len(names) >= 10
            size = "×".join(map(str, said["layers"][-2]["out_size"])) or ""
            assert page.locator(".layers tbody tr").nth(-2).locator("td").nth(5).inner_text() == size


def test_reports_lead_with_the_answer_and_hide_no_column_of_a_narrow_window(page: Any, run: Path, tmp_path: Path):
    report = sw.show(graph())
    (tmp_path / "page.html").write_text(report.to_html())
    (tmp_path / "plain.html").write_text(html_page(report.document()))
    page.set_viewport_size({"width": 390, "height": 900})
    for file in (run / "report.html", tmp_path / "page.html", tmp_path / "plain.html"):
        page.goto(file.as_uri())
        page.locator("table").first.wait_for(state="attached")
        hidden = "e => e.offsetWidth > 0 && e.scrollWidth > e.clientWidth + 1 ? e.innerText : null"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), file
        boxes = page.locator(".scroll, .wide").evaluate_all(f"boxes => boxes.map({hidden}).filter((text) => text)")
        assert not boxes, file
    page.goto((run / "report.html").as_uri())
    parts = page.locator(".answer, .chart, .plans").evaluate_all("all => all.map((e) => e.getAttribute('class'))")
    assert [part.split()[0] for part in parts][:3] == ["answer", "chart", "plans"]
    assert page.locator(".plans tbody td").first.is_visible()


def test_names_of_a_chart_do_not_lie_on_each_other():
    points = tuple((5.0 + n / 100, 0.5 + n / 500) for n in range(5))
    series = Series(points=points, kind="points", labels=tuple("ABCDE"))
    drawn = svg(Chart(title="t", words="w", x=Scale(), y=Scale(zero=True), series=(series,)))
    found = re.findall(r'class="ink halo" x="([\d.]+)" y="([\d.]+)"[^>]*>(\w)<', drawn)
    assert len(found) == 5
    for (ax, ay, _), (bx, by, _) in combinations(found, 2):
        assert abs(float(ax) - float(bx)) >= 7 or abs(float(ay) - float(by)) >= 12
