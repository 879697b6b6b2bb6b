"""The page in headless Chromium, driven as a person would: keys, mouse, address, files."""

from pathlib import Path
from typing import Any

import pytest
from browsing import answered, fact, needs_chromium, opened, place, rises, serious, until

import stridewise as sw

pytestmark = needs_chromium


def test_a_stride_changed_by_keys_changes_numbers_ladder_and_picture(page: Any, address: str):
    opened(page, address)
    assert rises(page) == ["+layers.3", "+layers.6"]
    before = (fact(page, "multiply-adds"), page.locator(".overlay .dots").get_attribute("d"))
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.keyboard.press("ArrowLeft"))
    assert rises(page) == ["+layers.3", "+layers.5"]
    assert fact(page, "multiply-adds") != before[0]
    assert "multiply-adds" in page.locator("#said").inner_text()
    answered(page, lambda: page.keyboard.press("ArrowDown"))
    assert fact(page, "output stride") == "8×8"
    assert page.locator(".overlay .dots").get_attribute("d") != before[1]
    answered(page, lambda: page.keyboard.press("Delete"))
    assert rises(page) == ["+layers.3"]
    until(page, lambda: page.evaluate("document.activeElement.dataset.key") == "+layers.3")
    answered(page, lambda: page.keyboard.press("Control+z"))
    answered(page, lambda: page.keyboard.press("Control+z"))
    assert fact(page, "output stride") == "4×4"
    assert page.locator("#ladder .rise").count() == 2
    page.locator("#tab-0").click()
    assert fact(page, "multiply-adds") == before[0]


def test_a_step_is_dragged(page: Any, address: str):
    opened(page, address)
    box = place(page, page.locator("#ladder .rise .knob").last)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y + 4, steps=6)
    page.mouse.move(x - 120, y + 4, steps=8)
    page.mouse.up()
    until(page, lambda: rises(page)[1:] != ["+layers.6"])
    page.wait_for_timeout(300)
    moved = rises(page)
    assert len(moved) == 2
    assert moved[0] == "+layers.3"
    assert moved[1] in ("+layers.4", "+layers.5", "layers.4.conv1", "layers.5.conv1")
    assert fact(page, "output stride") == "4×4"
    page.get_by_role("button", name="Undo").click()
    until(page, lambda: rises(page)[1:] == ["+layers.6"])
    assert rises(page) == ["+layers.3", "+layers.6"]


def test_steppers_unequal_steps_a_click_on_the_picture_and_the_exported_plan(page: Any, address: str, tmp_path: Path):
    opened(page, address)
    page.locator("#ladder .rise").last.focus()
    page.locator("#step-1").fill("1")
    answered(page, lambda: page.locator("#step-1").press("Tab"))
    assert fact(page, "output stride") == "4×2"
    area = page.locator(".overlay")
    box = place(page, area)
    area.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.1})
    assert "position 0, 14" in page.locator(".caption").inner_text()
    area.press("ArrowDown")
    assert "position 1, 14" in page.locator(".caption").inner_text()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Plan (TOML)").click()
    taken.value.save_as(tmp_path / "plan.toml")
    plan = sw.Plan.read(tmp_path / "plan.toml")
    model = sw.load("builtin:resnet20")
    sw.apply(model, plan)
    assert sw.show(sw.trace(model, (3, 32, 32))).totals.output_stride == (4, 2)
    where = page.url
    page.goto("about:blank")
    page.goto(where)
    page.wait_for_selector("#ladder .rise")
    until(page, lambda: page.locator("#said").inner_text())
    assert fact(page, "output stride") == "4×2"
    assert "token" not in page.url
    for form in ("SVG", "PNG"):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as taken:
            page.get_by_role("button", name=f"Ladder ({form})").click()
        taken.value.save_as(tmp_path / form)
        assert (tmp_path / form).stat().st_size > 2000


def test_an_impossible_wish_is_one_card_and_the_page_works_on(page: Any, address: str):
    opened(page, address)
    page.heard.allowed.append("422")
    page.locator("#ladder .rise").last.focus()
    page.locator("#step-0").fill("16")
    page.locator("#step-0").press("Tab")
    page.wait_for_timeout(400)
    page.locator("#ladder .rise").first.focus()
    page.locator("#step-0").fill("16")
    page.locator("#step-0").press("Tab")
    card = page.locator(".card.error")
    card.wait_for()
    assert "larger than the map" in card.inner_text() or "fit" in card.inner_text()
    assert page.locator("#ladder .rise").count() == 2
    card.get_by_role("button", name="Close").click()
    assert page.locator(".card.error").count() == 0


def test_a_refusal_offers_what_works_and_a_click_applies_it(page: Any, address: str):
    opened(page, address)
    page.heard.allowed.append("422")
    page.locator("#ladder .rise").first.focus()
    page.locator("#step-0").fill("16")
    answered(page, lambda: page.locator("#step-0").press("Tab"))
    page.locator("#ladder .rise").last.focus()
    page.locator("#step-0").fill("16")
    page.locator("#step-0").press("Tab")
    offers = page.locator(".offers button")
    offers.first.wait_for()
    assert 1 <= offers.count() <= 5
    assert "multiply-adds" in offers.first.inner_text()
    before = fact(page, "multiply-adds")
    assert all(before.split()[0] not in text for text in offers.all_inner_texts())  # none is what is there
    answered(page, offers.first.click)
    until(page, lambda: page.locator(".card.error").count() == 0)
    assert fact(page, "multiply-adds") != before


