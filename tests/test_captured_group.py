"""Fewer K/V heads in captured families: what changes nothing, the written folder as transformers reads it, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qkvlab
from qkvlab.captured_group import changed_weights
from qkvlab.checkpoint.attention import open_attention
from qkvlab.checkpoint.safetensors import read_header
from qkvlab.checkpoint.stores import FileStore
from qkvlab.errors import UnsupportedError
from qkvlab.grouping import Plan
from qkvlab.rearranged import rearranged
from qkvlab.regroup import group
from zoo import build, zoo_model

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7, 45, 19]
ARRANGED = ["gemma", "gemma2", "gemma3", "phi", "phi3", "cohere", "falcon"]
"""Split, with biases and a part that does not turn (Phi), in blocks, adjacent pairs, interleaved per K/V head."""


def logits_of(model: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        found: np.ndarray = model(torch.tensor([IDS])).logits[0].numpy()
    return found


@pytest.mark.parametrize("kind", ARRANGED)
def test_moving_and_turning_heads_changes_nothing(kind: str) -> None:
    """K/V heads in another order, keys turned by any angles, values by any orthogonal matrices; and then back."""
    hf, rng = build(kind), np.random.default_rng(5)
    model, file, before = qkvlab.open_model(hf), open_attention(hf), logits_of(hf)
    n, d = file.n_kv_head, file.d_head
    rotation = file.rotation_of(0)
    assert rotation is not None
    phases = None if file.qk_norm else rng.uniform(-np.pi, np.pi, (n, rotation.dims // 2))
    turns = np.stack([np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(n)])
    plan = Plan(n, tuple(reversed(range(n))), "none", phases, turns, pairs=rotation.pairs)
    arrays: dict[str, Any] = {}
    for layer in range(file.n_layer):
        arrays |= rearranged(file, plan, layer)
    with changed_weights(model, arrays):
        moved, v = logits_of(hf), model.trace(ids=IDS).v(0)
    np.testing.assert_allclose(moved, before, rtol=0, atol=2e-5 * np.abs(before).max())
    assert np.abs(v - model.trace(ids=IDS).v(0)).max() > 0.1
    np.testing.assert_array_equal(logits_of(hf), before)


@pytest.mark.parametrize(("kind", "method"), [("phi3", "aligned"), ("falcon", "cluster"), ("phi", "mean"),
                                              ("gemma3", "aligned")])  # fmt: skip
def test_the_folder_is_what_was_measured(kind: str, method: str, tmp_path: Path) -> None:
    """transformers loads it, its predictions are as far away as was said, and what is not attention is bit for bit."""
    from transformers import AutoModelForCausalLM

    hf = build(kind)
    hf.save_pretrained(tmp_path / "own")
    model = qkvlab.open_model(tmp_path / "own")
    assert not model.native
    found = group(model, 1, tmp_path / "new", method=method, ids=IDS)
    made: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    p, q = (_log_shares(logits_of(each).astype(np.float64)) for each in (hf, made.eval()))
    assert found.whole is not None
    assert found.whole.kl == pytest.approx((np.exp(p) * (p - q)).sum(-1).mean(), rel=1e-4) and found.whole.kl > 0
    assert found.whole.perplexity_before == pytest.approx(np.exp(-p[np.arange(len(IDS) - 1), IDS[1:]].mean()), rel=1e-4)
    assert all(0.1 < cost.k_error < 1 and 0.1 < cost.v_error < 1 for cost in found.costs)
    np.testing.assert_array_equal(model.trace(ids=IDS, positions="all").logits, logits_of(hf))
    own, new = (FileStore("", read_header(tmp_path / folder)) for folder in ("own", "new"))
    assert set(own.names) == set(new.names)
    for name in own.names:
        if "attn" not in name and "attention" not in name:
            a, b = own.info(name), new.info(name)
            np.testing.assert_array_equal(own.read(a, 0, a.nbytes), new.read(b, 0, b.nbytes))


def _log_shares(logits: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_bytes_are_those_of_transformers_cache(tmp_path: Path) -> None:
    """Phi-3 keeps half; Falcon's cache holds every K/V head repeated, so fewer of them save nothing there."""
    for kind, bytes_per_token in (("phi3", (96, 48)), ("falcon", (288, 288))):
        assert group(qkvlab.open_model(zoo_model(kind)), 1, ids=IDS).bytes_per_token == bytes_per_token


def test_some_layers_in_another_number_type(tmp_path: Path) -> None:
    build("phi3").save_pretrained(tmp_path / "own")
    model = qkvlab.open_model(tmp_path / "own")
    found = group(model, 1, tmp_path / "new", layers=[1], dtype="bfloat16", ids=IDS)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["num_key_value_heads"] == 2 and config["dtype"] == "bfloat16" and "repeated" in found.notes[0]
    w = open_attention(tmp_path / "new").layer(1)
    np.testing.assert_array_equal(w.w_k[0], w.w_k[1])
    own, other = (open_attention(tmp_path / folder).layer(0).w_k for folder in ("own", "new"))
    np.testing.assert_allclose(other, own, rtol=2**-8)


@pytest.mark.parametrize(
    ("kind", "n", "message"),
    [
        ("olmo2", 1, r"k_norm.weight' \[8\] belongs to single heads or to all of them together"),
        ("gpt_oss", 1, r"sinks' \[6\] belongs to single heads"),
        ("qwen3_next", 1, "a gate stands between"),
        ("bloom", 1, "no count of K/V heads in its configuration"),
        ("falcon-7b", 1, "no count of K/V heads"),
        ("deepseek_v3", 1, "no count of K/V heads"),
        ("bert", 1, "no count of K/V heads"),
        ("gemma2", 3, "2 K/V heads cannot become 3: they must be fewer .* possible are 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(kind: str, n: int, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        group(qkvlab.open_model(zoo_model(kind)), n, ids=IDS)


def test_a_model_in_memory_alone_is_measured_and_not_written(tmp_path: Path) -> None:
    model = qkvlab.open_model(zoo_model("gemma"))
    assert group(model, 1, ids=IDS).costs
    with pytest.raises(UnsupportedError, match=r"is in memory only: save it \(model.save_pretrained\)"):
        group(model, 1, tmp_path / "new", ids=IDS)
    with pytest.raises(UnsupportedError, match="did you mean 'mean'"):
        group(model, 1, ids=IDS, method="meen")
