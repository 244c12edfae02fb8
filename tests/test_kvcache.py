"""What keeping keys and values costs, in numbers a reader can check by hand."""

import json
from dataclasses import replace
from typing import Any

import pytest

from qkvlab.errors import UnsupportedError
from qkvlab.kvcache import ELEMENT_BYTES, Cache, cache_size
from qkvlab.spec import ModelSpec

LLAMA_3_8B = ModelSpec(
    name="Llama-3-8B", family="llama", n_layer=32, n_head=32, n_kv_head=8, d_head=128, d_model=4096, d_ff=14336,
    n_vocab=128_256, n_context=8192, norm_eps=1e-5, activation="silu", mask="causal",
)  # fmt: skip
GIB = 1 << 30


def bytes_of(spec: ModelSpec = LLAMA_3_8B, context: int | None = None, **kwargs: Any) -> int:
    found = cache_size(spec, context, **kwargs)
    assert found is not None
    return found.bytes


def test_llama_3_8b() -> None:
    """2 · 32 layers · 8 K/V heads · 128 components · 2 bytes = 131,072 bytes a token; 8,192 tokens: 1 GiB."""
    found = cache_size(LLAMA_3_8B)
    assert found == Cache("float16", 131_072, 8192, GIB)
    assert found is not None and json.loads(json.dumps(found.to_dict())) == {
        "dtype": "float16", "bytes_per_token": 131_072, "context": 8192, "bytes": GIB,
    }  # fmt: skip


def test_grouping_is_what_saves() -> None:
    assert bytes_of(n_kv_head=32) == 4 * GIB, "with one K/V head per query head: four times as much"
    assert bytes_of(n_kv_head=1) == GIB // 8, "with one K/V head for all: an eighth"


@pytest.mark.parametrize("dtype", ELEMENT_BYTES)
def test_element_types(dtype: str) -> None:
    size = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}[dtype]
    found = cache_size(LLAMA_3_8B, 3, dtype=dtype)
    assert found == Cache(dtype, 65_536 * size, 3, 3 * 65_536 * size)


def test_smollm2() -> None:
    spec = replace(LLAMA_3_8B, n_layer=30, n_head=9, n_kv_head=3, d_head=64)
    found = cache_size(spec, 8192)
    assert found is not None and found.bytes_per_token == 23_040 and found.bytes == 180 << 20


def test_a_windowed_layer_keeps_its_window_only() -> None:
    windowed = replace(LLAMA_3_8B, window=1000, windowed_layers=tuple(range(8, 32)))
    per_layer = 4096
    found = cache_size(windowed, 3000)
    assert found is not None and found.bytes_per_token == 131_072
    assert found.bytes == per_layer * (8 * 3000 + 24 * 1000)
    assert bytes_of(windowed, 999) == 131_072 * 999, "shorter than the window, nothing is dropped"
    assert bytes_of(windowed, 1001) == 131_072 * 1001 - 24 * per_layer


def test_beyond_the_models_own_limit_is_a_question_one_may_ask() -> None:
    assert bytes_of(LLAMA_3_8B, 1_000_000) == 131_072_000_000


def test_an_encoder_keeps_none() -> None:
    assert cache_size(replace(LLAMA_3_8B, family="bert", mask="bidirectional")) is None


@pytest.mark.parametrize("context", [0, -1])
def test_a_context_of_nothing(context: int) -> None:
    with pytest.raises(UnsupportedError, match="at least 1"):
        cache_size(LLAMA_3_8B, context)


def test_an_element_type_that_is_not_known() -> None:
    with pytest.raises(UnsupportedError, match="float16"):
        cache_size(LLAMA_3_8B, dtype="flaot16")


@pytest.mark.parametrize("n_kv_head", [0, -8, 5, 64])
def test_a_grouping_no_model_could_have(n_kv_head: int) -> None:
    with pytest.raises(UnsupportedError, match="32 query heads"):
        cache_size(LLAMA_3_8B, n_kv_head=n_kv_head)
