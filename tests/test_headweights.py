"""One head's weights straight from the file: what is read for them, every mistake by name, and the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qkvlab
from qkvlab.census import cache_of, parameters
from qkvlab.checkpoint.attention import attention_of, open_attention
from qkvlab.checkpoint.stores import LiveStore
from qkvlab.errors import CheckpointError, ConfigError, HeadError, QkvLabError, UnsupportedError
from qkvlab.headweights import save_head, weights
from terminal import run
from tiny_models import edit_config
from witness import saved
from zoo import zoo_model


def test_of_q_k_v_the_rows_of_the_head_alone_and_one_w_o(folder: Path) -> None:
    """float32; in numbers: rows of q, k, v over a width of 24, the whole of W_o, biases."""

    def numbers(kind: str) -> int:
        return weights(saved(kind, "50GB", False, folder), "1.2").bytes_read // 4

    assert numbers("llama") == 3 * 10 * 24 + 60 * 24
    assert numbers("phi3") == numbers("falcon") == numbers("falcon-7b") == 3 * 4 * 24 + 24 * 24
    assert numbers("gpt_neox") == 3 * 8 * (24 + 1) + (24 + 1) * 24
    assert numbers("gpt2") == 72 * 24 + 3 * 8 + 8 * 24 + 24, "Conv1D scatters q, k and v; of W_o it keeps rows together"
    assert numbers("deepseek_v3") == 14 * 24 + 14 + 10 * 14 + 16 * 24 + 12 + 14 * 12 + 24 * 48


def test_the_rest_of_the_file_is_not_touched(folder: Path, tmp_path: Path) -> None:
    """A file of which only the head's own rows, W_o and the header hold anything is enough."""
    source = saved("gpt_neox", "50GB", False, folder)
    file, expected = open_attention(source), weights(source, "2.1")
    data = (source / "model.safetensors").read_bytes()
    kept = bytearray(len(data))
    header = 8 + int.from_bytes(data[:8], "little")
    kept[:header] = data[:header]
    fused, w_o = (file.info(2, part) for part in ("q", "o"))
    bias = file.store.info(fused.name.replace("weight", "bias"))
    b_o = file.store.info(w_o.name.replace("weight", "bias"))
    stretches = [(w_o.offset, w_o.nbytes), (b_o.offset, b_o.nbytes)]
    stretches += [(fused.offset + 24 * 24 * 4, 24 * 24 * 4), (bias.offset + 24 * 4, 24 * 4)]
    for start, count in stretches:
        kept[start : start + count] = data[start : start + count]
    (tmp_path / "model.safetensors").write_bytes(kept)
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    for name, array in weights(tmp_path, "2.1").arrays.items():
        np.testing.assert_array_equal(array, expected.arrays[name])


def test_half_precision(tmp_path: Path) -> None:
    import copy

    import torch

    expected = zoo_model("falcon")
    for dtype, name in ((torch.bfloat16, "b"), (torch.float16, "h")):
        model = copy.deepcopy(expected).to(dtype)
        model.save_pretrained(tmp_path / name)
        found, live = weights(tmp_path / name, "1.4"), weights(model, "1.4")
        rows = model.transformer.h[1].self_attention.query_key_value.weight.float().detach().numpy()
        np.testing.assert_array_equal(found.w_q, rows[24:28].T)
        np.testing.assert_array_equal(found.w_k, rows[32:36].T)
        np.testing.assert_array_equal(live.w_v, rows[36:40].T)


