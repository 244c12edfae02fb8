"""The residual of one token: its way from the embedding, and what the heads of a layer write into it."""

from collections.abc import Callable

import numpy as np
import pytest

from qkvlab.edits import Ablate
from qkvlab.model import Model
from qkvlab.residual import layer_writes, residual_path

IDS = [3, 17, 42, 5, 29, 8]
Open = Callable[[str], Model]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_the_way_from_the_embedding(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    found = residual_path(trace, 4)
    assert {array.shape for array in found.values()} == {(4,)} and found["cosine"][0] == pytest.approx(1)
    x, y = (trace.x(layer)[4].astype(np.float64) for layer in (0, 3))
    assert found["length"][3] == pytest.approx(np.sqrt((y * y).sum()))
    assert found["cosine"][3] == pytest.approx((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()), abs=1e-6)
    assert abs(found["cosine"][3]) < 1


def test_a_zero_embedding_has_no_direction(tiny_model: Open) -> None:
    model = tiny_model("llama")
    model.weights.embedding[17] = 0
    found = residual_path(model.trace(ids=IDS), 1)
    assert found["length"][0] == 0 and (found["cosine"] == 0).all()


@pytest.mark.parametrize("kind", ["llama", "llama-biases", "gpt2", "bert", "qwen3"])
def test_the_heads_and_the_bias_are_what_attention_adds(kind: str, tiny_model: Open) -> None:
    model = tiny_model(kind)
    trace = model.trace(ids=IDS)
    for layer in range(model.spec.n_layer):
        arrays, difference = layer_writes(trace, layer, 3)
        assert arrays["heads"].shape == (model.spec.n_head, model.spec.d_model)
        assert ("bias" in arrays) == model.spec.out_bias
        for head in range(model.spec.n_head):
            np.testing.assert_allclose(arrays["heads"][head], trace.write((layer, head))[3], rtol=1e-4, atol=1e-6)
        whole = arrays["heads"].sum(axis=0) + arrays.get("bias", 0)
        np.testing.assert_allclose(whole, trace.out(layer)[3], rtol=1e-4, atol=1e-5)
        assert difference <= 1e-6 * abs(arrays["heads"]).max() * 20


def test_a_missing_part_would_show(tiny_model: Open) -> None:
    """Without one head the sum is far off, so the small difference says something."""
    model = tiny_model("gpt2")
    trace = model.trace(ids=IDS)
    arrays, small = layer_writes(trace, 1, 3)
    arrays["heads"][0] = 0
    left = arrays["heads"].sum(axis=0) + arrays["bias"] - arrays["out"]
    assert abs(left).max() > 1000 * small


def test_an_ablated_head_writes_nothing(tiny_model: Open) -> None:
    arrays, _ = layer_writes(tiny_model("llama").trace(ids=IDS, edits=[Ablate(where="1.2")]), 1, 3)
    assert not arrays["heads"][2].any() and arrays["heads"][3].any()
