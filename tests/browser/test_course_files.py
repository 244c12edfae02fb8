"""The course as files under a folder of any host: no server of ours, pages behind the question mark."""

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from courses import give_course
from playwright.sync_api import expect

from qkvlab.server.app import PAGE


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


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
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/some/folder/"
    server.shutdown()
    server.server_close()


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
