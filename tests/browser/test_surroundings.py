"""Windows of every width, both themes, touch, full screen, blocked storage, still motion, no network but loopback."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from serving import Served

LONG_TOKEN = "\n" + "-" * 64 + "\n"
STICKING_OUT = """() => {
  const scrolls = (element) => getComputedStyle(element).overflowX !== 'visible' || element.matches('.twin');
  const clips = (element) => element && (scrolls(element) || clips(element.parentElement));
  const out = [...document.querySelectorAll('body *')].filter((element) => {
    const { left, right, width, height } = element.getBoundingClientRect();
    const seen = width * height > 1 && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    return seen && (right > innerWidth + 0.5 || left < -0.5) && !clips(element);
  });
  return out.map((element) => `${element.tagName}.${element.className} ${element.textContent.trim().slice(0, 40)}`);
}"""
MOVING = """() => [...document.querySelectorAll('*')].filter((element) => {
  const { transitionDuration, animationDuration } = getComputedStyle(element);
  return [transitionDuration, animationDuration].some((all) => all.split(',').some((time) => parseFloat(time) > 0.01));
}).map((element) => `${element.tagName}.${element.className}`)"""
BLOCK_STORAGE = """for (const name of ['localStorage', 'sessionStorage']) {
  Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });
}"""
STORAGE = "() => { try { return localStorage.length; } catch (error) { return error.name; } }"


@pytest.mark.parametrize("width", [1440, 1024, 901, 768, 390, 360])
def test_nothing_sticks_out(new_page: Callable[..., Any], served: Served, width: int) -> None:
    page = new_page(served.playground, viewport={"width": width, "height": 844})
    expect(page.get_by_test_id("prediction").locator("button").first).to_be_visible()
    expect_within(page, width)
    area = page.get_by_test_id("text")
    area.fill("The cat drank because it was thirsty" + LONG_TOKEN + "Donaudampfschifffahrtsgesellschaftskapitän it")
    page.get_by_test_id("tokens").press("Home")
    page.get_by_test_id("tokens").press("m")
    page.get_by_test_id("query-handle").press("ArrowLeft")
    expect(page.get_by_test_id("chip")).to_have_count(2)
    page.get_by_test_id("chip").first.locator(".text").click()
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        expect_within(page, width)
    page.keyboard.press("Escape")
    for name in ("Export", "Model: ", "Examples", "Keys and colours", "copy as Python", "add an edit"):
        page.get_by_role("button", name=name).click()
        expect_within(page, width)
        page.keyboard.press("Escape")
    for name in ("change-head", "cache-line"):
        page.get_by_test_id(name).click()
        expect_within(page, width)
        page.keyboard.press("Escape")


def expect_within(page: Any, width: int) -> None:
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate(STICKING_OUT) == []


def test_a_tap_opens_a_tokens_menu(new_page: Callable[..., Any], served: Served) -> None:
    page = new_page(served.playground, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.get_by_test_id("bench-row").first.wait_for()
    cat = page.locator(".backdrop .token", has_text="cat").bounding_box()
    page.touchscreen.tap(cat["x"] + cat["width"] / 2, cat["y"] + cat["height"] / 2)
    menu = page.get_by_role("menu")
    names = menu.get_by_role("menuitem").all_inner_texts()
    assert names == ["look from here", "look at this", "mute in this head", "replace"]
    menu.get_by_role("menuitem", name="look from here").tap()
    expect(page.get_by_test_id("bench")).to_have_attribute("data-query", "1")
    expect(menu).to_have_count(0)
    handle = page.get_by_test_id("query-handle")
    assert handle.evaluate("(handle) => getComputedStyle(handle).touchAction") == "none"
    box = handle.bounding_box()
    assert min(box["width"], box["height"]) >= 44


def test_full_screen_shows_the_instrument_alone(page: Any) -> None:
    page.get_by_role("button", name="Full screen").click()
    expect(page.locator(".screen:fullscreen")).to_be_visible()
    alone = "() => [[720, 4], [4, 450], [720, 890]].every(([x, y]) => document.elementFromPoint(x, y).closest('main'))"
    assert page.evaluate(alone)
    page.get_by_test_id("weight").first.click()
    told = page.locator(":fullscreen [role=status]", has_text="Copied")
    expect(told).to_be_visible()
    page.evaluate("() => document.exitFullscreen()")
    expect(page.locator(".screen:fullscreen")).to_have_count(0)


def test_the_theme_stays_over_a_reload(page: Any) -> None:
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    page.get_by_test_id("bench-row").first.wait_for()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Light theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_storage_may_be_blocked(new_page: Callable[..., Any], served: Served) -> None:
    page = new_page("about:blank")
    page.add_init_script(BLOCK_STORAGE)
    page.goto(served.playground)
    page.get_by_test_id("bench-row").first.wait_for()
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Close the hint").click()
    expect(page.get_by_test_id("hint")).to_have_count(0)
    page.get_by_test_id("text").fill("Still typing")
    expect(page.get_by_test_id("bench")).to_have_attribute("data-query", "1")
    assert page.evaluate(STORAGE) == "SecurityError"


def test_nothing_moves_by_itself_where_motion_is_unwelcome(page: Any) -> None:
    page.get_by_test_id("query-handle").press("ArrowLeft")
    expect(page.get_by_test_id("chip")).to_be_visible()
    page.get_by_role("button", name="Export").click()
    assert page.evaluate(MOVING) == []


def test_only_the_server_is_ever_asked(new_page: Callable[..., Any], served: Served) -> None:
    page = new_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(served.playground)
    page.get_by_test_id("bench-row").first.wait_for()
    page.get_by_role("button", name="Keys and colours").click()
    page.keyboard.press("Escape")
    page.get_by_test_id("cache-line").click()
    expect(page.get_by_test_id("sharing")).to_be_visible()
    host = served.address.removeprefix("http://")
    assert len(asked) >= 4
    for url in asked:
        assert url.startswith((f"http://{host}/", f"ws://{host}/ws")), url
