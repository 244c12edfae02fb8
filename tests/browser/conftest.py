"""A real server, a real model, a real browser: what a person does on the page."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from serving import Served, launched, serve

# A busy machine answers later, not otherwise; what never comes fails all the same.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def served(smollm2_path: Path, minilm_path: Path) -> Iterator[Served]:
    server = serve()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Of one module: meanwhile Playwright keeps an event loop in this thread, and other tests want one of their own."""
    with launched() as browser:
        yield browser


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Make pages, each with storage of its own. A script error on any of them fails the test."""
    contexts, errors = [], []

    def make(url: str, **options: Any) -> Any:
        settings = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**settings)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture
def page(new_page: Callable[..., Any], served: Served) -> Any:
    """The page as it opens for the first time, with its first answer on it."""
    opened = new_page(served.playground)
    opened.wait_for_selector("[data-testid=bench-row]")
    return opened
