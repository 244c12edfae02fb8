"""Why this score, by who wrote it: the table of writers equals the library's and follows the open head."""

from typing import Any

import pytest
from playwright.sync_api import expect
from reading import change_head, open_head, take_example
from records import eventually

import qkvlab


def writers(page: Any) -> dict[str, tuple[float, float]]:
    """Writer → what it adds by its part of the query, and of the key."""
    read = """(rows) => rows.map((row) => [row.dataset.writer,
        ...[...row.querySelectorAll('.part')].map((cell) => +cell.dataset.full)])"""
    rows = page.locator("[data-testid=why-parts] tr[data-writer]").evaluate_all(read)
    return {name: (query, key) for name, query, key in rows}


def unfold(page: Any, details: str) -> None:
    """Open a part of the bench; rows may still move under the pointer."""
    part = page.get_by_test_id(details)

    def opened() -> None:
        if part.get_attribute("open") is None:
            part.locator("summary").first.click()
        assert part.get_attribute("open") is not None

    eventually(page, opened)


def test_the_writers_of_the_score(page: Any, smollm2: Any) -> None:
    take_example(page, "Find the main noun")
    open_head(page, "13.8")
    unfold(page, "why")
    unfold(page, "why-parts")
    trace = smollm2.trace("The cat drank because it was thirsty")
    found = qkvlab.why(trace, " it", " cat", "13.8")
    expected = {c.name: (a, b) for c, a, b in zip(found.components, found.by_query, found.by_key, strict=True)}

    def check() -> None:
        shown = writers(page)
        assert len(shown) == 12
        assert "11.6" in shown
        for name, both in shown.items():
            assert both == pytest.approx(expected[name], abs=1e-4), name

    eventually(page, check)
    expect(page.get_by_test_id("why-sum")).to_contain_text("6.61")
    open_head(page, "11.6")
    change_head(page, "ablate-zero")
    open_head(page, "13.8")

    def as_before() -> None:
        cells = page.locator("[data-testid=why-parts] td.changed")
        was = {cell.evaluate("(cell) => cell.parentElement.dataset.writer"): cell for cell in cells.all()}
        assert "11.6" in was, "the head that was silenced stays in the table"
        for writer, cell in was.items():
            assert float(cell.get_attribute("data-before")) == pytest.approx(expected[writer][1], abs=1e-4)

    eventually(page, as_before)
    open_head(page, "0.0")

    def at_the_bottom() -> None:
        assert set(writers(page)) == {"embedding"}

    eventually(page, at_the_bottom)
