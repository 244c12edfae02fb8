"""How each family stores its weights: the proof of every row, names old and new, shards, number types."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import oracle
from qkvlab.checkpoint.layouts import LAYOUTS, Layout, plain_names
from qkvlab.errors import CheckpointError, ConfigError, QkvLabError
from qkvlab.model import Model, open_model
from qkvlab.spec import Head
from tiny_models import TINY

KINDS = [kind for kind in TINY if "rope_parameters" not in TINY[kind]]
"""Every way to store the weights (a scaled rotation is stored like a plain one)."""
IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7]
Tiny = Callable[[str], tuple[Any, Path]]
Renamed = Callable[[str], str | None]


def stored(folder: Path, target: Path, rename: Renamed = lambda name: name, **more: np.ndarray) -> Path:
    """A copy of a model folder with other tensor names (None: left out), and more tensors."""
    target.mkdir(exist_ok=True)
    (target / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = {new: array for name, array in load_file(folder / "model.safetensors").items() if (new := rename(name))}
    save_file({**tensors, **more}, target / "model.safetensors")
    return target


def same(ours: Model, theirs: Model) -> None:
    """Bit by bit the same run."""
    a, b = ours.trace(ids=IDS, positions="all"), theirs.trace(ids=IDS, positions="all")
    for layer in range(ours.spec.n_layer):
        for tap in ("q", "k", "v", "z"):
            np.testing.assert_array_equal(getattr(a, tap)(layer), getattr(b, tap)(layer), err_msg=f"{layer} {tap}")
    np.testing.assert_array_equal(a.final, b.final)
    if ours.spec.has_output:
        np.testing.assert_array_equal(a.logits, b.logits)


@pytest.mark.parametrize("kind", KINDS)
def test_the_heads_writes_and_the_bias_are_the_models_attention_output(kind: str, tiny: Tiny) -> None:
    """Σ over heads of z W_o + b_o, before any norm that follows: the proof of the Q, K, V and O rows."""
    theirs, folder = tiny(kind)
    model, taps = open_model(folder), oracle.every_tap(theirs, IDS)
    trace = model.trace(ids=IDS)
    for layer in range(model.spec.n_layer):
        total = sum(trace.write(Head(layer, head)).astype(np.float64) for head in range(model.spec.n_head))
        bias = model.weights.layer(layer).b_o
        assert (bias is not None) == model.spec.out_bias
        expected = taps[f"layer.{layer}.out"]
        size = np.abs(expected).max()
        np.testing.assert_allclose(total + (0 if bias is None else bias), expected, atol=1e-5 * size, rtol=0)
        np.testing.assert_allclose(trace.out(layer), expected, atol=1e-5 * size, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_a_layer_is_used_once_and_whole(kind: str, tiny: Tiny) -> None:
    """What our layers hold adds up to what transformers' layers hold, number by number."""
    theirs, folder = tiny(kind)
    model = open_model(folder)
    ours = np.zeros(0)
    for layer in range(model.spec.n_layer):
        fields = vars(model.weights.layer(layer)).values()
        ours = np.concatenate([ours, *(array.ravel() for array in fields if array is not None)])
    blocks = oracle.reach(theirs, oracle.PARTS[model.spec.family]["layers"])
    expected = np.concatenate([parameter.detach().numpy().ravel() for parameter in blocks.parameters()])
    np.testing.assert_array_equal(np.sort(ours), np.sort(expected))


# ---- names


