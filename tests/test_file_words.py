"""The way from word to word of captured families, against the modules: gains as the norms themselves show them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab.checkpoint.attention import open_attention
from qkvlab.checkpoint.wordnames import WORD_NAMES
from qkvlab.circuit_report import circuits, copying_scores, head_card
from qkvlab.circuit_source import why_no_words
from qkvlab.models.hooks import reach
from qkvlab.models.live_families import FAMILIES
from qkvlab.models.live_writes import way_of
from zoo import ZOO, build, zoo_model

WITH_WORDS = [kind for kind, entry in ZOO.items() if entry.family in WORD_NAMES]


def linear_of(norm: Any) -> Any:
    """A norm at scale 1 as a matrix, x → x M: found by asking it, not by reading its weight."""
    import torch

    d = norm.weight.shape[-1]
    x = torch.linspace(-3, 2, d) ** 3 + 0.1
    shifts = torch.allclose(norm(x[None]), norm(x[None] + 50), atol=1e-3)
    bias = 0 if getattr(norm, "bias", None) is None else norm.bias
    centred = x - x.mean() if shifts else x
    gain = (norm(x[None])[0] - bias) * centred.square().mean().sqrt() / centred
    centre = torch.eye(d) - 1 / d if shifts else torch.eye(d)
    return centre @ torch.diag(gain)


def whole(hf: Any, layer: int, head: int) -> float:
    """Σλ / Σ|λ| of E · norms · W_v W_o · norms · Uᵀ, vocabulary squared."""
    import torch

    base, way, w = hf.base_model, way_of(hf.config, "decoder"), open_attention(hf).layer(layer)
    stack = FAMILIES[hf.config.model_type].stacks["decoder"]
    own = reach(base, stack.layers)[layer]
    with torch.no_grad():
        rows = hf.get_input_embeddings().weight
        for step in way.start:
            rows = rows @ linear_of(reach(base, step.path)) if step.role == "norm" else rows
        read = [norm for name in way.read if (norm := reach(own, name)) is not None]
        rows = rows @ linear_of(read[0]) if read else rows
        rows = rows @ torch.from_numpy(np.array(w.w_v[head // (len(w.w_q) // len(w.w_k))]))
        rows = rows @ torch.from_numpy(np.array(w.w_o[head]))
        after = next(step.norm for step in way.layer if step.role == "heads")
        rows = rows @ linear_of(reach(own, after)) if after else rows
        rows = rows @ linear_of(reach(base, stack.final)) @ hf.get_output_embeddings().weight.T
        values = torch.linalg.eigvals(rows.double())
    return float(values.sum().real / values.abs().sum())


@pytest.mark.parametrize("kind", WITH_WORDS)
def test_copying_through_the_modules(kind: str) -> None:
    hf = zoo_model(kind)
    source = open_attention(hf)
    layer, head = source.attention_layers[-1], source.n_head - 1
    assert head_card(source, (layer, head)).circuit.copying == pytest.approx(whole(hf, layer, head), abs=1e-3)


@pytest.mark.parametrize("tied", [False, True])
def test_from_the_files(tied: bool, tmp_path: Path) -> None:
    """A tied head is not in the file; a base model saved alone has none, unless the two are one."""
    hf = build("gemma2", tie_word_embeddings=tied)
    hf.save_pretrained(tmp_path / "whole")
    hf.base_model.save_pretrained(tmp_path / "base")
    live, saved = (copying_scores(open_attention(place)) for place in (hf, tmp_path / "whole"))
    np.testing.assert_array_equal(saved, live)
    base = open_attention(tmp_path / "base")
    assert np.isfinite(saved).all() and np.isfinite(copying_scores(base)).all() == tied
    assert (why_no_words(base) is None) == tied


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("opt", {"do_layer_norm_before": False}, "has do_layer_norm_before False"),
        ("opt", {"word_embed_proj_dim": 12}, "widens its embeddings"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "post_layernorm True"),
        ("electra", {}, "no output head"),
        ("t5", {}, "without its vocabulary"),
        ("qwen3_next", {}, "without its vocabulary"),
    ],
)
def test_where_there_is_no_such_way_it_is_said(kind: str, changes: dict[str, Any], says: str) -> None:
    found = circuits(open_attention(build(kind, **changes)))
    assert found.layers[0].heads[0].copying is None and any(says in note for note in found.notes)