def test_planted_kv_heads_are_told_apart(folder: Path, tmp_path: Path) -> None:
    """K/V head g holds the number g + 1 alone; head h reads K/V head h // 3, and never h % 2."""
    import copy

    import torch

    model = copy.deepcopy(zoo_model("llama"))
    with torch.no_grad():
        for layer, block in enumerate(model.model.layers):
            for g in range(2):
                block.self_attn.k_proj.weight[10 * g : 10 * g + 10] = 100 * layer + g + 1
                block.self_attn.v_proj.weight[10 * g : 10 * g + 10] = -(100 * layer + g + 1)
    model.save_pretrained(tmp_path)
    for h in range(6):
        found = weights(tmp_path, (2, h))
        assert set(found.w_k.flat) == {200.0 + h // 3 + 1} and set(found.w_v.flat) == {-(200.0 + h // 3 + 1)}
        assert found.kv_head == h // 3


# ---- mistakes


def said(error: type[QkvLabError], *arguments: Any, **options: Any) -> str:
    with pytest.raises(error) as caught:
        weights(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("llama", {"num_attention_heads": 4}, r"q_proj.weight' has shape [60, 24]"),
        ("llama", {"num_key_value_heads": 3}, r"k_proj.weight' has shape [20, 24]"),
        ("llama", {"num_key_value_heads": 4}, "6 query heads cannot share 4 K/V heads evenly"),
        ("llama", {"num_hidden_layers": 2}, "there is a layer 2, but by its configuration the model has 2"),
        ("llama", {"hidden_size": 30}, "asks for [60, 30]"),
        ("llama", {"hidden_size": None}, "hidden_size is missing"),
        ("llama", {"num_attention_heads": "six"}, "num_attention_heads is 'six'"),
        ("bert", {"num_attention_heads": 5}, "a width of 24 does not divide into 5 heads"),
        ("phi3", {"num_key_value_heads": 6}, "asks for [72, 24]"),
        ("gpt2", {"n_embd": 30}, "asks for [30, 90]"),
        ("falcon", {"new_decoder_architecture": False}, "asks for [32, 24]"),
        ("deepseek_v3", {"qk_rope_head_dim": 6}, "asks for"),
    ],
)
def test_a_config_that_lies(kind: str, changes: dict[str, Any], says: str, folder: Path, tmp_path: Path) -> None:
    lying = edit_config(saved(kind, "50GB", False, folder), tmp_path / "m", **changes)
    assert says in said(ConfigError, lying, "0.0")


def test_other_mistakes(folder: Path, tmp_path: Path) -> None:
    llama = saved("llama", "50GB", False, folder)
    assert "layers 0 to 2 with query heads 0 to 5" in said(HeadError, llama, "3.0")
    assert "is not a head address" in said(HeadError, llama, "first")
    assert "has no cross attention (it has: decoder)" in said(UnsupportedError, llama, "0.0", attention="cross")
    assert "accepted: decoder, encoder, cross" in said(UnsupportedError, llama, "0.0", attention="self")
    assert "got a dict" in said(UnsupportedError, {}, "0.0")
    mixed = said(HeadError, saved("qwen3_next", "50GB", False, folder), "0.0")
    assert (
        "layer 0 of" in mixed and "is linear_attention and has no attention heads; the layers that have: 1, 3" in mixed
    )
    strange = said(UnsupportedError, edit_config(llama, tmp_path / "a", model_type="mamba"), "0.0")
    assert "the model type 'mamba' is not known" in strange and "llama, mistral" in strange and "whisper" in strange
    longer = edit_config(llama, tmp_path / "b", num_hidden_layers=4)
    assert "'model.layers.3.self_attn.q_proj.weight' is missing" in said(CheckpointError, longer, "0.0")
    other = edit_config(llama, tmp_path / "c", model_type="gpt_neox", quantization_config={"quant_method": "awq"})
    assert "no layer has a tensor" in said(CheckpointError, other, "0.0")
    (tmp_path / "b" / "config.json").unlink()
    assert "there is no config.json" in said(CheckpointError, tmp_path / "b", "0.0")
    albert = edit_config(saved("albert", "50GB", False, folder), tmp_path / "d", num_hidden_groups=3)
    assert "num_hidden_groups is 3; only 1 is known" in said(UnsupportedError, albert, "0.0")
    clipped = edit_config(saved("mpt", "50GB", False, folder), tmp_path / "e", attn_config={"clip_qkv": 6})
    assert weights(clipped, "0.0").notes == ("q, k and v are clipped to ±6 after the projection",)


def test_half_a_shard_and_a_file_that_shrinks(folder: Path, tmp_path: Path) -> None:
    target = edit_config(saved("llama", "10KB", False, folder), tmp_path / "m")
    file = open_attention(target)
    shard = Path(file.info(1, "o").path)
    shard.write_bytes(shard.read_bytes()[:-50])
    assert "is cut off" in said(CheckpointError, target, "1.0")
    shard.unlink()
    assert "is missing; fetch it again" in said(CheckpointError, target, "1.0")
    (tmp_path / "n").mkdir()
    whole = edit_config(saved("llama", "50GB", False, folder), tmp_path / "n")
    opened = open_attention(whole)
    (whole / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="is cut off within tensor"):
        opened.head("2.0")


