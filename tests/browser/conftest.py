"""A real server, a real model, a real browser: what a person does on the page."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]


@dataclass
class Served:
    """A playground server of our own, on loopback."""

    process: subprocess.Popen[str]
    address: str

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


def serve(port: int = 0, *arguments: str) -> Served:
    """Start `qkvlab play` and wait for the address it prints."""
    command = [sys.executable, "-m", "qkvlab", "play", "--no-browser", "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return Served(process, found[0].rstrip("/."))
    raise AssertionError(f"the server ended with {process.wait()} before it said its address")


@pytest.fixture(scope="session")
def served(smollm2_path: Path, minilm_path: Path) -> Iterator[Served]:
    server = serve()
    yield server
    server.stop()


def chromium() -> str | None:
    """The browser of this machine; None for the one that Playwright brings."""
    names = [os.environ.get("QKVLAB_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


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
    opened = new_page(served.address)
    opened.wait_for_selector("[data-testid=bench-row]")
    return opened
