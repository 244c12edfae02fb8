"""A text typed, pasted, composed and taken back: the page follows, and never touches what the person writes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from reading import PATIENCE, chip, click_token, expect_numbers, shown_at, token_spot
from records import eventually

SENTENCE = "The cat drank because it was thirsty"
HEAD = "13.8"
RECORD = """() => {
  const area = document.querySelector('[data-testid=text]');
  window.frames_seen = [];
  const look = () => (window.frames_seen.push([area.value, area.selectionEnd]), requestAnimationFrame(look));
  look();
}"""


@pytest.fixture
def text(page: Any) -> Any:
    """The text area, emptied as a person empties it."""
    area = page.get_by_test_id("text")
    area.click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    return area


def last(trace: Any) -> int:
    return len(trace) - 1


def caret(area: Any) -> int:
    return int(area.evaluate("(area) => area.selectionEnd"))


def test_weights_follow_what_is_typed(page: Any, text: Any, smollm2: Any) -> None:
    page.evaluate(RECORD)
    page.keyboard.type(SENTENCE, delay=30)
    trace = smollm2.trace(SENTENCE)
    expect_numbers(page, shown_at(HEAD, last(trace), trace))
    expect(text).to_have_value(SENTENCE)
    for value, end in page.evaluate("() => window.frames_seen"):
        assert SENTENCE.startswith(value), "the page changed what was typed"
        assert end == len(value), "the page moved the caret"


def test_typing_in_the_middle_keeps_the_caret_there(page: Any, text: Any, smollm2: Any) -> None:
    page.keyboard.type("The cat sat")
    for _ in range(len(" cat sat")):
        page.keyboard.press("ArrowLeft")
    page.keyboard.type(" old", delay=30)
    trace = smollm2.trace("The old cat sat")
    expect_numbers(page, shown_at(HEAD, trace.tokens.index(" old"), trace))
    expect(text).to_have_value("The old cat sat")
    assert caret(text) == len("The old")


def test_a_replaced_word_stays_the_query(page: Any, smollm2: Any) -> None:
    click_token(page, " it")
    page.mouse.dblclick(*token_spot(page, " it"))
    page.keyboard.type("he", delay=30)
    trace = smollm2.trace(SENTENCE.replace(" it ", " he "))
    expect_numbers(page, shown_at(HEAD, trace.tokens.index(" he"), trace))


def test_a_token_is_chosen_while_the_answer_is_on_its_way(
    new_page: Callable[..., Any], served: Any, smollm2: Any
) -> None:
    page, held, release = new_page("about:blank"), [], []

    def between(socket: Any) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda message: socket.send(message) if release else held.append((socket, message)))

    release.append("until something is typed")
    page.route_web_socket("**/ws", between)
    page.goto(served.playground)
    page.wait_for_selector("[data-testid=bench-row]")
    page.get_by_test_id("text").press("Control+Home")
    release.clear()
    page.keyboard.type("Well, ")
    click_token(page, " cat")
    release.append("now")
    for socket, message in held:
        socket.send(message)
    trace = smollm2.trace("Well, " + SENTENCE)
    expect_numbers(page, shown_at(HEAD, trace.tokens.index(" cat"), trace))


def test_escape_follows_the_last_typed_token_again(page: Any, text: Any, smollm2: Any) -> None:
    page.keyboard.type(SENTENCE)
    click_token(page, " cat")
    trace = smollm2.trace(SENTENCE)
    expect_numbers(page, shown_at(HEAD, trace.tokens.index(" cat"), trace))
    text.press("End")
    page.keyboard.type(" now")
    longer = smollm2.trace(SENTENCE + " now")
    expect_numbers(page, shown_at(HEAD, longer.tokens.index(" cat"), longer))
    page.keyboard.press("Escape")
    expect_numbers(page, shown_at(HEAD, last(longer), longer))


def test_pasting_undoing_and_replacing_all(page: Any, text: Any, smollm2: Any) -> None:
    page.keyboard.type("A dog barks")
    typed, pasted, replaced = (smollm2.trace(t) for t in ("A dog barks", "Birds sing at dawn", "Now"))
    expect_numbers(page, shown_at(HEAD, last(typed), typed))
    page.evaluate("(text) => navigator.clipboard.writeText(text)", "Birds sing at dawn")
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+v")
    expect_numbers(page, shown_at(HEAD, last(pasted), pasted))
    page.keyboard.press("Control+z")
    expect(text).to_have_value("A dog barks")
    expect_numbers(page, shown_at(HEAD, last(typed), typed))
    page.keyboard.press("Control+Shift+z")
    expect_numbers(page, shown_at(HEAD, last(pasted), pasted))
    page.keyboard.press("Control+a")
    page.keyboard.type("Now")
    expect_numbers(page, shown_at(HEAD, last(replaced), replaced))


def test_undo_brings_back_a_text_that_was_emptied(page: Any, smollm2: Any) -> None:
    trace = smollm2.trace(SENTENCE)
    expected = shown_at(HEAD, trace.tokens.index(" it"), trace)
    expect_numbers(page, expected)
    page.get_by_test_id("text").press("Control+a")
    page.keyboard.press("Delete")
    expect(page.get_by_test_id("bench-row")).to_have_count(0, timeout=PATIENCE)
    page.keyboard.press("Control+z")
    expect_numbers(page, expected)


# ---- input methods


class Wire:
    """A page from its very beginning, and the texts of which it asked the server."""

    def __init__(self, page: Any, address: str) -> None:
        self.asked: list[str] = []
        self.answered = 0
        page.on("websocket", self._listen)
        page.goto(address)
        page.wait_for_selector("[data-testid=bench-row]")

    def rests(self) -> None:
        """Nothing is on its way: what is asked next is sent at once."""
        assert self.answered == len(self.asked)

    def _listen(self, socket: Any) -> None:
        socket.on("framesent", lambda frame: self.asked.append(json.loads(frame).get("text", "")))
        socket.on("framereceived", self._note)

    def _note(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            self.answered += json.loads(frame)["part"] in ("done", "error", "dropped")


def compose(page: Any, steps: list[str], committed: str) -> None:
    """As an input method does: what stands underlined while it composes, and what it leaves in the end."""
    session = page.context.new_cdp_session(page)
    area = page.get_by_test_id("text")
    before = area.input_value()
    for step in steps:
        session.send("Input.imeSetComposition", {"text": step, "selectionStart": len(step), "selectionEnd": len(step)})
        expect(area).to_have_value(before + step)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    session.send("Input.insertText", {"text": committed})


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        ("Un caf", [(["´"], "é")]),
        ("", [(["n", "に", "にほ", "にほん", "日本"], "日本"), (["ご", "語"], "語")]),
    ],
    ids=["dead key", "Japanese"],
)
def test_composing_is_left_in_peace(
    new_page: Callable[..., Any], served: Any, smollm2: Any, start: str, parts: list[tuple[list[str], str]]
) -> None:
    page = new_page("about:blank")
    wire = Wire(page, served.playground)
    area = page.get_by_test_id("text")
    area.fill(start)
    area.press("End")
    whole, finished = start, {start}
    for steps, committed in parts:
        eventually(page, wire.rests)
        compose(page, steps, committed)
        whole += committed
        finished.add(whole)
        expect(area).to_have_value(whole)
    # Rows that came one at a time add their float32 sums in other groups: the library is given the same texts in turn.
    texts = [start, *(start + "".join(committed for _, committed in parts[: n + 1]) for n in range(len(parts)))]
    *_, trace = [smollm2.trace(text).run() for text in texts if text]
    expect_numbers(page, shown_at(HEAD, last(trace), trace))
    assert caret(area) == len(whole)
    assert set(wire.asked[wire.asked.index(start) :]) <= finished, "asked about a text that was still being composed"
    assert whole in wire.asked


# ---- texts of every kind


def test_token_ranges_over_emoji_and_right_to_left(page: Any, text: Any, smollm2: Any) -> None:
    typed = "Hi 👩‍🚀 שלום there 😀 it"
    text.fill(typed)
    trace = smollm2.trace(typed)
    expect_numbers(page, shown_at(HEAD, last(trace), trace))
    pieces = page.locator(".backdrop .token").all_text_contents()
    assert "".join(pieces) == typed
    for word in ("ל", "ו", " there", " it"):
        assert word in pieces
        click_token(page, word)
        expect_numbers(page, shown_at(HEAD, trace.tokens.index(word), trace))


def test_the_parts_of_a_character_are_tokens_of_their_own(page: Any, text: Any, smollm2: Any) -> None:
    page.keyboard.insert_text("So it")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.insert_text("😀")
    trace = smollm2.trace("So 😀it")
    parts = [at for at, token in enumerate(trace.tokens) if "😀" in token]
    assert len(parts) > 1
    expect_numbers(page, shown_at(HEAD, parts[-1], trace))
    tokens = page.get_by_test_id("tokens")
    tokens.focus()
    for part in parts:
        for key in ("Home", *["ArrowRight"] * part, "Enter"):
            tokens.press(key)
        expect_numbers(page, shown_at(HEAD, part, trace))
    tokens.press("m")
    expect(chip(page)).to_contain_text(f'mute "{trace.tokens[parts[-1]]}" in {HEAD}')


def test_an_empty_text_invites(page: Any, text: Any, smollm2: Any) -> None:
    expect(text).to_have_value("")
    expect(text).to_have_attribute("placeholder", "Type a sentence, or take an example.")
    expect(page.get_by_test_id("bench-row")).to_have_count(0, timeout=PATIENCE)
    expect(page.get_by_test_id("error")).to_have_count(0)
    page.keyboard.type("Hello")
    trace = smollm2.trace("Hello")
    expect_numbers(page, shown_at(HEAD, last(trace), trace))


def test_a_text_over_the_limit_says_what_is_shown(page: Any, text: Any, smollm2: Any) -> None:
    text.fill("word " * 2100)
    notice = page.get_by_test_id("too-long")
    expect(notice).to_have_text(
        "The text has 2,101 tokens; at most 2,048 are traced. Shown: the first 2,048.", timeout=2 * PATIENCE
    )
