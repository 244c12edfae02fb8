"""Edits made on the page: the numbers before and after are the library's, and every step can be taken back."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from reading import (
    change_head,
    change_key,
    chip,
    click_token,
    expect_numbers,
    open_head,
    shown_at,
    take_example,
    token_spot,
)

from qkvlab.edits import Ablate, AimQuery, Edit, Mute, ScaleScores, ShareKV, StopRotation, Strengthen, SwapValue, Tie

CAT = "The cat drank because it was thirsty"
ITALY = "In France they speak French. In Italy they speak"
HEAD = "23.4"


@pytest.fixture
def italy(page: Any) -> Any:
    """The page on the second example: 23.4, the last token, its key " Italy"."""
    take_example(page, "A value that turns the answer")
    page.wait_for_selector(f"[data-testid=bench][data-head='{HEAD}']")
    return page


@pytest.fixture
def expect_edited(page: Any, smollm2: Any) -> Callable[..., None]:
    """Wait for the numbers of the last token, or another, before and after these edits."""

    def expect_state(*edits: Edit, text: str = ITALY, head: str = HEAD, query: int | None = None) -> None:
        before = smollm2.trace(text)
        after = before.with_edits(edits) if edits else before
        expect_numbers(page, shown_at(head, len(before) - 1 if query is None else query, after, before))

    return expect_state


def mute_italy(page: Any) -> None:
    change_key(page, 7)
    page.get_by_test_id("mute-head").click()


def swap_for_france(page: Any) -> None:
    change_key(page, 7)
    page.get_by_test_id("swap").select_option(label='1: " France"')


def aim_at_france(page: Any) -> None:
    click_token(page, " France", shift=True)
    handle = page.get_by_role("button", name="Key  France")
    box = handle.bounding_box()
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def add(page: Any, kind: str, fields: dict[str, str]) -> None:
    """An edit from the tray's form: what it is, and what is filled in."""
    page.get_by_role("button", name="add an edit").click()
    form = page.get_by_test_id("add-edit")
    kinds = form.get_by_label("What")
    kinds.select_option(
        label=next(name for name in kinds.locator("option").all_text_contents() if name.startswith(kind))
    )
    for label, value in fields.items():
        form.get_by_label(label).fill(value)
    form.get_by_role("button", name="Add").click()


MUTED = Mute(where=HEAD, key=7)
TURNS: dict[str, tuple[Callable[[Any], None], Edit]] = {
    "mute": (mute_italy, MUTED),
    "swap": (swap_for_france, SwapValue(kv_head="23.1", token=7, source=1)),
    "aim": (aim_at_france, AimQuery(head=HEAD, query=9, key=1)),
}


@pytest.mark.parametrize("way", TURNS)
def test_three_ways_to_turn_the_answer(italy: Any, smollm2: Any, expect_edited: Callable[..., None], way: str) -> None:
    act, edit = TURNS[way]
    act(italy)
    expect_edited(edit)
    first = italy.get_by_test_id("prediction").get_by_role("button").first
    expect(first).to_have_attribute("data-token", " French")
    if way == "mute":
        assert float(first.get_attribute("data-after")) == pytest.approx(0.63, abs=0.01)
    expect(italy.get_by_test_id("truth")).to_contain_text("The answer turns from Italian to French.")


def test_tying_and_ablating_a_head(page: Any, smollm2: Any, expect_edited: Callable[..., None]) -> None:
    it = smollm2.trace(CAT).tokens.index(" it")
    change_head(page, "tie")
    expect_edited(Tie(where="13.8"), text=CAT, head="13.8", query=it)
    own = page.locator(f"[data-testid=bench-row][data-key='{it}']").get_by_test_id("weight")
    assert float(own.get_attribute("data-full")) == pytest.approx(0.94, abs=0.005)
    change_head(page, "ablate-zero")
    expect_edited(Tie(where="13.8"), Ablate(where="13.8"), text=CAT, head="13.8", query=it)


def test_a_value_is_swapped_for_all_who_read_it(italy: Any, expect_edited: Callable[..., None]) -> None:
    open_head(italy, "16.2")
    italy.wait_for_selector("[data-testid=bench][data-head='16.2']")
    swap_for_france(italy)
    expect_edited(SwapValue(kv_head="16.0", token=7, source=1), head="16.2")
    expect(chip(italy)).to_contain_text("read by 16.0, 16.1, 16.2")


def test_edits_of_every_kind_compose(italy: Any, expect_edited: Callable[..., None]) -> None:
    def row_menu(choice: str) -> None:
        change_key(italy, 7)
        italy.get_by_test_id(choice).click()

    steps: list[tuple[Callable[[], None], Edit]] = [
        (
            lambda: add(italy, "share K/V heads", {"From layer": "28", "up to layer": "29"}),
            ShareKV(first_layer=28, last_layer=29),
        ),
        (lambda: row_menu("mute-query"), Mute(where=HEAD, key=7, query=9)),
        (lambda: row_menu("mute-layer"), Mute(where="23", key=7)),
        (lambda: row_menu("weaken"), Strengthen(where=HEAD, query=9, key=7, amount=-2.0)),
        (lambda: change_head(italy, "stop-rotation"), StopRotation(where=HEAD)),
        (lambda: change_head(italy, "scale-0.5"), ScaleScores(where=HEAD, factor=0.5)),
        (lambda: change_head(italy, "ablate-mean"), Ablate(where=HEAD, to="mean")),
    ]
    for n, (act, _) in enumerate(steps, 1):
        act()
        expect_edited(*(edit for _, edit in steps[:n]))
        expect(chip(italy)).to_have_count(n)


