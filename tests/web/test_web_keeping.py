"""Nothing that a person made is lost on the way, and no address breaks the page."""

from typing import Any

import pytest
from browsing import answered, fact, needs_chromium, opened, place, rises, until

pytestmark = needs_chromium


def test_plans_and_undo_come_back_with_their_network_and_stand_in_the_address(page: Any, address: str):
    opened(page, address)
    page.locator("#ladder .rise").last.focus()
    answered(page, lambda: page.keyboard.press("ArrowLeft"))
    answered(page, lambda: page.keyboard.press("ArrowDown"))
    shown = rises(page), fact(page, "multiply-adds")
    page.locator("#network").select_option("2")
    until(page, lambda: rises(page) == ["0", "1", "3"])
    until(page, lambda: "kept=" in page.url)
    where = page.url
    page.locator("#network").select_option("0")
    until(page, lambda: (rises(page), fact(page, "multiply-adds")) == shown)
    answered(page, lambda: page.get_by_role("button", name="Undo").click())
    assert fact(page, "output stride") == "4×4"
    page.goto("about:blank")
    page.goto(where)
    until(page, lambda: rises(page) == ["0", "1", "3"])
    page.locator("#network").select_option("0")
    until(page, lambda: (rises(page), fact(page, "multiply-adds")) == shown)


def test_likewise_opens_and_a_layer_in_it_is_chosen(page: Any, address: str):
    opened(page, address)
    fold = page.locator("details.likewise").first
    fold.locator("summary").click()
    other = fold.locator("button").first
    name = other.inner_text()
    other.click()
    until(page, lambda: page.locator(".caption b").inner_text() == name)


def test_share_copies_the_whole_address_and_says_so(page: Any, address: str):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, address)
    until(page, lambda: "#network=" in page.url)
    page.get_by_role("button", name="Share").click()
    page.locator(".toast", has_text="The address, with all plans, is on the clipboard").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"{address.split('?')[0]}#network=builtin:resnet20")
    assert "token" not in copied


def test_an_address_of_1500_plans_opens_the_first_and_says_so(page: Any, address: str):
    opened(page, address)
    page.goto("about:blank")
    page.goto(f"{address.split('?')[0]}#{'plan=%2Blayers.3=1&' * 1500}tab=1")
    page.locator(".card.error", has_text="holds 1500 plans, of which the first 12").wait_for()
    assert page.locator(".tabs [role=tab]").count() == 13
    page.get_by_role("button", name="Add a plan").click()
    page.locator(".card.error", has_text="close one").wait_for()
    assert page.locator(".tabs [role=tab]").count() == 13


def test_a_network_of_the_address_is_quoted_in_what_is_suggested(page: Any, address: str):
    opened(page, address)
    page.goto("about:blank")
    page.goto(f"{address.split('?')[0]}#network=x%3B%20rm%20-rf%20~%27%24(id)")
    card = page.locator(".card.error", has_text="not among those here")
    card.wait_for()
    assert "stridewise serve 'x; rm -rf ~'\\''$(id)'”" in card.inner_text()


def test_nonsense_as_settings_in_the_address_is_as_at_first(page: Any, address: str):
    opened(page, address)
    page.goto("about:blank")
    page.goto(
        f"{address.split('?')[0]}#area=convolution&one=%7B%22strides%22:[[1,1]],%22kernel%22:7,%22padding%22:%7B%7D%7D"
    )
    page.locator(".products").first.wait_for()
    assert page.locator(".card.error").count() == 0


def test_escape_gives_the_focus_back_and_arrows_go_through_the_menu(page: Any, address: str):
    opened(page, address)
    button = page.get_by_role("button", name="Export")
    button.focus()
    page.keyboard.press("ArrowDown")
    until(page, lambda: page.evaluate("document.activeElement.textContent") == "Numbers (JSON)")
    page.keyboard.press("ArrowDown")
    until(page, lambda: page.evaluate("document.activeElement.textContent").startswith("Report"))
    page.keyboard.press("Escape")
    assert page.locator("#take").count() == 0
    assert page.evaluate("document.activeElement.textContent").startswith("Export")


def test_a_first_minute_is_checked_by_the_page(page: Any, address: str):
    opened(page, address)
    page.locator("#network").select_option("2")
    until(page, lambda: rises(page) == ["0", "1", "3"])
    page.locator(".minute > summary").click()
    task = page.locator("[data-task=finer]")
    assert "Hint" in task.inner_text()
    answered(page, lambda: task.get_by_role("button", name="show me").click())
    task.locator(".answered").wait_for()
    assert "4×4 instead of 8×8" in task.inner_text()
    page.locator(".minute > summary", has_text="1 of 3 done").wait_for()
    page.get_by_role("link", name="without its last step").click()
    until(page, lambda: rises(page) == ["0", "1"])


def test_terms_are_explained_where_they_stand(page: Any, address: str):
    opened(page, address)
    terms = page.locator("#consequences .term")
    assert terms.count() >= 8
    assert all(len(term.get_attribute("title") or "") > 20 for term in terms.all())


def test_a_dot_puts_a_step_in_and_a_moved_step_stays_in_hand(page: Any, address: str):
    opened(page, address)
    answered(page, lambda: page.locator("[data-slot='layers.8']").dispatch_event("click"))
    until(page, lambda: rises(page) == ["+layers.3", "+layers.6", "+layers.8"])
    until(page, lambda: page.evaluate("document.activeElement.dataset.key") == "+layers.8")
    assert "after layers.8" in page.locator("#ladder .site").inner_text()
    box = place(page, page.locator("#ladder .rise .knob").last)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 20, y, steps=4)
    page.mouse.move(x - 45, y, steps=4)
    page.mouse.up()
    until(page, lambda: rises(page)[-1] != "+layers.8")
    until(page, lambda: page.evaluate("document.activeElement.dataset.key") == rises(page)[-1])
    assert page.locator("#ladder .held").count() == 0


READABLE = """() => {
  const small = [...document.querySelectorAll("#page *")].filter((e) => e.getClientRects().length
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
    && parseFloat(getComputedStyle(e).fontSize) < 12);
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).slice(0, 3).map((v) => Number(v) / 255);
    const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const card = light(getComputedStyle(document.querySelector("#ladder")).backgroundColor);
  const against = (colour) => { const v = light(colour); return Math.max(v, card) / Math.min(v, card); };
  const edges = [...document.querySelectorAll("#ladder button, #ladder select, #stage button")];
  const second = document.createElementNS("http://www.w3.org/2000/svg", "line");
  second.setAttribute("class", "second");
  const bar = document.querySelector("#ladder .bar");
  bar.append(second);
  const axis = against(getComputedStyle(second).stroke);
  second.remove();
  return [small.map((e) => e.className.baseVal ?? e.className ?? e.tagName),
    Math.min(...edges.map((e) => against(getComputedStyle(e).borderTopColor))), axis];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_borders_and_the_second_axis_are_seen(page: Any, address: str, scheme: str):
    page.emulate_media(color_scheme=scheme)
    opened(page, address)
    small, edge, axis = page.evaluate(READABLE)
    assert not small
    assert edge >= 3
    assert axis >= 3
