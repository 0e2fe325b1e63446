"""The page in a browser: what is drawn, what is said of it, and what keys, mouse and screens do to it."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from geozoom.page import PageData, write_page
from tests.pages import GREY, frame, page_of, page_of_many

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here to look at the page with (Debian's package is chromium)"
)
READABLE = 4.5
"""Contrast of text with its ground that WCAG 2.2 AA asks for."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Stopped after this module: other tests have event loops of their own.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def said() -> list[str]:
    """What pages print on their consoles, errors among it."""
    return []


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path, said: list[str]) -> Iterator[Open]:
    """Return a function that writes a page and opens it; at the end nothing may have gone wrong in it."""
    pages: list[Page] = []
    asked: list[Request] = []

    def open_it(data: PageData, **context: Any) -> Page:
        path = tmp_path / f"plan {len(pages)}.html"
        write_page(path, data)
        settings = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | context
        page = browser.new_context(**settings).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        # A function, as Playwright marks what it calls, and a list's method cannot be marked.
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        pages.append(page)
        return page

    yield open_it
    for page in pages:
        page.context.close()
    assert said == []
    # What the page's own policy refuses is seen here, but never leaves the browser.
    urls = [request.url for request in asked if request.failure != "csp"]
    assert [url for url in urls if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in urls if url.startswith("file:")]) == len(pages)


def settled(page: Page) -> None:
    """Wait until the map has drawn what was asked of it."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the shown tile is on the screen."""
    scale, left, top = map(float, (page.locator("#canvas").get_attribute("data-view") or "").split())
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return box["x"] + left + scale * x, box["y"] + top + scale * y


def hover(page: Page, x: float, y: float) -> str:
    page.mouse.move(*on_screen(page, x, y))
    tip = page.locator("#tip")
    return "\n".join(filter(None, tip.inner_text().split("\n"))) if tip.is_visible() else ""


def colours(page: Page, points: list[tuple[float, float]]) -> list[tuple[int, int, int]]:
    """What the screen shows at pixels of the tile."""
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    at = [on_screen(page, *point) for point in points]
    return [tuple(picture[int(y), int(x)].tolist()) for x, y in at]


def middle(data: PageData, patch: int) -> tuple[float, float]:
    left, top, right, bottom = data.patches.box[patch]
    return (left + right) / 2, (top + bottom) / 2


def test_patches_have_the_colour_of_their_value_and_the_picture_is_between_them(open_page: Open) -> None:
    data = page_of()
    page = open_page(data)
    page.locator("#opacity").fill("100")
    settled(page)
    low, high = np.percentile(data.patches.value, [1, 99])
    palette = mpl.colormaps["plasma"](np.linspace(0.12, 1, 64), bytes=True)
    for patch, seen in enumerate(colours(page, [middle(data, patch) for patch in range(24)])):
        share = (data.patches.value[patch] - low) / (high - low)
        wanted = palette[int(np.clip(share * 64, 0, 63)), :3]
        # A value on the border of two colours may fall on either side of it.
        assert np.abs(np.subtract(seen, wanted, dtype=float)).max() <= 12
    assert colours(page, [(14.0, 10.0), (60.0, 20.0)]) == [GREY, GREY]
    page.locator("#show-patches").uncheck()
    settled(page)
    assert colours(page, [middle(data, patch) for patch in range(24)]) == [GREY] * 24


def test_orders_are_outlined_and_the_outlines_can_be_hidden(open_page: Open) -> None:
    page = open_page(page_of())
    edge = [(20.0, 6.0), (6.0, 30.0), (96.0, 50.0)]
    for seen in colours(page, edge):
        assert min(seen) > 180
    page.locator("#show-orders").uncheck()
    settled(page)
    assert colours(page, edge) == [GREY] * 3


def test_hovering_tells_every_patch_its_own_figures(open_page: Open) -> None:
    data = page_of()
    page = open_page(data)
    patches = data.patches
    costs = {order.id: order.cost for order in data.orders}
    for patch in range(24):
        number = int(patches.order[patch])
        assert hover(page, *middle(data, patch)).split("\n") == [
            "Patch",
            *("Benefit", f"{patches.value[patch]:.5f}"),
            *("Probability", f"{patches.probability[patch]:.4f}"),
            *("Area", f"{patches.area_km2[patch] * 1e6:,.0f} m²"),
            *("Cost share", f"{patches.cost_share[patch]:,.1f} EUR"),
            *("Order", f"{number}, {costs[number]:,.2f} EUR"),
        ]
    assert hover(page, 14, 10).split("\n") == ["No patch here", "Order", "7, 1,234.50 EUR"]
    assert hover(page, 60, 20) == ""
    assert page.locator("#place").inner_text() == "53.98° N, 13.10° E"


