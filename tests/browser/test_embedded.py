"""The playground inside a lesson: it starts when it comes near, it is the real one, and it keeps to itself."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from reading import expect_numbers, open_head, shown_at
from test_access import AXE, findings
from test_surroundings import STICKING_OUT

from qkvlab.model import Model
from serving import Served

CAT = "The cat drank because it was thirsty"
IT = 4
REFUSED = "() => { Element.prototype.requestFullscreen = () => Promise.reject(new TypeError('refused')); }"
STORED = "Object.keys(localStorage).sort().join()"


@pytest.fixture
def lesson(new_page: Callable[..., Any], served: Served) -> Callable[..., Any]:
    """Open the lesson at its beginning, and say what sockets it opens."""

    def open_lesson(**options: Any) -> Any:
        page = new_page("about:blank", **options)
        page.sockets = opened = []
        page.on("websocket", lambda socket: opened.append(socket))
        page.goto(f"{served.address}/lesson/22")
        expect(page.locator("[data-instrument]").first.locator("h4")).to_be_visible()
        return page

    return open_lesson


def playground(page: Any) -> Any:
    """Scroll to it, and wait until it shows the model's numbers."""
    page.locator("[data-instrument=playground]").scroll_into_view_if_needed()
    element = page.locator("[data-instrument=playground] iframe")
    frame = element.element_handle().content_frame()
    frame.wait_for_selector("[data-testid=bench-row]")
    frame.wait_for_selector("[data-testid=words-blend]")  # the last to come; what stands below moves down for it
    return frame


def at_end(frame: Any) -> Any:
    """The text, with the caret behind its last character."""
    text = frame.get_by_test_id("text")
    text.focus()
    text.press("End")
    return text


def test_it_starts_when_it_comes_near(lesson: Callable[..., Any], smollm2: Model) -> None:
    page = lesson()
    assert len(page.frames) == 1
    assert len(page.sockets) == 1
    frame = playground(page)
    trace = smollm2.trace(CAT)
    expect_numbers(frame, shown_at("13.8", IT, trace, at=len(trace.tokens) - 1))
    assert len(page.sockets) == 2
    assert page.evaluate("document.activeElement === document.body")


def test_a_typed_character_and_nothing_else_moves(lesson: Callable[..., Any], smollm2: Model) -> None:
    page = lesson()
    frame = playground(page)
    address, stored, length = page.url, page.evaluate(STORED), page.evaluate("history.length")
    player = page.get_by_test_id("player")
    at_end(frame)
    for key in (" ", "t", "o", "d", "a", "y", "ArrowLeft", "ArrowRight", "?"):
        page.keyboard.press(key)
    trace = smollm2.trace(f"{CAT} today?")
    expect_numbers(frame, shown_at("13.8", IT, trace, at=len(trace.tokens) - 1))
    open_head(frame, "16.5")
    expect_numbers(frame, shown_at("16.5", IT, trace, at=len(trace.tokens) - 1))
    frame.get_by_test_id("query-handle").press("ArrowRight")
    expect(frame.get_by_test_id("chip")).to_have_count(1)
    expect(player).to_have_attribute("data-playing", "false")
    expect(page.locator(".spoken")).to_have_count(0)
    after = (page.url, page.evaluate(STORED), page.evaluate("history.length"))
    assert after == (address, stored, length)


def test_a_hand_stops_the_voice_and_resume_puts_all_back(lesson: Callable[..., Any]) -> None:
    page = lesson()
    frame = playground(page)
    player = page.get_by_test_id("player")
    page.get_by_test_id("play").click()
    expect(player).to_have_attribute("data-playing", "true")
    playground(page)
    at_end(frame)
    page.wait_for_timeout(500)
    expect(player).to_have_attribute("data-playing", "true")
    page.keyboard.press("!")
    expect(player).to_have_attribute("data-playing", "false")
    expect(player).to_have_attribute("data-held", "true")
    expect(frame.get_by_test_id("text")).to_have_value(f"{CAT}!")
    page.get_by_role("button", name="Resume").click()
    expect(frame.get_by_test_id("text")).to_have_value(CAT)
    expect(player).to_have_attribute("data-playing", "true")


def test_a_drag_stops_the_voice_before_it_ends(lesson: Callable[..., Any]) -> None:
    page = lesson(viewport={"width": 1440, "height": 1600})
    frame = playground(page)
    page.get_by_test_id("play").click()
    player = page.get_by_test_id("player")
    expect(player).to_have_attribute("data-playing", "true")
    handle = frame.get_by_test_id("query-handle")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    expect(player).to_have_attribute("data-playing", "false")
    expect(frame.get_by_test_id("chip")).to_have_count(0)
    page.mouse.up()
    expect(frame.get_by_test_id("chip")).to_have_count(1)


