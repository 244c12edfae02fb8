"""A state handed on: as a link that opens it again, as lines of Python that print the same numbers."""

import ast
import base64
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from reading import (
    READ,
    change_head,
    change_key,
    chip,
    click_token,
    differing,
    expect_numbers,
    open_head,
    shown_at,
    take_example,
)

import qkvlab
from qkvlab.edits import Ablate, Mute, SwapValue

TEXT = "😀 In France they speak French. In Italy they speak"
HEAD = "23.4"
LINE = re.compile(r"^ *(-?[\d.]+) +(?:(-?[\d.]+) +)?('.*'|\".*\")$", re.MULTILINE)


@pytest.fixture
def edited(page: Any, smollm2: Any) -> dict[str, Any]:
    """The page in a state of many parts, and the numbers that the library says it shows."""
    take_example(page, "A value that turns the answer")
    page.get_by_test_id("text").fill(TEXT)
    trace = smollm2.trace(TEXT)
    italy, france, last = trace.tokens.index(" Italy"), trace.tokens.index(" France"), len(trace) - 1
    click_token(page, " speak", nth=1)
    click_token(page, " France", shift=True)
    expect_numbers(page, shown_at(HEAD, last, trace))
    change_key(page, italy)
    page.get_by_test_id("mute-head").click()
    for _ in range(4):
        chip(page, "mute").get_by_role("slider").press("PageDown")
    change_key(page, italy)
    page.get_by_test_id("swap").select_option(str(france))
    acting = [Mute(where=HEAD, key=italy, strength=0.6), SwapValue(kv_head="23.1", token=italy, source=france)]
    change_head(page, "ablate-zero")
    expect_numbers(page, shown_at(HEAD, last, trace.with_edits([*acting, Ablate(where=HEAD)]), trace))
    chip(page, "ablate").get_by_role("switch").click()
    expected = shown_at(HEAD, last, trace.with_edits(acting), trace)
    expect_numbers(page, expected)
    return expected


def share(page: Any) -> str:
    page.get_by_role("button", name="Share", exact=True).click()
    expect(page.get_by_text("Link copied")).to_be_visible()
    link: str = page.evaluate("() => navigator.clipboard.readText()")
    return link


def chosen(page: Any) -> dict[str, Any]:
    """The state as a person sees it: text, key of interest, chips with strength and switch, followed answers."""
    chips = chip(page)
    return {
        "text": page.get_by_test_id("text").input_value(),
        "key": page.locator("[data-testid=bench-row].interest").get_attribute("data-key"),
        "chips": chips.get_by_role("button", expanded=False).all_text_contents(),
        "strengths": chips.get_by_role("slider").evaluate_all("(sliders) => sliders.map((slider) => slider.value)"),
        "on": [switch.is_checked() for switch in chips.get_by_role("switch").all()],
        "tracked": page.locator("[data-testid=tracked] [data-token]").evaluate_all(
            "(rows) => rows.map((row) => row.dataset.token)"
        ),
    }


def test_a_link_opens_the_same_state(
    page: Any, edited: dict[str, Any], new_page: Callable[..., Any], smollm2: Any
) -> None:
    before = chosen(page)
    assert before["strengths"] == ["60", "100", "100"]
    assert before["on"] == [True, True, False]
    assert before["tracked"] == [" Italian", " French"]
    link = share(page)
    other = new_page(link)
    expect_numbers(other, edited)
    assert chosen(other) == before

    take_example(page, "A list")
    page.wait_for_selector("[data-testid=bench][data-head='17.5']")
    page.evaluate("(link) => (location.href = link)", link)
    expect_numbers(page, edited)
    assert chosen(page) == before

    other.get_by_test_id("text").press("Control+Home")
    other.keyboard.insert_text("So ")
    trace = smollm2.trace("So " + TEXT)
    italy, france = trace.tokens.index(" Italy"), trace.tokens.index(" France")
    acting = [Mute(where=HEAD, key=italy, strength=0.6), SwapValue(kv_head="23.1", token=italy, source=france)]
    expect_numbers(other, shown_at(HEAD, len(trace) - 1, trace.with_edits(acting), trace))
    chip(other, "ablate").get_by_role("switch").click()
    expect_numbers(other, shown_at(HEAD, len(trace) - 1, trace.with_edits([*acting, Ablate(where=HEAD)]), trace))