def test_a_network_that_cannot_be_opened_leaves_the_other_one_usable(page: Any, address: str):
    opened(page, address)
    page.heard.allowed.append("422")
    page.locator("#network").select_option("1")
    page.locator(".card.error", has_text="no built-in model").wait_for()
    assert page.locator("#ladder .rise").count() == 2
    assert page.locator("#network").input_value() == "0"


def test_an_address_of_a_network_that_is_not_here_says_so(page: Any, address: str):
    opened(page, address)
    page.goto("about:blank")
    page.goto(f"{address.split('?')[0]}#network=timm:nothing&plan=conv1=1&tab=1")
    page.locator(".card.error", has_text="not among those here: start “stridewise serve timm:nothing”").wait_for()
    assert page.locator("#ladder .rise").count() == 2


def test_the_export_menu_closes_when_the_hand_goes_elsewhere(page: Any, address: str):
    opened(page, address)
    for leave in (lambda: page.locator("h1").click(), lambda: page.locator("#ladder .rise").first.focus()):
        page.get_by_role("button", name="Export").click()
        page.get_by_role("button", name="Numbers (JSON)").focus()
        assert page.locator("#take").count() == 1
        leave()
        until(page, lambda: page.locator("#take").count() == 0)


def test_a_picture_that_is_none_is_refused_and_another_is_taken(page: Any, address: str):
    opened(page, address)
    page.heard.allowed.append("422")
    page.locator("#stage input[type=file]").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"}
    )
    page.locator(".card.error", has_text="not a picture").wait_for()
    assert page.locator(".photo").evaluate("i => i.naturalWidth") == 32
    page.locator("#stage input[type=file]").set_input_files(
        {"name": "b.ppm", "mimeType": "image/x-portable-pixmap", "buffer": b"P6 2 2 255 " + bytes(range(0, 240, 20))}
    )
    until(page, lambda: page.locator(".card.error").count() == 0)


def test_a_step_that_can_go_nowhere_is_one_card(page: Any, address: str):
    opened(page, address)
    page.heard.allowed.append("422")
    page.locator("#network").select_option("2")
    until(page, lambda: rises(page) == ["0", "1", "3"])
    page.locator("#keep").click()
    page.locator("#ladder .rise").last.focus()
    page.keyboard.press("ArrowLeft")
    page.locator(".card.error").first.wait_for()
    page.wait_for_timeout(600)
    assert len([e for e in page.heard.errors if "422" in e]) > 1
    assert page.locator(".card.error").count() == 1
    assert rises(page) == ["0", "1", "3"]


def test_one_convolution_slides(page: Any, address: str):
    opened(page, address)
    page.locator("#room-convolution").click()
    page.locator(".products").wait_for()
    page.get_by_role("button", name="step", exact=True).click()
    assert "cell 0, 1" in page.locator(".sum").inner_text()
    page.locator("#room-convolution").focus()
    page.get_by_label("window", exact=False).last.fill("5")
    page.get_by_role("button", name="play").click()
    page.wait_for_timeout(700)
    page.get_by_role("button", name="pause").click()
    assert "cell 0, 1" not in page.locator(".sum").inner_text()
    assert "out = floor(" in page.locator(".formulas").inner_text()


def test_layers_are_searched_sorted_and_chosen(page: Any, address: str):
    opened(page, address)
    page.get_by_label("Search").fill("shortcut")
    assert page.locator(".layers tbody tr").count() == 2
    page.get_by_label("Search").fill("")
    page.locator(".layers thead button", has_text="MACs").click()
    page.locator(".layers thead button", has_text="MACs").click()
    page.locator(".layers tbody tr button").first.click()
    assert page.locator(".layers tr.chosen").count() == 1
    assert page.locator(".caption b").inner_text() == page.locator(".layers tbody tr button").first.inner_text()


def test_feature_maps_come_from_a_job_and_a_point_of_the_front_loads(page: Any, address: str):
    opened(page, address)
    page.get_by_role("button", name="show feature maps").click()
    page.locator(".thumbs img").first.wait_for()
    assert page.locator("img.map").count() == 1
    until(page, lambda: page.locator("#said").inner_text() == "The feature maps are there.")
    page.locator("#room-front").click()
    page.locator(".point").first.wait_for()
    page.locator("#room select").select_option("all")
    assert page.locator(".point").count() > 60
    assert page.locator("#room details tbody tr").count() == page.locator(".point").count()
    answered(page, lambda: page.locator(".point").first.press("Enter"))
    assert page.locator(".ghosts").count() == 1


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 420)])
def test_no_serious_accessibility_problem(page: Any, address: str, scheme: str, width: int):
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, address)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for room in ("layers", "convolution", "shift", "front"):
        page.locator(f"#room-{room}").click()
        page.wait_for_timeout(250)
        assert not serious(page), room


def test_the_report_is_one_file_that_needs_no_server(page: Any, tmp_path: Path):
    graph = sw.trace(sw.load("builtin:resnet20"), (3, 32, 32), name="builtin:resnet20")
    file = tmp_path / "report.html"
    file.write_text(sw.show(graph, {"early": sw.plan(graph, {"+layers.3": 1, "+layers.1": 2})}).to_html())
    page.goto(file.as_uri())
    page.wait_for_selector("#ladder .rise")
    assert rises(page) == ["+layers.1", "+layers.6"]
    inserted, later = (page.locator("#ladder .rise .knob").nth(i).bounding_box() for i in range(2))
    assert page.locator("#ladder .level text").first.bounding_box()["x"] + 100 < inserted["x"] < later["x"] - 100
    assert page.locator(".layers tbody tr").count() == 24
    assert page.locator("#tab-1").inner_text().split() == ["B", "early"]
    assert page.locator("input[type=number]").count() == 0
    assert [u for u in page.heard.asked if not u.startswith(("data:", "blob:"))] == [file.as_uri()]
