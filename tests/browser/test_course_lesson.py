"""A lesson: the voice moves the instruments, a hand stops it, and what the instruments show is the library's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from courses import give_course
from playwright.sync_api import expect
from records import eventually

import qkvlab
from qkvlab.edits import AimQuery, Edit, Mute, SwapValue
from qkvlab.model import Model
from serving import Served

CAT = "The cat drank because it was thirsty"
ITALY = "In France they speak French. In Italy they speak"
SEEN = """() => {
  window.seen = [];
  const look = () => {
    const at = document.querySelector('.spoken')?.dataset.sentence ?? '-1';
    const cards = document.querySelector('[data-testid=cards]')?.dataset.shown;
    const change = document.querySelector('[data-instrument=flow] input:checked')?.value;
    const now = [at, cards, change].join();
    if (window.seen.at(-1) !== now) window.seen.push(now);
    requestAnimationFrame(look);
  };
  look();
}"""


@pytest.fixture
def lesson(new_page: Callable[..., Any], served: Served) -> Any:
    """The lesson, both instruments on it."""
    page = new_page("about:blank", viewport={"width": 1440, "height": 2000})
    give_course(page)
    page.goto(served.address + "/lesson/22")
    expect(page.get_by_test_id("cards")).to_be_visible()
    expect(page.get_by_test_id("prediction")).to_be_visible()
    return page


def chosen(page: Any) -> Any:
    return page.locator("[data-instrument=flow] input:checked")


def test_the_voice_fires_cues_in_order(lesson: Any) -> None:
    lesson.evaluate(SEEN)
    lesson.get_by_test_id("play").click()
    player = lesson.get_by_test_id("player")
    expect(player).to_have_attribute("data-waiting", "true")
    expect(lesson.locator(".spoken")).to_have_attribute("data-sentence", "1")
    lesson.get_by_role("button", name="Go on").click()
    expect(player).to_have_attribute("data-playing", "true")
    expect(player).to_have_attribute("data-playing", "false", timeout=20_000)
    seen = lesson.evaluate("() => window.seen")
    wanted = ["-1,false,none", "0,false,none", "1,false,none", "2,true,none", "3,true,none", "4,true,none"]
    assert seen == [*wanted, "5,true,mute", "6,true,aim"]
    assert lesson.get_by_test_id("time").inner_text() == "0:04 / 0:04"


def test_the_voice_waits_for_a_prediction_and_goes_on_by_itself(lesson: Any) -> None:
    player = lesson.get_by_test_id("player")
    lesson.get_by_test_id("play").click()
    expect(player).to_have_attribute("data-waiting", "true")
    expect(player).to_contain_text("Your turn")
    expect(lesson.get_by_test_id("cards")).to_have_attribute("data-shown", "false")
    predict(lesson)
    expect(player).to_have_attribute("data-waiting", "false")
    expect(lesson.get_by_test_id("cards")).to_have_attribute("data-shown", "true")
    expect(player).to_have_attribute("data-playing", "false", timeout=20_000)
    expect(lesson.locator(".spoken")).to_have_attribute("data-sentence", "6")


def predict(lesson: Any) -> None:
    lesson.get_by_test_id("cards").get_by_role("button").first.click()


EVERY_CHOICE = """() => {
    window.seen = [];
    const look = () => {
        const now = document.querySelector('[data-instrument=flow] input:checked')?.value;
        if (now && now !== window.seen.at(-1)) window.seen.push(now);
        requestAnimationFrame(look);
    };
    look();
}"""
"""Keep, frame by frame, what is chosen: the voice goes on, and a busy machine would look too late."""


GRAB = """() => {
    const look = () => {
        const one = (which) => document.querySelector(`[data-instrument=flow] input[value=${which}]`);
        if (one('mute')?.checked) one('swap').click();
        else requestAnimationFrame(look);
    };
    look();
}"""
"""Take the instrument in the frame in which the voice has set it: half a second later it sets it again."""


def test_a_grab_pauses_and_resume_puts_everything_back(lesson: Any) -> None:
    predict(lesson)
    lesson.locator("[data-sentence='4']").click()
    lesson.evaluate(GRAB)
    lesson.get_by_test_id("play").click()
    player = lesson.get_by_test_id("player")
    expect(player).to_have_attribute("data-playing", "false")
    expect(player).to_have_attribute("data-held", "true")
    lesson.wait_for_timeout(1500)
    expect(chosen(lesson)).to_have_value("swap")
    expect(lesson.locator(".spoken")).to_have_attribute("data-sentence", "5")
    lesson.evaluate(EVERY_CHOICE)
    lesson.get_by_role("button", name="Resume").click()
    expect(player).to_have_attribute("data-held", "false")
    expect(chosen(lesson)).to_have_value("aim")
    assert lesson.evaluate("window.seen") == ["swap", "mute", "aim"]


def test_the_player_by_keyboard(lesson: Any) -> None:
    lesson.locator("h1").click()
    lesson.keyboard.press("ArrowRight")
    lesson.keyboard.press("ArrowRight")
    lesson.keyboard.press("ArrowRight")
    expect(lesson.locator(".spoken")).to_have_attribute("data-sentence", "2")
    expect(lesson.get_by_test_id("cards")).to_have_attribute("data-shown", "true")
    lesson.keyboard.press("ArrowLeft")
    expect(lesson.get_by_test_id("cards")).to_have_attribute("data-shown", "false")
    lesson.keyboard.press("Space")
    expect(lesson.get_by_test_id("player")).to_have_attribute("data-playing", "true")
    lesson.keyboard.press("Space")
    expect(lesson.get_by_test_id("player")).to_have_attribute("data-playing", "false")
    sentence = lesson.get_by_role("textbox", name="Sentence")
    sentence.press("End")
    lesson.keyboard.press("Space")
    expect(lesson.get_by_test_id("player")).to_have_attribute("data-playing", "false")
    expect(sentence).to_have_value(CAT + " ")


def test_predict_then_reveal(lesson: Any, smollm2: Model) -> None:
    cards, challenge = lesson.get_by_test_id("cards"), lesson.get_by_test_id("challenge")
    expect(cards.get_by_test_id("weight")).to_have_count(0)
    cards.get_by_role("button", name="drank").click()
    expect(lesson.get_by_test_id("verdict")).to_contain_text('You said " drank"')
    expect(challenge).to_contain_text("not yet passed")
    expected = smollm2.trace(CAT).weights("13.8")[4]
    read = "(cells) => cells.map(({ dataset }) => [+dataset.key, +dataset.full])"
    shown = dict(cards.get_by_test_id("weight").evaluate_all(read))
    np.testing.assert_allclose(list(shown.values()), expected[: len(shown)], atol=1e-5)
    assert list(shown) == [0, 1, 2, 3, 4]
    lesson.get_by_role("button", name="Predict again").click()
    expect(cards.get_by_test_id("weight")).to_have_count(0)
    cards.get_by_role("button", name="cat").click()
    expect(lesson.get_by_test_id("verdict")).to_contain_text("Right")
    expect(challenge).to_contain_text("✓ passed")


def test_another_sentence_hides_the_weights_again(lesson: Any) -> None:
    lesson.get_by_test_id("cards").get_by_role("button", name="cat").click()
    lesson.get_by_role("button", name="The girl told the boy").click()
    expect(lesson.get_by_test_id("cards")).to_have_attribute("data-shown", "false")
    lesson.get_by_test_id("cards").get_by_role("button", name="boy").click()
    expect(lesson.get_by_test_id("weight")).to_have_count(7)
    lesson.get_by_role("textbox", name="Sentence").fill("Nobody here")
    expect(lesson.locator("[data-instrument=catalogue]")).to_contain_text('There is no " she" in this sentence')


@pytest.mark.parametrize("change", ["mute", "swap", "aim"])
def test_the_value_that_flows(lesson: Any, smollm2: Model, change: str) -> None:
    tokens = smollm2.trace(ITALY).tokens
    italy, france = (qkvlab.token_index(tokens, name) for name in (" Italy", " France"))
    edits: dict[str, Edit] = {
        "mute": Mute(where="23.4", key=italy, query=len(tokens) - 1),
        "swap": SwapValue(kv_head="23.1", token=italy, source=france),
        "aim": AimQuery(head="23.4", query=len(tokens) - 1, key=france, margin=3.0),
    }
    expect(lesson.get_by_test_id("words")).to_contain_text("Italians")
    lesson.get_by_label(change).first.check()
    answer = lesson.get_by_test_id("answer")
    expect(answer).to_have_attribute("data-change", change)
    before = {word: share for word, share, _ in qkvlab.predict(smollm2.trace(ITALY))}
    after = {word: share for word, share, _ in qkvlab.predict(smollm2.trace(ITALY, edits=[edits[change]]))}
    read = "(rows) => rows.map(({ dataset }) => [dataset.token, +dataset.before, +dataset.after])"

    def shown() -> None:
        rows = lesson.get_by_test_id("prediction").locator("tbody tr").evaluate_all(read)
        found = {token: (was, now) for token, was, now in rows}
        assert abs(found[" Italian"][0] - before[" Italian"]) < 1e-4
        assert abs(found[" French"][1] - after[" French"]) < 1e-4

    eventually(lesson, shown)
    expect(answer).to_contain_text('The answer turns from " Italian"')


def test_a_question_is_answered_and_checked(lesson: Any) -> None:
    question = lesson.get_by_test_id("question")
    expect(question.get_by_role("button", name="Check")).to_be_disabled()
    question.get_by_label("the value").check()
    question.get_by_role("button", name="Check").click()
    expect(question).to_have_attribute("data-state", "wrong")
    expect(question).not_to_contain_text("A score is")
    question.get_by_label("the key").check()
    question.get_by_role("button", name="Check").click()
    expect(question).to_have_attribute("data-state", "right")
    expect(question).to_contain_text("A score is the query times a key.")


def test_formulas_lead_to_what_they_name(lesson: Any) -> None:
    formulas = lesson.get_by_test_id("formula")
    expect(formulas).to_have_count(3)
    expect(formulas.nth(1)).to_contain_text("i: the token that looks")
    link = formulas.nth(1).get_by_role("link").first
    link.focus()
    expect(formulas.nth(1).locator("math[display] .pointed").first).to_have_attribute("data-symbol", "s")
    assert link.get_attribute("href") == "#instrument-cards"
    link.press("Enter")
    expect(lesson.locator("#instrument-cards")).to_be_in_viewport()


def test_an_instrument_that_is_not_there_says_so(lesson: Any) -> None:
    missing = lesson.locator("[data-instrument=nothing-of-this-name]")
    missing.scroll_into_view_if_needed()
    expect(missing).to_contain_text("not part of this page")


def test_the_presenter_steps_through_the_cues(lesson: Any) -> None:
    lesson.get_by_role("button", name="Present").click()
    presenter = lesson.get_by_test_id("presenter")
    expect(presenter).to_have_attribute("data-stop", "0")
    expect(lesson.get_by_test_id("cards")).to_have_attribute("data-shown", "false")
    lesson.keyboard.press("ArrowRight")
    expect(lesson.get_by_test_id("cards")).to_have_attribute("data-shown", "true")
    lesson.keyboard.press("ArrowRight")
    expect(presenter.get_by_role("heading", name="The value that flows").first).to_be_visible()
    lesson.keyboard.press("ArrowRight")
    expect(chosen(lesson)).to_have_value("mute")
    lesson.keyboard.press("ArrowRight")
    expect(chosen(lesson)).to_have_value("aim")
    lesson.keyboard.press("ArrowLeft")
    expect(chosen(lesson)).to_have_value("mute")
    lesson.get_by_role("button", name="Leave").click()
    expect(presenter).to_have_count(0)
    expect(lesson.get_by_test_id("player")).to_be_visible()


def test_without_a_voice_there_is_no_player_and_sentences_set_the_instruments(
    new_page: Callable[..., Any], served: Served
) -> None:
    page = new_page("about:blank")
    give_course(page)
    page.goto(served.address + "/lesson/12")
    expect(page.get_by_test_id("cards")).to_have_attribute("data-shown", "false")
    expect(page.get_by_test_id("player")).to_have_count(0)
    page.locator("[data-sentence='1']").click()
    expect(page.get_by_test_id("cards")).to_have_attribute("data-shown", "true")
