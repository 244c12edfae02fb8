"""The page in a real browser: how soon it answers, beside what docs/playground.md's readers were promised."""

import gzip
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .common import ROOT, keep, percentile, row

sys.path.insert(0, str(ROOT / "tests"))
from serving import launched, serve

SENTENCE = "The old cat drank the cold milk because it was thirsty after the long walk"
ARTICLE = (
    "The harbour was quiet before dawn. Two boats lay at the pier, and on the nearer one a woman was mending a net "
    "while her brother counted the crates that had come in the night. They had bought the boat from their uncle, who "
    "had sailed it for thirty years and knew every rock between here and the lighthouse. "
)

READY = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


ROUND = 4


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(READY)
    page.goto(address)
    page.wait_for_selector("[data-testid=bench-row]")
    yield page
    context.close()


def set_text(page: Any, text: str) -> None:
    page.get_by_test_id("text").fill(text)
    page.evaluate("length => bench.until(length)", len(text))


def first_picture(browser: Any, address: str) -> list[float]:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        with opened(browser, address):
            times.append((time.perf_counter() - start) * 1e3)
    return times


def typed(page: Any, text: str, place: int, n: int) -> tuple[list[float], int]:
    """Milliseconds from a typed character to its weights on screen, and the bytes that came for one. Every fourth one
    is typed into the text as it was, so that it stays as long as it is said to be."""
    area = page.get_by_test_id("text")
    times, sizes = [], []
    for typed_so_far in range(n):
        if typed_so_far % ROUND == 0:
            set_text(page, text)
            page.wait_for_timeout(1000)
            area.evaluate("(area, at) => { area.focus(); area.setSelectionRange(at, at); }", place)
            length = len(text)
        before = page.evaluate("bench.bytes")
        page.keyboard.press("abcdefghijklmnopqrstuvwxyz"[typed_so_far % 26])
        length += 1
        times.append(page.evaluate("async length => (await bench.until(length)) - bench.typedAt", length))
        page.wait_for_timeout(300)
        sizes.append(page.evaluate("bench.bytes") - before)
    return times, int(percentile([float(size) for size in sizes], 0.5))


def dragged(page: Any) -> tuple[list[float], list[float]]:
    """Our work per pointer move and the gaps between frames while the query is dragged, at 64 tokens."""
    set_text(page, (ARTICLE * 2)[: len(ARTICLE) + 60])
    page.wait_for_timeout(1500)
    page.evaluate("bench.watchWork()")
    box = page.get_by_test_id("query-handle").bounding_box()
    x, y = box["x"] + 22, box["y"] + 22
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 5, y)
    page.evaluate("bench.work = []; bench.watchFrames()")
    for step in range(240):
        page.mouse.move(x - 100 + abs(step % 80 - 40) * 2, y + (step % 60 - 30))
    gaps = page.evaluate("bench.watching = false, bench.frames")
    work = page.evaluate("bench.work")
    page.mouse.up()
    return work, gaps


def opened_heads(page: Any) -> list[float]:
    set_text(page, SENTENCE)
    times = []
    for head in ("3.2", "20.4", "13.8", "7.1", "28.0", "0.5", "16.2", "23.4", "11.1", "18.6") * 2:
        took = page.evaluate("head => bench.openHead(head)", head)
        times.append(took)
        page.wait_for_timeout(200)
    return times


def all_effects(page: Any) -> list[float]:
    """From the question after all heads' direct effects to its answer, for other followed answers each time."""
    set_text(page, SENTENCE)
    page.get_by_test_id("colour-effect").click()
    answers = page.locator("[data-testid=prediction] button")
    for place in (0, 1, 2, 3, 4, 5) * 3:
        answers.nth(place).click()
        page.wait_for_timeout(400)
    return list(page.evaluate("bench.took.effect"))


def long_text(page: Any) -> list[float]:
    """Gaps between frames while 2,048 tokens are opened."""
    text = (ARTICLE * 40)[: 4 * 2300]
    page.evaluate("bench.watchFrames()")
    set_text(page, text)
    page.wait_for_timeout(2000)
    return list(page.evaluate("bench.watching = false, bench.frames"))


def page_bytes(page: Any) -> int:
    """Script and style that this page has loaded, as gzip."""
    built = ROOT / "src" / "qkvlab" / "server" / "page" / "assets"
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name.split('/').pop())")
    files = [built / name for name in set(loaded) if name.endswith((".js", ".css"))]
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in files)


def measured() -> list[dict[str, Any]]:
    server = serve()
    rows = []
    try:
        with launched() as browser:
            rows.append(row("first picture, server up", first_picture(browser, server.playground), "ms", 1500))
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.add_init_script(READY)
            page.goto(server.playground)
            page.wait_for_selector("[data-testid=bench-row]")
            page.evaluate("bench.watchTyping()")
            times, size = typed(page, SENTENCE, len(SENTENCE), 40)
            rows.append(row("a character typed after 16 tokens → weights", times, "ms", 100))
            rows.append(row("bytes that come for it, all parts", [size / 1024], "KiB", None))
            rows.append(row("a head opened", opened_heads(page), "ms", 50))
            rows.append(row("direct effect of all heads", all_effects(page), "ms", 100))
            page.get_by_test_id("colour-weights").click()
            work, gaps = dragged(page)
            rows.append(row("drag at 64 tokens: our work a move", work, "ms", 8))
            late = 100 * sum(gap > 25 for gap in gaps) / len(gaps)
            rows.append(row("drag: frames later than 25 ms", [late], "%", 5))
            text = (ARTICLE * 12)[: 4 * 560]
            rows.append(row("a character after 512 tokens → weights", typed(page, text, len(text), 12)[0], "ms", 250))
            middle = typed(page, text, len(text) // 2, 6)[0]
            rows.append(row("a character in the middle of 512", middle, "ms", 1500))
            rows.append(row("2,048 tokens opened: longest gap between frames", long_text(page), "ms", None, 1.0))
            rows.append(row("script and style, gzip", [page_bytes(page) / 1000], "kB", 150))
            context.close()
    finally:
        server.stop()
    return rows


def main() -> None:
    """Measure, print, and keep for the docs."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    keep("page", "the page, in Chromium (p95 where it was measured many times)", measured())