def test_a_click_on_the_map_marks_the_row_and_a_click_on_a_row_goes_to_the_order(open_page: Open) -> None:
    data = page_of()
    page = open_page(data)
    page.mouse.click(*on_screen(page, *middle(data, 0)))
    chosen = page.locator("tbody tr[aria-current]")
    assert chosen.locator("th").inner_text() == "7"
    assert "1,234.50 EUR" in page.locator("#order-card").inner_text()
    scale = float((page.locator("#canvas").get_attribute("data-view") or "").split()[0])
    page.locator("tbody tr", has_text="20.25").click()
    settled(page)
    assert chosen.locator("th").inner_text() == "2"
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    corners = [on_screen(page, *corner) for corner in frame(70, 30, 96, 66)]
    assert all(box["x"] < x < box["x"] + box["width"] for x, _ in corners)
    assert all(box["y"] < y < box["y"] + box["height"] for _, y in corners)
    assert float((page.locator("#canvas").get_attribute("data-view") or "").split()[0]) > 1.3 * scale
    page.locator("tbody tr", has_text="south.tif").click()
    settled(page)
    assert page.locator("#canvas").get_attribute("data-tile") == "1"
    assert page.locator("#tile").input_value() == "1"
    page.get_by_role("button", name="Clear the choice").click()
    expect(chosen).to_have_count(0)


def test_the_keyboard_alone_moves_zooms_tells_and_chooses(open_page: Open) -> None:
    data = page_of()
    page = open_page(data)
    canvas, status = page.locator("#canvas"), page.locator("#status")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the table of orders"
    while page.evaluate("document.activeElement.id") != "canvas":
        page.keyboard.press("Tab")
    expect(page.locator("#cross")).to_be_visible()
    assert page.locator("#frame").evaluate("(frame) => getComputedStyle(frame).outlineStyle") == "solid"
    whole = canvas.get_attribute("data-view")
    for _ in range(4):
        page.keyboard.press("+")
    settled(page)
    assert canvas.get_attribute("data-view") != whole
    # To the patch at (72..76, 32..36): 14 px right and 6 px up of the middle of the tile.
    for _ in range(40):
        settled(page)
        scale, left, top = map(float, (canvas.get_attribute("data-view") or "").split())
        size = canvas.bounding_box()
        assert size is not None
        at = (size["width"] / 2 - left) / scale, (size["height"] / 2 - top) / scale
        if 72 < at[0] < 76 and 32 < at[1] < 36:
            break
        across = at[0] < 72 or at[0] > 76
        keys = ("ArrowRight", "ArrowLeft") if across else ("ArrowDown", "ArrowUp")
        page.keyboard.press(keys[at[0] > 76 if across else at[1] > 36])
    patch = 12
    expect(status).to_have_text(
        f"Patch. Benefit {data.patches.value[patch]:.5f}, Probability {data.patches.probability[patch]:.4f}, "
        f"Area {data.patches.area_km2[patch] * 1e6:,.0f} m², Cost share {data.patches.cost_share[patch]:,.1f} EUR, "
        "Order 2, 20.25 EUR"
    )
    page.keyboard.press("Enter")
    chosen = page.locator("tbody tr[aria-current] th")
    assert chosen.inner_text() == "2"
    page.keyboard.press("Escape")
    expect(chosen).to_have_count(0)
    page.keyboard.press("n")
    assert chosen.inner_text() == "7"
    page.keyboard.press("p")
    assert chosen.inner_text() == "2"
    page.keyboard.press("0")
    settled(page)
    assert canvas.get_attribute("data-view") == whole


