"""What a person reads off the page and does to it, and the numbers that the library says it must show."""

import re
from typing import Any

from playwright.sync_api import Locator, TimeoutError

from qkvlab.effects import prediction
from qkvlab.trace import Trace

PATIENCE = 30_000
"""Milliseconds until a number that does not come counts as missing: a loaded machine is slow, not wrong."""

READ = """() => {
  const seen = {};
  const bench = document.querySelector('[data-testid=bench]');
  if (bench) [seen.head, seen.query] = [bench.dataset.head, Number(bench.dataset.query)];
  for (const row of document.querySelectorAll('[data-testid=bench-row]')) {
    const [score, weight] = ['score', 'weight'].map((name) => row.querySelector(`[data-testid=${name}]`));
    seen[`weight #${row.dataset.key}`] = Number(weight.dataset.full);
    if (!score.classList.contains('struck')) seen[`score #${row.dataset.key}`] = Number(score.dataset.full);
  }
  for (const answer of document.querySelectorAll('[data-testid=prediction] [data-token]')) {
    seen[`before ${answer.dataset.token}`] = Number(answer.dataset.before);
    seen[`after ${answer.dataset.token}`] = Number(answer.dataset.after);
  }
  return seen;
}"""
AGREES = f"""(expected) => {{
  const seen = ({READ})();
  const same = (a, b) => a === b || Math.abs(a - b) <= 1e-5 * Math.max(1, Math.abs(b));
  const names = Object.keys(expected);
  return names.length === Object.keys(seen).length && names.every((name) => same(seen[name], expected[name]));
}}"""
TOKEN = """([token, nth]) => {
  const spans = [...document.querySelectorAll('.backdrop .token')].filter((span) => span.textContent === token);
  const box = spans[nth]?.getClientRects()[0];
  return box && { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}"""


def shown_at(head: str, query: int, trace: Trace, before: Trace | None = None, at: int | None = None) -> dict[str, Any]:
    """What the bench and the prediction must show: scores, weights, and the probabilities before and after."""
    scores, weights = trace.scores(head)[query], trace.weights(head)[query]
    expected: dict[str, Any] = {"head": head, "query": query}
    for key in range(query + 1):
        expected[f"weight #{key}"] = float(weights[key])
        if weights[key] > 0:
            expected[f"score #{key}"] = float(scores[key])
    for answer in prediction(before or trace, trace, query if at is None else at, [])["rows"]:
        expected[f"before {answer['text']}"] = answer["before"]["p"]
        expected[f"after {answer['text']}"] = answer["after"]["p"]
    return expected


def expect_numbers(page: Any, expected: dict[str, Any]) -> None:
    """Wait until the page shows exactly these, each to 1e-5."""
    try:
        page.wait_for_function(AGREES, arg=expected, timeout=PATIENCE)
    except TimeoutError:
        wrong = differing(page.evaluate(READ), expected)
        assert not wrong, f"shown against expected: {wrong}"


def differing(seen: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What the page shows and what it must show, where the two are not the same to 1e-5."""
    pairs = {name: (seen.get(name), expected.get(name)) for name in {**expected, **seen}}
    return {name: (a, b) for name, (a, b) in pairs.items() if not same(a, b)}


def same(a: Any, b: Any) -> bool:
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    return abs(a - b) <= 1e-5 * max(1, abs(b)) if numbers else bool(a == b)


# ---- what a person does


def token_spot(page: Any, token: str, nth: int = 0) -> tuple[float, float]:
    """Where a token of the sentence stands on screen: the n-th of those that read so."""
    spot = page.wait_for_function(TOKEN, arg=[token, nth], timeout=PATIENCE).json_value()
    return spot["x"], spot["y"]


def click_token(page: Any, token: str, nth: int = 0, shift: bool = False) -> None:
    """Look from this token; with Shift, look at it."""
    x, y = token_spot(page, token, nth)
    if shift:
        page.keyboard.down("Shift")
    page.mouse.click(x, y)
    if shift:
        page.keyboard.up("Shift")


def take_example(page: Any, title: str) -> None:
    page.get_by_role("button", name="Examples").click()
    page.get_by_role("menuitem", name=title).click()


def open_head(page: Any, address: str) -> None:
    page.get_by_test_id("head-address").fill(address)
    page.get_by_test_id("head-address").press("Enter")


def change_key(page: Any, key: int) -> None:
    """Open the menu of one key of the bench."""
    row = page.locator(f"[data-testid=bench-row][data-key='{key}']")
    row.get_by_role("button", name=re.compile("^Change")).click()


def change_head(page: Any, choice: str) -> None:
    """One of the changes of the open head as a whole. An answer that comes at that moment moves the button away."""
    item = page.get_by_test_id(choice)
    for _ in range(5):
        page.get_by_test_id("change-head").click()
        try:
            item.click(timeout=3000)
        except TimeoutError:
            page.keyboard.press("Escape")
        else:
            return
    raise AssertionError(f"the menu of the head does not offer {choice}")


def chip(page: Any, text: str = "") -> Locator:
    """The tray's chip of the edit that says this."""
    found: Locator = page.get_by_test_id("chip").filter(has_text=text)
    return found