def test_full_screen_and_back(lesson: Callable[..., Any]) -> None:
    page = lesson()
    frame = playground(page)
    page.get_by_role("button", name="Open full screen").click()
    expect(page.locator(".whole:fullscreen")).to_be_visible()
    assert frame.evaluate("innerWidth") == 1440
    at_end(frame).press("!")
    page.get_by_role("button", name="Leave full screen").click()
    expect(page.locator(":fullscreen")).to_have_count(0)
    expect(frame.get_by_test_id("text")).to_have_value(f"{CAT}!")


def test_where_full_screen_is_refused_the_playgrounds_page_opens(lesson: Callable[..., Any]) -> None:
    page = lesson()
    frame = playground(page)
    link = page.get_by_test_id("playground-link")
    before = link.get_attribute("href")
    at_end(frame).press("!")
    expect(link).not_to_have_attribute("href", before)
    page.evaluate(REFUSED)
    page.get_by_role("button", name="Open full screen").click()
    expect(page.get_by_test_id("text")).to_have_value(f"{CAT}!")
    assert "/playground#1." in page.url


def test_the_link_takes_the_state_along_and_the_connections_close(lesson: Callable[..., Any], smollm2: Model) -> None:
    page = lesson()
    frame = playground(page)
    at_end(frame).press("!")
    open_head(frame, "16.5")
    trace = smollm2.trace(f"{CAT}!")
    expected = shown_at("16.5", IT, trace, at=len(trace.tokens) - 1)
    expect_numbers(frame, expected)
    sockets = list(page.sockets)
    assert [socket.is_closed() for socket in sockets] == [False, False]
    page.get_by_test_id("playground-link").click()
    expect_numbers(page, expected)
    expect(page.get_by_test_id("text")).to_have_value(f"{CAT}!")
    assert [socket.is_closed() for socket in sockets] == [True, True]
    assert len(page.frames) == 1


def test_each_side_hears_only_the_other(lesson: Callable[..., Any]) -> None:
    page = lesson()
    frame = playground(page)
    link = page.get_by_test_id("playground-link")
    first = link.get_attribute("href")
    at_end(frame).press("!")
    expect(link).not_to_have_attribute("href", first)
    then = link.get_attribute("href")
    for part in (page, frame):
        part.evaluate("state => postMessage({ state }, location.origin)", first.split("#")[1])
    page.wait_for_timeout(500)
    expect(link).to_have_attribute("href", then)
    expect(frame.get_by_test_id("text")).to_have_value(f"{CAT}!")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_for_everyone_in_the_lessons_theme(lesson: Callable[..., Any], theme: str) -> None:
    page = lesson(color_scheme="dark" if theme == "light" else "light")
    frame = playground(page)
    page.get_by_role("button", name=f"{theme.capitalize()} theme").click()
    expect(frame.locator("html")).to_have_attribute("data-theme", theme)
    for part in (page, frame):
        part.evaluate(AXE.read_text(encoding="utf-8"))
        assert findings(part) == []


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_nothing_sticks_out(lesson: Callable[..., Any], width: int) -> None:
    page = lesson(viewport={"width": width, "height": 844})
    for part in (page, playground(page)):
        assert part.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert part.evaluate(STICKING_OUT) == []


def test_in_front_of_a_room(lesson: Callable[..., Any]) -> None:
    page = lesson()
    page.get_by_role("button", name="Present").click()
    screen = page.get_by_test_id("presenter")
    expect(screen).to_be_visible()
    while page.locator("[data-instrument=playground]").count() == 0:
        page.get_by_role("button", name="Next →").click()
    stop = screen.get_attribute("data-stop")
    frame = playground(page)
    at_end(frame)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("!")
    expect(frame.get_by_test_id("text")).to_have_value(f"{CAT[:-1]}!{CAT[-1]}")
    expect(screen).to_have_attribute("data-stop", stop)


def test_opened_by_itself_it_is_an_ordinary_page(new_page: Callable[..., Any], served: Served) -> None:
    page = new_page(f"{served.address}/playground?embedded")
    page.wait_for_selector("[data-testid=bench-row]")
    expect(page.get_by_role("button", name="Share", exact=True)).to_be_visible()