@pytest.mark.parametrize(
    ("kind", "prefix"), [("bert", "bert."), ("roberta", "roberta."), ("gpt2", "transformer."), ("llama", "model.")]
)
def test_a_base_model_saved_alone_or_under_a_head(kind: str, prefix: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny(kind)[1]
    bare = stored(folder, tmp_path / "bare", lambda name: name.removeprefix(prefix))
    full = stored(bare, tmp_path / "full", lambda name: name if name.startswith("lm_head") else prefix + name)
    same(open_model(bare), open_model(folder))
    same(open_model(full), open_model(folder))


def test_older_bert_names(tiny: Tiny, tmp_path: Path) -> None:
    def older(name: str) -> str:
        if "LayerNorm" not in name:
            return f"bert.{name}"
        return "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    folder = tiny("bert")[1]
    target = stored(folder, tmp_path / "old", older)
    assert sum(name.endswith((".gamma", ".beta")) for name in load_file(target / "model.safetensors")) == 14
    same(open_model(target), open_model(folder))


def test_a_weight_under_two_names_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    doubles = {
        "bert": ("bert.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
        "llama": ("layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.weight"),
        "gpt2": ("wte.weight", "transformer.wte.weight"),
    }
    for kind, (extra, present) in doubles.items():
        folder = tiny(kind)[1]
        array = load_file(folder / "model.safetensors")[present]
        doubled = stored(folder, tmp_path / kind, **{extra: array})
        with pytest.raises(CheckpointError, match="the same weight under two names") as caught:
            open_model(doubled)
        assert extra in str(caught.value) and present in str(caught.value)
    folder = tiny("bert")[1]
    gamma = {"encoder.layer.0.output.LayerNorm.gamma": np.ones(30, np.float32)}
    with pytest.raises(CheckpointError, match="two names"):
        open_model(stored(folder, tmp_path / "gamma", **gamma))


def test_what_takes_no_part_is_passed_over(tiny: Tiny, tmp_path: Path) -> None:
    one, many = np.ones((1, 1, 64, 64), np.float32), np.ones((30, 30), np.float32)
    extras = {
        "gpt2": {"h.0.attn.bias": one, "transformer.h.2.attn.masked_bias": np.float32([-1e4])},
        "llama": {"model.layers.1.self_attn.rotary_emb.inv_freq": np.ones(5, np.float32)},
        "bert": {
            "cls.predictions.transform.dense.weight": many, "bert.embeddings.position_ids": np.arange(64.0),
            "cls.seq_relationship.bias": np.ones(2, np.float32), "classifier.weight": many,
        },
        "roberta": {"lm_head.dense.weight": many, "lm_head.bias": np.ones(53, np.float32)},
    }  # fmt: skip
    for kind, more in extras.items():
        folder = tiny(kind)[1]
        same(open_model(stored(folder, tmp_path / kind, **more)), open_model(folder))


@pytest.mark.parametrize("layout", LAYOUTS, ids="-".join)
def test_every_row_of_a_table_has_its_own_name(layout: tuple[str, str]) -> None:
    found: Layout = LAYOUTS[layout]
    for rows in (found.layer, found.model):
        parts = [(row.source, row.part) for row in rows]
        assert len(set(parts)) == len(parts) and len({row.field for row in rows}) == len(rows)
    assert all("{i}" in row.source for row in found.layer) and not any("{i}" in row.source for row in found.model)
    turned = {row.field for row in found.layer if row.turned}
    assert turned == ({"w_q", "w_k", "b_q", "b_k"} if layout == ("gguf", "llama") else set())
    names = [row.source.format(i=7) for row in (*found.layer, *found.model)]
    assert set(plain_names(found, set(names))) == set(names)


# ---- files


def test_a_sharded_folder_equals_a_single_file(tiny: Tiny, tmp_path: Path) -> None:
    for kind in ("llama", "gpt2", "bert"):
        theirs, folder = tiny(kind)
        theirs.save_pretrained(tmp_path / kind, max_shard_size="8KB")
        assert len(list((tmp_path / kind).glob("*.safetensors"))) > 3
        same(open_model(tmp_path / kind), open_model(folder))
        index = next((tmp_path / kind).glob("*.index.json"))
        same(open_model(index), open_model(folder))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "qwen3"])
def test_half_precision_files(kind: str, dtype: str, tiny: Tiny, tmp_path: Path) -> None:
    """The same numbers as the rounded weights in float32: reading adds no rounding of its own."""
    import torch

    theirs, folder = tiny(kind)
    half = {name: tensor.to(getattr(torch, dtype)) for name, tensor in theirs.state_dict().items()}
    rounded = {name: tensor.float().numpy() for name, tensor in half.items()}
    (tmp_path / "half").mkdir()
    from safetensors.torch import save_file as save_torch

    save_torch({name: tensor.contiguous() for name, tensor in half.items()}, tmp_path / "half" / "model.safetensors")
    (tmp_path / "half" / "config.json").write_bytes((folder / "config.json").read_bytes())
    model = open_model(tmp_path / "half")
    same(
        model,
        open_model(stored(folder, tmp_path / "rounded", **{k: np.ascontiguousarray(v) for k, v in rounded.items()})),
    )
    assert model.weights.embedding.dtype == np.float32


def test_number_types_we_do_not_compute_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("llama")[1]
    for dtype in (np.int8, np.int64, np.bool_):
        name = "model.layers.1.self_attn.k_proj.weight"
        array = load_file(folder / "model.safetensors")[name].astype(dtype)
        with pytest.raises(QkvLabError):
            open_model(stored(folder, tmp_path / "typed", **{name: array})).trace(ids=IDS).run()


# ---- tensors and configuration that disagree


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "qwen3"])
def test_one_tensor_missing_too_many_or_of_another_size(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny(kind)[1]
    tensors = load_file(folder / "model.safetensors")
    for name, array in tensors.items():
        if "pooler" in name or not name.startswith(("model.layers.1", "transformer.h.1", "encoder.layer.1")):
            continue
        without = stored(folder, tmp_path / "a", lambda n, name=name: None if n == name else n)
        with pytest.raises(CheckpointError, match="is missing"):
            open_model(without)
        grown = np.concatenate([array, array[:1]])
        with pytest.raises(ConfigError, match="has shape") as caught:
            open_model(stored(folder, tmp_path / "b", **{name: grown}))
        assert str(list(grown.shape)) in str(caught.value) and str(list(array.shape)) in str(caught.value)
        if array.ndim == 2 and array.shape[0] != array.shape[1]:
            with pytest.raises(ConfigError, match="has shape"):
                open_model(stored(folder, tmp_path / "c", **{name: np.ascontiguousarray(array.T)}))
        with pytest.raises(CheckpointError, match="has no place"):
            open_model(stored(folder, tmp_path / "d", **{f"{name}_scale": array}))


def test_layers_beyond_the_configuration(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("llama")[1]
    config = json.loads((folder / "config.json").read_text())
    for n_layer, error in ((2, "has no place"), (4, "is missing")):
        target = stored(folder, tmp_path / str(n_layer))
        (target / "config.json").write_text(json.dumps({**config, "num_hidden_layers": n_layer}))
        with pytest.raises(CheckpointError, match=error):
            open_model(target)
