"""Why a score of a captured model is what it is: every family of the zoo, against autograd through frozen norms."""

from typing import Any

import numpy as np
import pytest

from linear import Linear, Named
from qkvlab import open_model, why
from qkvlab.captured_residual import captured_parts
from qkvlab.edits import Ablate, Mute, ShiftQuery, Strengthen
from qkvlab.errors import UnsupportedError
from qkvlab.live import open_live
from qkvlab.livetrace import LiveTrace
from qkvlab.models.live_families import FAMILIES
from qkvlab.models.live_writes import WAYS
from qkvlab.spec import Head
from qkvlab.why_score import Why
from zoo import ZOO, build, zoo_inputs, zoo_model

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7, 19, 44]
EVERY = [
    (kind, name) for kind in ZOO for name in FAMILIES[ZOO[kind].family].stacks if (kind, name) != ("whisper", "encoder")
]
REFUSED = {
    **{pair: "keys of its cross attention come from the encoder" for pair in EVERY if pair[1] == "cross"},
    ("deepseek_v2", "decoder"): "how deepseek_v2 makes its scores of q and k is not known part by part",
    ("deepseek_v3", "decoder"): "how deepseek_v3 makes its scores of q and k is not known part by part",
}
"""Every stack of the zoo that has no parts, with the reason it gives; all others have."""
POSITIONS = {"gpt2", "gpt_neo", "opt", "bert", "roberta", "distilbert", "electra", "albert", "bart", "whisper"}
BY_POSITION = {"bloom", "mpt", "falcon-rw", "t5"}


def traced(kind: str, attention: str, hf: Any = None) -> LiveTrace:
    inputs = zoo_inputs(kind, IDS)
    del inputs["decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"]
    model = open_live(hf or zoo_model(kind), attention=attention)
    return model.trace(ids=IDS, source=None if attention == "encoder" else inputs or None)


def holds(found: Why) -> None:
    """Parts, what is apart and a remainder of rounding are the model's own score."""
    largest = float(np.abs(found.matrix).max())
    assert found.sum + sum(found.apart.values()) + found.remainder == pytest.approx(found.score, abs=1e-12)
    assert abs(found.remainder) < 1e-4 * largest, (found.remainder, largest, found.apart)


def named(found: Why) -> dict[tuple[str, str], float]:
    names = [component.name for component in found.components]
    assert len(set(names)) == len(names)
    return {(a, b): float(found.matrix[i, j]) for i, a in enumerate(names) for j, b in enumerate(names)}


@pytest.mark.parametrize(("kind", "attention"), EVERY)
def test_every_family_has_parts_or_says_why_not(kind: str, attention: str) -> None:
    trace = traced(kind, attention)
    layers = trace.spec.attention_layers
    if (kind, attention) in REFUSED:
        with pytest.raises(UnsupportedError, match=REFUSED[kind, attention]):
            why(trace, "#4", "#3", (layers[-1], 1))
        return
    for head in (Head(layers[0], 0), Head(layers[-1], 1)):
        found = why(trace, "#6", "#4", head)
        assert found.score == pytest.approx(float(trace.scores(head)[6, 4]), abs=1e-5)
        holds(found)
        assert ("bias by position" in found.apart) == (kind in BY_POSITION)
    writers = {component.name for component in found.components}
    mixed = trace.spec.no_attention
    below = range(layers[-1])
    assert {"embedding", *(f"mlp {layer}" for layer in below)} <= writers
    assert {f"mixer {layer}" if layer in mixed else f"{layer}.1" for layer in below} <= writers
    assert ("position" in writers) == (kind in POSITIONS)
    crossed = {f"cross {layer}.{head}" for layer in below for head in range(trace.spec.n_head)}
    assert writers.isdisjoint(crossed) if attention == "encoder" or kind not in ("bart", "t5", "whisper") else (
        crossed <= writers
    )  # fmt: skip


