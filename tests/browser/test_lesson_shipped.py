"""The lessons as they are shipped: every instrument shows the model's own numbers, its tasks can be failed and met."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from test_access import AXE, findings

import qkvlab
from qkvlab import circuits, residual
from qkvlab.edits import Ablate, Tie
from qkvlab.model import Model
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


def test_a_start_token_is_left_behind_with_the_model_that_has_it(page: Any) -> None:
    page.get_by_test_id("start").check()
    expect(page.get_by_test_id("bench-row")).to_have_count(6)
    page.get_by_role("button", name="Model: ").click()
    page.get_by_role("menuitemradio", name="MiniLM").click()
    expect(page.get_by_test_id("bench-badge")).to_contain_text("MiniLM")
    expect(page.get_by_role("alert")).to_have_count(0)
