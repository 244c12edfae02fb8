"""Why a score is what it is: parts against a float64 model with frozen norms, sums, edits, hidden pairs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qkvlab
from frozen import Frozen
from qkvlab.edits import Ablate, Edit, Mute, ScaleScores, ShareKV, ShiftKey, ShiftQuery, StopRotation, Strengthen, Tie
from qkvlab.errors import HeadError, TokenError, UnsupportedError
from qkvlab.model import Model, open_model
from qkvlab.residual_parts import parts_read
from qkvlab.why_score import Why, why

Tiny = Callable[[str], tuple[Any, Path]]
Open = Callable[[str], Model]
IDS = [3, 17, 42, 5, 29, 11, 23]
KINDS = ["llama", "llama-mqa", "llama-biases", "llama-yarn", "qwen2", "qwen3", "gpt2", "bert", "roberta"]
CAT = "The cat drank because it was thirsty"


def holds(found: Why, reach: float = 2e-5) -> None:
    """The parts and what is listed apart sum to the score, but for float32 rounding."""
    assert found.sum + sum(found.apart.values()) + found.remainder == pytest.approx(found.score, abs=1e-12)
    assert abs(found.remainder) <= reach * np.abs(found.matrix).max(), (found.remainder, np.abs(found.matrix).max())
    for side in (found.by_query, found.by_key):
        assert side.sum() == pytest.approx(found.sum, abs=1e-9 * np.abs(found.matrix).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_is_what_the_score_loses_without_it(kind: str, tiny: Tiny, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    witness, spec = Frozen(tiny(kind)[0], IDS), trace.spec
    at, i, j = (2, spec.n_head - 1), 5, 3
    found = why(trace, i, j, at)
    holds(found)
    names = ["", *(component.name for component in found.components if component.name != "bias of q and k")]
    q = witness.queries(*at, i, names)
    k = witness.keys(*at, j, names)
    scores = q @ k.T * spec.d_head**-0.5
    reach = 2e-4 * np.abs(found.matrix).max()
    assert found.score == pytest.approx(scores[0, 0], abs=reach)
    n = len(names) - 1
    np.testing.assert_allclose(found.by_query[:n], scores[0, 0] - scores[1:, 0], atol=reach)
    np.testing.assert_allclose(found.by_key[:n], scores[0, 0] - scores[0, 1:], atol=reach)
    met = scores[0, 0] - scores[1:, :1] - scores[:1, 1:] + scores[1:, 1:]
    np.testing.assert_allclose(found.matrix[:n, :n], met, atol=reach)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_are_the_x_that_attention_reads(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    for layer in range(3):
        parts = parts_read(trace, layer, [4, 1])
        normed = trace.normed(layer)[[4, 1]]
        np.testing.assert_allclose(parts.vectors.sum(axis=0), normed, atol=2e-5 * np.abs(parts.vectors).max())
        heads = [part for part in parts.components if part.kind == "head"]
        assert [(part.layer, part.head) for part in heads] == trace.spec.heads()[: layer * trace.spec.n_head]
        assert len({part.name for part in parts.components}) == len(parts.components)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2", "bert"])
def test_the_first_layer_and_a_token_by_itself(kind: str, tiny_model: Open) -> None:
    """In layer 0 only the embedding speaks (and positions, biases); a key may be its own query."""
    found = why(tiny_model(kind).trace(ids=IDS), 3, 3, "0.1")
    holds(found)
    kinds = {component.kind for component in found.components}
    assert kinds == {"llama": {"embedding"}, "qwen3": {"embedding"}}.get(kind, {"embedding", "position", "bias"})


def test_by_hand() -> None:
    """Two writers of a query and two of a key, in two dimensions: q = (1, 0) + (0, 2), k = (3, 0) + (0, 5)."""
    from qkvlab.questions import TokenRef
    from qkvlab.residual_parts import Component

    writers = Component("embedding", "embedding"), Component("0.1", "head", 0, 1)
    q, k = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 5.0]])
    token = TokenRef(0, "x")
    found = Why("m", "1.0", 0, token, token, writers, q @ k.T, 13.5, {"mask": 0.0, "edits": 0.25})
    assert found.sum == 13 and found.remainder == 0.25
    assert found.by_query.tolist() == [3, 10] and found.by_key.tolist() == [3, 10]
    assert [(pair.query, pair.key, pair.value) for pair in found.pairs(2)] == [
        ("0.1", "0.1", 10), ("embedding", "embedding", 3),
    ]  # fmt: skip
    values = json.loads(json.dumps(found.to_dict(1)))
    assert [row["name"] for row in values["components"]] == ["0.1", "embedding"]
    assert values["layers"] == [
        {"layer": None, "embedding": {"query": 3, "key": 3}},
        {"layer": 0, "head": {"query": 10, "key": 10}},
    ]
    assert values["pairs"] == [{"query": "0.1", "key": "0.1", "value": 10}]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12)
def test_the_parts_sum_to_the_score(tiny: Tiny, seed: int) -> None:
    random = np.random.default_rng(seed)
    model = open_model(tiny(["llama", "qwen3", "gpt2", "bert", "mistral-window"][seed % 5])[1])
    trace = model.trace(ids=random.integers(0, 53, 9).tolist())
    query, layer = int(random.integers(9)), int(random.integers(3))
    key = int(random.integers(*trace.visible(layer, query)))
    holds(why(trace, query, key, (layer, int(random.integers(model.spec.n_head)))))


HERE: dict[str, list[Edit]] = {
    "q": [ShiftQuery(head="2.1", query=5, shift=(0.5,) * 10)],
    "k": [ShiftKey(kv_head="2.0", token=3, shift=(0.5,) * 10)],
    "both": [StopRotation(where="2.1")],
    "tie": [Tie(where="2.1")],
    "scores": [Strengthen(where="2.1", query=5, key=3, amount=2.0), ScaleScores(where="2", factor=3.0)],
    "shared": [ShareKV(first_layer=2, last_layer=2)],
}


@pytest.mark.parametrize("what", HERE)
def test_edits_of_this_very_head_stand_apart(what: str, tiny_model: Open) -> None:
    plain = tiny_model("llama").trace(ids=IDS)
    trace = plain.with_edits(HERE[what])
    before, found = why(plain, 5, 3, "2.1"), why(trace, 5, 3, "2.1")
    holds(found)
    np.testing.assert_array_equal(found.matrix, before.matrix)
    assert "edits" not in before.apart and abs(found.apart["edits"]) > 1e-3
    assert found.score == pytest.approx(before.score + found.apart["edits"], abs=1e-6)


def test_edits_below_are_in_the_parts(tiny_model: Open) -> None:
    plain = tiny_model("llama").trace(ids=IDS)
    trace = plain.with_edits([Ablate(where="1.2")])
    before, found = why(plain, 5, 3, "2.1"), why(trace, 5, 3, "2.1")
    holds(found)
    at = [component.name for component in found.components].index("1.2")
    assert "edits" not in found.apart and found.by_query[at] == 0 == found.by_key[at] and before.by_query[at] != 0
    assert found.score != before.score


def test_what_is_hidden_has_a_name(tiny_model: Open) -> None:
    trace = tiny_model("mistral-window").trace(ids=IDS)
    with pytest.raises(TokenError, match=r"#5 .* comes after #2 .* causal"):
        why(trace, 2, 5, "1.0")
    with pytest.raises(TokenError, match=r"#0 .* outside the keys #2 to #6 that #6"):
        why(trace, 6, 0, "1.0")
    with pytest.raises(TokenError, match="an edit hides #3"):
        why(trace.with_edits([Mute(where="1.0", key=3)]), 5, 3, "1.0")
    with pytest.raises(HeadError, match=r"there is no head 9\.0"):
        why(trace, 5, 3, "9.0")
    with pytest.raises(TokenError, match="no token #99"):
        why(trace, "#99", 3, "1.0")


def test_a_family_that_is_not_known_is_refused(tiny_model: Open) -> None:
    from dataclasses import replace

    model = tiny_model("llama")
    trace = model.trace(ids=IDS).run()
    model.spec = replace(model.spec, family="falcon")
    with pytest.raises(UnsupportedError, match="known for llama, gpt2, bert, not for falcon"):
        parts_read(trace, 1, [0])


def test_the_measured_score(smollm2: Model) -> None:
    """Head 13.8 of SmolLM2, " it" on " cat": 6.613, of 131 writers, no pair a tenth of it; the sink is one MLP."""
    trace = smollm2.trace(CAT)
    found = qkvlab.why(trace, " it", " cat", "13.8")
    assert found.score == pytest.approx(6.613, abs=5e-4)
    holds(found, 1e-4)
    assert len(found.components) == 1 + 13 * 10 and np.abs(found.matrix).max() < 0.1 * found.score
    sink = qkvlab.why(trace, " it", "The", "13.8")
    holds(sink, 1e-4)
    names = [component.name for component in sink.components]
    assert sink.by_key[names.index("mlp 11")] > 0.95 * sink.score
