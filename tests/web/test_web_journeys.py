"""Longer ways through the page: weights kept, runs loaded, work found again, and everything that can go wrong."""

import math
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from browsing import answered, fact, needs_chromium, opened, place, rises, settled, until

import stridewise as sw
from stridewise.web.plans import Runs
from stridewise.web.server import make_app
from stridewise.web.workbench import Workbench

pytestmark = needs_chromium
SVG = "{http://www.w3.org/2000/svg}"


def test_a_person_finds_a_plan_and_takes_it_home(page: Any, address: str, tmp_path: Path):
    opened(page, address)
    box = place(page, page.locator("#ladder .rise .knob").last)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 3, steps=6)
    page.mouse.move(x - 120, y + 3, steps=6)
    page.mouse.up()
    until(page, lambda: rises(page)[1:] != ["+layers.6"])
    settled(page, rises)
    page.locator("#ladder .rise").last.focus()
    page.locator("#step-1").fill("1")
    answered(page, lambda: page.locator("#step-1").press("Tab"))
    area = page.locator(".overlay")
    size = place(page, area)
    area.click(position={"x": size["width"] * 0.3, "y": size["height"] * 0.6})
    shown = fact(page, "output stride")
    assert shown == "4×2"
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Plan (TOML)").click()
    taken.value.save_as(tmp_path / "plan.toml")
    model = sw.load("builtin:resnet20")
    sw.apply(model, sw.Plan.read(tmp_path / "plan.toml"))
    found = sw.show(sw.trace(model, (3, 32, 32)))
    assert "×".join(map(str, found.totals.output_stride)) == shown
    macs = fact(page, "multiply-adds")
    page.goto("about:blank")
    opened(page, address)
    answered(page, lambda: page.locator("#open-plan").set_input_files(str(tmp_path / "plan.toml")))
    assert fact(page, "output stride") == shown
    assert fact(page, "multiply-adds") == macs


def test_kept_weights_are_certified_and_an_output_stride_is_one_choice(page: Any, address: str):
    opened(page, address)
    page.locator("#network").select_option("2")
    until(page, lambda: len(rises(page)) == 3)
    answered(page, lambda: page.locator("#output-stride").select_option("4"))
    assert fact(page, "output stride") == "4×4"
    assert fact(page, "trained weights") == "need retraining"
    answered(page, lambda: page.locator("#keep").click())
    until(page, lambda: fact(page, "trained weights") == "exact except means")
    answered(page, lambda: page.locator("#output-stride").select_option("1"))
    until(page, lambda: fact(page, "trained weights") == "exact except means")
    assert "all positions" in page.locator("[data-fact='trained weights'] details").inner_text()
    answered(page, lambda: page.locator("#means").click())
    until(page, lambda: fact(page, "trained weights") == "exact")
    where = page.url
    page.goto("about:blank")
    page.goto(where)
    until(page, lambda: page.locator("#said").count() and page.locator("#said").inner_text())
    until(page, lambda: fact(page, "trained weights") == "exact")
    page.locator("#room-shift").click()
    page.get_by_role("button", name=re.compile("^run (the shift test|again)")).click()
    page.locator(".curve").nth(1).wait_for()


def test_a_step_is_made_another_way_and_a_refused_wish_is_not_shown(page: Any, address: str):
    opened(page, address)
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.locator("#step-kind").select_option("mean"))
    until(page, lambda: "avg pool" in page.locator(".layers").inner_text())
    page.locator("#ladder .rise").last.focus()
    page.heard.allowed.append("422")
    page.locator("#step-0").fill("32")
    page.locator("#step-0").press("Tab")
    page.locator(".card.error").wait_for()
    page.wait_for_timeout(150)
    assert page.locator("#step-0").input_value() == "2"


def test_the_shift_test_is_dragged_and_found_again_after_a_reload(page: Any, address: str):
    opened(page, address)
    page.locator("#room-shift").click()
    page.get_by_role("button", name=re.compile("^run (the shift test|again)")).click()
    page.reload()
    page.locator(".curve").first.wait_for(state="attached")
    page.locator(".moved .frame").scroll_into_view_if_needed()
    frame = place(page, page.locator(".moved .frame"))
    pixel = frame["width"] / 32
    page.mouse.move(frame["x"] + 150, frame["y"] + 50)
    page.mouse.down()
    page.mouse.move(frame["x"] + 150 - 4 * pixel, frame["y"] + 50, steps=4)
    page.mouse.up()
    assert page.locator("#shift-by").input_value() == "4"
    assert "a multiple of 4, the coarsest stride: every step" in page.locator(".moved .caption").inner_text()
    assert page.get_by_text("belongs to other plans").count() == 0
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.keyboard.press("Delete"))
    assert page.get_by_text("belong", exact=False).count() == 1


