"""A model's circuits: every head and layer of tiny and real models, planted groups, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab.circuit_report import CAVEAT, circuits, head_card
from qkvlab.circuit_source import NativeLayer, NativeSource, open_circuit_source
from qkvlab.circuits import content_and_position, symmetries
from qkvlab.errors import CheckpointError, HeadError, SourceError, UnsupportedError
from qkvlab.model import Model
from qkvlab.spec import Rotation
from tiny_models import make_tiny

Open = Callable[[str], Model]
IDS = [3, 17, 42, 5, 29, 11, 23]


@dataclass
class Planted:
    """A source of weights made by hand, as a file's attention is one."""

    layers: dict[int, NativeLayer]
    name: str = "planted"
    family: str = "llama"
    qk_norm: bool = False
    rotation: Rotation | None = None
    mla: bool = False

    def __post_init__(self) -> None:
        first = next(iter(self.layers.values()))
        self.n_head, self.d_model, self.d_head = first.w_q.shape
        self.n_kv_head = len(first.w_k)
        self.attention_layers = tuple(self.layers)

    def layer(self, layer: int) -> NativeLayer:
        return self.layers[layer]


def planted(**changes: Any) -> Planted:
    """6 heads on 2 K/V heads in layers 1 and 4: each W_q is a multiple of the W_k it meets, and of no other."""
    random = np.random.default_rng(11)

    def one() -> NativeLayer:
        w_k, w_v = random.standard_normal((2, 2, 23, 5)).astype(np.float32)
        w_q = np.repeat(w_k, 3, axis=0) * np.float32([2, 3, 5, 7, 11, 13])[:, None, None]
        return NativeLayer(w_q, w_k, w_v, random.standard_normal((6, 5, 23)).astype(np.float32))

    return replace(Planted({1: one(), 4: one()}), **changes)


def test_a_planted_symmetric_model_is_symmetric_everywhere() -> None:
    source = planted()
    found = circuits(source)
    assert [layer.layer for layer in found.layers] == [1, 4]
    for layer in found.layers:
        assert layer.own is not None and layer.own.symmetry == pytest.approx(1, abs=1e-6)
        assert [head.kv_head for head in layer.heads] == [0, 0, 0, 1, 1, 1]
        assert all(head.symmetry == pytest.approx(1, abs=1e-6) for head in layer.heads)
        assert layer.own.head_symmetry.std == pytest.approx(0, abs=1e-6)
        assert layer.random is not None and abs(layer.random.symmetry) < 0.5
    wrong = planted()
    for w in wrong.layers.values():
        w.w_q[:] = w.w_k[[0, 1, 0, 1, 0, 1]] * np.float32([2, 3, 5, 7, 11, 13])[:, None, None]
    for layer in circuits(wrong).layers:
        values = [head.symmetry or 0 for head in layer.heads]
        assert max(values[1], values[4]) < 0.7 and min(values[0], values[2], values[3], values[5]) > 0.99
        assert layer.own is not None and layer.own.symmetry < 0.95