def test_rows_and_headings_work_by_keyboard(open_page: Open) -> None:
    page = open_page(page_of())
    ids = page.locator("tbody th")
    assert ids.all_inner_texts() == ["7", "5", "2"]
    heading = page.get_by_role("button", name="Benefit")
    heading.focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    values = [float(text) for text in page.locator("tbody td:last-child").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    page.get_by_role("button", name="Order", exact=True).click()
    page.get_by_role("button", name="Order", exact=True).click()
    assert ids.all_inner_texts() == ["2", "5", "7"]
    expect(page.locator('tbody tr[tabindex="0"]')).to_have_count(1)
    while page.evaluate("document.activeElement.tagName") != "TR":
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("tbody tr[aria-current] th").inner_text() == "5"
    assert page.locator("tfoot td").all_inner_texts()[:6] == [
        "Total",
        "",
        "36",
        "0.0576",
        "3.0000",
        "1,554.75",
    ]


def test_the_wheel_zooms_around_the_pointer_and_dragging_moves(open_page: Open) -> None:
    page = open_page(page_of())
    at = on_screen(page, 30, 20)
    page.mouse.move(*at)
    page.mouse.wheel(0, -200)
    settled(page)
    assert on_screen(page, 30, 20) == pytest.approx(at, abs=1)  # the pointer is at whole pixels
    assert float((page.locator("#canvas").get_attribute("data-view") or "").split()[0]) > 8
    page.mouse.down()
    page.mouse.move(at[0] - 40, at[1] - 30, steps=4)
    page.mouse.up()
    settled(page)
    assert on_screen(page, 30, 20) == pytest.approx((at[0] - 40, at[1] - 30), abs=2)
    expect(page.locator("tbody tr[aria-current]")).to_have_count(0)
    before = on_screen(page, 60, 40)
    page.mouse.dblclick(*before)
    settled(page)
    assert on_screen(page, 60, 40) == pytest.approx(before, abs=2)


def test_the_totals_are_those_of_the_plan(open_page: Open) -> None:
    page = open_page(page_of())
    assert page.locator("#total-cost").inner_text() == "1,554.75 EUR"
    text = page.locator("main").inner_text()
    assert "of 2,000.00 budget, 445.25 left" in text
    assert "The prices are illustrative." in text
    assert "of no vendor" in text
    assert "geozoom plan tiles" in text
    curve = page.locator("svg.budget-curve")
    assert curve.locator("circle.dot").count() == 3
    assert curve.locator(".dot title").nth(1).text_content() == (
        "budget 1,000.00, bill 900.00 EUR: 0.90 scenes classified correctly"
    )


def test_many_patches_are_drawn_as_blocks_whose_sums_are_right_until_one_zooms_in(open_page: Open) -> None:
    data = page_of_many(300)
    page = open_page(data)
    canvas = page.locator("#canvas")
    assert canvas.get_attribute("data-drawn") == "blocks"
    words = hover(page, 100.5, 200.5).split("\n")
    count = int(words[0].split()[2])
    side = int(count**0.5)
    assert side * side == count > 1
    left, top = 100 // (2 * side) * side, 200 // (2 * side) * side
    values = data.patches.value.reshape(300, 300)[top : top + side, left : left + side]
    assert float(words[2]) == pytest.approx(values.sum(), abs=1e-4 * count)
    assert words[4] == f"{0.004 * count:.6f} EUR"
    assert "each block of" in page.locator("#drawn-as").inner_text()
    blue, red = colours(page, [(100.5, 200.5)])[0][2], colours(page, [(100.5, 200.5)])[0][0]
    assert blue > GREY[2] + 20 or red > GREY[0] + 20
    page.mouse.wheel(0, -400)
    page.mouse.wheel(0, -400)
    page.mouse.wheel(0, -400)
    settled(page)
    assert canvas.get_attribute("data-drawn") == "patches"
    patch = 100 * 300 + 50
    assert f"{data.patches.value[patch]:.5f}" in hover(page, 101, 201)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_all_text_can_be_read_in_dark_and_light_and_nothing_overflows(
    open_page: Open, scheme: str, width: int
) -> None:
    page = open_page(page_of(), color_scheme=scheme, viewport={"width": width, "height": 800})
    page.locator("tbody tr").first.click()
    page.locator("summary").click()
    hover(page, 20, 20)
    found = page.evaluate(
        """() => {
          const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const rgba = (colour) => {
            probe.clearRect(0, 0, 1, 1); probe.fillStyle = colour; probe.fillRect(0, 0, 1, 1);
            return [...probe.getImageData(0, 0, 1, 1).data];
          };
          const light = (rgb) => rgb.slice(0, 3)
            .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const found = [];
          for (const node of document.querySelectorAll("body *")) {
            const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
            if (!own || !node.checkVisibility() || node.closest("script, option, noscript")) continue;
            const style = getComputedStyle(node);
            const ink = rgba(node.closest("svg") ? style.fill : style.color);
            let ground = node;
            while (ground && rgba(getComputedStyle(ground).backgroundColor)[3] < 128) ground = ground.parentElement;
            const below = rgba(getComputedStyle(ground).backgroundColor);
            const [high, low] = [light(ink), light(below)].sort((a, b) => b - a);
            found.push([node.textContent.trim().slice(0, 30), (high + 0.05) / (low + 0.05)]);
          }
          return found;
        }"""
    )
    assert len(found) > 60
    assert [each for each in found if each[1] < READABLE] == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground[4:-1].split(","))
    assert brightness > 600 if scheme == "light" else brightness < 120
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_and_notes_are_text_whatever_they_hold(open_page: Open) -> None:
    data = page_of()
    evil = '</script><script>window.pwned = 1</script><img src=x onerror="window.pwned = 2">&amp;\'"'
    page = open_page(
        replace(
            data,
            tiles=(replace(data.tiles[0], name=evil), data.tiles[1]),
            orders=tuple(replace(order, tile=evil) for order in data.orders),
            prices=replace(
                data.prices, name=evil, terms=evil, source=evil, dated=evil, trust=evil, note=evil
            ),
            currency=evil,
            value_unit=evil,
            warnings=(evil,),
            facts={evil: evil},
            model=evil,
            model_data=evil,
            command=evil,
            version=evil,
        )
    )
    page.locator("tbody tr").first.click()
    hover(page, 20, 20)
    assert page.evaluate("window.pwned") is None
    assert page.locator("main img").count() == 0
    assert page.locator("body script").count() == 3
    for shown in ("#prices dd", "tbody td", ".warnings li", "#order-card dd", "code", "option"):
        assert any(evil in text for text in page.locator(shown).all_text_contents()), shown
    assert evil in page.title()


