"""config.json from a stranger: any junk in any key, impossible claims, and tensors that disagree with it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from qkvlab.anatomy import inspect
from qkvlab.checkpoint.config import CONFIG_READERS
from qkvlab.errors import CheckpointError, ConfigError, UnsupportedError
from qkvlab.model import open_model
from terminal import one_gib
from test_config import IDS, LLAMA_3_8B, QWEN, Tiny, one_line, refusal
from tiny_models import edit_config

# ---- any junk in any used key

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def boxes(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sound folders: as transformers 5 writes them, and as it was before (no layer_types, no output head)."""
    found = {
        kind: tiny(kind)[1] for kind in ("llama", "mistral-window", "qwen3", "gpt2", "bert", "roberta", "llama-yarn")
    }
    found["qwen2-window"] = edit_config(tiny("qwen2-window")[1], tmp_path_factory.mktemp("qwen2"), layer_types=None)
    base = edit_config(tiny("llama")[1], tmp_path_factory.mktemp("base"), architectures=["LlamaModel"])
    tensors = load_file(base / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith("lm_head")}, base / "model.safetensors")
    found["llama-base"] = base
    boxes = {kind: edit_config(folder, tmp_path_factory.mktemp(kind)) for kind, folder in found.items()}
    assert all(open_model(folder).spec.n_layer == 3 for folder in boxes.values())
    return boxes


KINDS = ("llama", "llama-base", "llama-yarn", "mistral-window", "qwen2-window", "qwen3", "gpt2", "bert", "roberta")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(data=st.data())
def test_junk_ends_in_a_named_error_or_in_a_model(kind: str, boxes: dict[str, Path], data: st.DataObject) -> None:
    folder = boxes[kind].parent / f"{kind}-spoiled"
    if not folder.exists():
        edit_config(boxes[kind], folder)
    config = json.loads((boxes[kind] / "config.json").read_text())
    used = sorted({*CONFIG_READERS[config["model_type"]][0], "model_type", "architectures"})
    key, value = data.draw(st.sampled_from(used)), data.draw(junk)
    if key in ("num_hidden_layers", "n_layer") and isinstance(value, int):
        value = min(value, 300)
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    try:
        spec = open_model(folder).spec
        inspect(str(folder))
    except (ConfigError, UnsupportedError, CheckpointError) as error:
        one_line(error)
    else:
        assert spec.n_context > 0 and spec.first_position >= 0
        assert spec.window is None or (type(spec.window) is int and spec.window > 0)
        json.dumps(spec.to_dict(), allow_nan=False)


@pytest.mark.parametrize("value", [None, -2, -1, 100, 63, 0.5, "1", [1], {}])
def test_a_first_position_that_cannot_be(value: Any, tiny: Tiny, tmp_path: Path) -> None:
    folder = edit_config(tiny("roberta")[1], tmp_path / "r")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": value}))
    with pytest.raises(ConfigError, match="pad_token_id"):
        open_model(folder)


@pytest.mark.parametrize("value", [5, True, "LlamaForCausalLM", {"LlamaForCausalLM": 1}])
def test_architectures_that_are_no_list(value: Any) -> None:
    assert "architectures" in refusal(LLAMA_3_8B, architectures=value)


@pytest.mark.parametrize("value", ["x", -1, 1.5, [1]])
def test_a_first_window_that_cannot_be(value: Any) -> None:
    assert "max_window_layers" in refusal(QWEN, use_sliding_window=True, max_window_layers=value)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral-window", "qwen2-window"])
def test_a_claim_of_two_billion_layers_costs_nothing(kind: str, boxes: dict[str, Path], tmp_path: Path) -> None:
    key = "n_layer" if kind == "gpt2" else "num_hidden_layers"
    folder = edit_config(boxes[kind], tmp_path / kind, **{key: 2**31 - 1})
    code = "import sys; from qkvlab.anatomy import inspect; from qkvlab.errors import QkvLabError\n"
    code += "try: inspect(sys.argv[1])\nexcept QkvLabError as error: print(type(error).__name__)"
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, preexec_fn=one_gib, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-200:]}"
    assert done.stdout in ("CheckpointError\n", "ConfigError\n")


