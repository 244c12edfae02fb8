"""Attention in GGUF files: names, turned rows, quantised blocks, fused blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gguf_files import metadata_of, tensors_of, write
from qkvlab.checkpoint.attention import open_attention
from qkvlab.checkpoint.families import GGUF
from qkvlab.headweights import weights
from qkvlab.spec import Rotation
from witness import check_layer
from zoo import SIZES, zoo_model


@pytest.fixture(scope="module")
def wide() -> Any:
    """A llama whose rows are whole blocks of 32, and whose heads of 16 are half a block of W_o's rows."""
    import torch
    import transformers

    sizes = {**SIZES, "hidden_size": 96, "head_dim": 16, "intermediate_size": 32}
    torch.manual_seed(7)
    config = transformers.LlamaConfig(**sizes)  # type: ignore[arg-type]
    return transformers.LlamaForCausalLM(config).eval()


def gguf_of(model: Any, path: Path, architecture: str, kind: str = "F32") -> Path:
    """As llama.cpp's converter writes it; matrices of attention in this kind."""
    import gguf

    tensors = tensors_of(model, permute=architecture == "llama")
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata_of(model).items():
        full = f"{architecture}.{key}"
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(full, value)
    for name, array in tensors.items():
        if "attn_" in name and "norm" not in name and kind != "F32":
            quantised = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(array, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_gguf_rows_are_turned_for_llama_alone(architecture: str, wide: Any, tmp_path: Path) -> None:
    file = open_attention(gguf_of(wide, tmp_path / "m.gguf", architecture))
    for layer in range(3):
        check_layer("llama", wide, file, layer, lambda h, layer=layer: file.head((layer, h)))
    whole = file.layer(2)
    for h in range(6):
        np.testing.assert_array_equal(whole.w_q[h], file.head((2, h)).w_q)
        np.testing.assert_array_equal(whole.w_k[h // 3], file.head((2, h)).w_k)
    assert ("interleaved" in file.stored) == (architecture == "llama")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_1", "F16", "BF16"])
def test_gguf_quantised(kind: str, wide: Any, tmp_path: Path) -> None:
    """The file's own numbers, as the gguf package reads them; a head is rows of q, k, v and half blocks of W_o."""
    import gguf

    path = gguf_of(wide, tmp_path / "m.gguf", "qwen2", kind)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}

    def matrix(part: str) -> np.ndarray:
        tensor = stored[f"blk.1.attn_{part}.weight"]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)

    found = weights(path, "1.5")
    np.testing.assert_array_equal(found.w_q, matrix("q")[80:96].T)
    np.testing.assert_array_equal(found.w_k, matrix("k")[16:32].T)
    np.testing.assert_array_equal(found.w_v, matrix("v")[16:32].T)
    np.testing.assert_array_equal(found.w_o, matrix("output")[:, 80:96].T)
    sizes = {part: stored[f"blk.1.attn_{part}.weight"].n_bytes for part in ("q", "k", "v", "output")}
    assert found.bytes_read == sizes["q"] // 6 + sizes["k"] // 2 + sizes["v"] // 2 + sizes["output"]


@pytest.mark.parametrize(("kind", "architecture"), [("gpt_neox", "gptneox"), ("falcon", "falcon"), ("gpt2", "gpt2")])
def test_gguf_fused_in_blocks(kind: str, architecture: str, tmp_path: Path) -> None:
    file = open_attention(zoo_model(kind))
    layer = file.layer(0)
    flat = [part.transpose(0, 2, 1).reshape(-1, 24) for part in (layer.w_q, layer.w_k, layer.w_v)]
    tensors = {"blk.0.attn_qkv.weight": np.concatenate(flat), "blk.0.attn_output.weight": layer.w_o.reshape(24, 24).T}
    if layer.b_q is not None and layer.b_k is not None and layer.b_v is not None:
        tensors["blk.0.attn_qkv.bias"] = np.concatenate([b.reshape(-1) for b in (layer.b_q, layer.b_k, layer.b_v)])
    sizes = {
        "block_count": 1, "embedding_length": 24, "attention.head_count": file.n_head,
        "attention.head_count_kv": file.n_kv_head,
    }  # fmt: skip
    path = write(tmp_path / "m.gguf", architecture, sizes, tensors)
    for h in range(file.n_head):
        found, expected = weights(path, (0, h)), file.head((0, h))
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(array, expected.arrays[name])


@pytest.mark.parametrize("architecture", GGUF)
def test_the_gguf_names_are_llama_cpps(architecture: str) -> None:
    import gguf

    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    own = {gguf.TENSOR_NAMES[tensor].format(bid=4) for tensor in gguf.MODEL_TENSORS[number]}
    for stacks in GGUF[architecture].stacks.values():
        for stack in stacks:
            assert {name.format(i=4) for name in stack.tensors.values()} <= own


def test_the_real_models_equal_the_native_reading(smollm2: Any, minilm: Any) -> None:
    from qkvlab.circuits import head_weights

    for model, name, head in ((smollm2, "smollm2", "13.8"), (minilm, "minilm", "4.7")):
        found = weights(name, head)
        for array, value in head_weights(model, head).items():
            np.testing.assert_array_equal(getattr(found, array), value)
        np.testing.assert_array_equal(found.w_o, model.w_o(model.spec.head(head)))
        assert found.model == model.spec.name


def test_the_rotation_of_a_gguf_file(smollm2_path: Path, wide: Any, tmp_path: Path) -> None:
    assert open_attention("smollm2").rotation == Rotation(100_000.0, 64)
    path = gguf_of(wide, tmp_path / "m.gguf", "qwen2")
    assert open_attention(path).rotation == Rotation(10_000.0, 16)
    scaled = tensors_of(wide, permute=False) | {"rope_freqs.weight": np.arange(1, 9, dtype=np.float32)}
    factors = open_attention(write(tmp_path / "f.gguf", "qwen2", metadata_of(wide), scaled)).rotation
    assert factors is not None and dict(factors.scaling)["factors"] == tuple(range(1, 9))
