"""Fewer K/V heads: what changes nothing, planted models whose groups are known, and the written folder's numbers."""

import errno
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gguf_files import metadata_of, tensors_of
from gguf_files import write as write_gguf
from qkvlab.checkpoint import write
from qkvlab.checkpoint.config_of import config_of_gguf, tokenizer_files
from qkvlab.checkpoint.write import encoded
from qkvlab.edits import ShareKV
from qkvlab.errors import HeadError, QkvLabError, SourceError, TextError, UnsupportedError
from qkvlab.grouped import Predictions, compare, grouped_model, run_from
from qkvlab.grouping import (
    METHODS,
    Plan,
    alike,
    choose_groups,
    fit_phases,
    fit_turns,
    make_plan,
    new_keys,
    new_queries,
    turned_keys,
)
from qkvlab.model import Model, open_model
from qkvlab.reference import reference_text
from qkvlab.regroup import Grouping, choose_layers, group
from qkvlab.spec import Rotation
from terminal import run

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7, 45, 19]
LLAMA_LIKE = ["llama", "llama-biases", "mistral-window", "qwen2", "qwen3", "llama-yarn"]
Tiny = Callable[[str], tuple[Any, Path]]
Open = Callable[[str], Model]


def logits_of(model: Model) -> np.ndarray:
    return model.trace(ids=IDS, positions="all").logits