# ---- the configuration and the tensors disagree


def sizes() -> Iterator[tuple[str, str]]:
    for key in "hidden_size intermediate_size num_hidden_layers vocab_size head_dim num_attention_heads".split():
        yield "llama", key
    yield "llama", "num_key_value_heads"
    yield from (("gpt2", key) for key in "n_embd n_layer vocab_size n_positions n_inner".split())
    for key in "hidden_size intermediate_size num_hidden_layers vocab_size max_position_embeddings".split():
        yield "bert", key
    yield "roberta", "type_vocab_size"


@pytest.mark.parametrize(("kind", "key"), list(sizes()))
def test_a_size_off_by_one(kind: str, key: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny(kind)[1]
    right = json.loads((folder / "config.json").read_text())[key] or 120
    for wrong in (right - 1, right + 1):
        with pytest.raises((ConfigError, CheckpointError)) as caught:
            open_model(edit_config(folder, tmp_path / "m", **{key: wrong}))
        one_line(caught.value)


def test_biases_there_or_not(tiny: Tiny, tmp_path: Path) -> None:
    plain, biased = tiny("llama")[1], tiny("llama-biases")[1]
    for key, name in (("attention_bias", "self_attn"), ("mlp_bias", "mlp")):
        with pytest.raises(CheckpointError, match=rf"{name}\.\w+\.bias' is missing"):
            open_model(edit_config(plain, tmp_path / "a", **{key: True}))
        with pytest.raises(ConfigError, match=rf"{name}\.\w+\.bias', but by its configuration the model has none"):
            open_model(edit_config(biased, tmp_path / "b", **{key: False}))


def test_an_output_head_there_or_not(tiny: Tiny, boxes: dict[str, Path], tmp_path: Path) -> None:
    folder, base = tiny("llama")[1], boxes["llama-base"]
    lm_head = load_file(folder / "model.safetensors")["lm_head.weight"]
    np.testing.assert_array_equal(open_model(folder).weights.unembedding, lm_head)
    tied = open_model(edit_config(folder, tmp_path / "tied", tie_word_embeddings=True))
    assert tied.weights.unembedding is tied.weights.embedding, "tied: as transformers, whatever lm_head holds"
    with pytest.raises(CheckpointError, match=r"'lm_head\.weight' is missing"):
        open_model(edit_config(base, tmp_path / "promised", architectures=["LlamaForCausalLM"]))
    headless = open_model(edit_config(base, tmp_path / "base", architectures=["LlamaModel"]))
    with pytest.raises(UnsupportedError, match="no output head"):
        _ = headless.trace(ids=IDS).logits
    assert open_model(edit_config(base, tmp_path / "both", tie_word_embeddings=True)).spec.has_output


def test_no_configuration_or_an_empty_one(tiny: Tiny, tmp_path: Path) -> None:
    folder = edit_config(tiny("llama")[1], tmp_path / "m")
    (folder / "config.json").write_text("{}")
    for path in (folder, folder / "model.safetensors"):
        with pytest.raises(ConfigError, match=r"^config\.json is empty; it needs model_type \(one of llama, "):
            open_model(path)
    (folder / "config.json").write_text('{"hidden_size": 28}')
    with pytest.raises(ConfigError, match=r"^config\.json: model_type is missing; expected a text$"):
        open_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        open_model(folder / "model.safetensors")


def test_one_text_is_no_list_of_keys_to_pass_over(tiny: Tiny, tmp_path: Path) -> None:
    """ "warp" stands within "warp_factor", and would let it pass unnamed."""
    folder = edit_config(tiny("llama")[1], tmp_path / "m", warp=9)
    for opened in (open_model, inspect):
        with pytest.raises(ConfigError, match=r"^allow_config is the text 'warp_factor'; expected a list of keys$"):
            opened(str(folder), allow_config="warp_factor")
    assert open_model(folder, allow_config=["warp"]).spec.allowed_config == ("warp",)
