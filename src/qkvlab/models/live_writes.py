"""What the residual of a live model is made of, step by step, as a table: one row per way of writing.

A way names what stands before the first layer, what one layer does to the residual in order, and the norm between the
residual and attention. A step is a write, which is added, or a norm or projection, which all that was written before
it goes through. Nothing here is trusted: `captured_parts.py` holds every sum to the numbers of the run at hand.
Source: the modeling files of transformers 5.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

Role = Literal["embedding", "position", "token type", "heads", "cross", "mixer", "mlp", "norm", "project"]
"""embedding, position, token type: a module whose output is added · heads: the heads of the stack's attention ·
cross: the heads of the decoder's other attention, by its W_o · mixer: what mixes tokens without heads · mlp · norm,
project: all that is there so far goes through the module."""


class Step(NamedTuple):
    """One step of the residual. A module that a model has not is a step it has not."""

    role: Role
    path: str = ""
    """The module: below the base model in `start`, below the layer in `layer`; heads and mlp are the stack's own."""
    norm: str = ""
    """The norm that a write goes through by itself, before it is added (Gemma 2, OLMo 2)."""


HEADS, MLP = Step("heads"), Step("mlp")


@dataclass(frozen=True)
class Way:
    """How the residual of one stack comes about."""

    start: tuple[Step, ...] = (Step("embedding", "embed_tokens"),)
    layer: tuple[Step, ...] = (HEADS, MLP)
    read: tuple[str, ...] = ("input_layernorm",)
    """What the norm between the residual and attention may be called, the first that is there; empty: there is none."""
    instead: tuple[tuple[str, Any, "Way"], ...] = ()
    """(a configuration key, its value, the way of a model that has it so)."""


PRE_NORM = Way()
AROUND = Way(
    layer=(Step("heads", norm="post_attention_layernorm"), Step("mlp", norm="post_feedforward_layernorm")),
)
"""Gemma 2 and 3 norm what enters a sub-layer and what leaves it; OLMo 2 only what leaves it."""
MIXED = Way(layer=(HEADS, Step("mixer", "linear_attn"), MLP))
"""Qwen3-Next: a layer has heads or a linear mixer."""
GPT2 = Way((Step("embedding", "wte"), Step("position", "wpe")), read=("ln_1", "norm_1"))
"""Also GPT-J and MPT, which have no `wpe`."""
FALCON = Way((Step("embedding", "word_embeddings"),), read=("ln_attn", "input_layernorm"))
_BLOOM = (Step("embedding", "word_embeddings"), Step("norm", "word_embeddings_layernorm"))
BLOOM = Way(_BLOOM, instead=((
    "apply_residual_connection_post_layernorm", True,
    Way(_BLOOM, (Step("norm", "input_layernorm"), HEADS, Step("norm", "post_attention_layernorm"), MLP), ()),
),))  # fmt: skip
_OPT = (
    Step("embedding", "decoder.embed_tokens"),
    Step("project", "decoder.project_in"),
    Step("position", "decoder.embed_positions"),
)
OPT = Way(_OPT, read=("self_attn_layer_norm",), instead=((
    "do_layer_norm_before", False,
    Way(_OPT, (HEADS, Step("norm", "self_attn_layer_norm"), MLP, Step("norm", "final_layer_norm")), ()),
),))  # fmt: skip
BERT = Way(
    (
        Step("embedding", "embeddings.word_embeddings"),
        Step("position", "embeddings.position_embeddings"),
        Step("token type", "embeddings.token_type_embeddings"),
        Step("norm", "embeddings.LayerNorm"),
        Step("project", "embeddings_project"),
    ),
    (HEADS, Step("norm", "attention.output.LayerNorm"), MLP, Step("norm", "output.LayerNorm")),
    (),
)
"""Post-norm: each norm acts on the residual with the write in it. ELECTRA projects after the embedding's norm."""
DISTILBERT = replace(BERT, layer=(HEADS, Step("norm", "sa_layer_norm"), MLP, Step("norm", "output_layer_norm")))
ALBERT = Way(
    (*BERT.start[:-1], Step("project", "encoder.embedding_hidden_mapping_in")),
    (
        HEADS,
        Step("norm", "albert_layers.0.attention.LayerNorm"),
        MLP,
        Step("norm", "albert_layers.0.full_layer_layer_norm"),
    ),
    (),
)
MODERNBERT = Way((Step("embedding", "embeddings.tok_embeddings"), Step("norm", "embeddings.norm")), read=("attn_norm",))


def _beside(stack: str) -> tuple[Step, ...]:
    """What stands before the first layer of an encoder or decoder of BART's form."""
    return (
        Step("embedding", f"{stack}.embed_tokens"),
        Step("position", f"{stack}.embed_positions"),
        Step("norm", f"{stack}.layernorm_embedding"),
    )


BART: dict[str, Way] = {
    "encoder": Way(
        _beside("encoder"), (HEADS, Step("norm", "self_attn_layer_norm"), MLP, Step("norm", "final_layer_norm")), ()
    ),
    "decoder": Way(
        _beside("decoder"),
        (
            HEADS,
            Step("norm", "self_attn_layer_norm"),
            Step("cross", "encoder_attn.out_proj"),
            Step("norm", "encoder_attn_layer_norm"),
            MLP,
            Step("norm", "final_layer_norm"),
        ),
        (),
    ),
}
WHISPER: dict[str, Way] = {
    "decoder": Way(_beside("decoder"), (HEADS, Step("cross", "encoder_attn.out_proj"), MLP), ("self_attn_layer_norm",)),
}
T5: dict[str, Way] = {
    "encoder": Way((Step("embedding", "encoder.embed_tokens"),), read=("layer.0.layer_norm",)),
    "decoder": Way(
        (Step("embedding", "decoder.embed_tokens"),),
        (HEADS, Step("cross", "layer.1.EncDecAttention.o"), MLP),
        ("layer.0.layer_norm",),
    ),
}

WAYS: dict[str, Way | dict[str, Way]] = {
    **dict.fromkeys(("gemma2", "gemma3_text", "olmo2"), AROUND),
    "qwen3_next": MIXED,
    **dict.fromkeys(("gpt2", "gptj", "gpt_neo", "mpt"), GPT2),
    "gpt_neox": Way((Step("embedding", "embed_in"),)),
    "falcon": FALCON,
    "bloom": BLOOM,
    "opt": OPT,
    **dict.fromkeys(("bert", "roberta", "electra"), BERT),
    "distilbert": DISTILBERT,
    "albert": ALBERT,
    "modernbert": MODERNBERT,
    "bart": BART,
    "whisper": WHISPER,
    "t5": T5,
}
"""By `model_type`, and by attention where there are several. A type that is not here writes as Llama does."""


def way_of(config: Any, attention: str) -> Way:
    """How the residual of this model's stack comes about, by its configuration."""
    row = WAYS.get(config.model_type, PRE_NORM)
    way = row.get(attention, PRE_NORM) if isinstance(row, dict) else row
    return next((other for key, value, other in way.instead if getattr(config, key, None) == value), way)