def test_boxes_are_moved_back_and_matched_in_the_shift_test(page: Any, address: str):
    opened(page, address)
    page.locator("#network").select_option("4")
    until(page, lambda: rises(page) == ["map"])
    page.locator("#room-shift").click()
    page.get_by_role("button", name="run the shift test").click()
    page.get_by_label("Boxes not found again, against the shift").wait_for()
    assert fact(page, "output stride") == "unknown"  # what boxes are made of is chosen by their scores
    page.locator("#consequences li", has_text="no op describes 'aten.topk.default'").wait_for()
    page.locator("#shift-by").fill("2")
    assert "% of the boxes are not found again" in page.locator(".moved .caption").inner_text()


def test_pictures_of_what_is_shown_are_taken_away(page: Any, address: str, tmp_path: Path):
    opened(page, address)
    page.get_by_role("button", name="whole field").click()
    assert page.locator(".photo").bounding_box()["width"] < page.locator("#stage .frame").bounding_box()["width"] / 2
    page.locator("#room-convolution").click()
    page.locator(".products").wait_for()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Picture (SVG)").click()
    taken.value.save_as(tmp_path / "picture.svg")
    drawn = ElementTree.parse(tmp_path / "picture.svg").getroot()
    assert [i.get("href")[:22] for i in drawn.iter(f"{SVG}image")] == ["data:image/png;base64,"]
    assert len(list(drawn.iter(f"{SVG}rect"))) == 4  # what is left of the photograph, the cell, the field twice
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="One convolution (SVG)").click()
    taken.value.save_as(tmp_path / "convolution.svg")
    drawn = list(ElementTree.parse(tmp_path / "convolution.svg").getroot().iter(f"{SVG}image"))
    lefts = [float(image.get("x", "")) for image in drawn]
    assert len(drawn) == page.locator("#room canvas").count() > 1
    assert all(a + float(image.get("width", "")) < b for a, b, image in zip(lefts, lefts[1:], drawn, strict=False))
    for name in ("Picture (PNG)", "One convolution (PNG)", "Report (HTML, one file)"):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as taken:
            page.get_by_role("button", name=name).click()
        taken.value.save_as(tmp_path / "taken")
        assert (tmp_path / "taken").stat().st_size > 4000


def test_a_plan_of_another_network_is_one_card(page: Any, address: str, tmp_path: Path):
    opened(page, address)
    page.heard.allowed.append("422")
    other = tmp_path / "plan.toml"
    other.write_text('format = 1\nmodel = "timm:resnet50"\n[sites."layer4.0.conv2"]\nstride = [1, 1]\nwas = [2, 2]\n')
    page.locator("#open-plan").set_input_files(str(other))
    page.locator(".card.error", has_text="has no such site; the plan was made for timm:resnet50").wait_for()
    other.write_text("not a plan")
    page.locator("#open-plan").set_input_files(str(other))
    page.locator(".card.error", has_text="not TOML").wait_for()
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.keyboard.press("ArrowLeft"))
    assert page.locator(".card.error").count() == 0


def test_a_network_too_large_to_run_keeps_its_geometry(page: Any, address: str):
    opened(page, address)
    page.locator("#network").select_option("3")
    until(page, lambda: rises(page) == ["0"])
    page.get_by_role("button", name="show feature maps").click()
    page.locator(".card.error", has_text="too many to run on this page").wait_for()
    page.locator("#ladder .rise").first.focus()
    answered(page, lambda: page.keyboard.press("ArrowDown"))
    assert fact(page, "output stride") == "4×4"


