"""What the page exports and shows, read in full, and the library's trace of the same state."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reading import open_head, take_example

from qkvlab.edits import edit_from_dict
from qkvlab.model import Model
from qkvlab.trace import Trace

PATIENCE = 60.0
"""Seconds until what a test waits for counts as missing: a loaded machine is slow, not wrong."""
TOKENS = ("query", "key", "token", "source")
"""The fields of an edit that name a token."""


def eventually(page: Any, check: Callable[[], None]) -> None:
    """Wait until a check holds."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            page.wait_for_timeout(50)


# ---- what is shown


def bench(page: Any) -> dict[int, float]:
    """Key → its weight in full, for the rows of the bench."""
    read = "(rows) => rows.map((row) => [row.dataset.key, row.querySelector('[data-testid=weight]').dataset.full])"
    return {int(key): float(full) for key, full in page.get_by_test_id("bench-row").evaluate_all(read)}


def heads_table(page: Any) -> Any:
    """The rows of the table of all heads, which is opened first."""
    table = page.get_by_test_id("heads-table")
    if table.count() == 0:
        page.get_by_text("All heads as a table").click()
        table.wait_for()
    return table.locator("tbody tr")


def predicted(page: Any) -> dict[str, tuple[float, float]]:
    """Answer → its probability before and after the edits."""
    read = "(rows) => rows.map((row) => [row.dataset.token, +row.dataset.before, +row.dataset.after])"
    rows = page.locator("[data-testid=prediction] button").evaluate_all(read)
    return {token: (before, after) for token, before, after in rows}


def close_to(shown: dict[int, float], expected: Any) -> None:
    """Every figure shown, by its key, is the library's to 1e-5."""
    assert shown and max(shown) < len(expected), "the picture of another text"
    np.testing.assert_allclose(list(shown.values()), expected[list(shown)], atol=1e-5, rtol=0)


def expect_weights(page: Any, weights: Any) -> None:
    """Wait until the bench shows these."""
    eventually(page, lambda: close_to(bench(page), weights))


# ---- what a person does


def use_example(page: Any, title: str, head: str) -> None:
    take_example(page, title)
    expect_head(page, head)


def go_to(page: Any, head: str) -> None:
    open_head(page, head)
    expect_head(page, head)


def expect_head(page: Any, head: str) -> None:
    page.locator(f"[data-testid=bench][data-head='{head}']").wait_for()


def export(page: Any, format: str) -> Path:
    """The file that the page saves, under the name that it gives it."""
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=format).click()
    path: Path = download.value.path()
    return path.rename(path.with_name(download.value.suggested_filename))


def exported(page: Any) -> dict[str, Any]:
    """The state and the numbers, as the page saves them."""
    record: dict[str, Any] = json.loads(export(page, "JSON").read_text())
    return record


# ---- the same state in the library


def replay(model: Model, state: dict[str, Any]) -> Trace:
    """The library's trace of an exported state: an edit names its tokens by characters there, by position here."""
    text, special = state["text"], state["special"]
    offsets = [tuple(offset) for offset in model.tokenizer.encode(text, special=special).offsets]

    def positions(edit: dict[str, Any]) -> dict[str, Any]:
        return {name: offsets.index(tuple(edit[name])) for name in TOKENS if isinstance(edit.get(name), list)}

    edits = [item["edit"] for item in state["edits"] if item["on"]]
    return model.trace(text, special=special, edits=[edit_from_dict({**edit, **positions(edit)}) for edit in edits])
