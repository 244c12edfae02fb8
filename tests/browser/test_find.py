"""Find: a query and a key chosen in the sentence, and the heads ranked by the weight of that pair."""

from typing import Any

import pytest
from playwright.sync_api import expect
from reading import click_token, expect_numbers, open_head, shown_at, take_example

import qkvlab

CAT = "The cat drank because it was thirsty"
ITALY = "In France they speak French. In Italy they speak"


def choose(page: Any, query: str, key: str, nth: int = 0) -> None:
    """A click names the token that looks, a Shift-click the one it looks at."""
    click_token(page, query, nth)
    click_token(page, key, shift=True)


def expect_ranking(page: Any, trace: Any, query: str, key: str) -> None:
    """The chips hold the library's first five, in order and to 1e-5."""
    ranked = qkvlab.find(trace, query, key)[:5]
    chips = page.get_by_test_id("find").get_by_test_id("head-chip")
    expect(chips).to_have_text([f"{row.head} {row.weight:.2f}" for row in ranked])
    full = chips.evaluate_all("(chips) => chips.map((chip) => Number(chip.dataset.full))")
    assert full == pytest.approx([row.weight for row in ranked], abs=1e-5)


def test_find_puts_the_head_first_that_looks_hardest(page: Any, smollm2: Any) -> None:
    page.get_by_test_id("text").fill(CAT)
    choose(page, " it", " cat")
    page.get_by_test_id("colour-pair").click()
    trace = smollm2.trace(CAT)
    expect_ranking(page, trace, " it", " cat")
    first = page.get_by_test_id("find").get_by_test_id("head-chip").first
    expect(first).to_have_text("13.8 0.90")
    open_head(page, "0.0")
    expect_numbers(page, shown_at("0.0", trace.tokens.index(" it"), trace))
    first.click()
    expect_numbers(page, shown_at("13.8", trace.tokens.index(" it"), trace))


def test_find_follows_the_choice_and_the_text(page: Any, smollm2: Any) -> None:
    page.get_by_test_id("colour-pair").click()
    page.get_by_test_id("text").fill(CAT)
    choose(page, " because", " drank")
    expect_ranking(page, smollm2.trace(CAT), " because", " drank")
    take_example(page, "A value that turns the answer")
    expect_ranking(page, smollm2.trace(ITALY), "#9", " Italy")
    choose(page, " speak", " they")
    expect_ranking(page, smollm2.trace(ITALY), "#3", "#2")


def test_a_key_that_comes_later_is_not_seen(page: Any) -> None:
    choose(page, " cat", " it")
    expect(page.get_by_test_id("truth")).to_contain_text('" it" comes later and cannot be seen')


def test_a_head_is_reached_by_its_address(page: Any, smollm2: Any) -> None:
    trace = smollm2.trace(CAT)
    for typed, head in (("23.4", "23.4"), ("L16H2", "16.2"), (" l0h0 ", "0.0")):
        open_head(page, typed)
        expect_numbers(page, shown_at(head, trace.tokens.index(" it"), trace))
    open_head(page, "40.2")
    expect(page.get_by_text("No head 40.2: layers go from 0 to 29, heads from 0 to 8")).to_be_visible()


def test_the_answer_after_italy(page: Any, smollm2: Any) -> None:
    take_example(page, "A value that turns the answer")
    trace = smollm2.trace(ITALY)
    expected = shown_at("23.4", len(trace) - 1, trace)
    assert expected["after  Italian"] == pytest.approx(0.93, abs=0.01)
    expect_numbers(page, expected)