BERT = {
    "w_o": "attention.output.dense", "mlp": "output.dense", "words": "word_embeddings",
    "positions": "position_embeddings", "types": "token_type_embeddings", "attention": "attention.self",
}  # fmt: skip
SIDE = {"w_o": "self_attn.out_proj", "mlp": "fc2", "positions": "embed_positions"}
DECODER = Named("decoder.layers.", cross="encoder_attn.out_proj", beside="decoder.", **SIDE)
LINEAR = {
    **dict.fromkeys(("llama", "gemma2", "gemma3", "olmo2", "cohere2"), Named("layers.")),
    **dict.fromkeys(("bert", "electra"), Named("encoder.layer.", **BERT)),
    "albert": Named(
        "encoder.albert_layer", **{**BERT, "w_o": "attention.dense", "mlp": "ffn_output", "attention": "attention"}
    ),
    "distilbert": Named(
        "transformer.layer.", **{**BERT, "w_o": "out_lin", "mlp": "ffn", "types": "", "attention": "attention"}
    ),
    **dict.fromkeys(("bart", "whisper"), DECODER),
    "opt": Named("decoder.layers.", **SIDE),
}
"""Norms around, on and after writes, parallel ones, projections, a decoder beside an encoder."""


@pytest.mark.parametrize("kind", LINEAR)
def test_every_pair_is_the_linear_models(kind: str) -> None:
    """Each entry of the matrix, from gradients of transformers' own forward in float64 with its norms held."""
    trace = traced(kind, "encoder" if (kind, "decoder") not in EVERY else "decoder")
    found = why(trace, "#6", "#4", "2.1")
    said = Linear(zoo_model(kind), LINEAR[kind], zoo_inputs(kind, IDS), trace.spec.n_head).matrix(2, 1, 6, 4)
    ours, reach = named(found), 2e-5 * float(np.abs(found.matrix).max())
    for pair, value in said.items():
        assert ours[pair] == pytest.approx(value, abs=reach), pair
    left = {component.kind for component in found.components if (component.name, component.name) not in said}
    assert left <= {"bias"}, left


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_a_captured_model_says_what_the_native_engine_says(kind: str, tiny: Any) -> None:
    theirs, folder = tiny(kind)
    ours, native = (why(m.trace(ids=IDS), "#9", "#3", "2.1") for m in (open_live(theirs), open_model(folder)))
    assert ours.components == native.components
    np.testing.assert_allclose(ours.matrix, native.matrix, rtol=0, atol=2e-5 * np.abs(native.matrix).max())


def test_a_soft_cap_stands_apart() -> None:
    """c · tanh(s / c) - s, of the score s that the parts sum to; the rest is the model's own score."""
    trace = traced("gemma2", "decoder", build("gemma2", attn_logit_softcapping=1.5))
    for query, key in (("#6", "#4"), ("#8", "#7"), ("#5", "#5")):
        found = why(trace, query, key, "2.1")
        holds(found)
        capped = 1.5 * np.tanh(found.sum / 1.5)
        assert found.apart["soft cap"] == pytest.approx(capped - found.sum, abs=1e-5)
        assert found.score == pytest.approx(capped, abs=1e-5)
        assert abs(found.apart["soft cap"]) > 1e-3


@pytest.mark.parametrize(("kind", "changes"), [
    ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 10}),
    ("bloom", {"apply_residual_connection_post_layernorm": True}),
    ("falcon", {"num_ln_in_parallel_attn": 1}),
    ("albert", {"num_hidden_groups": 1, "num_hidden_layers": 4}),
    ("cohere", {"use_qk_norm": False, "attention_bias": True}),
])  # fmt: skip
def test_other_ways_of_the_same_families(kind: str, changes: dict[str, Any]) -> None:
    attention = next(iter(FAMILIES[ZOO[kind].family].stacks))
    holds(why(traced(kind, attention, build(kind, **changes)), "#6", "#4", "2.1"))


@pytest.mark.parametrize("kind", ["gemma2", "bert", "bart"])
def test_a_row_of_a_padded_batch_has_the_same_parts(kind: str) -> None:
    attention = "encoder" if kind != "gemma2" else "decoder"
    model = open_live(zoo_model(kind), attention=attention)
    batch = model.traces([IDS[:7], IDS], keep=("q", "k", "x", "position", "embedding"))
    alone, padded = (why(trace, "#6", "#4", "1.1") for trace in (model.trace(ids=IDS[:7]), batch[0]))
    assert alone.components == padded.components
    np.testing.assert_allclose(padded.matrix, alone.matrix, rtol=0, atol=2e-5 * np.abs(alone.matrix).max())