# ---- taking back, and how strong


def test_undo_redo_and_reset(italy: Any, expect_edited: Callable[..., None]) -> None:
    mute_italy(italy)
    change_head(italy, "ablate-zero")
    both = (MUTED, Ablate(where=HEAD))
    expect_edited(*both)
    italy.get_by_role("button", name="undo").click()
    expect_edited(MUTED)
    italy.keyboard.press("Control+z")
    expect_edited()
    expect(chip(italy)).to_have_count(0)
    italy.get_by_role("button", name="redo").click()
    italy.keyboard.press("Control+Shift+z")
    expect_edited(*both)
    italy.get_by_role("button", name="reset").click()
    expect_edited()
    italy.get_by_role("button", name="undo").click()
    expect_edited(*both)
    chip(italy, "mute").get_by_role("button", name="Remove").click()
    expect_edited(Ablate(where=HEAD))


def test_an_edit_is_switched_and_weakened(italy: Any, expect_edited: Callable[..., None]) -> None:
    mute_italy(italy)
    expect_edited(MUTED)
    switch = chip(italy).get_by_role("switch")
    switch.click()
    expect(switch).not_to_be_checked()
    expect_edited()
    switch.click()
    expect(switch).to_be_checked()
    slider = chip(italy).get_by_role("slider")
    for _ in range(5):
        slider.press("PageDown")
    expect(chip(italy)).to_contain_text("50 %")
    expect_edited(Mute(where=HEAD, key=7, strength=0.5))
    italy.get_by_role("button", name="undo").click()
    expect_edited(MUTED)


# ---- what does not act


def test_an_edit_that_changes_nothing_says_so(italy: Any, expect_edited: Callable[..., None]) -> None:
    add(italy, "scale scores", {"Factor": "1"})
    expect(chip(italy, "scores × 1").get_by_role("status")).to_have_text("no change")
    mute_italy(italy)
    expect(chip(italy, "mute")).to_be_visible()
    expect_edited(MUTED)
    expect(chip(italy, "mute").get_by_role("status")).to_have_count(0)
    chip(italy, "mute").get_by_role("slider").press("Home")
    expect(chip(italy, "mute").get_by_role("status")).to_have_text("no change")
    expect_edited()


def test_an_edit_that_cannot_act_says_why(italy: Any, expect_edited: Callable[..., None]) -> None:
    add(italy, "share K/V heads", {"K/V heads left": "2"})
    expect(chip(italy).get_by_role("status")).to_have_text("share-kv: 3 K/V heads cannot be shared as 2")
    mute_italy(italy)
    expect_edited(MUTED)


# ---- the text changes under an edit


@pytest.mark.parametrize("typed", ["Yesterday, ", "🙂🙂 "])
def test_an_edit_follows_its_token(italy: Any, smollm2: Any, expect_edited: Callable[..., None], typed: str) -> None:
    mute_italy(italy)
    expect_edited(MUTED)
    area = italy.get_by_test_id("text")
    area.press("Control+Home")
    for character in typed:
        italy.keyboard.insert_text(character)
    italy_at = smollm2.trace(typed + ITALY).tokens.index(" Italy")
    assert italy_at > 7
    expect_edited(Mute(where=HEAD, key=italy_at), text=typed + ITALY)


def test_an_edit_waits_for_its_token(italy: Any, expect_edited: Callable[..., None]) -> None:
    mute_italy(italy)
    expect_edited(MUTED)
    italy.mouse.dblclick(*token_spot(italy, " Italy"))
    italy.keyboard.press("Delete")
    expect(italy.get_by_test_id("text")).to_have_value(ITALY.replace("Italy", ""))
    expect(chip(italy).get_by_role("status")).to_have_text("waits for its token")
    expect(chip(italy)).to_have_class(re.compile("idle"))
    italy.keyboard.type("Spain")
    click_token(italy, " speak", nth=1)
    expect_edited(text=ITALY.replace("Italy", "Spain"))
    expect(chip(italy).get_by_role("status")).to_have_text("waits for its token")
    undo_in_text(italy, ITALY)
    expect_edited(MUTED)
    expect(chip(italy).get_by_role("status")).to_have_count(0)


def undo_in_text(page: Any, text: str) -> None:
    """Control+Z in the text area until it reads so: one step or several, as the browser groups what was typed."""
    area = page.get_by_test_id("text")
    for _ in range(10):
        if area.input_value() == text:
            return
        area.press("Control+z")
    expect(area).to_have_value(text)