def test_another_tab_s_picture_arrives_in_this_one(page: Any, address: str):
    opened(page, address)
    second = page.context.new_page()
    opened(second, address)
    before = page.locator(".photo").get_attribute("src")
    second.locator("#stage input[type=file]").set_input_files(
        {"name": "b.png", "mimeType": "image/png", "buffer": png_of(40, 60)}
    )
    second.locator("#said", has_text="Another picture").wait_for(state="attached")
    page.bring_to_front()
    until(page, lambda: page.locator(".photo").get_attribute("src") != before)
    until(page, lambda: page.locator(".photo").evaluate("i => i.naturalWidth") == 32)  # once it is decoded


def png_of(rows: int, columns: int) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.radial_gradient("L").resize((columns, rows)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def test_a_lost_server_is_one_card_until_it_is_back(page: Any, serve: Any):
    bench = Workbench(["builtin:resnet20"])
    page.heard.allowed += ["ERR_CONNECTION_REFUSED", "403"]
    with serve(lambda port: make_app(bench, token="t", port=port)) as where:
        port = int(where.split(":")[2].split("/")[0])
        opened(page, where)
        page.locator(".photo").evaluate("i => i.decode()")  # nothing is on its way when the server stops
    page.locator("#ladder .rise").last.focus()
    page.keyboard.press("ArrowLeft")
    page.locator(".card.error", has_text="The connection is lost").wait_for()
    assert page.locator(".card.error").count() == 1
    page.locator("#tab-0").click()
    page.get_by_label("Search").fill("shortcut")
    assert page.locator(".layers tbody tr").count() == 2
    with serve(lambda port: make_app(bench, token="t", port=port), port):
        page.get_by_role("button", name="look now").click()
        until(page, lambda: page.locator(".card.error").count() == 0)
    with serve(lambda port: make_app(bench, token="another", port=port), port):
        page.locator(".card.error", has_text="earlier start").wait_for()


def test_runs_are_drawn_and_a_click_loads_a_plan(page: Any, serve: Any, run: Path, tmp_path: Path):
    bench = Workbench(["builtin:resnet20-narrow", "builtin:resnet20"])
    runs = Runs([run, tmp_path / "nothing"])
    with serve(lambda port: make_app(bench, token="t", port=port, runs=runs)) as where:
        opened(page, where)
        page.locator("#room-runs").click()
        rows = page.locator(".plans tbody tr")
        rows.first.wait_for()
        assert rows.count() == 5
        assert page.locator("g.plan .interval").count() >= 3
        assert page.locator("g.line").count() == 5
        answered(page, lambda: rows.nth(2).locator("button").click())
        assert page.locator("#tab-2").get_attribute("aria-selected") == "true"
        assert fact(page, "multiply-adds") == rows.nth(2).locator("td").first.inner_text()
        answered(page, lambda: page.locator("g.line").nth(3).press("Enter"))
        assert fact(page, "multiply-adds") == rows.nth(3).locator("td").first.inner_text()
        page.get_by_role("button", name="Export").click()
        for number in (1, 2):  # accuracy against cost, then one axis a group
            with page.expect_download() as taken:
                page.get_by_role("button", name=f"Runs {number} (SVG)").click()
            assert f">{rows.nth(1).locator('button').inner_text()}<" in Path(taken.value.path()).read_text()
            page.get_by_role("button", name="Export").click()
        page.locator("#run").select_option("1")
        page.get_by_text("holds no result.json yet").wait_for()
        page.locator("#run").select_option("0")
        page.locator("#network").select_option("1")
        page.get_by_text("a run of builtin:resnet20-narrow").wait_for()
        assert page.locator(".plans button").count() == 0
        assert rises(page)


def test_dots_leave_most_of_a_small_picture_to_be_seen(page: Any, address: str):
    opened(page, address)
    page.locator(".layers button", has_text="layers.2.conv1").click()  # 32 positions on 32 pixels
    page.locator(".photo").evaluate("i => i.decode()")
    spacing = page.locator("#stage .frame").bounding_box()["width"] / 32
    dots = page.locator(".overlay .dots")
    radius = float(re.search(r"a([0-9.]+)", dots.get_attribute("d"))[1]) * spacing  # one input pixel a position
    line = float(dots.evaluate("d => getComputedStyle(d).strokeWidth").removesuffix("px"))
    assert dots.evaluate("d => getComputedStyle(d).vectorEffect") == "non-scaling-stroke"
    assert math.pi * (radius + line / 2) ** 2 < 0.2 * spacing**2


def cut_at(page: Any, side: int) -> float:
    """Where one side of the wipe ends, as a share of the frame."""
    return float(
        page.locator("img.map")
        .nth(side)
        .evaluate(
            """i => {
                const [frame, box] = [i.parentElement, i].map((e) => e.getBoundingClientRect());
                const [, right, , left] = getComputedStyle(i).clipPath.match(/[0-9.]+(?=px|%)/g).map(Number);
                const share = left ? left / 100 : 1 - right / 100;
                return (box.x + share * box.width - frame.x) / frame.width;
            }"""
        )
    )


def test_any_two_plans_are_wiped_timed_and_moved_side_by_side(page: Any, address: str):
    opened(page, address)
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.keyboard.press("ArrowLeft"))
    page.get_by_role("button", name="Add a plan").click()
    page.locator("#ladder .rise").first.focus()
    answered(page, lambda: page.keyboard.press("ArrowLeft"))
    page.locator("#stage-against").select_option(label="plan B")
    page.locator(".layers button", has_text="layers.7.conv2").click()
    page.get_by_role("button", name="show feature maps").click()
    page.locator("#wipe").wait_for()
    assert [i.get_attribute("alt").split(", ")[1] for i in page.locator("img.map").all()] == ["plan B", "plan C"]
    page.locator("#wipe").fill("100")
    until(page, lambda: cut_at(page, 0) == pytest.approx(1, abs=0.02))
    page.locator("#wipe").fill("40")
    until(page, lambda: cut_at(page, 0) == pytest.approx(0.4, abs=0.01))
    assert cut_at(page, 1) == pytest.approx(0.4, abs=0.01)
    page.locator("#consequences .more summary").click()
    page.get_by_role("button", name="measure here").click()
    page.locator("[data-fact=latency]", has_text=re.compile("× plan B|no difference shown")).wait_for()
    page.locator("#room-shift").click()
    page.get_by_role("button", name=re.compile("for plan B and plan C$")).click()
    legend = page.locator("#room .legend")
    until(page, lambda: legend.count() and legend.inner_text().split("multiples")[0].split() == "plan B plan C".split())
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Shift test (SVG)").click()
    drawn = Path(taken.value.path()).read_text()
    assert [name in drawn for name in (">original<", ">plan B<", ">plan C<")] == [False, True, True]
    where = page.url
    assert "against=1" in where
    page.locator("#shift-against").select_option(label="nothing")
    page.get_by_role("button", name="run again for plan C", exact=True).wait_for()
    page.goto("about:blank")
    page.goto(where)
    page.get_by_role("button", name="for plan B and plan C").wait_for()
    page.locator(".curve").nth(1).wait_for(state="attached")  # another test's picture may be of one colour


