"""Sharing keys and values: what it costs this model, and what a cache takes in others."""

from ...kvcache import cache_size
from ...sharing import sharing_steps
from ...spec import ModelSpec
from ..figures import FIGURES, Figure, Lab, binary_size, digits, figure, whole

SHARED = (0, 10, 15, 20, 30)
"""Numbers of layers that the lesson names."""


def architecture(name: str, n_layer: int, n_head: int, n_kv_head: int, n_context: int) -> ModelSpec:
    """The sizes of a published Llama, from its configuration; d_head is 128 in all of them."""
    d_model = n_head * 128
    return ModelSpec(
        name, "llama", n_layer, n_head, n_kv_head, 128, d_model, 0, 0, n_context, 1e-5, "silu", "causal"
    )  # fmt: skip


LLAMA3_8B = architecture("Llama-3-8B", 32, 32, 8, 8192)
LLAMA2_7B = architecture("Llama-2-7B", 32, 32, 32, 4096)
LLAMA3_70B = architecture("Llama-3-70B", 80, 64, 8, 8192)


def cache_bytes(spec: ModelSpec, context: int, n_kv_head: int | None = None) -> int:
    """Bytes of the K/V cache at 16 bits."""
    size = cache_size(spec, context, n_kv_head=n_kv_head)
    assert size is not None
    return size.bytes


@figure(whole, "kvcache.cache_size(spec).bytes_per_token")
def cache_smollm2(lab: Lab) -> int:
    """Bytes of cache for each token in SmolLM2-135M, at 16 bits a number."""
    return cache_bytes(lab.model("smollm2").spec, 1)


@figure(whole, "2 * 32 layers * 8 K/V heads * 128 * 2 bytes")
def cache_llama3_8b(lab: Lab) -> int:
    """Bytes of cache for each token in Llama-3-8B, at 16 bits a number."""
    return cache_bytes(LLAMA3_8B, 1)


@figure(binary_size, "8192 tokens of it")
def cache_llama3_8b_full(lab: Lab) -> int:
    """Bytes of cache for 8,192 tokens of Llama-3-8B."""
    return cache_bytes(LLAMA3_8B, 8192)


@figure(binary_size, "the same with 32 K/V heads")
def cache_llama3_8b_ungrouped(lab: Lab) -> int:
    """What it would be with a K/V head for every query head."""
    return cache_bytes(LLAMA3_8B, 8192, LLAMA3_8B.n_head)


@figure(binary_size, "the same with 1 K/V head")
def cache_llama3_8b_single(lab: Lab) -> int:
    """What it would be with one K/V head for all query heads."""
    return cache_bytes(LLAMA3_8B, 8192, 1)


@figure(whole, "n_head // n_kv_head")
def cache_llama3_8b_times(lab: Lab) -> int:
    """How many times smaller sharing makes the cache of Llama-3-8B."""
    return cache_bytes(LLAMA3_8B, 1, LLAMA3_8B.n_head) // cache_bytes(LLAMA3_8B, 1)


@figure(whole, "2 * 32 layers * 32 K/V heads * 128 * 2 bytes")
def cache_llama2_7b(lab: Lab) -> int:
    """Bytes of cache for each token in Llama-2-7B, which shares nothing."""
    return cache_bytes(LLAMA2_7B, 1)


@figure(binary_size, "4096 tokens of it")
def cache_llama2_7b_full(lab: Lab) -> int:
    """Bytes of cache for the 4,096 tokens of context of Llama-2-7B."""
    return cache_bytes(LLAMA2_7B, 4096)


@figure(whole, "2 * 80 layers * 8 K/V heads * 128 * 2 bytes")
def cache_llama3_70b(lab: Lab) -> int:
    """Bytes of cache for each token in Llama-3-70B, 64 query heads on 8 K/V heads."""
    return cache_bytes(LLAMA3_70B, 1)


def _at(n: int, part: str, what: str) -> Figure:
    def compute(lab: Lab) -> float | int:
        (answer,) = sharing_steps(lab.model("smollm2"))  # shipped, and held to a fresh run by tests/test_sharing.py
        found: float | int = answer[part][n]
        return found

    compute.__doc__ = f"{what} of SmolLM2 with {n} of 30 layers sharing one K/V head, cheapest layers first, untrained."
    show = digits(2) if part == "loss" else whole
    name = f"shared_{n}_{'loss' if part == 'loss' else 'bytes'}"
    return Figure(name, compute, show, f"list(sharing.sharing_steps(model))[-1][{part!r}][{n}]")


for _n in SHARED:
    for _part, _what in (("loss", "Loss, in nats a token,"), ("bytes_per_token", "Cache bytes a token")):
        _made = _at(_n, _part, _what)
        FIGURES[_made.name] = _made
