"""The lessons as they are shipped: every instrument shows the model's own numbers, its tasks can be failed and met."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from records import eventually
from test_access import AXE, findings

import qkvlab
from qkvlab import circuits, residual
from qkvlab.edits import Ablate, Tie
from qkvlab.model import Model
from qkvlab.server.app import PAGE
from serving import Served

CAT = "The cat drank because it was thirsty"
ITALY = "In France they speak French. In Italy they speak"
LESSONS = sorted(path.stem for path in (Path(qkvlab.__file__).parent / "course" / "lessons").glob("*.md"))


@pytest.fixture
def read(new_page: Callable[..., Any], served: Served) -> Callable[..., Any]:
    """Open a lesson, and wait until all its instruments are there."""

    def open_lesson(module: str = "22", **options: Any) -> Any:
        page = new_page(f"{served.address}/lesson/{module}", **options)
        expect(page.locator("[data-instrument]").first).to_be_attached()
        for instrument in page.locator("[data-instrument]").all():
            instrument.scroll_into_view_if_needed()
            expect(instrument.locator("h4")).to_be_visible()
        return page

    return open_lesson


def instrument(page: Any, name: str) -> Any:
    found = page.locator(f"[data-instrument={name}]")
    found.scroll_into_view_if_needed()
    return found


@pytest.mark.parametrize("module", LESSONS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_lesson_is_whole_and_for_everyone(read: Callable[..., Any], module: str, theme: str) -> None:
    page = read(module, color_scheme=theme)
    expect(page.locator("[data-instrument] [role=alert]")).to_have_count(0)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert findings(page) == []


@pytest.mark.parametrize("width", [1024, 390, 360])
def test_nothing_sticks_out(read: Callable[..., Any], width: int) -> None:
    page = read(viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.get_by_test_id("formula").evaluate_all("(all) => all.map((one) => one.scrollWidth - one.clientWidth)")
    assert boxes == [0, 0, 0]


def test_the_voice_is_there_and_goes_on(read: Callable[..., Any]) -> None:
    page = read()
    seconds = page.evaluate("fetch('/course/22.json').then((answer) => answer.json()).then((x) => x.narration.seconds)")
    page.get_by_test_id("play").click()
    time = page.get_by_test_id("time")
    expect(time).to_have_text(re.compile(r"^0:0[2-9] / "), timeout=20_000)
    minutes, rest = time.inner_text().split(" / ")[1].split(":")
    assert 60 * int(minutes) + int(rest) == pytest.approx(seconds, abs=1)
    expect(page.locator(".spoken")).to_have_count(1)


def test_the_residual_at_every_layer(read: Callable[..., Any], smollm2: Model) -> None:
    shown = instrument(read(), "residual")
    cosines = residual.residual_path(smollm2.trace(CAT), 4)["cosine"]
    for layer in (0, 13, 30):
        shown.get_by_role("slider").fill(str(layer))
        value = float(shown.get_by_test_id("at").get_attribute("data-cosine"))
        assert value == pytest.approx(float(cosines[layer]), abs=1e-5)


def test_no_later_word_moves_a_weight(read: Callable[..., Any]) -> None:
    page = read()
    shown, task = instrument(page, "later"), page.get_by_test_id("challenge").first
    assert "not yet" in task.inner_text()
    for name in ("was cold today", "had just slept", ", the dog, ran"):
        shown.get_by_role("button", name=name).click()
        expect(shown.get_by_test_id("verdict")).to_have_attribute("data-difference", "0")
        page.wait_for_timeout(1200)
    expect(shown.get_by_test_id("why")).to_be_visible()
    expect(task).to_contain_text("✓")


def test_the_tied_head_is_the_librarys(read: Callable[..., Any], smollm2: Model) -> None:
    shown = instrument(read(), "tie")
    shown.get_by_role("checkbox").check()
    weights = smollm2.trace(CAT, edits=[Tie(where="13.8")]).weights("13.8")[4]
    cells = shown.get_by_test_id("weight")
    expect(cells.nth(4)).to_have_text(f"{weights[4]:.2f}")
    expect(shown.get_by_test_id("verdict")).to_contain_text('Tied, it looks most at " it" (0.94)')


def test_heads_off_are_the_librarys(read: Callable[..., Any], smollm2: Model) -> None:
    shown = instrument(read(), "heads")
    shown.get_by_role("button", name="23.4", exact=True).click()
    trace = smollm2.trace(ITALY, edits=[Ablate(where="23.4")])
    p = {word: share for word, share, _ in qkvlab.predict(trace, top=20)}[" Italian"]
    expect(shown.locator("tr[data-token=' Italian'] b")).to_have_text(f"{100 * p:.1f} %")


def test_symmetry_is_the_librarys(read: Callable[..., Any], smollm2: Model) -> None:
    shown = instrument(read(), "symmetry").get_by_test_id("symmetry-says")
    expected = circuits.symmetries(smollm2)
    layer, head = np.unravel_index(expected.argmax(), expected.shape)
    expect(shown).to_have_attribute("data-head", f"{layer}.{head}")
    assert float(shown.get_attribute("data-value")) == pytest.approx(float(expected.max()), abs=1e-5)


def test_the_toy_can_be_failed_and_won(read: Callable[..., Any]) -> None:
    page = read()
    shown, task = instrument(page, "toy"), page.get_by_test_id("challenge").nth(1)
    verdict = shown.get_by_test_id("toy-verdict")
    expect(verdict).to_have_attribute("data-passed", "false")
    shown.get_by_label("Tie them").check()
    for _ in range(6):
        shown.get_by_role("button", name="W_q, row 1").press("Shift+ArrowLeft")
    expect(verdict).to_have_attribute("data-passed", "false")
    assert "✓" not in task.inner_text()
    shown.get_by_label("Tie them").uncheck()
    shown.get_by_role("button", name="Start again").click()
    for _ in range(6):
        shown.get_by_role("button", name="W_q, row 2").press("Shift+ArrowRight")
    expect(verdict).to_have_attribute("data-passed", "true")
    expect(task).to_contain_text("✓")


def blocks_of(module: str) -> list[dict[str, Any]]:
    """The blocks of a lesson as the build compiles it."""
    lesson = json.loads((PAGE / "course" / f"{module}.json").read_text("utf-8"))
    return [block for section in lesson["sections"] for step in section["steps"] for block in step["blocks"]]


def test_every_task_of_the_shipped_lessons_is_held_here() -> None:
    tasks = {
        module: [block["instrument"] for block in blocks_of(module) if block["kind"] == "challenge"]
        for module in LESSONS
    }
    assert tasks == {"12": [], "12a": ["shared"], "22": ["later", "toy"]}
    asked = {module: sum(block["kind"] == "question" for block in blocks_of(module)) for module in LESSONS}
    assert asked == {"12": 3, "12a": 3, "22": 5}


@pytest.mark.parametrize("module", LESSONS)
def test_every_question_says_why_not_and_why(read: Callable[..., Any], module: str) -> None:
    page = read(module)
    asked = [block for block in blocks_of(module) if block["kind"] == "question"]
    shown = page.get_by_test_id("question")
    expect(shown).to_have_count(len(asked))
    for n, question in enumerate(asked):
        here = shown.nth(n)
        expect(here).to_have_attribute("data-state", "open")
        if question["instrument"]:
            continue
        check = here.get_by_role("button", name="Check")
        expect(check).to_be_disabled()
        for place, why in enumerate(question["wrong"]):
            if place == question["right"]:
                continue
            assert why
            here.get_by_role("radio").nth(place).check()
            check.click()
            expect(here).to_have_attribute("data-state", "wrong")
            expect(here.get_by_role("status")).to_have_text(f"Not this one. {why} Choose again.")
        here.get_by_role("radio").nth(question["right"]).check()
        expect(here).to_have_attribute("data-state", "open")
        check.click()
        expect(here).to_have_attribute("data-state", "right")
        expect(here.get_by_role("status")).to_have_text(f"Right. {question['because']}")
    page.get_by_test_id("complete").click()
    page.reload()
    expect(page.get_by_test_id("complete")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-testid=question][data-state=right]")).to_have_count(0)


def test_the_question_that_the_toy_answers(read: Callable[..., Any]) -> None:
    page = read()
    question = page.get_by_test_id("question").last
    expect(question).to_have_attribute("data-state", "open")
    question.get_by_role("link").click()
    shown = page.locator("[data-instrument=toy]")
    expect(shown).to_be_in_viewport()
    pull = shown.get_by_role("button", name="W_q, row 2")
    for _ in range(3):
        pull.press("Shift+ArrowLeft")
    expect(shown.get_by_test_id("toy-verdict")).to_have_attribute("data-passed", "false")
    expect(question).to_have_attribute("data-state", "open")
    for _ in range(9):
        pull.press("Shift+ArrowRight")
    expect(shown.get_by_test_id("toy-verdict")).to_have_attribute("data-passed", "true")
    expect(question).to_have_attribute("data-state", "right")
    expect(question.get_by_role("status")).to_contain_text("two bases")
    for _ in range(9):
        pull.press("Shift+ArrowLeft")
    expect(shown.get_by_test_id("toy-verdict")).to_have_attribute("data-passed", "false")
    expect(question).to_have_attribute("data-state", "right")


def test_the_scores_of_the_won_toy(read: Callable[..., Any]) -> None:
    shown = instrument(read(), "toy")
    for _ in range(6):
        shown.get_by_role("button", name="W_q, row 2").press("Shift+ArrowRight")
    x = np.array([[1.5, 0.5], [0.5, 1.5], [-0.8, 1.0]])
    w_q = np.array([[1.0, 0.0], [3.0, 1.0]])
    scores = shown.locator("td[data-score]").evaluate_all("(cells) => cells.map(({ dataset }) => +dataset.score)")
    np.testing.assert_allclose(np.reshape(scores, (3, 3)), (x @ w_q) @ x.T, atol=1e-9)


def test_what_is_no_try_does_not_count(read: Callable[..., Any]) -> None:
    page = read()
    shown, task = instrument(page, "later"), page.get_by_test_id("challenge").first
    rest = shown.get_by_role("textbox")
    rest.fill("self was thirsty")
    expect(shown.get_by_test_id("verdict")).to_contain_text("This changes the word itself")
    page.wait_for_timeout(1200)
    expect(shown).to_contain_text("tried: 0 of 3")
    for name in ("was cold today", "was thirsty", "was cold today"):
        shown.get_by_role("button", name=name).click()
        expect(shown.get_by_test_id("verdict")).to_have_attribute("data-difference", "0")
        page.wait_for_timeout(1200)
    expect(shown).to_contain_text("tried: 1 of 3")
    expect(task).to_contain_text("not yet passed")
    expect(shown.get_by_test_id("why")).to_have_count(0)


@pytest.mark.parametrize("text, query", [(CAT, 4), ("The girl told the boy that she", 6)])
def test_the_catalogue_of_the_lesson_is_the_librarys(
    read: Callable[..., Any], smollm2: Model, text: str, query: int
) -> None:
    shown = instrument(read(), "catalogue")
    if text != CAT:
        shown.get_by_role("button", name=text).click()
    cards, verdict = shown.get_by_test_id("cards"), shown.get_by_test_id("verdict")
    weights = smollm2.trace(text).weights("13.8")[query]
    top = int(weights.argmax())
    for guess, said in ((0, "You said"), (top, "Right")):
        expect(cards.get_by_role("button")).to_have_count(query + 1)
        cards.get_by_role("button").nth(guess).click()
        expect(verdict).to_contain_text(said)
        expect(verdict).to_contain_text(f"{weights[top]:.2f}")
        full = cards.get_by_test_id("weight").evaluate_all("(cells) => cells.map(({ dataset }) => +dataset.full)")
        np.testing.assert_allclose(full, weights[: query + 1], atol=1e-5)
        shown.get_by_role("button", name="Predict again").click()


@pytest.mark.parametrize("query", [4, 0, 6])
def test_the_sum_for_any_token_is_the_librarys(read: Callable[..., Any], smollm2: Model, query: int) -> None:
    shown = instrument(read(), "sum")
    token = smollm2.trace(CAT).tokens[query]
    shown.get_by_role("group").get_by_role("button").nth(query).click()
    expect(shown.locator("caption")).to_contain_text(f'for "{token}"')
    writes, _ = residual.layer_writes(smollm2.trace(CAT), 13, query)
    out = writes["out"]
    along = writes["heads"] @ out / np.linalg.norm(out)
    for head in range(9):
        row = shown.locator("tbody tr").nth(head).locator(".number")
        assert float(row.first.inner_text().replace("−", "-")) == pytest.approx(along[head], abs=6e-4)
        size = np.linalg.norm(writes["heads"][head])
        assert float(row.last.inner_text()) == pytest.approx(size, rel=6e-3)


@pytest.mark.parametrize("query", [3, 2, 8])
def test_heads_off_behind_any_token(read: Callable[..., Any], smollm2: Model, query: int) -> None:
    shown = instrument(read(), "heads")
    buttons = shown.get_by_role("group").get_by_role("button")
    expect(buttons.nth(9)).to_have_attribute("aria-pressed", "true")
    buttons.nth(query).click()
    shown.get_by_role("button", name="23.4", exact=True).click()
    expect(shown.get_by_test_id("off")).to_have_attribute("data-fresh", "true")
    expect(buttons.nth(query)).to_have_attribute("aria-pressed", "true")
    expect(shown.get_by_role("group").get_by_role("button", pressed=True)).to_have_count(1)
    after = smollm2.trace(ITALY, edits=[Ablate(where="23.4")])
    for trace, cell in ((smollm2.trace(ITALY), "td >> nth=1"), (after, "b")):
        shares = {word: share for word, share, _ in qkvlab.predict(trace, query, top=trace.spec.n_vocab)}
        for word in (" Italian", " French"):
            expect(shown.locator(f"tr[data-token='{word}']").locator(cell)).to_have_text(f"{percent(shares[word])} %")


def percent(share: float) -> str:
    """As the page writes it."""
    return f"{100 * share:.1f}" if share >= 0.0005 else "<0.1"


def test_the_mask_and_the_cache_of_the_short_modules(read: Callable[..., Any], smollm2: Model) -> None:
    page = read("12")
    shown = instrument(page, "masks")
    page.locator("[data-sentence]").filter(has_text="The second model is another kind").click()
    weights = smollm2.trace(CAT).weights("16.0")
    expect(shown.get_by_test_id("masks-says")).to_contain_text("gives no weight to words after it")
    cells = shown.locator("td[data-weight]").evaluate_all("(cells) => cells.map(({ dataset }) => +dataset.weight)")
    np.testing.assert_allclose(cells, weights[np.tril_indices(7)], atol=1e-5)
    for row in (0, 5):
        shown.get_by_test_id("grid").get_by_role("button").nth(row).click()
        expect(shown.get_by_test_id("grid").get_by_role("button", pressed=True)).to_have_count(1)
        expect(shown.get_by_test_id("masks-says")).to_contain_text(f"hides {6 - row} of them")
    for name, head in (("SmolLM2", "16.0"), ("all-MiniLM", "2.8")):
        shown.get_by_role("radio", name=name).check()
        expect(shown.get_by_text(f"Head {head}: each row is a query")).to_be_visible()
    page = read("12a")
    shown = page.locator("[data-instrument=cache]").last
    heads, goal, task = (shown.get_by_test_id(name) for name in ("field-kv_heads", "cache-goal", "cache-says"))
    challenge = page.get_by_test_id("challenge")
    heads.fill("5")
    expect(shown.get_by_test_id("cache-wrong")).to_contain_text("cannot be shared out evenly")
    heads.fill("8")
    expect(task).to_contain_text("4 times smaller")
    assert shown.locator("tr.now td[data-bytes]").first.get_attribute("data-bytes") == str(2 * 32 * 8 * 128 * 2)
    expect(goal).to_have_attribute("data-met", "false")
    page.locator("[data-sentence]").filter(has_text="If all 32 read one").click()
    expect(goal).to_have_attribute("data-met", "true")
    expect(challenge).to_contain_text("not yet")
    heads.fill("32")
    shown.get_by_test_id("field-layers").fill("2")
    expect(task).to_contain_text("256 MiB")
    expect(goal).to_have_attribute("data-met", "false")
    shown.get_by_test_id("field-layers").fill("32")
    expect(challenge).to_contain_text("not yet")
    heads.fill("2")
    expect(goal).to_have_attribute("data-met", "true")
    expect(challenge).to_contain_text("✓")


def test_a_symbol_of_a_formula_leads_to_where_it_is_shown(read: Callable[..., Any]) -> None:
    page = read()
    projection = page.locator("[data-formula=projection] math[display]")
    hats = instrument(page, "hats").locator(".hats button")
    for symbol, hat in (("Wk", 1), ("Wv", 2), ("Wq", 0)):
        projection.locator(f"[data-symbol={symbol}]").first.click()
        expect(hats.nth(hat)).to_have_attribute("aria-pressed", "true")
        expect(hats.nth(hat)).to_be_in_viewport()


SET = """() => {
  const one = (selector) => document.querySelector(selector);
  const off = document.querySelectorAll('[data-instrument=heads] button.off');
  const hats = [...document.querySelectorAll('[data-instrument=hats] .hats button')];
  return {
    residual: one('[data-instrument=residual] input').value,
    hats: hats.findIndex((hat) => hat.ariaPressed === 'true'),
    catalogue: [one('[data-instrument=catalogue] input').value, one('[data-testid=cards]')?.dataset.shown],
    flow: one('[data-instrument=flow] input:checked')?.value,
    heads: [...off].map((button) => button.innerText),
    toy: one('[data-instrument=toy] input').checked,
    tie: one('[data-instrument=tie] input').checked,
    sharing: one('[data-instrument=sharing] input').value,
  };
}"""
HATS = ("query", "key", "value")


def settings_at(sentence: int) -> dict[str, Any]:
    """What the cues up to a sentence say, as `SET` reads it."""
    lesson = json.loads((PAGE / "course" / "22.json").read_text("utf-8"))
    instruments = {block["id"]: dict(block["settings"]) for block in blocks_of("22") if block["kind"] == "instrument"}
    for cue in lesson["cues"]:
        if cue["sentence"] <= sentence:
            instruments[cue["instrument"]] |= cue["set"]
    return {
        "residual": str(instruments["residual"]["layer"]),
        "hats": HATS.index(instruments["hats"]["hat"]),
        "catalogue": [instruments["catalogue"]["text"], str(instruments["catalogue"]["reveal"]).lower()],
        "flow": instruments["flow"]["change"],
        "heads": instruments["heads"]["off"],
        "toy": instruments["toy"]["tied"],
        "tie": instruments["tie"]["tied"],
        "sharing": str(instruments["sharing"]["shared"]),
    }


def test_every_cue_of_the_lesson_is_in_force_from_sentence_to_sentence(read: Callable[..., Any]) -> None:
    page = read()
    expect(page.get_by_test_id("shared")).to_be_visible(timeout=60_000)
    sentences = len(json.loads((PAGE / "course" / "22.json").read_text("utf-8"))["narration"]["sentences"])
    for at in range(sentences):
        page.get_by_role("button", name="Next sentence").click()
        expect(page.locator(".spoken")).to_have_attribute("data-sentence", str(at))
        eventually(page, lambda at=at: _set_as(page, at))  # type: ignore[misc]
    for at in (109, 70, 53, 42, 5):
        page.locator(f"[data-sentence='{at}']").click()
        eventually(page, lambda at=at: _set_as(page, at))  # type: ignore[misc]


def _set_as(page: Any, sentence: int) -> None:
    assert page.evaluate(SET) == settings_at(sentence)


def test_a_grab_in_the_lesson_pauses_and_resume_puts_all_of_it_back(read: Callable[..., Any]) -> None:
    page = read()
    expect(page.get_by_test_id("shared")).to_be_visible(timeout=60_000)
    page.locator("[data-sentence='109']").click()
    page.get_by_test_id("play").click()
    instrument(page, "tie").get_by_role("checkbox").uncheck()
    player = page.get_by_test_id("player")
    expect(player).to_have_attribute("data-playing", "false")
    expect(player).to_have_attribute("data-held", "true")
    held = int(page.locator(".spoken").get_attribute("data-sentence"))
    instrument(page, "flow").get_by_label("mute").first.check()
    instrument(page, "sharing").get_by_role("slider").fill("3")
    instrument(page, "residual").get_by_role("slider").fill("29")
    instrument(page, "catalogue").get_by_role("button", name="The cat drank the milk").click()
    page.get_by_role("button", name="Resume").click()
    page.get_by_test_id("play").click()
    assert int(page.locator(".spoken").get_attribute("data-sentence")) in (held, held + 1)
    expect(player).to_have_attribute("data-held", "false")
    eventually(page, lambda: _set_as(page, 109))


def test_a_start_token_is_left_behind_with_the_model_that_has_it(page: Any) -> None:
    page.get_by_test_id("start").check()
    expect(page.get_by_test_id("bench-row")).to_have_count(6)
    page.get_by_role("button", name="Model: ").click()
    page.get_by_role("menuitemradio", name="MiniLM").click()
    expect(page.get_by_test_id("bench-badge")).to_contain_text("MiniLM")
    expect(page.get_by_role("alert")).to_have_count(0)
