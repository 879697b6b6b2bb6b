"""What the page says when a number, a picture or a name is not as usual: nothing silent, nothing coded."""

import io
import re
from typing import Any

import pytest
from browsing import answered, fact, needs_chromium, opened, until
from PIL import Image

pytestmark = needs_chromium


@pytest.mark.parametrize("typed", ["0", "-3", "1.5", "99", ""])
def test_a_factor_out_of_bounds_is_refused_in_words_and_does_not_stay(page: Any, address: str, typed: str):
    opened(page, address)
    page.locator("#ladder .rise").last.focus()
    field = page.locator("#step-0")
    before = fact(page, "multiply-adds")
    field.fill(typed)
    field.press("Tab")
    page.locator(".wanted", has_text="a whole number from 1 to 64 is wanted").wait_for()
    assert field.input_value() == "2"
    assert fact(page, "multiply-adds") == before
    field.fill("1")
    answered(page, lambda: field.press("Tab"))
    until(page, lambda: page.locator(".wanted").count() == 0)
    assert "worked out in" in page.locator("#consequences .aside").inner_text()


def test_a_plain_picture_moves_nothing_and_its_name_is_read_out(page: Any, address: str):
    opened(page, address)
    content, textured = io.BytesIO(), io.BytesIO()
    Image.radial_gradient("L").save(textured, "PNG")
    Image.new("RGB", (64, 48), (90, 120, 60)).save(content, "PNG")
    name = "grüne Wiese 100 % ☀.png"
    with page.expect_response(lambda r: "/api/picture" in r.url and r.request.method == "POST"):
        file = {"name": name, "mimeType": "image/png", "buffer": content.getvalue()}
        page.locator("input[type=file][accept*=image]").set_input_files(file)
    until(page, lambda: page.locator("#stage img.photo").get_attribute("alt") == name)
    page.locator("#room-shift").click()
    page.get_by_role("button", name=re.compile("^run (the shift test|again) for")).click()  # a test before may have
    page.locator("#room .note", has_text="Moving this picture changes nothing").wait_for()
    assert page.locator("#room svg.chart").count() == 0
    file = {"name": "rings.png", "mimeType": "image/png", "buffer": textured.getvalue()}
    page.locator("input[type=file][accept*=image]").set_input_files(file)  # for the tests that come after
    until(page, lambda: page.locator("#stage img.photo").get_attribute("alt") == "rings.png")


def test_a_step_that_was_put_in_is_named_by_its_place_in_every_area(page: Any, address: str):
    opened(page, address)
    page.locator("#room-sizes").click()
    found = page.locator("#room th", has_text="after layers.3")
    found.wait_for()
    assert "+layers" not in page.locator("#room").inner_text()