@pytest.mark.parametrize("kind", ["llama", "gemma2", "bert"])
def test_edits_below_are_in_the_parts_and_those_of_the_head_apart(kind: str) -> None:
    model = open_live(zoo_model(kind))
    edits = [Mute(where="0.1", key=2), Strengthen(where="2.1", query=6, key=4, amount=1.5), Ablate(where="1.2")]
    found = why(model.trace(ids=IDS, edits=edits), "#6", "#4", "2.1")
    holds(found)
    assert found.apart["edits"] == pytest.approx(1.5, abs=1e-4)
    assert found.by_query[[component.name for component in found.components].index("1.2")] == 0


def test_an_edited_query_leaves_the_parts_alone() -> None:
    model = open_live(zoo_model("olmo2"))
    plain = why(model.trace(ids=IDS), "#6", "#4", "2.1")
    shift = ShiftQuery(head="2.1", query=6, shift=(0.5,) * model.spec.d_head)
    edited = why(model.trace(ids=IDS, edits=[shift]), "#6", "#4", "2.1")
    np.testing.assert_allclose(edited.matrix, plain.matrix, rtol=0, atol=1e-6)
    assert edited.score == pytest.approx(plain.score + edited.apart["edits"], abs=1e-5)
    assert abs(edited.apart["edits"]) > 1e-3


@pytest.mark.parametrize("kind", ["gemma2", "bert"])
def test_a_model_in_bfloat16(kind: str) -> None:
    import torch

    trace = open_live(build(kind).to(torch.bfloat16)).trace(ids=IDS)
    found = why(trace, "#6", "#4", "1.1")
    assert abs(found.remainder) < 5e-2 * np.abs(found.matrix).max()


@pytest.mark.parametrize(("kind", "path", "what"), [
    ("bert", "bert.embeddings.LayerNorm", "residual that enters the first layer"),
    ("gemma2", "model.layers.1", "residual that leaves layer 1"),
    ("gemma2", "model.layers.1.post_feedforward_layernorm", "residual that leaves layer 1"),
    ("olmo2", "model.layers.0.post_attention_layernorm", "residual that leaves layer 0"),
    ("gemma2", "model.layers.2.input_layernorm", "x that attention reads in layer 2"),
    ("gemma2", "model.layers.2.self_attn.q_proj", "q of head 2.1"),
])  # fmt: skip
def test_more_on_the_way_is_refused_by_its_place(kind: str, path: str, what: str) -> None:
    """A module that does what the table does not say (half as much again) is found, and its place named."""
    hf = build(kind)
    module = hf.get_submodule(path)
    real = module.forward
    module.forward = lambda *args, **given: real(*args, **given) * 1.5
    trace = open_live(hf).trace(ids=IDS)
    with pytest.raises(UnsupportedError, match=f"the {what} is not what its parts sum to, so {kind} has more"):
        why(trace, "#6", "#4", "2.1")


def test_the_parts_come_in_the_order_they_are_written() -> None:
    trace = traced("bart", "decoder")
    names = [component.name for component in captured_parts(trace, 1, [3, 2]).components]
    assert names == [
        "embedding", "position", "norm bias (embedding)",
        "0.0", "0.1", "0.2", "attention bias 0", "norm bias 0 (attention)",
        "cross 0.0", "cross 0.1", "cross 0.2", "cross bias 0", "norm bias 0 (cross)",
        "mlp 0", "norm bias 0 (mlp)",
    ]  # fmt: skip


def test_every_row_of_the_table_is_of_a_family_that_is_captured() -> None:
    assert WAYS.keys() <= FAMILIES.keys()
    for name, row in WAYS.items():
        if isinstance(row, dict):
            assert row.keys() <= FAMILIES[name].stacks.keys()
