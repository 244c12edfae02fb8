"""Stamps and looks against loops over whole score matrices, for every family, window and edit of pairs."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.edits import Edit, Mute, ScaleScores, StopRotation, Strengthen, Tie
from qkvlab.model import Model
from qkvlab.overview import cells, layer_stamps, looks
from qkvlab.trace import Trace

KINDS = ["llama", "llama-mqa", "mistral-window", "qwen2-window", "qwen3", "gpt2", "bert", "roberta"]
IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31]
LONG = [(7 * i * i + 3 * i) % 53 for i in range(61)]
Open = Callable[[str], Model]


def all_weights(trace: Trace, layer: int) -> np.ndarray:
    """[head, query, key]"""
    return np.stack([trace.weights((layer, head)) for head in range(trace.spec.n_head)])


def naive_stamp(weights: np.ndarray, rows: list[int], edges: list[int]) -> np.ndarray:
    """One head's stamp, cell by cell."""
    stamp = np.empty((len(rows), len(edges) - 1), np.uint8)
    for r, query in enumerate(rows):
        for c in range(len(edges) - 1):
            stamp[r, c] = round(255 * max(float(weights[query, key]) for key in range(edges[c], edges[c + 1])))
    return stamp


# ---- cells


def test_a_short_text_is_shown_whole() -> None:
    assert cells(1) == ([0], [0, 1])
    assert cells(3) == ([0, 1, 2], [0, 1, 2, 3])
    assert cells(32) == (list(range(32)), list(range(33)))
    assert cells(0) == ([], [0])


def test_a_long_text_by_hand() -> None:
    assert cells(13, size=4) == ([0, 4, 8, 12], [0, 2, 6, 10, 13])
    assert cells(6, size=2) == ([0, 5], [0, 3, 6])


@given(st.integers(1, 3000), st.integers(2, 40))
def test_rows_and_columns_agree_in_place(n_token: int, size: int) -> None:
    rows, edges = cells(n_token, size)
    assert len(rows) == len(edges) - 1 == min(n_token, size)
    assert (rows[0], rows[-1], edges[0], edges[-1]) == (0, n_token - 1, 0, n_token)
    for place, query in enumerate(rows):
        assert edges[place] <= query < edges[place + 1]
    steps = np.diff(rows)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1, "evenly spaced"


# ---- stamps


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_of_a_short_text(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    for layer in range(trace.spec.n_layer):
        stamps = layer_stamps(trace, layer, *cells(len(trace)))
        assert stamps.dtype == np.uint8 and stamps.shape == (trace.spec.n_head, 10, 10)
        expected = 255 * all_weights(trace, layer).astype(np.float64)
        assert np.abs(stamps - expected).max() <= 0.5 + 1e-3
        if trace.spec.causal:
            assert not np.triu(stamps, 1).any()


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_of_a_long_text(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=LONG)
    for size in (32, 7):
        rows, edges = cells(len(trace), size)
        for layer in range(trace.spec.n_layer):
            stamps, weights = layer_stamps(trace, layer, rows, edges), all_weights(trace, layer)
            for head in range(trace.spec.n_head):
                assert np.abs(stamps[head].astype(int) - naive_stamp(weights[head], rows, edges)).max() <= 1
            if trace.spec.causal:
                assert not np.triu(stamps, 1).any(), "what comes later stays above the diagonal"


EDITS: list[Edit] = [
    Mute(where="1", key=2),
    Mute(where="1.2", key=8, query=20),
    Strengthen(where="all", query=60, key=3, amount=4.0),
    ScaleScores(where="2.1", factor=0.5),
    Tie(where="1.0"),
    StopRotation(where="all"),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.kind)
def test_sampled_rows_feel_edits(edit: Edit, tiny_model: Open) -> None:
    trace = tiny_model("llama").trace(ids=LONG, edits=[edit])
    rows = [0, 3, 8, 20, 59, 60]
    for layer in range(trace.spec.n_layer):
        sampled, whole = trace.layer_scores(layer, rows), trace.layer_scores(layer, range(len(LONG)))
        np.testing.assert_allclose(sampled, whole[:, rows], atol=1e-5)
        for head in (0, 5):
            np.testing.assert_allclose(trace.score_rows((layer, head), rows), whole[head, rows], atol=1e-5)


# ---- looks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("query", [0, 1, 6, 9])
def test_looks(kind: str, query: int, tiny_model: Open) -> None:
    trace, key = tiny_model(kind).trace(ids=IDS), 4
    for layer in range(trace.spec.n_layer):
        weights = all_weights(trace, layer)[:, query].astype(np.float64)
        found = looks(trace, layer, query, key)
        assert list(found["top_key"]) == weights.argmax(-1).tolist() and found["top_key"].dtype == np.int32
        np.testing.assert_allclose(found["top_weight"], weights.max(-1), atol=1e-6)
        scores = np.stack([trace.scores((layer, head))[query, key] for head in range(trace.spec.n_head)])
        np.testing.assert_allclose(found["pair_score"], scores, atol=1e-5)
        np.testing.assert_allclose(found["pair_weight"], weights[:, key], atol=1e-6)
        first, last = trace.visible(layer, query)
        others = [i for i in range(first, last) if i not in (0, query)]
        for head in range(trace.spec.n_head):
            best = max(others, key=lambda i: weights[head, i], default=-1)
            assert found["land_key"][head] == best and found["land_key"].dtype == np.int32
            np.testing.assert_allclose(found["land_weight"][head], weights[head, best] if others else 0, atol=1e-6)
    assert "pair_score" not in looks(trace, 0, query)


def test_a_look_does_not_land_on_special_tokens(minilm: Model) -> None:
    trace = minilm.trace("The cat drank")
    assert trace.special == (True, False, False, False, True)
    for layer in range(trace.spec.n_layer):
        assert set(looks(trace, layer, 2)["land_key"].tolist()) <= {1, 3}
    assert set(looks(minilm.trace("cat"), 0, 1)["land_key"].tolist()) == {-1}


def test_for_it_196_of_270_heads_look_at_the_first_token(smollm2: Model) -> None:
    trace = smollm2.trace("The cat drank because it was thirsty")
    found = [looks(trace, layer, 4, 1) for layer in range(30)]
    assert sum(int((layer["top_key"] == 0).sum()) for layer in found) == 196
    assert found[13]["top_key"][8] == found[13]["land_key"][8] == 1
    np.testing.assert_allclose(found[13]["pair_weight"][8], 0.904, atol=5e-4)
    np.testing.assert_allclose(found[13]["pair_score"][8], 6.613, atol=5e-3)