def test_numbers_that_are_not_decoded_are_named(tmp_path: Path) -> None:
    import torch

    live = weights
    model = torch.nn.Linear(2, 2)
    model.config = zoo_model("llama").config  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="no layer has a tensor"):
        live(model, "0.0")
    header, data = {}, b""
    for name, shape in (("q", (60, 24)), ("k", (20, 24)), ("v", (20, 24)), ("o", (24, 60))):
        count = shape[0] * shape[1]
        header[f"model.layers.0.self_attn.{name}_proj.weight"] = {
            "dtype": "F8_E4M3", "shape": shape, "data_offsets": [len(data), len(data) + count],
        }  # fmt: skip
        data += bytes(count)
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    config = zoo_model("llama").config.to_dict() | {"num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "is of kind F8_E4M3, which is not decoded" in said(UnsupportedError, tmp_path, "0.0")


# ---- the command


def test_the_command(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    source, file = saved("qwen2", "50GB", False, folder), tmp_path / "head.safetensors"
    found = run("weights", source, "2.4", "-o", file, "--json").document()
    expected = weights(source, "2.4")
    assert (found["head"], found["kv_head"], found["family"]) == ("2.4", 1, "qwen2")
    assert found["bytes_read"] == expected.bytes_read and found["output"] == str(file)
    assert found["arrays"]["w_k"]["axes"] == ["d_model", "d_head"] and found["arrays"]["w_k"]["shape"] == [24, 4]
    np.testing.assert_allclose(found["arrays"]["w_q"]["norm"], np.linalg.norm(expected.w_q), rtol=1e-6)
    written = load_file(file)
    assert written.keys() == expected.arrays.keys()
    for name, array in written.items():
        np.testing.assert_array_equal(array, expected.arrays[name])
    table = run("weights", saved("bart", "50GB", False, folder), "1.1", "--attention", "cross")
    assert table.status == 0 and "w_o" in table.out and "8 × 24" in table.out and "reads K/V head 1" in table.out
    assert "has no cross attention" in run("weights", source, "0.0", "--attention", "cross").complaint()
    assert "there is no head 9.9" in run("weights", source, "9.9").complaint()
    assert "cannot write" in run("weights", source, "1.1", "-o", tmp_path / "no" / "such").complaint()


def test_what_a_head_lacks_is_none_and_what_nobody_has_is_an_error(folder: Path) -> None:
    found = weights(saved("llama", "50GB", False, folder), "0.0")
    assert (
        found.b_q is None
        and found.q_down is None
        and repr(found) == f"<HeadWeights 0.0 of {found.model}: w_q, w_k, w_v, w_o>"
    )
    with pytest.raises(AttributeError, match="no 'w_z'"):
        _ = found.w_z
    assert save_head(found, folder / "head.safetensors") > 0 and qkvlab.HeadWeights is type(found)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.just(2**70), st.floats(), st.text(max_size=4),
    st.lists(st.integers(0, 3) | st.text(max_size=3) | st.none(), max_size=4),
    st.dictionaries(st.sampled_from(["rope_type", "rope_theta", "full_attention", "clip_qkv", "model_type"]),
                    st.integers(0, 3) | st.text(max_size=3) | st.none() | st.lists(st.none()), max_size=3),
)  # fmt: skip
USED = """model_type hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim n_layer n_head
    n_embd d_model d_kv num_heads num_layers decoder_layers decoder_attention_heads num_kv_heads multi_query alibi
    new_decoder_architecture qk_nope_head_dim qk_rope_head_dim v_head_dim kv_lora_rank q_lora_rank rope_parameters
    no_rope_layers layer_types sliding_window use_sliding_window attn_config rotary_dim max_position_embeddings
    num_hidden_groups num_nextn_predict_layers"""
MORE = "quantization_config text_config rope_scaling rope_theta use_qk_norm partial_rotary_factor"
KINDS = ("llama", "gemma3", "falcon", "mpt", "deepseek_v3", "qwen3_next", "smollm3", "gptj", "t5", "albert", "whisper")


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.data())
def test_whatever_the_config_says_it_is_an_answer_or_one_line(kind: str, data: st.DataObject) -> None:
    """In inspect, too: no value of any key ends in anything but numbers or an error of ours."""
    live = LiveStore(zoo_model(kind))
    keys = sorted(set(USED.split()) & live.metadata.keys()) + MORE.split()
    changed = data.draw(st.dictionaries(st.sampled_from(keys), JUNK, min_size=1, max_size=3))
    live.metadata = live.metadata | changed
    try:
        file = attention_of(live, "decoder")
        file.head((file.attention_layers[0], 0))
        cache_of(file, 5)
        parameters(live, {name: live.info(name) for name in live.names})
    except QkvLabError as error:
        assert "\n" not in str(error) and len(str(error)) < 2500
