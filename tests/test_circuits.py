"""Symmetry of W_q W_kᵀ: closed forms, brute force, grouped K/V heads that can be told apart, and refusals by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.circuits import head_weights, random_symmetries, symmetries, symmetry
from qkvlab.errors import HeadError, UnsupportedError
from qkvlab.model import Model, open_model
from tiny_models import make_tiny

Open = Callable[[str], Model]


def formed(w_q: np.ndarray, w_k: np.ndarray) -> float:
    """The definition, on the d_model × d_model matrix itself."""
    m = w_q.astype(np.float64) @ w_k.astype(np.float64).T
    return float(np.trace(m @ m) / np.sum(m * m))


def columns(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).T


def test_closed_forms() -> None:
    e1, e2 = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    assert symmetry(columns(e1), columns(e1)) == 1, "M = e1 e1ᵀ"
    assert symmetry(columns(e1), columns(e2)) == 0, "M = e1 e2ᵀ: one way only"
    assert symmetry(columns(e1, e2), columns(e2, e1)) == 1, "M = e1 e2ᵀ + e2 e1ᵀ"
    assert symmetry(columns(e1, e2), columns(e2, [-1.0, 0.0, 0.0])) == -1, "M = e1 e2ᵀ - e2 e1ᵀ"
    # M = 2 e1 e1ᵀ + e1 e2ᵀ: tr(M²) = 4, |M|² = 5
    assert symmetry(columns(e1), columns([2.0, 1.0, 0.0])) == pytest.approx(4 / 5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(2, 11))
def test_against_the_formed_matrix(seed: int, d_head: int, d_model: int) -> None:
    random = np.random.default_rng(seed)
    w_q, w_k = random.standard_normal((2, d_model, d_head)).astype(np.float32)
    found = symmetry(w_q, w_k)
    assert found == pytest.approx(formed(w_q, w_k), abs=1e-9) and -1 - 1e-9 <= found <= 1 + 1e-9
    assert symmetry(w_k, w_q) == pytest.approx(found, abs=1e-9), "Mᵀ is as symmetric as M"
    assert symmetry(5 * w_q, w_k) == pytest.approx(found, abs=1e-5), "size does not count"
    assert symmetry(w_q, w_q) == pytest.approx(1), "tied"
    m = w_q.astype(np.float64) @ w_k.astype(np.float64).T
    even, odd = (float(np.sum((m + sign * m.T) ** 2)) for sign in (1, -1))
    assert found == pytest.approx((even - odd) / (even + odd), abs=1e-9)


@pytest.mark.parametrize("kind", ["llama", "llama-mqa", "gpt2", "bert", "qwen2"])
def test_every_head_of_a_model(kind: str, tiny_model: Open) -> None:
    model = tiny_model(kind)
    found, spec = symmetries(model), model.spec
    assert found.shape == (spec.n_layer, spec.n_head) and found.dtype == np.float32
    for head in spec.heads():
        w = model.weights.layer(head.layer)
        expected = formed(w.w_q[head.head], w.w_k[head.head // spec.group])
        assert found[head] == pytest.approx(expected, abs=1e-6)


def test_grouped_heads_are_paired_with_the_head_they_read(tmp_path: Path) -> None:
    """Each query head's W_q is the W_k of its own K/V head, and of no other: 6 heads on 2 K/V heads."""
    import torch

    planted = make_tiny("llama")
    with torch.no_grad():
        for layer in planted.model.layers:
            keys = layer.self_attn.k_proj.weight.reshape(2, 10, 24)
            layer.self_attn.q_proj.weight.copy_(keys.repeat_interleave(3, dim=0).reshape(60, 24))
    planted.save_pretrained(tmp_path)
    model = open_model(tmp_path)
    np.testing.assert_allclose(symmetries(model), 1, atol=1e-6)
    w = model.weights.layer(0)
    wrong = [symmetry(w.w_q[head], w.w_k[head % 2]) for head in range(6) if head % 2 != head // 3]
    assert len(wrong) == 2 and max(map(abs, wrong)) < 0.5, "the wrong pairing would show"
    for head in range(6):
        arrays = head_weights(model, (0, head))
        np.testing.assert_allclose(arrays["w_q"], arrays["w_k"])
        np.testing.assert_array_equal(arrays["w_v"], w.w_v[head // 3])


def test_random_matrices_are_near_zero(tiny_model: Open, smollm2: Model) -> None:
    found = random_symmetries(smollm2.spec)
    assert found.shape == (30, 9) and abs(found).max() < 0.06 and abs(found.mean()) < 0.005
    np.testing.assert_array_equal(found, random_symmetries(smollm2.spec))
    assert (found != random_symmetries(smollm2.spec, seed=23)).any()
    assert random_symmetries(tiny_model("llama").spec).shape == (3, 6)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2", "llama"])
def test_a_heads_own_projections_make_its_arrays(kind: str, tiny_model: Open) -> None:
    model = tiny_model(kind)
    trace = model.trace(ids=[3, 17, 42, 5])
    last = model.spec.heads()[-1]
    arrays, kv_head = head_weights(model, last), model.spec.kv_head(last)
    assert ("b_q" in arrays) == ("b_k" in arrays) == ("b_v" in arrays) == model.spec.qkv_bias
    made = {"q": trace.q_raw(last.layer)[last.head], "k": trace.k_raw(last.layer)[kv_head], "v": trace.values(last)}
    for name, wanted in made.items():
        got = trace.normed(last.layer) @ arrays[f"w_{name}"] + arrays.get(f"b_{name}", 0)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_what_it_cannot_do_has_a_name(tiny_model: Open) -> None:
    with pytest.raises(UnsupportedError, match=r"normalises q and k .* no matrix"):
        symmetries(tiny_model("qwen3"))
    with pytest.raises(UnsupportedError, match="is zero"):
        symmetry(np.zeros((5, 3), np.float32), np.ones((5, 3), np.float32))
    with pytest.raises(HeadError, match=r"there is no head 9\.9"):
        head_weights(tiny_model("llama"), "9.9")


def test_a_zero_head_is_named(tiny_model: Open) -> None:
    model = tiny_model("llama")
    model.weights.layer(1).w_q[4] = 0
    with pytest.raises(UnsupportedError, match=r"head 1\.4: W_q W_kᵀ is zero"):
        symmetries(model)


def test_the_default_model(smollm2: Any) -> None:
    found = symmetries(smollm2)
    w = smollm2.weights.layer(13)
    assert found[13, 8] == pytest.approx(formed(w.w_q[8], w.w_k[2]), abs=1e-6)
