"""Where the parts of a transformers model lie, as a table: one row per family. A new family is a new row, not new code.

Paths start at the base model (`LlamaModel` within `LlamaForCausalLM`) or, below `layers`, at one layer. The proof of a
row is a test: every tap equals the module's own numbers, and Σ over heads of z W_o, plus the bias, is what attention
writes (tests/test_live.py). Source: the modeling files of transformers 5.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Stack:
    """One stack of layers and the attention in it that a head address means."""

    layers: str = "layers"
    attention: str = "self_attn"
    """The module that takes the x which W_q multiplies; its own children call the attention function."""
    o: str = "self_attn.o_proj"
    """W_o: what leaves it is what attention adds, before any norm that follows."""
    mlp: str = "mlp"
    """The module whose output is what the MLP adds, before any norm that follows."""
    final: str = "norm"
    """The last norm; empty where the last layer's output is the end."""
    heads: str = "num_attention_heads"
    """The configuration's key for the number of query heads of this stack."""
    n_layer: str = "num_hidden_layers"
    causal: bool = True
    output: bool = True
    """Whether the output head reads this stack's end."""
    keys: Literal["own", "encoder"] = "own"
    """Whose tokens the keys and values come from: cross attention's from the encoder."""
    whole: bool = True
    """Run the whole model; False: its encoder alone."""


@dataclass(frozen=True)
class Family:
    """How one family of transformers (`model_type`) is captured."""

    stacks: dict[str, Stack]
    """By what the attention is called: decoder, encoder, cross; where there is one stack, the only entry."""
    calls: Literal["registry", "operators"] = "registry"
    """Whether its attention goes through transformers' registry, or only through torch's own operators."""
    rotation: Literal["half", "adjacent", "none", "unknown"] = "half"
    """Which components turn together; none: q_raw is q; unknown: q_raw and k_raw are refused."""
    doubled: bool = True
    """Whether the module is given each pair's cos and sin twice, once per component."""
    rotated_if: str = ""
    """An attribute of the attention module without which a layer does not rotate."""
    scaled_q: bool = False
    """The module multiplies q by its own `scaling`, and the scores are not scaled again."""
    gated: bool = False
    """Between the blend and W_o each head's z is multiplied by a gate."""
    gain: float = 0.0
    """What is added to the final norm's weight (Gemma: x · (1 + w))."""
    centred: bool = False
    """Whether the final norm takes the mean away (LayerNorm)."""
    rule: str = ""
    """operators: how its scores come from q · k (a function of `models/operators.py`)."""
    window: int = 0
    """What the configuration's window must be raised by, to count as 'a query sees keys less than so far away'."""
    must: tuple[tuple[str, object], ...] = ()
    """(a configuration key, the only value with which it can be captured)."""
    refused: str = ""
    """Why it cannot be captured; empty: it can."""


def _one(**parts: object) -> dict[str, Stack]:
    return {"decoder": replace(Stack(), **parts)}  # type: ignore[arg-type]


def _encoder(**parts: object) -> dict[str, Stack]:
    return {"encoder": replace(Stack(causal=False, output=False), **parts)}  # type: ignore[arg-type]


_BERT = _encoder(
    layers="encoder.layer", attention="attention.self", o="attention.output.dense", mlp="output.dense", final=""
)
_BART_LAYER = Stack(o="self_attn.out_proj", mlp="fc2", final="")
_CROSS = replace(
    _BART_LAYER, layers="decoder.layers", attention="encoder_attn", o="encoder_attn.out_proj", causal=False,
    keys="encoder", heads="decoder_attention_heads", n_layer="decoder_layers",
)  # fmt: skip


def _bart(encoder_final: str, decoder_final: str) -> dict[str, Stack]:
    decoder = replace(_CROSS, attention="self_attn", o="self_attn.out_proj", causal=True, keys="own")
    return {
        "encoder": replace(
            _BART_LAYER, layers="encoder.layers", causal=False, output=False, whole=False, final=encoder_final,
            heads="encoder_attention_heads", n_layer="encoder_layers",
        ),
        "decoder": replace(decoder, final=decoder_final),
        "cross": replace(_CROSS, final=decoder_final),
    }  # fmt: skip