def hf_logits(model: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        found: np.ndarray = model(torch.tensor([IDS])).logits[0].float().numpy()
    return found


def assert_close(ours: np.ndarray, theirs: np.ndarray, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * np.abs(theirs).max())


def wide_llama(folder: Path, change: Callable[[Any], None] = lambda model: None) -> Path:
    """12 query heads on 6 K/V heads of 10, with biases; `change` plants something in it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=53, hidden_size=36, intermediate_size=41, num_hidden_layers=2, num_attention_heads=12, head_dim=10,
        num_key_value_heads=6, initializer_range=0.3, attention_bias=True, max_position_embeddings=64, bos_token_id=1,
        eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
                part.bias.copy_(0.3 * torch.randn_like(part.bias))
        change(model)
    model.save_pretrained(folder)
    return folder


def random_turn(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return np.stack([np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(n)])


# ---- what changes nothing


@pytest.mark.parametrize("kind", [*LLAMA_LIKE, "llama-linear", "qwen2-window"])
def test_changing_places_changes_nothing(kind: str, tiny_model: Open) -> None:
    model = tiny_model(kind)
    order = tuple(reversed(range(model.spec.n_kv_head)))
    plan = Plan(model.spec.n_kv_head, order, "none")
    moved = grouped_model(model, dict.fromkeys(range(model.spec.n_layer), plan))
    assert plan.moves_queries and plan.moves_outputs
    assert_close(logits_of(moved), logits_of(model))


@pytest.mark.parametrize("kind", [*LLAMA_LIKE, "llama-llama3"])
def test_turning_heads_changes_nothing(kind: str, tiny_model: Open) -> None:
    """Any angles and any orthogonal matrices, biases turned with their weights; under qk-norm the values alone."""
    model, rng = tiny_model(kind), np.random.default_rng(5)
    n, d = model.spec.n_kv_head, model.spec.d_head
    phases = None if model.spec.qk_norm else rng.uniform(-np.pi, np.pi, (n, d // 2))
    plan = Plan(n, tuple(range(n)), "none", phases, random_turn(rng, n, d))
    turned = grouped_model(model, dict.fromkeys(range(model.spec.n_layer), plan))
    assert np.abs(turned.trace(ids=IDS).v(0) - model.trace(ids=IDS).v(0)).max() > 0.1
    assert_close(logits_of(turned), logits_of(model))


def test_turned_keys_would_change_a_model_with_key_norms(tiny_model: Open) -> None:
    """Why the keys of Qwen3 are left alone: its norm has a gain for each component."""
    model = tiny_model("qwen3")
    plan = Plan(2, (0, 1), "none", np.full((2, 5), 1.0))
    changed = logits_of(grouped_model(model, {0: plan}))
    assert np.abs(changed - logits_of(model)).max() > 1e-2 * np.abs(changed).max()


# ---- merging


def test_by_hand() -> None:
    keys = np.float32([[[1, 2]], [[3, 6]], [[5, 0]], [[7, 2]]])
    assert new_keys(Plan(2, (0, 1, 2, 3)), keys).tolist() == [[[2, 4]], [[6, 1]]]
    assert new_keys(Plan(2, (0, 2, 1, 3)), keys).tolist() == [[[3, 1]], [[5, 4]]]
    assert new_keys(Plan(2, (0, 1, 2, 3), "first", repeated=True), keys)[:, 0, 0].tolist() == [1, 1, 5, 5]
    quarter = Plan(1, (0, 1, 2, 3), phases=np.full((4, 1), np.pi / 2))
    np.testing.assert_allclose(new_keys(quarter, keys), [[[-2.5, 4]]], atol=1e-6)
    queries = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((1, 1, 2), np.float32)
    assert new_queries(Plan(2, (2, 0, 1, 3)), queries)[:, 0, 0].tolist() == [4, 5, 0, 1, 2, 3, 6, 7]


def test_heads_drawn_anew_are_as_spread_and_the_same_each_time() -> None:
    keys = np.random.default_rng(0).normal(2, 3, (4, 50, 20)).astype(np.float32)
    plan = Plan(2, (0, 1, 2, 3), "random", seed=7)
    drawn = new_keys(plan, keys)
    assert drawn.shape == (2, 50, 20) and abs(drawn.mean() - 2) < 0.3 and abs(drawn.std() - 3) < 0.3
    np.testing.assert_array_equal(drawn, new_keys(plan, keys))
    assert not np.array_equal(drawn, new_keys(replace(plan, seed=8), keys))


@pytest.mark.parametrize("n_shared", [1, 2])
def test_the_mean_is_the_edit_that_shares(n_shared: int, tiny_model: Open) -> None:
    """Merged weights give the mean of the keys and values: what the edit does to a running model."""
    model = tiny_model("llama-biases")
    plan = make_plan(model.spec, n_shared, "mean", *[np.zeros((4, 1, 10), np.float32)] * 2)
    merged = grouped_model(model, dict.fromkeys(range(3), plan))
    assert merged.spec.n_kv_head == n_shared
    edit = ShareKV(first_layer=0, last_layer=2, n_kv_head=n_shared)
    assert_close(logits_of(merged), model.trace(ids=IDS, edits=[edit], positions="all").logits)


# ---- which heads share


def test_known_groups_are_found_and_cost_nothing(tmp_path: Path) -> None:
    """K/V heads 0, 3, 4 are copies, and 1, 2, 5: the mean of these groups is exact, of the file's own it is not."""

    def plant(model: Any) -> None:
        for layer in model.model.layers:
            for part in (layer.self_attn.k_proj, layer.self_attn.v_proj):
                for copy, of in ((3, 0), (4, 0), (2, 1), (5, 1)):
                    for tensor in (part.weight, part.bias):
                        tensor[10 * copy : 10 * copy + 10] = tensor[10 * of : 10 * of + 10]

    model = open_model(wide_llama(tmp_path / "planted", plant))
    for ids in (IDS, None):
        found = group(model, 2, tmp_path / f"{ids is None}", method="cluster", ids=ids)
        assert found.groups == ((0, 3, 4, 1, 2, 5),) * 2
        assert_close(logits_of(open_model(found.path)), logits_of(model))
    assert found.whole is None and not found.costs and "chosen by the weights" in " ".join(found.notes)
    plain = group(model, 2, ids=IDS).whole
    exact = group(model, 2, ids=IDS, method="cluster").whole
    assert plain is not None and exact is not None and exact.kl < 1e-5 < plain.kl


@pytest.mark.parametrize("seed", range(5))
def test_groups_against_every_partition(seed: int) -> None:
    """Six heads in two groups: none of the ten ways loses less in its means."""
    rng = np.random.default_rng(seed)
    keys, values = rng.normal(size=(2, 6, 11, 4)).astype(np.float32)

    def lost(order: tuple[int, ...]) -> float:
        return sum(
            float(((rows[list(part)] - rows[list(part)].mean(axis=0)) ** 2).sum() / (rows**2).sum(axis=(1, 2)).mean())
            for rows in (keys.astype(np.float64), values.astype(np.float64))
            for part in (order[:3], order[3:])
        )

    found = choose_groups(alike(keys, values), 2)
    every = [(0, *two, *sorted({1, 2, 3, 4, 5} - {*two})) for two in itertools.combinations(range(1, 6), 2)]
    assert found in every and lost(found) == min(map(lost, every))


def test_groups_of_all_and_of_one() -> None:
    apart = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    assert choose_groups(apart, 1) == choose_groups(apart, 5) == (0, 1, 2, 3, 4)
    assert choose_groups(np.zeros((4, 4)), 2) == (0, 1, 2, 3)


# ---- turning towards each other


def test_known_turns_are_found_and_cost_nothing(tmp_path: Path) -> None:
    """K/V head 1 of each pair is head 0 turned, biases too: aligned merges them without loss, the mean does not."""
    import torch

    rng = np.random.default_rng(9)
    angles, turn = rng.uniform(-3, 3, (1, 5)), random_turn(rng, 1, 10)[0]

    def plant(model: Any) -> None:
        for layer in model.model.layers:
            k, v = layer.self_attn.k_proj, layer.self_attn.v_proj
            for head in (1, 3, 5):
                here, there = slice(10 * head, 10 * head + 10), slice(10 * head - 10, 10 * head)
                for tensor in (k.weight, k.bias):
                    rows = tensor[there].reshape(10, -1).T.numpy()
                    new = turned_keys(Plan(1, (0,), phases=angles), rows[None])[0]
                    tensor[here] = torch.from_numpy(new.T.copy()).reshape(tensor[here].shape)
                for tensor in (v.weight, v.bias):
                    tensor[here] = torch.from_numpy(turn.T.astype(np.float32)) @ tensor[there]

    model = open_model(wide_llama(tmp_path / "planted", plant))
    found = group(model, 3, tmp_path / "aligned", method="aligned", ids=IDS)
    assert max(cost.k_error for cost in found.costs) < 1e-4 and max(cost.v_error for cost in found.costs) < 1e-4
    assert found.whole is not None and found.whole.kl < 1e-5
    assert_close(logits_of(open_model(found.path)), logits_of(model), 2e-5)
    plain = group(model, 3, ids=IDS)
    assert plain.whole is not None and plain.whole.kl > 1e-2 and min(cost.k_error for cost in plain.costs) > 0.3


def test_fits_never_lose_against_no_turn() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(3, 17, 6)).astype(np.float32)
    turned = turned_keys(Plan(1, (0, 1, 2), phases=fit_phases(rows)), rows)
    assert np.linalg.norm(turned.mean(axis=0)) > np.linalg.norm(rows.mean(axis=0))
    turns = fit_turns(rows)
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.stack([np.eye(6)] * 3), atol=1e-12)
    assert np.linalg.norm((rows @ turns).mean(axis=0)) > np.linalg.norm(rows.mean(axis=0))