def test_the_policy_of_the_page_forbids_scripts_and_requests_that_are_not_its_own(
    open_page: Open, said: list[str]
) -> None:
    page = open_page(page_of())
    page.evaluate(
        """() => {
          window.refused = [];
          const note = (event) => window.refused.push(event.effectiveDirective);
          document.addEventListener("securitypolicyviolation", note);
          const script = document.createElement("script");
          script.textContent = "window.pwned = 1";
          document.body.append(script);
          new Image().src = "https://geozoom.invalid/pixel.png";
          return fetch("https://geozoom.invalid/").catch(() => null);
        }"""
    )
    page.wait_for_function("window.refused.length === 3")
    assert sorted(page.evaluate("window.refused")) == ["connect-src", "img-src", "script-src-elem"]
    assert all("Content Security Policy" in words for words in said)
    said.clear()
    assert page.evaluate("window.pwned") is None


def test_a_printed_page_has_map_totals_all_orders_and_room_to_sign(open_page: Open) -> None:
    page = open_page(page_of())
    assert not page.locator(".sign").is_visible()
    # Besides the legend's ramp of 256 px, the map is a picture on the paper (a canvas that was cleared is none).
    widths = re.findall(rb"/Subtype /Image\s*/Width (\d+)", page.pdf())
    assert max(map(int, widths)) > 600
    page.emulate_media(media="print")
    settled(page)
    for shown in ("#canvas", "#total-cost", "#prices", ".budget-curve", ".sign"):
        assert page.locator(shown).is_visible(), shown
    for hidden in (".zoom", "fieldset", "details", ".skip"):
        assert not page.locator(hidden).is_visible(), hidden
    assert page.locator("tbody tr").count() == 3


def test_where_motion_is_welcome_the_map_flies_and_arrives(open_page: Open) -> None:
    still, moving = open_page(page_of()), open_page(page_of(), reduced_motion="no-preference")
    views = []
    for page in (still, moving):
        page.locator("tbody tr", has_text="20.25").click()
        settled(page)
        views.append(page.locator("#canvas").get_attribute("data-view") or "")
    assert views[0] != views[1]
    where = [float(part) for part in views[0].split()]
    moving.wait_for_timeout(1000)
    view = moving.locator("#canvas").get_attribute("data-view") or ""
    assert [float(part) for part in view.split()] == pytest.approx(where, abs=0.01)


def test_more_orders_than_a_list_holds_are_shown_on_demand_and_found_from_the_map(open_page: Open) -> None:
    data = page_of()
    last = data.orders[-1]
    extra = tuple(replace(last, id=100 + index, rings=(), cost=Decimal("25.00")) for index in range(700))
    many = replace(data, orders=(*data.orders[:2], *extra, last))
    page = open_page(many)
    rows = page.locator("tbody tr")
    assert rows.count() == 500
    assert "500 of 703" in page.locator("#more-button").inner_text()
    page.mouse.click(*on_screen(page, *middle(data, 12)))
    assert rows.count() == 703
    assert page.locator("tbody tr[aria-current] th").inner_text() == "2"
    assert not page.locator("#more-button").is_visible()
    printed = open_page(many)
    printed.pdf()
    assert printed.locator("tbody tr").count() == 703


def test_a_plan_that_buys_nothing_has_a_page(open_page: Open) -> None:
    data = page_of()
    nothing = np.zeros(0, dtype=np.int64)
    figures = np.zeros(0)
    patches = replace(
        data.patches,
        tile=nothing,
        box=np.zeros((0, 4)),
        value=figures,
        probability=figures,
        area_km2=figures,
        cost_share=figures,
        order=nothing,
    )
    page = open_page(
        replace(data, patches=patches, orders=(), cost=Decimal(0), value=0.0, bound=0.0, curve=None)
    )
    assert page.locator("tbody tr").count() == 0
    assert "No budget curve was made." in page.locator("main").inner_text()
    assert colours(page, [(60.0, 20.0)]) == [GREY]
