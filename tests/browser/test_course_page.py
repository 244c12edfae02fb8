"""The course's pages: the map, the way to a lesson and back by keyboard, progress, themes, narrow windows."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from courses import give_course
from playwright.sync_api import expect
from records import exported
from test_access import AXE, findings

from serving import Served

BLOCKED = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def course(new_page: Callable[..., Any], served: Served) -> Callable[..., Any]:
    """Open an address of the course."""

    def open_at(path: str = "/", before: str | None = None, **options: Any) -> Any:
        page = new_page("about:blank", **options)
        give_course(page)
        if before:
            page.add_init_script(before)
        page.goto(served.address + path)
        return page

    return open_at


def press_to(page: Any, key: str, selector: str) -> None:
    """Press a key until what the selector means has the focus."""
    for _ in range(80):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not reach {selector}")


def test_from_the_map_to_a_lesson_and_back_by_keyboard(course: Callable[..., Any]) -> None:
    page = course()
    expect(page.get_by_test_id("featured")).to_be_visible()
    expect(page).to_have_title("Course · QKV Lab")
    press_to(page, "Tab", "[data-testid=featured]")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/lesson/22$"))
    heading = page.get_by_role("heading", level=1, name="Q, K, V: the projections")
    expect(heading).to_be_focused()
    expect(page).to_have_title("Q, K, V: the projections · QKV Lab")
    press_to(page, "Tab", "main a[href$='/lesson/12']")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Attention modalities")).to_be_focused()
    page.go_back()
    expect(heading).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="The Transformer")).to_be_focused()
    page.go_forward()
    expect(heading).to_be_focused()


def test_the_map_brings_no_script_of_the_playground(course: Callable[..., Any], served: Served) -> None:
    page = course()
    expect(page.get_by_test_id("featured")).to_be_visible()
    names = page.evaluate("() => performance.getEntriesByType('resource').map(({ name }) => name)")
    assert not [name for name in names if "Playground" in name or "Lesson" in name]
    page.get_by_role("navigation").get_by_role("link", name="Playground").click()
    page.wait_for_selector("[data-testid=bench-row]")
    page.get_by_role("navigation").get_by_role("link", name="Course").click()
    expect(page.get_by_test_id("featured")).to_be_visible()
    page.go_back()
    expect(page.get_by_test_id("bench-row").first).to_be_visible()


def test_links_of_old_open_the_playground(page: Any, new_page: Callable[..., Any], served: Served) -> None:
    page.get_by_test_id("heads-grid").press("ArrowDown")
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_text("Link copied").wait_for()
    fragment = page.evaluate("() => navigator.clipboard.readText()").partition("#")[2]
    other = new_page(f"{served.address}/#{fragment}")
    expect(other.get_by_test_id("bench")).to_have_attribute("data-head", "14.8")
    assert exported(other)["state"]["head"] == "14.8"


def test_completion_survives_a_reload_and_shows_on_the_map(course: Callable[..., Any]) -> None:
    page = course("/lesson/22")
    page.get_by_test_id("complete").click()
    page.reload()
    expect(page.get_by_test_id("complete")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Course").click()
    expect(page.locator("[data-module='22']").get_by_test_id("done")).to_be_visible()
    expect(page.get_by_test_id("progress")).to_have_text("1 of 3 completed")
    page.get_by_role("button", name="Reset progress").click()
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_test_id("done")).to_have_count(0)
    page.reload()
    expect(page.get_by_test_id("progress")).to_have_text("0 of 3 completed")


def test_where_storage_is_blocked_progress_lasts_as_long_as_the_page(course: Callable[..., Any]) -> None:
    page = course("/lesson/22", before=BLOCKED)
    expect(page.get_by_test_id("kept")).to_contain_text("keeps no data")
    page.get_by_test_id("complete").click()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Course").click()
    expect(page.get_by_test_id("progress")).to_have_text("1 of 3 completed")
    expect(page.get_by_test_id("blocked")).to_be_visible()


def test_a_lesson_that_does_not_exist_says_so(course: Callable[..., Any]) -> None:
    page = course("/lesson/99")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no lesson 99 in this edition.")
    page.get_by_role("link", name="To the course map").click()
    expect(page.get_by_test_id("featured")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(course: Callable[..., Any], theme: str) -> None:
    page = course(color_scheme=theme)
    expect(page.get_by_test_id("featured")).to_be_visible()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert findings(page) == []
    page.get_by_test_id("featured").click()
    page.get_by_test_id("cards").get_by_role("button", name="drank").click()
    page.locator("#flows").scroll_into_view_if_needed()
    page.get_by_label("mute").check()
    expect(page.get_by_test_id("answer")).to_have_attribute("data-change", "mute")
    page.locator("#ask").scroll_into_view_if_needed()
    page.get_by_label("the value", exact=True).check()
    page.get_by_role("button", name="Check").click()
    assert findings(page) == []
    page.get_by_role("button", name="Present").click()
    expect(page.get_by_test_id("presenter")).to_be_visible()
    assert findings(page) == []


@pytest.mark.parametrize("width", [390, 1024])
def test_narrow_windows_need_no_scrolling_sideways(course: Callable[..., Any], width: int) -> None:
    page = course(viewport={"width": width, "height": 844})
    expect(page.get_by_test_id("featured")).to_be_visible()
    assert page.evaluate(OVERFLOW) == 0
    page.get_by_test_id("featured").click()
    page.get_by_test_id("cards").get_by_role("button", name="drank").click()
    page.locator("#flows").scroll_into_view_if_needed()
    page.get_by_label("swap").check()
    expect(page.get_by_test_id("answer")).to_have_attribute("data-change", "swap")
    page.locator("#papers").scroll_into_view_if_needed()
    assert page.evaluate(OVERFLOW) == 0