def test_smollm2_aligned_beats_the_mean(smollm2: Model) -> None:
    """Three heads to one in all 30 layers, on text the turns were not fitted on; both are ruined."""
    ids = smollm2.tokenizer.encode(reference_text()).ids
    fit, trace = smollm2.trace(ids=ids[:100]), smollm2.trace(ids=ids[128:160])
    own, kl = Predictions(smollm2.weights, trace.final), {}
    for method in ("mean", "aligned"):
        plans = {layer: make_plan(smollm2.spec, 1, method, fit.k_raw(layer), fit.v(layer)) for layer in range(30)}
        merged = grouped_model(smollm2, plans)
        kl[method] = compare(own, run_from(merged.spec, merged.weights, 0, trace.x(0)), trace.ids).kl
    assert 1 < kl["aligned"] < 0.75 * kl["mean"]


# ---- what is measured


def test_costs_against_naive_runs(tiny_model: Open) -> None:
    model = tiny_model("qwen2")
    found = group(model, 1, ids=IDS)
    p, q = (
        np.exp(rows.astype(np.float64)) for rows in (logits_of(model), logits_of(grouped_model(model, plans_of(3))))
    )
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    at = np.arange(len(IDS) - 1)
    assert found.whole is not None
    np.testing.assert_allclose(found.whole.kl, (p * np.log(p / q)).sum(-1).mean(), rtol=1e-4)
    np.testing.assert_allclose(found.whole.perplexity_before, np.exp(-np.log(p[at, IDS[1:]]).mean()), rtol=1e-4)
    np.testing.assert_allclose(found.whole.perplexity_after, np.exp(-np.log(q[at, IDS[1:]]).mean()), rtol=1e-4)
    k, v = model.trace(ids=IDS).k_raw(1), model.trace(ids=IDS).v(1)
    for error, rows in ((found.costs[1].k_error, k), (found.costs[1].v_error, v)):
        np.testing.assert_allclose(error, np.linalg.norm(rows - rows.mean(0)) / np.linalg.norm(rows), rtol=1e-4)
    one = group(model, 1, ids=IDS, layers=[1])
    assert one.whole is not None and one.costs[0].kl == pytest.approx(one.whole.kl)
    assert found.costs[1].kl == pytest.approx(one.costs[0].kl, rel=1e-4), "each layer's cost is that of itself alone"
    assert found.bytes_per_token == (3 * 2 * 2 * 10 * 2, 3 * 2 * 10 * 2) and found.kv_heads == (2, 1)
    assert one.bytes_per_token[0] == one.bytes_per_token[1] and "saves no bytes" in one.notes[0]
    assert "5 % of the original tokens" in found.notes[0]
    json.dumps(found.to_dict(), allow_nan=False)


