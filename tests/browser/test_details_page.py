"""What is easily overlooked: an edit's curve over distance, two heads side by side, fingers, small panels."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from reading import change_head, change_key, chip, open_head, take_example, token_spot
from records import eventually, heads_table

from qkvlab.edits import SwapValue
from qkvlab.effects import ablated, direct_effects, tracked_ids
from qkvlab.model import Model
from serving import Served

CAT, ITALY = "The cat drank because it was thirsty", "In France they speak French. In Italy they speak"
FIGURES = """(row) => [...row.querySelectorAll('.figure')].map(({ dataset }) => +dataset.full)"""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def at_distance(page: Any, distance: int) -> float:
    """The score that the curve over distance has there."""
    row = page.get_by_test_id("distances").locator("tbody tr").nth(distance)
    return float(row.locator("td").text_content())


def shown_score(page: Any, key: int) -> float:
    score = page.locator(f"[data-testid=bench-row][data-key='{key}'] [data-testid=score]")
    return float(score.get_attribute("data-full"))


def test_the_curve_over_distance_follows_an_edit(page: Any, smollm2: Model) -> None:
    take_example(page, "A value that turns the answer")
    page.get_by_test_id("why").locator("summary").first.click()
    page.get_by_test_id("unrotated").check()
    query, key = 9, 7
    plain = float(smollm2.trace(ITALY).scores("23.4")[query, key])

    def unedited() -> None:
        assert at_distance(page, query - key) == pytest.approx(plain, abs=1e-3)

    eventually(page, unedited)
    page.get_by_test_id("query-handle").focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowLeft")
    expect(page.get_by_test_id("bench-edited")).to_be_visible()

    def follows() -> None:
        assert at_distance(page, query - key) == pytest.approx(shown_score(page, key), abs=1e-3)
        assert at_distance(page, query - key) < plain - 1

    eventually(page, follows)
    change_head(page, "stop-rotation")
    expect(page.get_by_test_id("rotation-stopped")).to_be_visible()


def test_two_heads_stand_side_by_side(page: Any, smollm2: Model) -> None:
    take_example(page, "A value that turns the answer")
    expect(page.get_by_test_id("bench")).to_have_attribute("data-head", "23.4")
    page.get_by_test_id("pin").click()
    open_head(page, "16.2")
    pinned = page.get_by_test_id("pinned")
    expect(pinned).to_contain_text("Heads 16.2 and 23.4 side by side")
    trace, query = smollm2.trace(ITALY), 9

    def check() -> None:
        rows = pinned.locator("tbody tr").all()
        assert len(rows) == query + 1
        for key, row in enumerate(rows):
            shown = row.evaluate(FIGURES)
            for at, head in ((0, "16.2"), (3, "23.4")):
                assert shown[at] == pytest.approx(trace.scores(head)[query, key], abs=1e-5, rel=1e-5)
                assert shown[at + 1] == pytest.approx(trace.weights(head)[query, key], abs=1e-5)

    eventually(page, check)
    pinned.get_by_role("button", name="Unpin").click()
    expect(pinned).to_have_count(0)


WATCH = """() => {
  const [bench, pinned] = ['bench', 'pinned'].map((id) => `[data-testid=${id}] tr[data-key]`);
  const rows = (of) => [...document.querySelectorAll(of)];
  window.mixed = [];
  const look = () => {
    const [own, other] = [rows(bench), rows(pinned)];
    const figures = other.map((row) => [...row.querySelectorAll('.figure')].map((figure) => figure.dataset.full));
    const own_weights = own.map((row) => row.querySelector('[data-testid=weight]').dataset.full);
    const total = figures.reduce((sum, row) => sum + Number(row[4]), 0);
    const same = figures.length === own.length && figures.every((row, i) => row[1] === own_weights[i]);
    if (!same || Math.abs(total - 1) > 1e-4) window.mixed.push([own_weights, figures]);
    window.look = requestAnimationFrame(look);
  };
  look();
}"""


def test_two_heads_side_by_side_are_of_one_text_at_every_moment(page: Any) -> None:
    """The pinned one lies in the last layer: the picture waits for it, and all its weights are there and sum to 1."""
    area = page.get_by_test_id("text")
    area.press("Escape")
    open_head(page, "29.8")
    expect(page.get_by_test_id("bench")).to_have_attribute("data-head", "29.8")
    page.get_by_test_id("pin").click()
    open_head(page, "0.1")
    expect(page.get_by_test_id("pinned")).to_contain_text("Heads 0.1 and 29.8")
    area.press("Control+End")
    page.evaluate(WATCH)
    page.keyboard.type(" after the walk", delay=90)
    for _ in range(9):
        page.keyboard.press("Backspace")
        page.wait_for_timeout(90)
    page.keyboard.type(" rain", delay=90)
    expect(page.get_by_test_id("bench")).to_have_attribute("data-query", "8")
    page.wait_for_timeout(500)
    page.evaluate("() => cancelAnimationFrame(window.look)")
    assert page.evaluate("() => window.mixed") == []


def test_a_mean_in_the_place_of_z_is_no_blend(page: Any) -> None:
    expect(page.get_by_test_id("blend-state")).to_contain_text("inside")
    change_head(page, "ablate-mean")
    expect(page.get_by_test_id("blend-state")).to_contain_text("replaced")
    expect(page.get_by_test_id("bench-blend")).to_contain_text("ablated, then W_o")
    chip(page, "ablate").get_by_role("slider").press("PageDown")
    expect(page.get_by_test_id("blend-state")).to_contain_text("moved by an ablation")


def test_an_edit_that_acts_outside_the_plane_is_named(page: Any) -> None:
    notes = page.get_by_test_id("match-notes")
    expect(notes).to_contain_text("Double-click")
    change_head(page, "tie")
    expect(notes).to_contain_text("further right is not always a higher score")


def test_a_muted_key_of_a_long_text_keeps_its_row(page: Any) -> None:
    words = " ".join(f"word{n}" for n in range(12))
    page.get_by_test_id("text").fill(f"{CAT}. {words}")
    page.get_by_test_id("text").press("Escape")
    expect(page.get_by_test_id("bench-others")).to_be_visible()
    row = page.locator("[data-testid=bench-row]").nth(5)
    key = row.get_attribute("data-key")
    change_key(page, int(key))
    page.get_by_test_id("mute-head").click()
    muted = page.locator(f"[data-testid=bench-row][data-key='{key}'] [data-testid=score]")
    expect(muted).to_have_class(re.compile("struck"))
    page.locator("[data-testid=bench-row]").first.click()
    page.wait_for_timeout(300)
    expect(muted).to_have_class(re.compile("struck"))


def test_at_rest_the_sentence_says_what_the_head_is_worth(page: Any) -> None:
    take_example(page, "A value that turns the answer")
    expect(page.get_by_test_id("truth")).to_contain_text("without this head Italian goes from 93 % to 55 %")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768)])
def test_header_and_heads_have_room(new_page: Callable[..., Any], served: Served, width: int, height: int) -> None:
    page = new_page(served.playground, viewport={"width": width, "height": height})
    page.get_by_test_id("hint").get_by_role("button", name="Close").click()
    assert page.locator("main").bounding_box()["y"] < 60, "the header is one line"
    if height >= 900:
        page.wait_for_timeout(300)
        grid, tray = page.locator("canvas.heads").bounding_box(), page.locator(".tray").bounding_box()
        assert grid["y"] + grid["height"] <= tray["y"], "all layers stand above the tray"


def test_one_panel_at_a_time_and_escape_closes_it(page: Any) -> None:
    line, panel = page.get_by_test_id("cache-line"), page.get_by_test_id("cache-panel")
    line.click()
    expect(panel).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(line).to_be_focused()
    line.click()
    page.get_by_role("button", name="add an edit").click()
    expect(page.get_by_test_id("add-edit")).to_be_visible()
    expect(panel).to_have_count(0)


def test_shared_layers_are_one_edit_and_the_tray_counts_their_bytes(page: Any) -> None:
    line = page.get_by_test_id("cache-line")
    expect(line).to_contain_text("22.5 KiB a token")
    line.click()
    page.get_by_role("slider", name="layers").fill("10")
    expect(line).to_contain_text("17.5 KiB a token")
    expect(line).to_contain_text("22.5 KiB as it is")
    expect(chip(page)).to_have_count(1)
    expect(page.get_by_test_id("bench-edited")).to_contain_text("1 change")


def test_a_click_into_a_selection_chooses_its_token(page: Any) -> None:
    take_example(page, "A value that turns the answer")
    expect(page.get_by_test_id("bench")).to_have_attribute("data-query", "9")
    (x0, y0), (x1, _) = token_spot(page, " France"), token_spot(page, " French")
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y0, steps=5)
    page.mouse.up()
    page.mouse.click(*token_spot(page, " they"))
    expect(page.get_by_test_id("bench")).to_have_attribute("data-query", "2")


def test_the_query_reaches_over_two_lines(new_page: Callable[..., Any], served: Served) -> None:
    page = new_page(served.playground, viewport={"width": 390, "height": 844})
    page.get_by_test_id("bench-row").first.wait_for()
    take_example(page, "A value that turns the answer")
    expect(page.get_by_test_id("strongest")).to_contain_text("Italy")
    handle = page.get_by_test_id("reach-handle")
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(*token_spot(page, " France"), steps=5)
    page.mouse.up()
    expect(page.locator("[data-testid=bench-row].interest")).to_have_attribute("data-key", "1")


def test_a_finger_is_told_what_a_mouse_is_told(new_page: Callable[..., Any], served: Served) -> None:
    page = new_page(served.playground, **PHONE)
    page.get_by_test_id("bench-row").first.wait_for()
    toast = page.locator(".toast")
    page.get_by_test_id("bench").locator("thead th").nth(4).tap()
    expect(toast).to_have_text("The scores as shares: softmax")
    change_head(page, "tie")
    weight = page.locator("[data-testid=bench-row][data-key='1'] [data-testid=weight]")
    expect(weight).to_have_class(re.compile("changed"))
    weight.tap()
    expect(toast).to_contain_text("before the edit: 0.90")
    bench = page.get_by_test_id("bench").bounding_box()
    page.touchscreen.tap(bench["x"] + 95, bench["y"] + 110)
    expect(page.get_by_test_id("under")).to_contain_text("component")


def test_words_and_effects_keep_what_they_were_before_an_edit(page: Any, smollm2: Model) -> None:
    take_example(page, "A value that turns the answer")
    blend = page.get_by_test_id("words-blend")
    expect(blend).to_contain_text("Italian")
    expect(blend.locator(".was")).to_have_count(0)
    change_key(page, 7)
    page.get_by_test_id("swap").select_option(label='1: " France"')
    expect(blend.locator("b").first).to_have_text("France")
    expect(blend.locator(".was")).to_contain_text("before the edits: Italian")
    before = smollm2.trace(ITALY)
    after = before.with_edits([SwapValue(kv_head="23.1", token=7, source=1)])
    ids = tracked_ids(smollm2, [" Italian", " French"])
    row = heads_table(page).and_(page.locator("[data-head='23.4']"))

    def holds(column: int, was: float, now: float) -> None:
        cell = row.locator("td").nth(column)
        figures = [float(cell.get_attribute(name) or "nan") for name in ("data-before", "data-full")]
        assert figures == pytest.approx([was, now], abs=1e-3)
        assert cell.locator("s").count() == 1

    page.get_by_test_id("colour-effect").click()
    direct = [float(direct_effects(trace, 9, ids)[23, 4]) for trace in (before, after)]
    eventually(page, lambda: holds(5, *direct))
    expect(page.get_by_test_id("head-name")).to_contain_text(f"(+{direct[0]:.2f} before)")
    page.get_by_test_id("colour-ablation").click()
    row.locator("td:nth-of-type(7)[data-before]").wait_for(timeout=180_000)
    holds(6, *(ablated(trace, "23.4", 9, ids)[0] for trace in (before, after)))