def _t5() -> dict[str, Stack]:
    own = Stack(
        "decoder.block", "layer.0.SelfAttention", "layer.0.SelfAttention.o", "layer.2", "decoder.final_layer_norm"
    )
    own = replace(own, n_layer="num_decoder_layers", mlp="layer.2.DenseReluDense")
    return {
        "encoder": replace(
            own, layers="encoder.block", mlp="layer.1.DenseReluDense", final="encoder.final_layer_norm", causal=False,
            output=False, whole=False, n_layer="num_layers",
        ),
        "decoder": own,
        "cross": replace(
            own, attention="layer.1.EncDecAttention", o="layer.1.EncDecAttention.o", causal=False, keys="encoder"
        ),
    }  # fmt: skip


_LLAMA = Family(_one())
_GEMMA = Family(_one(), gain=1.0)
_H = {"layers": "h", "attention": "attn", "final": "ln_f"}

FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "phi3", "olmo2"), _LLAMA),
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), _LLAMA),
    "gpt_oss": replace(_LLAMA, doubled=False),
    "smollm3": replace(_LLAMA, rotated_if="use_rope"),
    "gemma": _GEMMA,
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "cohere": replace(_LLAMA, rotation="adjacent", centred=True),
    "cohere2": replace(_LLAMA, rotation="adjacent", rotated_if="sliding_window", centred=True),
    "deepseek_v2": replace(_LLAMA, rotation="unknown"),
    "deepseek_v3": replace(_LLAMA, rotation="unknown"),
    "qwen3_next": replace(_LLAMA, gated=True, gain=1.0),
    "phi": Family(_one(o="self_attn.dense", final="final_layernorm"), centred=True),
    "gpt_neox": Family(_one(attention="attention", o="attention.dense", final="final_layer_norm"), centred=True),
    "gpt2": Family(_one(**_H, o="attn.c_proj"), rotation="none", centred=True),
    "gptj": Family(
        _one(**_H, o="attn.out_proj"), calls="operators", rotation="adjacent", centred=True, rule="gptj"
    ),
    "gpt_neo": Family(
        _one(layers="h", attention="attn.attention", o="attn.attention.out_proj", final="ln_f"),
        calls="operators", rotation="none", centred=True, rule="gpt_neo",
    ),
    "falcon": Family(
        _one(layers="h", attention="self_attention", o="self_attention.dense", final="ln_f"),
        calls="operators", centred=True, rule="falcon",
    ),
    "bloom": Family(
        _one(layers="h", attention="self_attention", o="self_attention.dense", mlp="mlp.dense_4h_to_h", final="ln_f"),
        calls="operators", rotation="none", centred=True, rule="bloom",
    ),
    "mpt": Family(
        _one(layers="blocks", attention="attn", o="attn.out_proj", mlp="ffn.down_proj", final="norm_f"),
        calls="operators", rotation="none", centred=True, rule="mpt",
    ),
    "opt": Family(
        _one(layers="decoder.layers", o="self_attn.out_proj", mlp="fc2", final="decoder.final_layer_norm"),
        rotation="none", scaled_q=True, centred=True,
    ),
    **dict.fromkeys(("bert", "roberta", "electra"), Family(_BERT, rotation="none")),
    "distilbert": Family(
        _encoder(layers="transformer.layer", attention="attention", o="attention.out_lin", mlp="ffn", final=""),
        rotation="none",
    ),
    "albert": Family(
        _encoder(
            layers="encoder.albert_layer_groups", attention="albert_layers.0.attention",
            o="albert_layers.0.attention.dense", mlp="albert_layers.0.ffn_output", final="",
        ),
        rotation="none", must=(("num_hidden_groups", 1), ("inner_group_num", 1)),
    ),
    "modernbert": Family(
        _encoder(attention="attn", o="attn.Wo", mlp="mlp", final="final_norm"), centred=True, window=1
    ),
    "bart": Family(_bart("", ""), rotation="none", centred=True),
    "whisper": Family(
        _bart("encoder.layer_norm", "decoder.layer_norm"), rotation="none", scaled_q=True, centred=True
    ),
    "t5": Family(_t5(), rotation="none"),
    "deberta": Family({}, refused="its scores come from three products of content and position, not from one q · k"),
    "deberta-v2": Family({}, refused="its scores come from three products of content and position, not from one q · k"),
    "xlnet": Family({}, refused="its scores come from two streams and relative positions, not from one q · k"),
    "mamba": Family({}, refused="it has no attention"),
    "rwkv": Family({}, refused="it has no attention"),
}  # fmt: skip
"""By `model_type`. A type that is not here is captured as Llama is laid out, or refused by name if it is not."""

GUESSED = replace(_LLAMA, rotation="unknown")
"""For a type that is not in the table: Llama's layout, looked for, never assumed."""
