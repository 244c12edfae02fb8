"""Effects on the prediction: laws that hold in closed form, naive runs with the same edits, and measured facts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qkvlab.edits import Ablate, Edit, Mute, ScaleScores, ShiftQuery
from qkvlab.effects import ablated, direct_effects, frozen_direction, prediction, strength_curve, tracked_ids
from qkvlab.errors import EditError, HeadError, TokenError, UnsupportedError
from qkvlab.model import Model
from qkvlab.questions import predict
from qkvlab.spec import ModelSpec
from qkvlab.trace import Trace

KINDS = ["llama", "llama-mqa", "llama-biases", "mistral-window", "qwen2", "qwen3", "gpt2", "gpt2-wide"]
IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31]
ITALY = "In France they speak French. In Italy they speak"
Open = Callable[[str], Model]


def edits_for(spec: ModelSpec) -> list[Edit]:
    shift = tuple(np.linspace(-1, 2, spec.d_head).tolist())
    return [Mute(where="1", key=2), ShiftQuery(head="0.1", query=4, shift=shift), ScaleScores(where="2", factor=0.5)]


def shares(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits.astype(np.float64) - logits.max())
    return e / e.sum()


# ---- which words


def test_words_to_track_by_id_or_text(smollm2: Model) -> None:
    italian, french = tracked_ids(smollm2, [" Italian", " French"])
    assert smollm2.word(italian) == " Italian" and smollm2.word(french) == " French"
    assert tracked_ids(smollm2, [french, " Italian", 0]) == [french, italian, 0]
    assert tracked_ids(smollm2, []) == []


@pytest.mark.parametrize(
    ("tracked", "message"),
    [
        (" Italian food", '" Italian food" is 2 tokens here: " Italian" " food"; only one can be tracked'),
        ("", '"" is 0 tokens here: none; only one'),
        ("so " * 90, r"^.{0,300} \.\.\.; only one"),
        (49_152, "id 49152 is not in the vocabulary of 0 to 49151"),
        (-1, "id -1 is not in the vocabulary"),
    ],
)
def test_what_is_not_one_token_is_refused(tracked: int | str, message: str, smollm2: Model) -> None:
    with pytest.raises(TokenError, match=message) as caught:
        tracked_ids(smollm2, [tracked])
    assert "\n" not in str(caught.value)


# ---- the direct effect


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [[7], [7, 31]])
@pytest.mark.parametrize("edited", [False, True])
def test_all_parts_of_the_residual_sum_to_the_logit(kind: str, ids: list[int], edited: bool, tiny_model: Open) -> None:
    model, at = tiny_model(kind), 6
    spec = model.spec
    trace = model.trace(ids=IDS, edits=edits_for(spec) if edited else [], positions="all")
    direction = frozen_direction(trace, at, ids).astype(np.float64)
    rest = trace.x(0)[at] @ direction
    for layer in range(spec.n_layer):
        rest += trace.mlp(layer)[at] @ direction
        bias = model.weights.layer(layer).b_o
        rest += 0 if bias is None else bias @ direction
    if spec.family == "gpt2":
        constant = model.weights.unembedding[ids] @ model.weights.vector("final_norm_bias")
        rest += constant[0] - (constant[1] if len(ids) == 2 else 0)
    logits = trace.logits[at].astype(np.float64)
    quantity = logits[ids[0]] - (logits[ids[1]] if len(ids) == 2 else 0)
    effects = direct_effects(trace, at, ids)
    assert effects.shape == (spec.n_layer, spec.n_head) and effects.dtype == np.float32
    np.testing.assert_allclose(effects.sum(dtype=np.float64) + rest, quantity, atol=2e-4 * max(1, abs(quantity)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_heads_direct_effect_is_its_write_along_the_direction(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    direction, effects = frozen_direction(trace, 9, [5, 11]), direct_effects(trace, 9, [5, 11])
    for head in trace.spec.heads():
        np.testing.assert_allclose(effects[head], trace.write(head)[9] @ direction, atol=1e-4)


# ---- ablation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edited", [False, True])
def test_ablation_is_a_run_with_one_more_edit(kind: str, edited: bool, tiny_model: Open) -> None:
    model = tiny_model(kind)
    edits = edits_for(model.spec) if edited else []
    trace, at = model.trace(ids=IDS, edits=edits), 8
    before = trace.logits_at(slice(at, at + 1))[0].astype(np.float64)
    fresh = tiny_model(kind)
    for head in ("0.0", "1.2" if model.spec.n_head > 2 else "1.1", f"2.{model.spec.n_head - 1}"):
        without = fresh.trace(ids=IDS, edits=[*edits, Ablate(where=head)], positions="all").logits[at]
        for ids in ([7], [7, 31]):
            effect, p = ablated(trace, head, at, ids)
            lost = before - without
            np.testing.assert_allclose(effect, lost[7] - (lost[31] if len(ids) == 2 else 0), atol=1e-3)
            np.testing.assert_allclose(p, shares(without)[7], rtol=1e-3)


def test_an_ablation_starts_where_the_head_is(smollm2: Model) -> None:
    """What stands below the head is the same memory, also when many other traces came in between."""
    trace = smollm2.trace(ITALY).run()
    others = [smollm2.trace(ids=[i, i + 1]).run(1) for i in range(20)]
    assert len(others) == 20
    without = trace.with_edits([Ablate(where="20.1")])
    assert np.shares_memory(without.k(19), trace.k(19))
    assert not np.shares_memory(without.z(20), trace.z(20))


# ---- strength


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_curve_is_a_run_at_that_strength(kind: str, tiny_model: Open) -> None:
    model, at, ids = tiny_model(kind), 9, [7, 31]
    edits = edits_for(model.spec)
    trace, fresh = model.trace(ids=IDS, edits=edits), tiny_model(kind)
    for index in range(3):
        for strength in (0.0, 0.35, 1.0):
            p, logits = strength_curve(trace, [index], strength, at, ids)
            changed = [replace(e, strength=strength) if i == index else e for i, e in enumerate(edits)]
            expected = fresh.trace(ids=IDS, edits=changed).logits[0]
            np.testing.assert_allclose(logits, expected[ids], atol=1e-3)
            np.testing.assert_allclose(p, shares(expected)[ids], rtol=1e-3)
    with pytest.raises(EditError, match=r"strength is 1\.5"):
        strength_curve(trace, [0], 1.5, at, ids)


# ---- the prediction


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_prediction_before_and_after(kind: str, tiny_model: Open) -> None:
    model = tiny_model(kind)
    before, after = model.trace(ids=IDS), model.trace(ids=IDS, edits=[Ablate(where="all")])
    lengths = [len(check_prediction(before, after, at)["rows"]) for at in range(len(IDS))]
    assert max(lengths) > 6, "somewhere, what was among the first three is not among the first six any more"


def check_prediction(before: Trace, after: Trace, at: int) -> dict[str, Any]:
    said = prediction(before, after, at, [31, 7])
    rows = {when: trace.logits_at(slice(at, at + 1))[0] for when, trace in (("before", before), ("after", after))}
    best = {when: np.argsort(-row, kind="stable").tolist() for when, row in rows.items()}
    top = best["after"][:6]
    assert [row["id"] for row in said["rows"]] == [*top, *(i for i in best["before"][:3] if i not in top)]
    assert said["at"] == at and [row["id"] for row in said["tracked"]] == [31, 7]
    for row in (*said["rows"], *said["tracked"]):
        assert row["text"] == f"#{row['id']}"
        for when, logits in rows.items():
            np.testing.assert_allclose(row[when]["logit"], logits[row["id"]], rtol=1e-6)
            np.testing.assert_allclose(row[when]["p"], shares(logits)[row["id"]], rtol=1e-6)
    return said


def test_without_edits_after_is_before(tiny_model: Open) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    said = prediction(trace, trace, 9, [])
    assert len(said["rows"]) == 6 and said["tracked"] == []
    assert all(row["before"] == row["after"] for row in said["rows"])
    assert [row["text"] for row in said["rows"]] == [word for word, _, _ in predict(trace, 9, top=6)]


# ---- where there is nothing to say


def test_an_encoder_predicts_nothing(tiny_model: Open) -> None:
    trace = tiny_model("bert").trace(ids=IDS)
    asked: list[Callable[[Trace], object]] = [
        lambda trace: direct_effects(trace, 9, [7]),
        lambda trace: ablated(trace, "0.0", 9, [7]),
        lambda trace: prediction(trace, trace, 9, []),
    ]
    for ask in asked:
        with pytest.raises(UnsupportedError, match="has no output head"):
            ask(trace)


def test_heads_that_are_not_there(tiny_model: Open) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    with pytest.raises(HeadError):
        ablated(trace, "3.0", 9, [7])
    assert trace.layers_done == 0, "a mistake costs no run"


# ---- the measured fact


def test_23_4_is_the_first_of_all_heads_and_a_high_weight_is_no_effect(smollm2: Model) -> None:
    trace = smollm2.trace(ITALY)
    at, ids = len(trace) - 1, tracked_ids(smollm2, [" Italian", " French"])
    effects = direct_effects(trace, at, ids)
    assert np.unravel_index(effects.argmax(), effects.shape) == (23, 4)
    np.testing.assert_allclose(effects[23, 4], 3.42, atol=5e-3)
    effect, p = ablated(trace, "23.4", at, ids)
    np.testing.assert_allclose([effect, p], [4.61, 0.548], atol=5e-3)
    italy = trace.tokens.index(" Italy")
    effect, p = ablated(trace, "16.2", at, ids)
    assert trace.weights("16.2")[at, italy] > 0.55 and abs(effect) < 0.2
    np.testing.assert_allclose(p, 0.930, atol=5e-3)
