"""The server goes while someone types, and comes back: nothing typed is lost, and the picture is right again."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect
from records import bench, expect_weights

from qkvlab.model import Model
from serving import Served, serve

BEFORE, DURING, AFTER = "In France they speak", " French. In Italy", " they speak"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(port: int) -> Iterator[Callable[[], Served]]:
    """Start a server, each time on the same port."""
    started: list[Served] = []

    def again() -> Served:
        started.append(serve(port))
        return started[-1]

    yield again
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.mark.usefixtures("smollm2_path")
def test_what_is_typed_while_the_server_is_gone_is_kept(
    new_page: Callable[..., Any], start: Callable[[], Served], smollm2: Any
) -> None:
    server = start()
    page = new_page(server.playground)
    area, lost = page.get_by_test_id("text"), page.get_by_test_id("lost")
    area.fill("")
    page.keyboard.type(BEFORE)
    expect_weights(page, smollm2.trace(BEFORE).weights("13.8")[-1])
    page.evaluate("() => (window.same_page = true)")
    server.stop()
    page.keyboard.type(DURING)
    expect(lost).to_be_visible()
    expect(lost).to_contain_text("nothing you typed is lost")
    assert len(bench(page)) == len(smollm2.trace(BEFORE)), "the last picture stays"
    expect(area).to_be_enabled()
    start()
    expect(lost).to_have_count(0, timeout=60_000)
    expect_picture_of(page, smollm2, BEFORE + DURING)
    page.keyboard.type(AFTER)
    expect_picture_of(page, smollm2, BEFORE + DURING + AFTER)
    assert page.evaluate("() => window.same_page"), "the page was loaded again"
    first = page.get_by_test_id("prediction").locator("button").first
    expect(first).to_have_attribute("data-token", " Italian")


def expect_picture_of(page: Any, model: Model, text: str) -> None:
    expect(page.get_by_test_id("text")).to_have_value(text)
    trace = model.trace(text)
    page.locator(f"[data-testid=bench][data-query='{len(trace) - 1}']").wait_for()
    expect_weights(page, trace.weights("13.8")[-1])