def test_a_damaged_link_says_so_and_the_page_works(page: Any, new_page: Callable[..., Any], smollm2: Any) -> None:
    link = share(page)
    damages = {
        link[: len(link) // 2]: "the link is damaged: part of it may be missing",
        link.replace("#1.", "#9."): "the link is not one of this version of the page",
        link.replace("#1.", "#1.<b>"): "the link has characters that belong to no link",
    }
    for damaged, said in damages.items():
        other = new_page(damaged)
        expect(other.get_by_text(said)).to_be_visible()
        other.get_by_test_id("text").fill("It works")
        trace = smollm2.trace("It works")
        expect_numbers(other, shown_at("13.8", len(trace) - 1, trace))


def written(state: dict[str, Any]) -> str:
    """A link as somebody else might write it."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(json.dumps(state).encode()) + packer.flush()
    return "1." + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def test_a_link_to_what_is_not_here_says_so_and_the_page_works(
    served: Any, new_page: Callable[..., Any], smollm2: Any
) -> None:
    state = {"model": "smollm2", "text": "It works", "special": True, "head": "13.8", "pinned": None, "query": None}
    state |= {"key": None, "edits": [], "tracked": [], "atEnd": False}
    weights = smollm2.trace("It works")
    unknown = new_page(f"{served.playground}#{written({**state, 'model': 'no-such-model'})}")
    expect(unknown.get_by_test_id("error")).to_contain_text("no-such-model")
    expect_numbers(unknown, shown_at("13.8", len(weights) - 1, weights))
    other = new_page(f"{served.playground}#{written({**state, 'head': '99.9'})}")
    expect(other.get_by_text("smollm2 has no head 99.9: 0.0 is open")).to_be_visible()
    expect_numbers(other, shown_at("0.0", len(weights) - 1, weights))


# ---- as Python


def run_copied(page: Any, folder: Path) -> str:
    """What the copied lines print, in a process and a folder of their own."""
    page.get_by_role("button", name="copy as Python").click()
    dialog = page.get_by_role("dialog", name="copy as Python")
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("status")).to_have_text("Copied")
    code = page.evaluate("() => navigator.clipboard.readText()")
    (folder / "copied.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(qkvlab.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run(
        [sys.executable, "copied.py"], cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def printed_numbers(printed: str) -> tuple[dict[str, float], list[float]]:
    """The probabilities by word, and the weights, of what the lines print."""
    rows = LINE.findall(printed)
    answers = {ast.literal_eval(word): float(number) for number, logit, word in rows if logit}
    return answers, [float(number) for number, logit, _ in rows if not logit]


def test_copied_python_prints_the_numbers_of_the_page(page: Any, edited: dict[str, Any], tmp_path: Path) -> None:
    shown = page.evaluate(READ)
    answers, weights = printed_numbers(run_copied(page, tmp_path))
    assert len(answers) == 5
    assert answers == pytest.approx({word: shown[f"after {word}"] for word in answers}, abs=1e-5)
    assert weights == pytest.approx([shown[f"weight #{key}"] for key in range(len(weights))], abs=1e-5)
    assert not differing(shown, edited)


def test_copied_python_for_the_first_visit(page: Any, smollm2: Any, tmp_path: Path) -> None:
    open_head(page, "5.6")
    trace = smollm2.trace(page.get_by_test_id("text").input_value())
    query = trace.tokens.index(" it")
    expect_numbers(page, shown_at("5.6", query, trace))
    shown = page.evaluate(READ)
    printed = run_copied(page, tmp_path)
    assert "5.6 from ' it'" in printed
    answers, weights = printed_numbers(printed)
    assert answers == pytest.approx({word: shown[f"after {word}"] for word in answers}, abs=1e-5)
    assert weights[: query + 1] == pytest.approx([shown[f"weight #{key}"] for key in range(query + 1)], abs=1e-5)
