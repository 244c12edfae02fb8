"""Another model in the picker: an encoder looks both ways, predicts nothing, and the page says why."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from records import eventually, expect_weights

from serving import serve

SENTENCE = "The river flooded the bank near the old bridge"
HEAD = "2.5"


def choose_model(page: Any, title: str) -> None:
    page.get_by_role("button", name="Model: ").click()
    page.get_by_role("menuitemradio", name=title).click()
    expect(page.get_by_test_id("model-badge")).to_contain_text(title)


@pytest.fixture
def encoder(page: Any) -> Any:
    choose_model(page, "MiniLM")
    page.get_by_test_id("text").fill(SENTENCE)
    page.get_by_test_id("head-address").fill(HEAD)
    page.get_by_test_id("head-address").press("Enter")
    return page


def look_from(page: Any, token: int) -> None:
    """By the token list, as the keyboard does it."""
    tokens = page.get_by_test_id("tokens")
    tokens.focus()
    tokens.press("Home")
    for _ in range(token):
        tokens.press("ArrowRight")
    tokens.press("Enter")
    page.locator(f"[data-testid=bench][data-head='{HEAD}'][data-query='{token}']").wait_for()


def arcs(page: Any, cell: int) -> dict[int, float]:
    """Token → its number in a column of the arcs' text twin: 1 where the query looks, 3 what finds it."""
    read = "(rows, cell) => rows.map((row) => [row.dataset.token, row.cells[cell].textContent])"
    rows = page.locator("[data-testid=arcs] tbody tr").evaluate_all(read, cell)
    return {int(token): float(full) for token, full in rows if full}


def test_an_encoder_looks_both_ways_and_is_found_from_both_sides(encoder: Any, minilm: Any) -> None:
    trace = minilm.trace(SENTENCE)
    query = trace.tokens.index("bank")
    tokens = encoder.get_by_test_id("tokens").get_by_role("option")
    expect(tokens.first).to_have_attribute("aria-setsize", str(len(trace)))
    look_from(encoder, query)
    weights = trace.weights(HEAD)
    expect_weights(encoder, weights[query])

    def check() -> None:
        looks, found = arcs(encoder, 1), arcs(encoder, 3)
        for side in (range(query), range(query + 1, len(trace))):
            assert set(side) <= looks.keys()
            assert set(side) <= found.keys()
        np.testing.assert_allclose(list(looks.values()), weights[query][list(looks)], atol=1e-5, rtol=0)
        np.testing.assert_allclose(list(found.values()), weights[list(found), query], atol=1e-5, rtol=0)

    eventually(encoder, check)


def test_an_encoder_has_no_prediction_and_no_cache_and_says_why(encoder: Any) -> None:
    expect(encoder.get_by_test_id("prediction")).to_have_count(0)
    expect(encoder.get_by_test_id("cache-line")).to_have_count(0)
    expect(encoder.get_by_role("region", name="Planes and prediction")).to_contain_text("no output head")
    expect(encoder.get_by_role("region", name="Edits and K/V cache")).to_contain_text("keeps no keys")
    for effect in ("effect", "ablation"):
        expect(encoder.get_by_test_id(f"colour-{effect}")).to_be_disabled()
    expect(encoder.get_by_test_id("error")).to_have_count(0)


def test_the_first_model_comes_back(encoder: Any, smollm2: Any) -> None:
    choose_model(encoder, "SmolLM2")
    trace = smollm2.trace(SENTENCE)
    encoder.locator(f"[data-testid=bench][data-head='{HEAD}'][data-query='{len(trace) - 1}']").wait_for()
    expect_weights(encoder, trace.weights(HEAD)[-1])
    expect(encoder.get_by_test_id("prediction")).to_be_visible()
    expect(encoder.get_by_test_id("cache-line")).to_be_visible()


def test_the_page_opens_on_the_model_it_was_started_with(new_page: Any, minilm_path: Any, minilm: Any) -> None:
    server = serve(0, "minilm")
    try:
        page = new_page(server.playground)
        expect(page.get_by_test_id("model-badge")).to_contain_text("MiniLM", timeout=60_000)
        page.get_by_test_id("text").fill(SENTENCE)
        page.get_by_test_id("head-address").fill(HEAD)
        page.get_by_test_id("head-address").press("Enter")
        expect_weights(page, minilm.trace(SENTENCE).weights(HEAD)[-2])
    finally:
        server.stop()
