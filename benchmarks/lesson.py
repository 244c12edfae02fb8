"""The lesson's page in a real browser: how soon it is there and answers, and what it weighs."""

import gzip
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from .common import ROOT, keep, percentile, row
from .page import ARTICLE, READY, SENTENCE, launched, serve

BUILT = ROOT / "src" / "qkvlab" / "server" / "page"
OWN = (Path(__file__).parent / "lesson.js").read_text(encoding="utf-8")
MODULE = "22"
CONTEXTS = 7
KINDS = {".js": "script", ".css": "style", ".json": "text and settings", ".svg": "illustrations"}
LOADED = "performance.getEntriesByType('resource').map(({ name }) => name)"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
COSINE = "document.querySelector('[data-instrument=residual] [data-cosine]').dataset.cosine"


def fresh(browser: Any, address: str) -> Any:
    """A page of a browser that has never been here."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.add_init_script(READY + OWN)
    page.goto(address)
    return page


def opening(page: Any) -> dict[str, float]:
    """Milliseconds from the address to the first paint, the title, the first instrument's numbers, and its answer to
    a key."""
    times = {"numbers": page.evaluate("bench.numbers"), "title": page.evaluate("bench.title")}
    before = page.evaluate(COSINE)
    page.locator("[data-instrument=residual] input[type=range]").press("ArrowRight")
    times["answered"] = page.evaluate("before => bench.answered(before)", before)
    times["painted"] = page.evaluate(PAINTED)
    return times


def framed(page: Any) -> tuple[Any, float]:
    """The playground in the lesson, and the milliseconds from going there to its weights."""
    start = time.perf_counter()
    page.locator("[data-instrument=playground]").scroll_into_view_if_needed()
    frame = page.locator("[data-instrument=playground] iframe").element_handle().content_frame()
    frame.wait_for_selector("[data-testid=bench-row]")
    return frame, (time.perf_counter() - start) * 1e3


def first_pictures(browser: Any, address: str) -> dict[str, list[float]]:
    """The lesson and its peer in turns, so that noise falls on both alike."""
    times: dict[str, list[float]] = {}
    for _ in range(CONTEXTS):
        page = fresh(browser, f"{address}/lesson/{MODULE}")
        taken = opening(page)
        taken["framed"] = framed(page)[1]
        page.context.close()
        page = fresh(browser, f"{address}/playground")
        taken["peer"] = page.evaluate("bench.seen('[data-testid=bench-row]')")
        page.context.close()
        for name, value in taken.items():
            times.setdefault(name, []).append(value)
    return times


def dragged(page: Any) -> list[float]:
    """Our work for each move of an arrow of the toy."""
    page.locator("[data-instrument=toy]").scroll_into_view_if_needed()
    handle = page.get_by_test_id("handle-q-0")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + 22, box["y"] + 22
    page.evaluate("bench.watchWork()")
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate("bench.work = []")
    for step in range(240):
        page.mouse.move(x - 40 + step % 80, y - 30 + step % 60)
    page.mouse.up()
    return list(page.evaluate("bench.work"))


def catalogued(page: Any, frame: Any = None) -> list[float]:
    """From another sentence to its cards; with a frame, while the playground in it opens some 500 tokens."""
    page.locator("[data-instrument=catalogue]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-testid=cards]")
    times = []
    for turn in range(8 if frame else 20):
        if frame:
            frame.get_by_test_id("text").fill(f"{turn}. {ARTICLE * 6}")
        word = "abcdefghijklmnopqrstuvwxyz"[turn]
        times.append(page.evaluate("text => bench.cards(text)", f"{SENTENCE} {word}{'!' if frame else ''}"))
        page.wait_for_timeout(2500 if frame else 200)
    return times


def weighed(names: list[str]) -> dict[str, float]:
    """Kilobytes of what a page has loaded, by kind, as gzip; the page itself too."""
    sizes = {"html": len(gzip.compress((BUILT / "index.html").read_bytes(), 9)) / 1000}
    for path in sorted({urlparse(name).path.lstrip("/") for name in names}):
        kind = KINDS.get(Path(path).suffix)
        if kind and (BUILT / path).is_file() and path != "icon.svg":
            sizes[kind] = sizes.get(kind, 0) + len(gzip.compress((BUILT / path).read_bytes(), 9)) / 1000
    return sizes


def measured() -> list[dict[str, Any]]:
    server = serve()
    try:
        with launched() as browser:
            times = first_pictures(browser, server.address)
            page = fresh(browser, f"{server.address}/lesson/{MODULE}")
            opening(page)
            opened = weighed(page.evaluate(LOADED))
            cards = catalogued(page)
            moves = dragged(page)
            for instrument in page.locator("[data-instrument]").all():
                instrument.scroll_into_view_if_needed()
                page.wait_for_timeout(300)
            frame, _ = framed(page)
            walked = weighed(page.evaluate(LOADED) + frame.evaluate(LOADED))
            beside = catalogued(page, frame)
            page.context.close()
    finally:
        server.stop()
    ratio = percentile(times["answered"], 0.5) / percentile(times["peer"], 0.5)
    audio = sum(path.stat().st_size for path in (BUILT / "course").glob("*.mp3")) / 1e6
    return [
        row("first paint", times["painted"], "ms", None),
        row("title", times["title"], "ms", None),
        row("first instrument with the model's numbers", times["numbers"], "ms", 1500),
        row("… and its answer to a key", times["answered"], "ms", 1500),
        row("the playground's page, first weights, in turns with it", times["peer"], "ms", 1500),
        row("ratio of the last two, medians", [ratio], "", None),
        row("the playground in the lesson: from going there → weights", times["framed"], "ms", 1500),
        row("another sentence in the catalogue → cards", cards, "ms", 100),
        row("the same while the playground opens 500 tokens", beside, "ms", None),
        row("a drag in the toy: our work a move", moves, "ms", 8),
        *(row(f"as it opens, {kind}, gzip", [size], "kB", None) for kind, size in opened.items()),
        row("as it opens, all of these", [sum(opened.values())], "kB", None),
        row("walked through, with the playground, all of these", [sum(walked.values())], "kB", None),
        row("sound of all lessons", [audio], "MB", 6),
    ]


def main() -> None:
    """Measure, print, and keep for the docs."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    keep("lesson", f"lesson {MODULE}, in Chromium (p95 where it was measured many times)", measured())
