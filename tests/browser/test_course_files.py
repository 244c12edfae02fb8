"""The course as files under a folder of any host: no server of ours, pages behind the question mark."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from courses import give_course
from playwright.sync_api import expect
from reading import change_key, expect_numbers, shown_at
from records import eventually

import qkvlab
from qkvlab.course.export import export_course, requests
from qkvlab.edits import Ablate, Mute
from qkvlab.model import Model
from qkvlab.server.app import PAGE
from qkvlab.trace import Trace

CAT = "The cat drank because it was thirsty"
ROWS = "[data-testid=bench-row]"
ITALY = "In France they speak French. In Italy they speak"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def files_of(folder: Path) -> Iterator[str]:
    """A file server that knows nothing of us."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[str]:
    """The built page in a folder below the root, marked as recorded."""
    folder = tmp_path / "some" / "folder"
    shutil.copytree(PAGE, folder)
    index = folder / "index.html"
    html = index.read_text("utf-8").replace(
        'name="qkvlab-desk" content="live"', 'name="qkvlab-desk" content="recorded"'
    )
    index.write_text(html, "utf-8")
    with files_of(tmp_path) as address:
        yield f"{address}some/folder/"


def test_a_lesson_opens_from_files_and_says_what_was_not_recorded(new_page: Callable[..., Any], hosted: str) -> None:
    page = new_page("about:blank")
    give_course(page)
    asked: list[str] = []
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(hosted)
    page.get_by_test_id("featured").click()
    expect(page.get_by_role("heading", level=1, name="Q, K, V")).to_be_visible()
    assert page.url == hosted + "?lesson=22"
    page.reload()
    expect(page.get_by_test_id("recorded")).to_be_visible()
    catalogue = page.locator("[data-instrument=catalogue]")
    expect(catalogue.get_by_role("alert")).to_contain_text("not recorded")
    expect(catalogue.get_by_role("textbox")).not_to_be_editable()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Course").click()
    assert page.url == hosted
    assert asked == []


def test_an_exported_lesson_shows_the_models_own_numbers(
    new_page: Callable[..., Any], tmp_path: Path, smollm2: Model, minilm: Model
) -> None:
    export_course(tmp_path / "site", asked=[request for request in requests() if is_told(request)])
    with files_of(tmp_path / "site") as address:
        page = new_page("about:blank")
        missing: list[str] = []
        page.on("response", lambda response: response.status >= 400 and missing.append(response.url))
        page.goto(f"{address}?lesson=22")
        flow = page.locator("[data-instrument=flow]")
        flow.scroll_into_view_if_needed()
        flow.get_by_label("mute").first.check()
        expect(flow.get_by_test_id("answer")).to_have_attribute("data-change", "mute")
        read = "(rows) => rows.map(({ dataset }) => [dataset.token, +dataset.before, +dataset.after])"
        shown = flow.locator("[data-testid=prediction] tbody tr").evaluate_all(read)
        plain = smollm2.trace(ITALY)
        last, key = len(plain) - 1, qkvlab.token_index(plain.tokens, " Italy")
        muted = smollm2.trace(ITALY, edits=[Mute(where="23.4", key=key, query=last)])
        before, after = (
            {word: p for word, p, _ in qkvlab.predict(trace, top=trace.spec.n_vocab)} for trace in (plain, muted)
        )
        assert shown[0][0] == " French"
        for word, was, now in shown:
            assert was == pytest.approx(before[word], abs=1e-5)
            assert now == pytest.approx(after[word], abs=1e-5)
        for instrument in page.locator("[data-instrument]").all():
            instrument.scroll_into_view_if_needed()
            expect(instrument.get_by_role("alert")).to_have_count(0)
        heads, sums = page.locator("[data-instrument=heads]"), page.locator("[data-instrument=sum]")
        for place in (2, 3, 9):
            heads.get_by_role("group").get_by_role("button").nth(place).click()
            expect(heads.locator("caption")).to_contain_text(f'after "{plain.tokens[place]}"')
            expect(heads.get_by_test_id("off")).to_have_attribute("data-fresh", "true")
        heads.get_by_role("button", name="23.4", exact=True).click()
        expect(heads.get_by_test_id("off")).to_have_attribute("data-fresh", "true")
        sums.get_by_role("group").get_by_role("button").nth(1).click()
        expect(sums.locator("caption")).to_contain_text('for " cat"')
        without = smollm2.trace(ITALY, edits=[Ablate(where="23.4")])
        shown = heads.locator("tr[data-token=' Italian'] b").inner_text()
        assert shown == f"{100 * _shares(without)[' Italian']:.1f} %"
        heads.get_by_label("Layer").select_option("28")
        heads.get_by_role("button", name="28.2", exact=True).click()
        expect(heads.get_by_test_id("off")).to_have_attribute("data-fresh", "true")
        heads.get_by_role("button", name="28.3", exact=True).click()
        heads.get_by_role("button", name="28.8", exact=True).click()
        heads.get_by_role("group").get_by_role("button").nth(7).click()
        expect(heads.locator("caption")).to_contain_text('after " Italy"')
        expect(heads.get_by_test_id("off")).to_have_attribute("data-fresh", "true")
        three = smollm2.trace(ITALY, edits=[Ablate(where=f"28.{head}") for head in (2, 3, 8)])
        best = qkvlab.predict(three, 7, top=1)[0]
        row = heads.locator("tr[data-token]").filter(has_text=f"{100 * best[1]:.1f} %").first
        assert row.get_attribute("data-token") == best[0]
        specialists = page.locator("[data-instrument=specialists]")
        for kind in ("position", "syntax", "pronouns"):
            specialists.get_by_role("radio", name=kind).check()
            for button in specialists.get_by_test_id("specialists").get_by_role("button").all():
                button.click()
                expect(specialists.get_by_test_id("specialist-says")).to_contain_text("gives its largest weight")
        _hear_from_the_middle(page)
        _drag_the_head(page, smollm2)
        page.goto(f"{address}?lesson=12")
        masks = page.locator("[data-instrument=masks]")
        for name, head in (("SmolLM2", "16.0"), ("all-MiniLM", "2.8")):
            masks.get_by_role("radio", name=name).check()
            expect(masks.get_by_text(f"Head {head}: each row is a query")).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)
        page.wait_for_timeout(1000)
        assert missing == []


