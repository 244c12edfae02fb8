"""Dragging in the match plane: the bench, the blend and the prediction follow, as the library says they must."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from records import bench, close_to, eventually, expect_weights, exported, go_to, predicted, replay, use_example

from qkvlab.edits import AimQuery
from qkvlab.effects import prediction

ITALY = ("A value that turns the answer", "23.4")


def middle(page: Any, handle: str) -> tuple[float, float]:
    box = page.get_by_test_id(handle).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def winner(page: Any) -> int:
    return int(page.get_by_test_id("match-winner").get_attribute("data-winner"))


def grab(page: Any, handle: str) -> tuple[float, float]:
    """The pointer goes down on a handle."""
    page.get_by_test_id(handle).scroll_into_view_if_needed()
    at = middle(page, handle)
    page.mouse.move(*at)
    page.mouse.down()
    return at


def pull_until_another_wins(page: Any) -> int:
    """The pointer, down on the query, goes to the left until the winner changes. Returns the new one."""
    first, (x, y) = winner(page), middle(page, "query-handle")
    for step in range(1, 30):
        page.mouse.move(x - 8 * step, y + 2 * step)
        if winner(page) != first:
            return winner(page)
    raise AssertionError("no other key wins anywhere on the way")


def blend(page: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values' places in the blend plane, and z's."""
    read = "(rows) => rows.map((row) => [...row.querySelectorAll('td')].slice(0, 2).map((cell) => +cell.dataset.value))"
    twin = page.get_by_test_id("blend-twin")
    values = twin.locator("tbody tr[data-key]").evaluate_all(read)
    z = twin.locator("tbody tr:not([data-key])").first.evaluate_all(read)
    return np.array(values), np.array(z[0])