def plans_of(n_layer: int, n_shared: int = 1, n_kv_head: int = 2) -> dict[int, Plan]:
    return {layer: Plan(n_shared, tuple(range(n_kv_head))) for layer in range(n_layer)}


# ---- the folder


def load(path: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager").eval()


@pytest.mark.parametrize("kind", LLAMA_LIKE)
@pytest.mark.parametrize("method", ["mean", "aligned"])
def test_transformers_reads_what_was_written(kind: str, method: str, tiny_model: Open, tmp_path: Path) -> None:
    model = tiny_model(kind)
    found = group(model, 1, tmp_path / "new", method=method, ids=IDS)
    theirs, ours = load(found.path), open_model(found.path)
    assert theirs.config.num_key_value_heads == ours.spec.n_kv_head == 1 and found.dtype == "float32"
    assert_close(logits_of(ours), hf_logits(theirs))
    if method == "mean":
        assert_close(logits_of(ours), logits_of(grouped_model(model, plans_of(3, 1, model.spec.n_kv_head))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    assert found.size == (tmp_path / "new" / "model.safetensors").stat().st_size


@pytest.mark.parametrize("method", list(METHODS))
def test_some_layers_keep_the_count(method: str, tmp_path: Path) -> None:
    model = open_model(wide_llama(tmp_path / "own"))
    found = group(model, 3, tmp_path / "new", method=method, ids=IDS, layers=[1])
    ours, theirs = open_model(found.path), load(found.path)
    assert ours.spec.n_kv_head == theirs.config.num_key_value_heads == 6
    assert_close(logits_of(ours), hf_logits(theirs))
    k = ours.trace(ids=IDS).k(1)
    np.testing.assert_array_equal(k[::2], k[1::2])
    np.testing.assert_array_equal(ours.trace(ids=IDS).k(0), model.trace(ids=IDS).k(0))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_files_own_number_type_and_shards(dtype: str, tiny: Tiny, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    made = tiny("qwen2")[0]
    copy = type(made)(made.config)
    copy.load_state_dict(made.state_dict())
    copy.to(getattr(torch, dtype)).save_pretrained(tmp_path / "own", max_shard_size="12KB")
    found = group(open_model(tmp_path / "own"), 1, tmp_path / "new", ids=IDS)
    names = [sorted(path.name for path in (tmp_path / folder).glob("*.safetensors")) for folder in ("own", "new")]
    assert names[0] == names[1] and len(names[0]) > 1 and found.dtype == dtype
    index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
    new = {k: v for name in names[1] for k, v in load_file(tmp_path / "new" / name).items()}
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in new.values())
    for name, tensor in copy.state_dict().items():
        assert new[name].dtype == tensor.dtype
        if ".k_proj" in name or ".v_proj" in name:
            mean = tensor.float().reshape(2, -1, *tensor.shape[1:]).mean(0)
            assert torch.equal(new[name], mean.to(tensor.dtype))
        else:
            assert torch.equal(new[name], tensor)
    assert_close(logits_of(open_model(tmp_path / "new")), hf_logits(load(found.path).float()))


def test_another_number_type_when_asked(tiny_model: Open, tmp_path: Path) -> None:
    found = group(tiny_model("llama"), 1, tmp_path / "new", ids=IDS, dtype="bfloat16")
    assert {info.kind for info in open_model(found.path).checkpoint.tensors.values()} == {"BF16"}
    assert str(load(found.path).dtype) == "torch.bfloat16"


def test_bfloat16_rounds_as_torch_does() -> None:
    import torch

    numbers = np.random.default_rng(1).normal(size=4999).astype(np.float32) * np.float32(1e3)
    numbers[:4] = 1.00390625, 1.01171875, -1.00390625, 0  # two halves, one each way
    expected = torch.from_numpy(numbers).bfloat16().view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(encoded(numbers, "BF16"), expected)
    with pytest.raises(UnsupportedError, match="7e\\+04 is beyond float16"):
        encoded(np.float32([7e4]), "F16")


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_from_a_gguf(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    """Rows un-permuted (architecture llama), names and configuration as transformers has them."""
    made = tiny(kind)[0]
    path = write_gguf(tmp_path / "own.gguf", kind, metadata_of(made), tensors_of(made, permute=kind == "llama"))
    assert_close(logits_of(open_model(path)), hf_logits(made))
    found = group(open_model(path), 1, tmp_path / "new", ids=IDS)
    theirs = load(found.path)
    assert type(theirs) is type(made) and theirs.config.num_key_value_heads == 1
    assert_close(logits_of(open_model(found.path)), hf_logits(theirs))
    same = group(open_model(tiny(kind)[1]), 1, tmp_path / "same", ids=IDS)
    assert_close(hf_logits(theirs), hf_logits(load(same.path)))
    assert "dequantised" in " ".join(found.notes) and "no tokenizer" in " ".join(found.notes)


def test_a_ggufs_tokenizer_for_transformers(smollm2: Model, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    metadata = dict(smollm2.checkpoint.metadata)
    tokenizer_files(smollm2.tokenizer, metadata, 8192, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config_of_gguf(smollm2.spec, smollm2.checkpoint)))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("The cat drank", "x =  3, 2024", " 東京\n\n", "<|im_start|>user\nhi<|im_end|>"):
        assert tuple(theirs(text)["input_ids"]) == smollm2.encode(text).ids
        assert theirs.decode(theirs(text)["input_ids"]) == text
    assert (theirs.eos_token, theirs.model_max_length) == ("<|im_end|>", 8192)
    assert "<|im_start|>" in theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    with_start = replace(smollm2.tokenizer, before=(1,), after=(2,))
    tokenizer_files(with_start, metadata, 8192, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("The cat")["input_ids"] == list(with_start.encode("The cat").ids)


def test_rotations_of_a_gguf(smollm2: Model) -> None:
    own, rotation = smollm2.checkpoint, smollm2.spec.rotation
    assert rotation is not None and config_of_gguf(smollm2.spec, own)["rope_scaling"] is None
    from qkvlab.mechanism import rotation_frequencies

    llama3 = {"kind": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    slowed, _ = rotation_frequencies(5e5, 64, {**llama3, "original_context": 8192})
    factors = tuple(map(float, rotation_frequencies(5e5, 64)[0] / slowed))
    made = replace(smollm2.spec, rotation=Rotation(5e5, 64, scaling=(("factors", factors), ("kind", "factors"))))
    assert config_of_gguf(made, own)["rope_scaling"] == {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    odd = tuple(1.0 + i for i in range(32))
    made = replace(made, rotation=Rotation(5e5, 64, scaling=(("factors", odd), ("kind", "factors"))))
    with pytest.raises(UnsupportedError, match=r"rope_freqs\.weight"):
        config_of_gguf(made, own)
    with pytest.raises(UnsupportedError, match="no place for biases of just Q, K, V"):
        config_of_gguf(replace(smollm2.spec, qkv_bias=True), own)


# ---- what cannot be


@pytest.mark.parametrize(
    ("kind", "n", "message"),
    [
        ("llama-biases", 3, "4 K/V heads cannot become 3: they must be fewer and divide .* possible are 1, 2"),
        ("llama-biases", 4, "cannot become 4: that is what it has; possible are 1, 2"),
        ("llama-biases", 8, "cannot become 8"),
        ("llama-biases", 0, "cannot become 0"),
        ("llama-biases", -1, "cannot become -1"),
        ("llama-mqa", 1, "one K/V head in every layer: there is nothing left to group"),
        ("gpt2", 1, "family gpt2 has one K/V head per query head and no count"),
        ("bert", 1, "family bert"),
    ],
)  # fmt: skip
def test_counts_and_families_that_cannot_be(kind: str, n: int, message: str, tiny_model: Open, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=message):
        group(tiny_model(kind), n, tmp_path / "new", ids=IDS)
    assert not list(tmp_path.iterdir())


def test_other_mistakes(tiny_model: Open, tmp_path: Path) -> None:
    model = tiny_model("llama")
    wrong: list[tuple[type[QkvLabError], str, dict[str, Any]]] = [
        (UnsupportedError, "did you mean 'mean'", {"method": "meen"}),
        (UnsupportedError, "did you mean 'float16'", {"dtype": "floot16"}),
        (HeadError, "not within 0-2", {"layers": [3]}),
        (HeadError, "not within 0-2", {"layers": []}),
        (TextError, "1 tokens; what comes next is measured from 2 on", {"ids": [3]}),
        (UnsupportedError, "aligned is fitted and measured on a text", {"ids": None, "method": "aligned"}),
        (UnsupportedError, "no tokenizer.json", {"ids": None, "text": "the cat"}),
        (SourceError, "there already", {"target": tmp_path}),
        (SourceError, "there is no folder", {"target": tmp_path / "a" / "b"}),
    ]
    for kind, message, options in wrong:
        with pytest.raises(kind, match=message) as caught:
            group(model, 1, **{"target": tmp_path / "new", "ids": IDS, **options})
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_folder_is_found_out_first(tiny_model: Open) -> None:
    def begun(*step: object) -> None:
        raise AssertionError(f"work was begun: {step}")

    with pytest.raises(SourceError, match="cannot write /proc/new"):
        group(tiny_model("llama"), 1, Path("/proc/new"), ids=IDS, progress=begun)


def test_layers_in_words(tiny_model: Open) -> None:
    spec = replace(tiny_model("llama").spec, n_layer=30)
    assert choose_layers("all", spec) == list(range(30))
    assert choose_layers("last:2,0-1, 7", spec) == [0, 1, 7, 28, 29]
    assert choose_layers("first:1", spec) == [0]
    for text in ("", "last:0", "last:31", "last:x", "30", "3-1", "middle:2"):
        with pytest.raises(HeadError):
            choose_layers(text, spec)


def test_a_full_disk_leaves_nothing(tiny_model: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = write.os.fdopen

    class Unbuffered:
        """A file whose writes can be replaced."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Unbuffered":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, data: Any) -> int:
            if self.file.tell() > 3000:
                raise OSError(errno.ENOSPC, "No space left on device")
            written: int = self.file.write(data)
            return written

        def tell(self) -> int:
            place: int = self.file.tell()
            return place

    monkeypatch.setattr(write.os, "fdopen", lambda handle, mode: Unbuffered(opened(handle, mode)))
    with pytest.raises(SourceError, match=r"cannot write \S+/new/model.safetensors: No space left on device$"):
        group(tiny_model("llama"), 1, tmp_path / "new", ids=IDS)
    assert not list(tmp_path.iterdir())


def test_a_disk_too_small_is_seen_before(tiny_model: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("qkvlab.checkpoint.folder.shutil.disk_usage", lambda path: usage)
    with pytest.raises(SourceError, match=r"it takes [\d,]+ bytes, and 1,000 are free there"):
        group(tiny_model("llama"), 1, tmp_path / "new", ids=IDS)
    assert not list(tmp_path.iterdir())


def test_interrupted_it_leaves_nothing(tiny_model: Open, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, of: int) -> None:
        seen.append((what, done, of))
        if what == "writing" and len([step for step in seen if step[0] == what]) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group(tiny_model("llama"), 1, tmp_path / "new", ids=IDS, progress=progress)
    assert not list(tmp_path.iterdir())
    assert [step for step in seen if step[0] == "measuring"] == [("measuring", done, 3) for done in range(4)]


# ---- the command


def test_the_command(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("llama")[1]
    found = run("group", folder, "--kv-heads", "1", "-o", tmp_path / "new", "--json").document()
    assert set(found) == set(Grouping.__dataclass_fields__) and found["kv_heads"] == [2, 1]
    assert open_model(tmp_path / "new").spec.n_kv_head == 1
    said = run("group", folder, "--kv-heads", "1", "-o", tmp_path / "more", "--layers", "last:1", "--method", "first")
    assert said.status == 0 and f"wrote {tmp_path / 'more'}" in "".join(said.out.split("\n")).replace("\n", "")
    again = run("group", folder, "--kv-heads", "1", "-o", tmp_path / "new").complaint()
    assert "is there already" in again
    assert "possible are 1" in run("group", folder, "--kv-heads", "7", "-o", tmp_path / "x").complaint()
    assert (
        "cannot read" in run("group", folder, "--kv-heads", "1", "-o", tmp_path / "x", "--text", "nowhere").complaint()
    )


def test_the_command_on_a_real_text(smollm2_path: Path, tmp_path: Path) -> None:
    """A text of its own, one layer only: a folder as large as the model, with its tokenizer."""
    (tmp_path / "text.txt").write_text("In France they speak French. In Italy they speak Italian.")
    words = ["--kv-heads", "1", "--layers", "last:1", "--dtype", "bfloat16", "--text", tmp_path / "text.txt", "--json"]
    found = run("group", "smollm2", *words, "-o", tmp_path / "new").document()
    assert found["text"] == "the text given, 12 tokens" and len(found["costs"]) == 1
    assert 0 < found["costs"][0]["kl"] == pytest.approx(found["whole"]["kl"])
    new = open_model(tmp_path / "new")
    assert new.spec.n_kv_head == 3 and len(new.encode("In France they speak")) == 4