def test_a_blur_s_filter_and_border_are_chosen(page: Any, address: str):
    opened(page, address)
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.locator("#step-kind").select_option("blur"))
    page.locator("#step-taps").fill("5")
    answered(page, lambda: page.locator("#step-taps").press("Tab"))
    answered(page, lambda: page.locator("#step-border").select_option("circular"))
    assert "2:blur:5:circular" in page.url
    answered(page, lambda: page.locator("#step-kind").select_option("polyphase"))
    assert page.locator("#step-taps").count() == 0
    answered(page, lambda: page.locator("#step-border").select_option("zero"))
    assert "2:polyphase:zero" in page.url


def test_an_onnx_file_is_run_and_what_it_cannot_do_is_disabled(page: Any, serve: Any, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1))
    file = str(tmp_path / "net.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), torch.rand(1, 3, 64, 64), file, dynamo=False)
    with serve(lambda port: make_app(Workbench([file]), token="t", port=port)) as where:
        opened(page, where)
        assert page.get_by_role("button", name="measure the field").is_disabled()
        page.get_by_text("an ONNX file gives no gradients").wait_for()
        page.locator("#ladder .rise").last.focus()
        answered(page, lambda: page.locator("#step-kind").select_option("blur"))
        page.get_by_role("button", name="show feature maps").click()
        page.locator("#wipe").wait_for()
        assert "random" not in page.locator("#stage").inner_text()
        page.locator("#consequences .more summary").click()
        page.get_by_role("button", name="measure here").click()
        page.locator("[data-fact=latency]", has_text=re.compile("× the original|no difference shown")).wait_for()
        page.locator("#room-shift").click()
        page.get_by_role("button", name="run the shift test").click()
        page.locator(".curve").nth(1).wait_for()
        page.locator("#room-convolution").click()
        page.locator("#filter").select_option("own")
        page.get_by_text("filter", exact=True).first.wait_for()
        assert not page.locator("[role=alert]").count()


def test_one_convolution_takes_a_layer_s_own_filter_sizes_and_padding(page: Any, address: str):
    opened(page, address)
    page.locator("#room-convolution").click()
    page.locator(".products").wait_for()
    page.get_by_role("button", name=re.compile("^as layers")).click()
    assert page.locator("#filter").input_value() == "own"
    assert page.locator("#padding").input_value() == "own"
    page.locator("#filter").select_option("gaussian")
    page.locator("#filter-size").fill("5")
    page.locator("#filter-size").press("Tab")
    until(page, lambda: page.locator(".numbers").nth(1).locator("tr").count() == 5)
    page.locator("#padding").select_option("own")
    for name in ("top", "bottom"):
        page.get_by_label(name, exact=True).fill("0")
        page.get_by_label(name, exact=True).press("Tab")
    until(page, lambda: " + 2*0 - " in page.locator(".formulas dd").first.inner_text())


def hatched(page: Any) -> list[bool]:
    """Whether the last row and the last column of the input grid hold any of the hatching's colour."""
    found: list[bool] = page.locator(".sliding canvas").first.evaluate(
        """c => {
            const copy = Object.assign(document.createElement("canvas"), { width: c.width, height: c.height });
            const own = copy.getContext("2d", { willReadFrequently: true });
            own.drawImage(c, 0, 0);
            const pink = (x, y, w, h) => { const d = own.getImageData(x, y, w, h).data;
                for (let i = 0; i < d.length; i += 4) if (d[i] > 200 && d[i + 1] < 140 && d[i + 2] > 110) return true;
                return false; };
            return [pink(0, c.height - 4, c.width / 2, 4), pink(c.width - 4, 0, 4, c.height / 2)];
        }"""
    )
    return found


def test_the_floor_s_remainder_is_hatched_in_the_padding_too(page: Any, address: str):
    opened(page, address)
    page.locator("#room-convolution").click()
    page.locator(".products").wait_for()
    page.get_by_role("button", name="one stride").click()
    page.locator("#padding").select_option("own")
    for name in ("top", "bottom", "left", "right"):
        page.get_by_label(name, exact=True).fill("1")
        page.get_by_label(name, exact=True).press("Tab")
    for axis, stride in (("rows", "2"), ("columns", "1")):  # windows of 3 in steps of 2 leave one of 18 positions
        page.locator("#room .tools").get_by_label(axis, exact=True).fill(stride)
        page.locator("#room .tools").get_by_label(axis, exact=True).press("Tab")
    until(page, lambda: "the floor leaves 1 padded position" in page.locator(".formulas dd").first.inner_text())
    until(page, lambda: hatched(page) == [True, False])


def test_the_address_brings_back_what_is_looked_at(page: Any, address: str):
    opened(page, address)
    page.get_by_label("Search").fill("conv")
    page.locator(".layers thead button", has_text="MACs").click()
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.keyboard.press("ArrowLeft"))
    page.locator(".layers button", has_text="layers.7.conv2").click()
    page.get_by_role("button", name="show feature maps").click()
    page.locator("#wipe").fill("30")
    page.locator(".thumbs button").nth(2).click()
    until(page, lambda: "look.channel=2" in page.url)
    where = page.url
    page.goto("about:blank")
    page.goto(where)
    page.locator("img.map").first.wait_for()
    assert page.locator("#wipe").input_value() == "30"
    assert page.locator(".thumbs button").nth(2).get_attribute("aria-pressed") == "true"
    assert page.get_by_label("Search").input_value() == "conv"
    assert page.locator("th[aria-sort=ascending]").inner_text().split()[0] == "MACs"
    page.locator("#room-convolution").click()
    page.locator(".products").wait_for()
    page.get_by_role("button", name="step", exact=True).click()
    until(page, lambda: "look.window=1" in page.url)
    page.reload()
    page.locator(".sum", has_text="cell 0, 1").wait_for()