def inside(points: np.ndarray, at: np.ndarray) -> bool:
    """Whether a point is in the convex hull: no direction in which it lies beyond all of them."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    along = np.stack([np.cos(angles), np.sin(angles)])
    return bool(((points @ along).max(axis=0) >= at @ along - 1e-6).all())


def test_a_dragged_query_has_the_librarys_weights(page: Any, smollm2: Any) -> None:
    use_example(page, *ITALY)
    grab(page, "query-handle")
    key = pull_until_another_wins(page)
    held = bench(page)
    assert max(held, key=held.__getitem__) == key
    expect(page.get_by_test_id("blend-state")).to_contain_text("inside")
    page.mouse.up()
    expect(page.locator("[data-testid=chip][data-kind=shift-query]")).to_be_visible()
    record = exported(page)
    (item,) = record["state"]["edits"]
    assert item["edit"]["kind"] == "shift-query"
    trace = replay(smollm2, record["state"])
    weights = trace.weights("23.4")[record["query"]]
    close_to(held, weights)
    expect_weights(page, weights)


def test_z_stays_among_the_values_and_the_prediction_follows(page: Any, smollm2: Any) -> None:
    use_example(page, *ITALY)
    expect(page.get_by_test_id("prediction")).to_contain_text("Italian")
    before = predicted(page)
    grab(page, "query-handle")
    pull_until_another_wins(page)
    eventually(page, lambda: differ(predicted(page), before))
    page.mouse.up()
    record = exported(page)
    trace = replay(smollm2, record["state"])
    rows = prediction(smollm2.trace(record["state"]["text"]), trace, record["query"], [])["rows"]
    answers = {row["text"]: (row["before"]["p"], row["after"]["p"]) for row in rows}

    def check() -> None:
        values, z = blend(page)
        assert inside(values, z)
        assert page.get_by_test_id("blend-twin").get_attribute("data-inside") == "true"
        shown = predicted(page)
        assert list(shown) == list(answers)
        np.testing.assert_allclose(list(shown.values()), list(answers.values()), atol=1e-5, rtol=0)

    eventually(page, check)


def differ(now: dict[str, tuple[float, float]], before: dict[str, tuple[float, float]]) -> None:
    assert max(abs(now[token][1] - p) for token, (_, p) in before.items() if token in now) > 0.01


def test_a_dragged_key_moves_for_every_head_that_reads_it(page: Any, smollm2: Any) -> None:
    use_example(page, *ITALY)
    go_to(page, "23.5")
    x, y = grab(page, "key-handle")
    page.mouse.move(x - 30, y + 10)
    page.mouse.move(x - 70, y + 25)
    expect(page.get_by_test_id("match-notes")).to_contain_text("23.3, 23.4, 23.5")
    held = bench(page)
    page.mouse.up()
    expect(page.locator("[data-testid=chip][data-kind=shift-key]")).to_contain_text("23.3, 23.4, 23.5")
    record = exported(page)
    assert record["state"]["edits"][0]["edit"]["kv_head"] == "23.1"
    trace, query = replay(smollm2, record["state"]), record["query"]
    close_to(held, trace.weights("23.5")[query])
    plain = smollm2.trace(record["state"]["text"])
    for head in ("23.3", "23.4"):
        go_to(page, head)
        weights = trace.weights(head)[query]
        assert abs(weights - plain.weights(head)[query]).max() > 1e-3
        expect_weights(page, weights)


@pytest.mark.parametrize("handle", ["query-handle", "key-handle"])
def test_arrow_keys_nudge_as_a_drag_does(page: Any, smollm2: Any, handle: str) -> None:
    before = bench(page)
    page.get_by_test_id(handle).focus()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowDown"):
        page.keyboard.press(key)
    kind = "shift-query" if handle == "query-handle" else "shift-key"
    expect(page.locator(f"[data-testid=chip][data-kind={kind}]")).to_be_visible()
    record = exported(page)
    weights = replay(smollm2, record["state"]).weights("13.8")[record["query"]]
    expect_weights(page, weights)
    assert before != bench(page)


def test_escape_takes_a_drag_back(page: Any) -> None:
    before = bench(page)
    x, y = grab(page, "query-handle")
    page.mouse.move(x - 60, y + 20)
    eventually(page, lambda: _differs(page, before))
    page.keyboard.press("Escape")
    eventually(page, lambda: _equals(page, before))
    page.mouse.up()
    assert exported(page)["state"]["edits"] == []
    expect(page.get_by_test_id("chip")).to_have_count(0)
    expect(page.get_by_role("button", name="undo", exact=True)).to_be_disabled()


def test_undo_takes_a_drop_back(page: Any) -> None:
    before = bench(page)
    x, y = grab(page, "query-handle")
    page.mouse.move(x - 60, y + 20)
    page.mouse.up()
    expect(page.get_by_test_id("chip")).to_have_count(1)
    page.get_by_role("button", name="undo", exact=True).click()
    expect(page.get_by_test_id("chip")).to_have_count(0)
    eventually(page, lambda: _equals(page, before))


def _equals(page: Any, before: dict[int, float]) -> None:
    now = bench(page)
    assert now.keys() == before.keys()
    np.testing.assert_allclose(list(now.values()), list(before.values()), atol=1e-9, rtol=0)


def _differs(page: Any, before: dict[int, float]) -> None:
    assert max(abs(bench(page)[key] - weight) for key, weight in before.items()) > 1e-3


@pytest.mark.parametrize("example", [("Find the main noun", "13.8"), ITALY], ids=["cat", "Italy"])
def test_aim_puts_every_visible_key_first(page: Any, smollm2: Any, example: tuple[str, str]) -> None:
    use_example(page, *example)
    text, head = page.get_by_test_id("text").input_value(), example[1]
    query = int(page.get_by_test_id("bench").get_attribute("data-query"))
    undo = page.get_by_role("button", name="undo", exact=True)
    for key in range(query + 1):
        page.locator(f"[data-testid=bench-row][data-key='{key}']").click(position={"x": 200, "y": 8})
        expect(page.locator("[data-testid=bench-row].interest")).to_have_attribute("data-key", str(key))
        page.mouse.dblclick(*middle(page, "key-handle"))
        aim = AimQuery(head=head, query=query, key=key, margin=3.0)
        weights = smollm2.trace(text, edits=[aim]).weights(head)[query]
        assert weights.argmax() == key
        expect_weights(page, weights)
        if undo.is_enabled():
            undo.click()
            expect(page.get_by_test_id("chip")).to_have_count(0)