@pytest.mark.parametrize("kind", ["llama", "llama-mqa", "gpt2", "bert", "qwen2"])
def test_every_number_of_a_model(kind: str, tiny_model: Open) -> None:
    """Each against the d_model × d_model matrix, formed from the weights head by head."""
    model = tiny_model(kind)
    found, spec = circuits(NativeSource(model)), model.spec
    assert found.model == spec.name and len(found.layers) == 3
    np.testing.assert_allclose(
        [[head.symmetry for head in layer.heads] for layer in found.layers], symmetries(model), atol=1e-6
    )
    for layer in found.layers:
        w = model.weights.layer(layer.layer)
        ms = [w.w_q[h].astype(float) @ w.w_k[h // spec.group].T for h in range(spec.n_head)]
        whole = sum(ms)
        assert layer.own is not None
        assert layer.own.symmetry == pytest.approx(np.trace(whole @ whole) / np.sum(whole * whole), abs=1e-6)
        for head, m in zip(layer.heads, ms, strict=True):
            number = int(head.head.partition(".")[2])
            ov = w.w_v[number // spec.group].astype(float) @ w.head_w_o(number, spec.d_head)
            for rank, matrix in ((head.qk_rank, m), (head.ov_rank, ov)):
                shares = np.linalg.svd(matrix, compute_uv=False)
                shares = shares[shares > 1e-9] / shares.sum()
                assert rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
        values = [head.direction for head in layer.heads]
        assert layer.own.head_direction.mean == pytest.approx(np.mean(values))
        assert layer.own.head_direction.std == pytest.approx(np.std(values))


@pytest.mark.parametrize("kind", ["llama", "llama-biases", "gpt2"])
def test_copying_through_the_models_own_words(
    kind: str, tiny: Callable[[str], tuple[Any, Path]], tiny_model: Open
) -> None:
    """All of E · norm gain · W_v W_o · norm gain · Uᵀ, by transformers' own weights, vocabulary squared."""
    import torch

    theirs, source = tiny(kind)[0], NativeSource(tiny_model(kind))
    head, layer = source.n_head - 1, 2
    with torch.no_grad():
        if kind == "gpt2":
            block, final, d = theirs.transformer.h[layer], theirs.transformer.ln_f, 30
            centre = torch.eye(d) - 1 / d
            w_v = block.attn.c_attn.weight[:, 2 * d :].reshape(d, source.n_head, -1)[:, head]
            w_o = block.attn.c_proj.weight.reshape(source.n_head, -1, d)[head]
            read, told = centre @ torch.diag(block.ln_1.weight), centre @ torch.diag(final.weight)
            e = theirs.transformer.wte.weight
        else:
            block, final = theirs.model.layers[layer], theirs.model.norm
            d_head, kv_head = source.d_head, head // (source.n_head // source.n_kv_head)
            w_v = block.self_attn.v_proj.weight[kv_head * d_head : (kv_head + 1) * d_head].T
            w_o = block.self_attn.o_proj.weight[:, head * d_head : (head + 1) * d_head].T
            read, told = torch.diag(block.input_layernorm.weight), torch.diag(final.weight)
            e = theirs.model.embed_tokens.weight
        square = (e @ read @ w_v @ w_o @ told @ theirs.lm_head.weight.T).double()
        values = torch.linalg.eigvals(square)
    expected = float(values.sum().real / values.abs().sum())
    found = head_card(source, (layer, head)).circuit.copying
    assert found == pytest.approx(expected, abs=2e-4)
    assert CAVEAT in circuits(source).notes


def test_the_card_of_a_head(tiny_model: Open) -> None:
    model = tiny_model("llama")
    card = head_card(NativeSource(model), "1.4")
    assert card.circuit == circuits(NativeSource(model)).layers[1].heads[4]
    assert card.circuit.kv_head == 1 and card.shares_kv_with == ("1.3", "1.5")
    w = model.weights.layer(1)
    formed = np.linalg.svd(w.w_q[4].astype(float) @ w.w_k[1].T, compute_uv=False)[:10]
    np.testing.assert_allclose(card.qk_singular, formed, rtol=1e-6)
    formed = np.linalg.svd(w.w_v[1].astype(float) @ w.head_w_o(4, 10), compute_uv=False)[:10]
    np.testing.assert_allclose(card.ov_singular, formed, rtol=1e-6)
    assert card.rotation is not None and [pair.pair for pair in card.rotation] == [0, 1, 2, 3, 4]
    assert card.rotation[0].wavelength == pytest.approx(2 * np.pi) and card.still == 0
    assert sum(pair.share for pair in card.rotation) == pytest.approx(1)
    json.dumps(card.to_dict(), allow_nan=False)
    assert head_card(NativeSource(tiny_model("gpt2")), "1.2").rotation is None


def test_layers_that_turn_differently() -> None:
    class ByLayer(Planted):
        def rotation_of(self, layer: int) -> Rotation | None:
            return {1: Rotation(10_000.0, 4), 4: None}[layer]

    source = ByLayer(planted().layers)
    card, other = head_card(source, "1.0"), head_card(source, "4.0")
    assert card.rotation is not None and card.still is not None and card.still > 0 and other.rotation is None
    assert card.rotation[1].wavelength == pytest.approx(200 * np.pi)


# ---- content and position


@pytest.mark.parametrize("kind", ["llama", "llama-yarn", "qwen2"])
def test_content_and_position_make_the_models_score(kind: str, tiny_model: Open) -> None:
    model = tiny_model(kind)
    trace, source = model.trace(ids=IDS), NativeSource(model)
    for query, key in ((6, 2), (4, 3), (5, 5)):
        x = trace.normed(1)
        content, position = content_and_position(source, "1.3", x[query], x[key], query, key)
        assert content + position == pytest.approx(float(trace.scores("1.3")[query, key]), abs=1e-4)
        moved = content_and_position(source, "1.3", x[query], x[key], query + 40, key + 40)
        assert moved == (pytest.approx(content, abs=1e-9), pytest.approx(position, abs=1e-4)), "only distance counts"
        together = content_and_position(source, "1.3", x[query], x[key], 9, 9)
        assert together[0] == content and together[1] == pytest.approx(0, abs=1e-5)


def test_content_and_position_by_hand() -> None:
    """One pair that turns by 1 radian a token: q = k = (1, 0): content 1/√2, at distance 1 the score is cos(1)/√2."""
    one = np.zeros((1, 3, 2), np.float32)
    one[0, 0, 0] = 1
    layer = NativeLayer(one, one, one, one.swapaxes(1, 2))
    source = Planted({0: layer}, rotation=Rotation(base=10_000.0, dims=2))
    x = np.array([1.0, 0, 0], np.float32)
    content, position = content_and_position(source, "0.0", x, x, 4, 3)
    assert content == pytest.approx(2**-0.5) and position == pytest.approx((np.cos(1) - 1) / 2**0.5, abs=1e-6)
    with pytest.raises(UnsupportedError, match="does not rotate q and k"):
        content_and_position(Planted({0: layer}), "0.0", x, x, 4, 3)


# ---- what it cannot do


def test_what_is_refused_has_a_name() -> None:
    latent = planted(mla=True)
    x = np.ones(23, np.float32)
    for ask in (
        lambda: circuits(latent),
        lambda: head_card(latent, "1.0"),
        lambda: content_and_position(latent, "1.0", x, x, 1, 0),
    ):
        with pytest.raises(UnsupportedError, match=r"planted .* latent .*MLA"):
            ask()
    with pytest.raises(HeadError, match=r"no head 2\.0: planted has attention in layers 1, 4 with query heads 0 to 5"):
        head_card(planted(), "2.0")
    with pytest.raises(HeadError, match=r"no head 1\.6"):
        head_card(planted(), "1.6")
    with pytest.raises(UnsupportedError, match=r"normalises q and k"):
        content_and_position(planted(qk_norm=True, rotation=Rotation(100.0, 2)), "1.0", x, x, 1, 0)
    with pytest.raises(SourceError):
        open_circuit_source("no/such/../model")


def test_normalised_heads_keep_what_is_theirs() -> None:
    found = circuits(planted(qk_norm=True))
    assert all(layer.own is None and layer.random is None for layer in found.layers)
    head = found.layers[0].heads[0]
    assert (head.symmetry, head.direction, head.qk_rank) == (None, None, None) and head.ov_rank > 1
    assert any("normalises q and k" in note for note in found.notes)
    card = head_card(planted(qk_norm=True, rotation=Rotation(100.0, 4)), "4.5")
    assert card.qk_singular is None and card.rotation is None and len(card.ov_singular) == 5


def test_no_words_no_copying(tiny_model: Open) -> None:
    for source, why in ((planted(), "without its vocabulary"), (NativeSource(tiny_model("bert")), "no output head")):
        found = circuits(source)
        assert found.layers[0].heads[0].copying is None and any(why in note for note in found.notes)


def test_a_zero_head_is_named() -> None:
    source = planted()
    source.layers[4].w_q[2] = 0
    with pytest.raises(UnsupportedError, match=r"head 4\.2: W_q W_kᵀ is zero"):
        circuits(source)


def test_weights_that_are_no_numbers_are_named() -> None:
    source = planted()
    source.layers[4].w_v[1, 3, 2] = np.nan
    for ask in (lambda: circuits(source), lambda: head_card(source, "4.0")):
        with pytest.raises(CheckpointError, match="w_v of layer 4, head 1, holds numbers not finite"):
            ask()


def test_one_layer_at_a_time() -> None:
    """A later layer is not asked for before the earlier one has been answered."""
    from qkvlab.circuit_report import layer_circuits

    asked: list[int] = []

    class Counting(Planted):
        def layer(self, layer: int) -> NativeLayer:
            asked.append(layer)
            return super().layer(layer)

    steps = layer_circuits(Counting(planted().layers))
    assert next(steps).layer == 1 and asked == [1]
    assert next(steps).layer == 4 and asked == [1, 4]


def test_grouped_in_a_file(tmp_path: Path) -> None:
    """The planted model, written by transformers and opened by name."""
    import torch

    made = make_tiny("llama")
    with torch.no_grad():
        for layer in made.model.layers:
            keys = layer.self_attn.k_proj.weight.reshape(2, 10, 24)
            layer.self_attn.q_proj.weight.copy_(keys.repeat_interleave(3, dim=0).reshape(60, 24))
    made.save_pretrained(tmp_path)
    found = circuits(open_circuit_source(tmp_path))
    assert all(layer.own is not None and layer.own.symmetry == pytest.approx(1, abs=1e-6) for layer in found.layers)
    assert [head.symmetry for head in found.heads()] == pytest.approx([1] * 18, abs=1e-6)


def test_the_default_model(smollm2: Model) -> None:
    """Head 13.8 copies, by its eigenvalues, and has no symmetry."""
    card = head_card(NativeSource(smollm2), "13.8")
    assert card.circuit.symmetry == pytest.approx(-0.004, abs=5e-4)
    assert card.circuit.copying == pytest.approx(0.846, abs=5e-3)
    assert card.rotation is not None and len(card.rotation) == 32
    assert card.rotation[-1].wavelength == pytest.approx(2 * np.pi * 100_000 ** (62 / 64), rel=1e-5)


@pytest.mark.parametrize("kind", ["phi3", "gpt_neox", "falcon", "gemma2", "smollm3"])
def test_any_family_is_measured_from_its_files(kind: str, tmp_path: Path) -> None:
    """The whole table's symmetry equals that of W_q W_k of the live module's own heads, each with its K/V head."""
    from qkvlab.circuits import head_weights
    from qkvlab.live import open_live
    from zoo import zoo_model

    zoo_model(kind).save_pretrained(tmp_path)
    model = open_live(zoo_model(kind))
    found = open_circuit_source(tmp_path)
    assert (found.n_head, found.n_kv_head) == (model.spec.n_head, model.spec.n_kv_head)
    for layer in found.attention_layers:
        weights = found.layer(layer)
        for head in range(found.n_head):
            own = head_weights(model, (layer, head))
            np.testing.assert_array_equal(weights.w_q[head], own["w_q"])
            np.testing.assert_array_equal(weights.w_k[head // (found.n_head // found.n_kv_head)], own["w_k"])
    assert len(circuits(found).heads()) == model.spec.n_layer * model.spec.n_head


def test_latent_attention_is_refused_by_name(tmp_path: Path) -> None:
    from zoo import zoo_model

    zoo_model("deepseek_v3").save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match="latent"):
        circuits(open_circuit_source(tmp_path))
