"""Weight is not effect: the heads ranked by what they do to an answer, directly and by real ablation."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from records import eventually, heads_table, use_example

from qkvlab.effects import ablated, direct_effects, tracked_ids
from qkvlab.overview import looks

FIRST = 6
"""So many ablations are waited for: the heads of the largest direct effect come first."""
COLUMNS = ("direct", "ablation", "weight")


@pytest.fixture
def italy(page: Any) -> Any:
    """The example in which one value turns the answer; " Italian" and " French" are followed."""
    use_example(page, "A value that turns the answer", "23.4")
    expect(page.get_by_test_id("tracked").locator("[data-token]")).to_have_count(2)
    return page


def scatter(page: Any) -> dict[str, dict[str, float]]:
    """Head → where its dot stands, from the text twin; what is not measured yet is missing."""
    read = "(rows) => rows.map((row) => [row.dataset.head, ...[6, 7, 8].map((cell) => row.cells[cell].dataset.full)])"
    rows = heads_table(page).evaluate_all(read)
    known = {head: zip(COLUMNS, cells, strict=True) for head, *cells in rows}
    return {head: {name: float(full) for name, full in dots if full} for head, dots in known.items()}


def measured(page: Any) -> dict[str, dict[str, float]]:
    """The same, once every head has its weight and its direct effect: the two come from different answers."""

    def whole() -> None:
        assert all({"weight", "direct"} <= dot.keys() for dot in scatter(page).values())

    eventually(page, whole)
    return scatter(page)


def ranked(page: Any) -> list[tuple[str, float]]:
    """The chips of the heads with the largest effects."""
    read = "(chips) => chips.map((chip) => [chip.dataset.head, +chip.dataset.full])"
    chips = page.get_by_test_id("strongest-effects").get_by_test_id("head-chip").evaluate_all(read)
    return [(head, full) for head, full in chips]


def test_the_direct_effect_ranks_the_head_that_answers_first(italy: Any, smollm2: Any) -> None:
    trace = smollm2.trace(italy.get_by_test_id("text").input_value())
    at, ids = len(trace) - 1, tracked_ids(smollm2, [" Italian", " French"])
    italy.get_by_test_id("colour-effect").click()
    strongest = italy.get_by_test_id("strongest-effects").get_by_test_id("head-chip").first
    expect(strongest).to_have_attribute("data-head", "23.4")
    expected = direct_effects(trace, at, ids)
    order = np.argsort(-abs(expected), axis=None)[:5]
    assert [head for head, _ in ranked(italy)] == [f"{i // 9}.{i % 9}" for i in order]
    dots = measured(italy)
    assert len(dots) == expected.size
    for layer in range(trace.spec.n_layer):
        for head, weight in enumerate(looks(trace, layer, at)["land_weight"]):
            shown = [dots[f"{layer}.{head}"][name] for name in ("weight", "direct")]
            np.testing.assert_allclose(shown, [weight, expected[layer, head]], atol=1e-5, rtol=0)


def test_a_high_weight_is_not_a_large_effect(italy: Any) -> None:
    italy.get_by_test_id("colour-effect").click()
    expect(italy.get_by_test_id("strongest-effects")).to_be_visible()
    dots = measured(italy)
    assert dots["16.2"]["weight"] > 0.5
    assert abs(dots["16.2"]["direct"]) < 0.02 * dots["23.4"]["direct"]


def test_ablations_stream_in_and_are_the_librarys(italy: Any, smollm2: Any) -> None:
    trace = smollm2.trace(italy.get_by_test_id("text").input_value())
    at, ids = len(trace) - 1, tracked_ids(smollm2, [" Italian", " French"])
    italy.get_by_test_id("colour-ablation").click()

    def arrived() -> None:
        assert sum("ablation" in dot for dot in scatter(italy).values()) >= FIRST

    eventually(italy, arrived)
    expect(italy.get_by_role("progressbar")).to_be_visible()
    found = {head: dot["ablation"] for head, dot in scatter(italy).items() if "ablation" in dot}
    assert found["23.4"] == max(found.values())
    for head in list(found)[:FIRST]:
        np.testing.assert_allclose(found[head], ablated(trace, head, at, ids)[0], atol=1e-4, rtol=0)
    assert ranked(italy)[0][0] == "23.4"
    expect(italy.get_by_test_id("truth")).to_contain_text("without this head")
