"""Where do a family's words enter the residual, and where are they read off? A table: one row per way.

What a copying score needs besides W_v and W_o: the embedding, the output head, and the gains of the norms between.
A family that is not here has another way, or none that is known. The proof of a row is a test against the modules.
"""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class WordNames:
    """Tensors by name, without .weight; {i} is the layer."""

    embedding: str = "embed_tokens"
    final: str = "norm"
    read: tuple[str, ...] = ("layers.{i}.input_layernorm",)
    """What the norm before attention may be called; none of them there: attention reads the residual itself."""
    written: str = ""
    """The norm that attention's write goes through before it is added (Gemma 2, OLMo 2)."""
    embedded: str = ""
    """The norm right after the embedding (Bloom)."""
    heads: tuple[str, ...] = ("lm_head",)
    """What the output head may be called, which stands outside what the other names stand in."""
    tied: bool = False
    """Whether the output head is the embedding where the configuration does not say."""
    gain: float = 0.0
    """What is added to a norm's weight (Gemma: x · (1 + w))."""
    centred: bool = False
    """Whether norms take the mean away (LayerNorm)."""
    only: tuple[tuple[str, Any], ...] = ()
    """(key, value): only configurations that have it so, or do not name it."""


_LLAMA = WordNames()
_GEMMA = WordNames(tied=True, gain=1.0)
_AFTER = "layers.{i}.post_attention_layernorm"
_AROUND = replace(_GEMMA, written=_AFTER)
_COHERE = WordNames(tied=True, centred=True)
_OLD = WordNames("wte", "ln_f", ("h.{i}.ln_1",), tied=True, centred=True)
_FALCON = WordNames("word_embeddings", "ln_f", ("h.{i}.ln_attn", "h.{i}.input_layernorm"), tied=True, centred=True)

WORD_NAMES: dict[str, WordNames] = {
    **dict.fromkeys("llama mistral mixtral phi3 qwen2 qwen2_moe qwen3 qwen3_moe gpt_oss".split(), _LLAMA),
    "smollm3": replace(_LLAMA, tied=True),
    "olmo2": replace(_LLAMA, read=(), written=_AFTER),
    "gemma": _GEMMA,
    **dict.fromkeys(("gemma2", "gemma3_text"), _AROUND),
    **dict.fromkeys(("cohere", "cohere2"), _COHERE),
    "phi": WordNames(final="final_layernorm", centred=True),
    "gpt_neox": WordNames("embed_in", "final_layer_norm", heads=("embed_out", "lm_head"), centred=True),
    **dict.fromkeys(("gpt2", "gpt_neo"), _OLD),
    "gptj": replace(_OLD, tied=False),
    "falcon": _FALCON,
    "bloom": replace(
        _FALCON, embedded="word_embeddings_layernorm", only=(("apply_residual_connection_post_layernorm", False),)
    ),
    "mpt": WordNames("wte", "norm_f", ("blocks.{i}.norm_1",), tied=True, centred=True),
    "opt": WordNames(
        "decoder.embed_tokens", "decoder.final_layer_norm", ("decoder.layers.{i}.self_attn_layer_norm",), tied=True,
        centred=True, only=(("do_layer_norm_before", True),),
    ),
}  # fmt: skip
"""transformers' model_type → the way from word to word."""