def is_told(request: dict[str, Any]) -> bool:
    """All of an export but the sets of heads of those layers that no step of the test asks for."""
    return request.get("switched", 28) == 28


def _hear_from_the_middle(page: Any) -> None:
    """A plain file server knows no ranges: the voice starts where it was sent all the same."""
    player = page.get_by_test_id("player")
    page.locator("[data-sentence='40']").click()
    page.get_by_test_id("play").click()
    expect(player).to_have_attribute("data-playing", "true")
    page.wait_for_timeout(600)
    assert int(page.locator(".spoken").get_attribute("data-sentence")) in (40, 41)
    page.get_by_test_id("play").click()


def _drag_the_head(page: Any, smollm2: Model) -> None:
    """In the playground's place stands its head: edits are computed there, without any server."""
    element = page.locator("[data-instrument=playground] iframe")
    element.scroll_into_view_if_needed()
    frame = element.element_handle().content_frame()
    frame.wait_for_selector("[data-testid=bench-row]")
    plain = smollm2.trace(CAT)
    expect_numbers(frame, shown_at("13.8", 4, plain, at=len(plain) - 1))
    assert frame.evaluate("document.documentElement.scrollHeight <= innerHeight"), "it scrolls by itself"
    page.get_by_test_id("play").click()
    change_key(frame, 1)
    frame.get_by_test_id("mute-head").click()
    muted = smollm2.trace(CAT, edits=[Mute(where="13.8", key=1)]).weights("13.8")[4, :5]
    full = "(all) => all.map((one) => +one.querySelector('[data-testid=weight]').dataset.full)"
    eventually(page, lambda: np.testing.assert_allclose(frame.eval_on_selector_all(ROWS, full), muted, atol=1e-5))
    expect(frame.get_by_test_id("as-saved")).to_contain_text("before your change")
    page.get_by_role("button", name="Resume").click()
    frame = page.frame_locator("[data-instrument=playground] iframe")
    expect(frame.get_by_test_id("as-saved")).not_to_contain_text("before your change")


def _shares(trace: Trace) -> dict[str, float]:
    """Every word's probability as the next one."""
    return {word: p for word, p, _ in qkvlab.predict(trace, top=trace.spec.n_vocab)}
