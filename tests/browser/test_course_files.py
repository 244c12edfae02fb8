"""The course as files under a folder of any host: no server of ours, pages behind the question mark."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from courses import give_course
from playwright.sync_api import expect

import qkvlab
from qkvlab.course.export import export_course
from qkvlab.edits import Mute
from qkvlab.model import Model
from qkvlab.server.app import PAGE
from qkvlab.trace import Trace

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
    export_course(tmp_path / "site")
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
        page.wait_for_timeout(1000)
        assert missing == []
        heads.get_by_role("group").get_by_role("button").nth(3).click()
        expect(heads.get_by_role("alert")).to_contain_text("not recorded")


def _shares(trace: Trace) -> dict[str, float]:
    """Every word's probability as the next one."""
    return {word: p for word, p, _ in qkvlab.predict(trace, top=trace.spec.n_vocab)}
