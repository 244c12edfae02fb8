"""One head sent as one file: opened without a network it shows the library's numbers, and dragging it still works."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from reading import change_head, change_key, chip, click_token
from records import bench, close_to, eventually, expect_head, expect_weights, export, go_to, predicted, use_example
from test_access import AXE, findings
from test_models_page import SENTENCE as RIVER
from test_models_page import choose_model

from qkvlab.edits import Ablate, AimQuery, Edit, Mute, ShiftKey, ShiftQuery, SwapValue, edit_from_dict
from qkvlab.effects import prediction
from qkvlab.trace import Trace

CAT = "The cat drank because it was thirsty"
ITALY = "In France they speak French. In Italy they speak"
HOSTILE = "</script><!-- <script>document.title = 'x'</script> $& %title% %kept% \"'&amp; it"
KINDS = [AimQuery, ShiftQuery, ShiftKey, SwapValue, Ablate, Mute]
FLOATS = ("strength", "margin")
LARGEST = 700_000
"""Bytes for a short sentence."""

Opener = Callable[..., Any]


@pytest.fixture
def open_file(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    """Open a saved file as a double click does, with the network off. What it asks for or complains of fails."""
    contexts, asked, complaints = [], [], []

    def opened(path: Path, **options: Any) -> Any:
        settings = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**settings, offline=True)
        contexts.append(context)
        page = context.new_page()
        alone = tmp_path / path.name
        alone.write_bytes(path.read_bytes())
        address = alone.as_uri()
        page.on("request", lambda request: None if request.url == address else asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(address)
        page.wait_for_selector("[data-testid=bench-row]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not asked, asked
    assert not complaints, complaints


def sent(page: Any) -> Path:
    """The file that the page saves of what is on screen."""
    return export(page, "Send one file")


def places(trace: Trace, plain: Trace, head: str, query: int) -> Any:
    """z in the plane of the two main directions of the unedited values that the query sees, signs left out."""
    at = trace.spec.head(head)
    last = query + 1 if trace.spec.causal else len(trace)
    values = plain.v(at.layer)[trace.spec.kv_head(at)][:last].astype(np.float64)
    mean = values.mean(axis=0)
    axes = np.linalg.svd(values - mean, full_matrices=False)[2][:2]
    return np.abs(axes @ (trace.z(at.layer)[at.head, query].astype(np.float64) - mean))


def expect_library(page: Any, trace: Trace, plain: Trace, head: str, query: int) -> None:
    """The bench's weights and the size of the write, and z's place in the blend plane's table, are the library's."""
    expect_weights(page, trace.weights(head)[query])

    def check() -> None:
        seen = page.get_by_test_id("blend-twin").locator("tbody tr:not([data-key])").first.locator("[data-value]")
        z = np.abs([float(cell.get_attribute("data-value")) for cell in seen.all()])
        np.testing.assert_allclose(z, places(trace, plain, head, query), atol=1e-5, rtol=1e-5)
        length = float(page.get_by_test_id("bench-blend").locator("[data-full]").get_attribute("data-full"))
        np.testing.assert_allclose(length, np.linalg.norm(trace.write(head)[query]), atol=1e-5, rtol=1e-5)

    eventually(page, check)


def components(page: Any, width: int) -> dict[int, float]:
    """Components of z, in full, as the pointer reads them off the strip."""
    row = page.get_by_test_id("bench-blend").locator("td").nth(1).bounding_box()
    legend = page.get_by_test_id("bench-query").locator("td").last
    seen = {}
    for step in range(width):
        page.mouse.move(row["x"] + row["width"] * (step + 0.5) / width, row["y"] + row["height"] / 2)
        said = legend.inner_text()
        if said.startswith("z of"):
            at, value = said.split("component ")[1].split(": ")
            seen[int(at)] = float(value)
    return seen


def acting(page: Any) -> list[Edit]:
    """The edits that act in the file, from its own lines of Python."""
    page.get_by_role("button", name="copy as Python").click()
    code = page.get_by_test_id("python").inner_text()
    page.get_by_role("button", name="Close").click()
    inside = code.split("edits=[\n")[1].split("\n    ],")[0]
    written: list[dict[str, Any]] = eval(f"[{inside}]", {kind.__name__: plain(kind) for kind in KINDS})
    return [edit_from_dict(edit) for edit in written]


def plain(kind: type[Edit]) -> Callable[..., dict[str, Any]]:
    """Writes down how an edit is made: Python takes 3 for a float, the checks of the tests do not."""
    return lambda **fields: {
        "kind": kind.kind,
        **{name: float(x) if name in FLOATS else x for name, x in fields.items()},
    }


def winner(page: Any) -> int:
    weights = bench(page)
    return max(weights, key=lambda key: weights[key])


def test_the_file_is_one_small_page_with_the_librarys_numbers(page: Any, open_file: Opener, smollm2: Any) -> None:
    path = sent(page)
    assert path.name == "qkvlab-the-cat-drank-because-it-was-thirsty-13.8.html"
    source = path.read_text(encoding="utf-8")
    assert len(source.encode()) < LARGEST
    assert "default-src 'none'" in source
    assert not any(address in source for address in ("src=", 'href="', "@import", "url(http"))
    file = open_file(path)
    trace = smollm2.trace(CAT)
    query = trace.tokens.index(" it")
    expect_library(file, trace, trace, "13.8", query)
    z = components(file, 96)
    assert len(z) > 40
    close_to(z, trace.z(13)[8, query])
    answers = prediction(trace, trace, query, [])["rows"]
    for row, answer in zip(file.locator("[data-testid=prediction] li").all(), answers, strict=True):
        assert row.get_attribute("data-token") == answer["text"]
        assert abs(float(row.get_attribute("data-after")) - answer["after"]["p"]) < 1e-5
    expect(file.get_by_test_id("file-badge")).to_have_text("SmolLM2-135M-Instruct, Q4_1 · head 13.8")
    expect(file.get_by_test_id("file-saved")).to_contain_text("without edits")
    expect(file.get_by_test_id("about")).to_contain_text("pip install qkvlab")
    assert file.get_by_test_id("text").get_attribute("readonly") is not None


def test_another_query_is_computed_in_the_file(page: Any, open_file: Opener, smollm2: Any) -> None:
    file = open_file(sent(page))
    trace = smollm2.trace(CAT)
    click_token(file, " thirsty")
    expect(file.locator("[data-testid=bench][data-query='6']")).to_be_visible()
    expect_library(file, trace, trace, "13.8", 6)
    found = file.locator("[data-testid=arcs] tbody tr[data-token='5'] td").first
    close_to({5: float(found.inner_text())}, trace.weights("13.8")[6])


def test_dragging_by_mouse_and_by_keyboard_is_the_librarys_shift(page: Any, open_file: Opener, smollm2: Any) -> None:
    file = open_file(sent(page))
    plain = smollm2.trace(CAT)
    assert winner(file) == 1
    expect(file.get_by_test_id("truth")).to_contain_text("The answer is")
    box = file.get_by_test_id("query-handle").bounding_box()
    x, y = box["x"] + 22, box["y"] + 22
    file.mouse.move(x, y)
    file.mouse.down()
    file.mouse.move(x - 120, y + 110, steps=8)
    moving = bench(file)
    assert max(moving, key=lambda key: moving[key]) == 0
    expect(file.get_by_test_id("truth")).not_to_contain_text("The answer")
    expect(file.get_by_test_id("as-saved")).to_contain_text("before your change")
    file.mouse.up()
    expect(chip(file, "drag q")).to_have_count(1)
    expect_library(file, smollm2.trace(CAT, edits=acting(file)), plain, "13.8", 4)
    assert winner(file) == 0
    file.get_by_role("button", name="undo").click()
    expect_library(file, plain, plain, "13.8", 4)
    expect(file.get_by_test_id("as-saved")).to_contain_text("own answer")
    expect(file.get_by_test_id("truth")).to_contain_text("The answer is")

    handle = file.get_by_test_id("query-handle")
    for _ in range(40):
        handle.press("Shift+ArrowLeft")
        handle.press("Shift+ArrowDown")
        if winner(file) != 1:
            break
    handle.press("Enter")
    [shift] = acting(file)
    assert shift.kind == "shift-query"
    assert winner(file) != 1
    expect_library(file, smollm2.trace(CAT, edits=[shift]), plain, "13.8", 4)


def test_a_dragged_key_an_aim_and_a_swap_are_the_librarys_too(page: Any, open_file: Opener, smollm2: Any) -> None:
    file = open_file(sent(page))
    plain = smollm2.trace(CAT)
    key = file.get_by_test_id("key-handle")
    key.press("a")
    key.press("PageDown")
    key.press("a")
    expect(chip(file, "aim q")).to_have_count(1)
    for _ in range(6):
        key.press("Shift+ArrowUp")
    key.press("Enter")
    expect(chip(file, "drag key")).to_have_count(1)
    change_key(file, 2)
    file.get_by_test_id("swap").select_option("0")
    expect(chip(file, "hands over")).to_have_count(1)
    made = acting(file)
    assert [edit.kind for edit in made] == ["aim-query", "shift-key", "swap-value"]
    expect_library(file, smollm2.trace(CAT, edits=made), plain, "13.8", 4)


def test_an_edited_head_comes_edited_and_can_be_put_back(page: Any, open_file: Opener, smollm2: Any) -> None:
    use_example(page, "A value that turns the answer", "23.4")
    change_key(page, 7)
    page.get_by_test_id("mute-head").click()
    expect(page.get_by_test_id("prediction").locator("button").first).to_have_attribute("data-token", " French")
    answers = predicted(page)
    file = open_file(sent(page))
    plain = smollm2.trace(ITALY)
    muted = smollm2.trace(ITALY, edits=[Mute(where="23.4", key=7)])
    query = len(plain) - 1
    expect_library(file, muted, plain, "23.4", query)
    expect(file.get_by_test_id("file-saved")).to_contain_text("with 1 edit")
    expect(file.get_by_test_id("truth")).to_contain_text("turns from Italian to French")
    read = "(rows) => rows.map((row) => [row.dataset.token, +row.dataset.before, +row.dataset.after])"
    rows = file.locator("[data-testid=prediction] li").evaluate_all(read)
    assert {token: (before, after) for token, before, after in rows} == answers
    chip(file).get_by_role("switch").click()
    expect_library(file, plain, plain, "23.4", query)
    expect(file.get_by_test_id("truth")).not_to_contain_text("The answer")


def test_an_edit_below_stays_and_what_needs_the_model_is_refused(page: Any, open_file: Opener, smollm2: Any) -> None:
    go_to(page, "5.3")
    change_head(page, "ablate-zero")
    expect(chip(page, "ablate 5.3")).to_have_count(1)
    go_to(page, "13.8")
    file = open_file(sent(page))
    expect_head(file, "13.8")
    plain = smollm2.trace(CAT)
    base = Ablate(where="5.3", to="zero")
    expect_library(file, smollm2.trace(CAT, edits=[base]), plain, "13.8", 4)
    handle = file.get_by_test_id("query-handle")
    handle.press("Shift+ArrowLeft")
    handle.press("Enter")
    expect(chip(file)).to_have_count(2)
    made = acting(file)
    assert made[0] == base
    expect_library(file, smollm2.trace(CAT, edits=made), plain, "13.8", 4)
    change_key(file, 1)
    file.get_by_test_id("mute-all").click()
    expect(chip(file, "mute")).to_contain_text("needs the model")
    assert acting(file) == made
    chip(file, "ablate 5.3").get_by_role("slider").fill("50")
    expect(chip(file, "ablate 5.3")).to_contain_text("needs the model")
    expect_library(file, smollm2.trace(CAT, edits=made[1:]), plain, "13.8", 4)


def test_a_hostile_sentence_stays_a_sentence(page: Any, open_file: Opener, smollm2: Any) -> None:
    page.get_by_test_id("text").fill(HOSTILE)
    trace = smollm2.trace(HOSTILE)
    expect(page.locator(f"[data-testid=bench][data-query='{len(trace) - 1}']")).to_be_visible()
    file = open_file(sent(page))
    assert file.get_by_test_id("text").input_value() == HOSTILE
    assert file.title().startswith(HOSTILE)
    assert file.evaluate("document.scripts.length") == 2
    expect_weights(file, trace.weights("13.8")[-1])


def test_an_encoder_has_no_answer_and_says_so(page: Any, open_file: Opener, minilm: Any) -> None:
    choose_model(page, "MiniLM")
    page.get_by_test_id("text").fill(RIVER)
    go_to(page, "2.5")
    file = open_file(sent(page))
    trace = minilm.trace(RIVER)
    query = int(file.get_by_test_id("bench").get_attribute("data-query"))
    expect_library(file, trace, trace, "2.5", query)
    expect(file.get_by_test_id("why-no-prediction")).to_contain_text("predicts no next word")
    handle = file.get_by_test_id("query-handle")
    handle.press("Shift+ArrowLeft")
    handle.press("Enter")
    expect(chip(file, "drag q")).to_have_count(1)
    expect_library(file, minilm.trace(RIVER, edits=acting(file)), trace, "2.5", query)


def test_a_damaged_file_says_so(page: Any, browser: Any) -> None:
    path = sent(page)
    source = path.read_text(encoding="utf-8")
    start = source.index('octet-stream">') + len('octet-stream">')
    path.write_text(source[:start] + source[start + 4000 :], encoding="utf-8")
    context = browser.new_context(offline=True)
    try:
        file = context.new_page()
        file.goto(path.as_uri())
        expect(file.locator("body")).to_contain_text("This file is damaged")
    finally:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_file(page: Any, open_file: Opener, theme: Any) -> None:
    file = open_file(sent(page), color_scheme=theme)
    assert file.locator("html").get_attribute("data-theme") == theme
    file.evaluate(AXE.read_text(encoding="utf-8"))
    assert findings(file) == []
    file.locator("summary").click()
    handle = file.get_by_test_id("query-handle")
    handle.press("Shift+ArrowLeft")
    handle.press("Enter")
    expect(chip(file)).to_have_count(1)
    change_key(file, 1)
    assert findings(file) == []


@pytest.mark.parametrize("width", [1440, 1024, 390, 360])
def test_nothing_overflows_at_any_width(page: Any, open_file: Opener, width: int) -> None:
    file = open_file(sent(page), viewport={"width": width, "height": 844})
    assert file.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_arcs_start_at_their_token(page: Any, open_file: Opener, width: int) -> None:
    file = open_file(sent(page), viewport={"width": width, "height": 844})
    text = file.locator(".backdrop .token").nth(4).bounding_box()
    handle = file.get_by_test_id("reach-handle").bounding_box()
    assert abs(handle["x"] + 22 - text["x"] - text["width"] / 2) < 2
    assert abs(handle["y"] + 42 - text["y"]) < 2
