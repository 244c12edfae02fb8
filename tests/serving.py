"""A playground server in a process of its own, and a browser to look at it: for tests, benchmarks and pictures."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]


@dataclass
class Served:
    """A playground server of our own, on loopback."""

    process: subprocess.Popen[str]
    address: str

    @property
    def playground(self) -> str:
        return f"{self.address}/playground"

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


def serve(port: int = 0, *arguments: str) -> Served:
    """Start `qkvlab play` and wait for the address it prints."""
    command = [sys.executable, "-m", "qkvlab", "play", "--no-browser", "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return Served(process, found[0].rstrip("/."))
    raise AssertionError(f"the server ended with {process.wait()} before it said its address")


def chromium() -> str | None:
    """The browser of this machine; None for the one that Playwright brings."""
    names = [os.environ.get("QKVLAB_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()
