"""Which families name their sizes how, and which of their layers keep what: the tables that `kvlayers` reads by."""

from collections.abc import Callable, Mapping
from typing import Any

from .errors import ConfigError, shown

Config = Mapping[str, Any]

NAMES: dict[str, tuple[str, ...]] = {
    "layers": ("decoder_layers", "num_decoder_layers", "num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("decoder_attention_heads", "num_decoder_attention_heads", "num_attention_heads", "n_head", "n_heads",
              "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "d_head": ("head_dim", "d_kv", "kv_channels", "attention_head_dim"),
    "d_model": ("hidden_size", "n_embd", "d_model", "dim"),
    "context": ("max_position_embeddings", "n_positions", "max_target_positions", "max_seq_len", "seq_length", "n_ctx"),
    "window": ("sliding_window", "sliding_window_size"),
}  # fmt: skip
"""A size → the keys that families give it under, the first that is there counts."""

ENCODERS = frozenset(
    """albert beit bert big_bird camembert canine convbert data2vec-text deberta deberta-v2 deit distilbert dinov2
    electra ernie esm eurobert flaubert funnel hubert ibert layoutlm longformer mobilebert modernbert mpnet mra nezha
    nomic_bert nystromformer rembert roberta roberta-prelayernorm roformer siglip squeezebert vit wav2vec2 xlm-roberta
    xlm-roberta-xl xmod yoso""".split()
)
"""Bidirectional: the text is read whole and no key is kept, unless `is_decoder` says otherwise."""
STATE_ONLY = frozenset("falcon_mamba hyena mamba mamba2 rwkv xlstm".split())
"""No attention at all: a state of fixed size."""
SEQ2SEQ = frozenset(
    """bart bigbird_pegasus blenderbot blenderbot-small led longt5 m2m_100 marian mbart mt5 mvp nllb-moe pegasus
    pegasus_x plbart prophetnet speech_to_text switch_transformers t5 t5gemma umt5 whisper""".split()
)
OWN_CACHE = frozenset(["recurrent_gemma", "reformer", "xlnet", "transfo-xl"])
"""Keeps its keys in a way of its own, not in a K/V cache that could be counted from here."""
ATTENTIONS = {"longcat_flash": 2}
"""Attentions in one layer, where there are several."""
HEAD_SIZES = {
    "gemma": 256, "gemma2": 256, "gemma3_text": 256, "gemma3n_text": 256, "gemma4_text": 256, "gpt_oss": 64,
    "qwen3": 128, "qwen3_moe": 128, "qwen3_next": 256,
}  # fmt: skip
"""d_head where a configuration leaves it out and the class does not take d_model / heads."""
WITNESSED = frozenset(
    """bailing_hybrid bamba bart bert bloom codegen cohere cohere2 deepseek_v2 deepseek_v3 deepseek_v32 exaone4
    falcon falcon_h1 gemma gemma2 gemma3_text gemma3n_text gemma4_text glm4_moe_lite gpt2 gpt_bigcode gpt_neo
    gpt_neox gpt_oss gptj granitemoehybrid jamba lfm2 llama llama4_text longcat_flash mamba minicpm3 minimax
    mistral mixtral mpt nemotron_h olmo2 olmo3 opt phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next
    smollm3 starcoder2 t5 whisper youtu""".split()
)
"""Families whose count the tests hold to transformers' cache object."""

KINDS = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "window",
    "chunked_attention": "chunk",
    "indexed_attention": "indexed",
    "deepseek_sparse_attention": "indexed",
    "linear_attention": "state",
    "mamba": "state",
    "recurrent": "state",
    "conv": "state",
    "hybrid": "full",
    "hybrid_sliding": "window",
    "moe": "none",
    "mlp": "none",
}
"""A name in `layer_types` → what such a layer keeps. The state of a hybrid layer is not counted: it does not grow."""


def every(period: int, key: str = "", most: str = "sliding_attention") -> Callable[[Config, int], list[str]]:
    """Each `period`-th layer is full, the others of the kind `most`; the configuration's `key` may set the period."""

    def types(config: Config, n_layer: int) -> list[str]:
        step = config.get(key) or period
        if not isinstance(step, int) or isinstance(step, bool) or step < 1:
            raise ConfigError(f"config.json: {key} is {shown(step)}; expected a positive whole number")
        return [most if (layer + 1) % step else "full_attention" for layer in range(n_layer)]

    return types


def _qwen(config: Config, n_layer: int) -> list[str]:
    first = config.get("max_window_layers")
    first = 28 if first is None else first
    on = config.get("use_sliding_window") and config.get("sliding_window") is not None
    return ["sliding_attention" if on and layer >= first else "full_attention" for layer in range(n_layer)]


def _all_full(config: Config, n_layer: int) -> list[str]:
    return ["full_attention"] * n_layer


def _llama4(config: Config, n_layer: int) -> list[str]:
    return every(4, "no_rope_layer_interval", "chunked_attention")(config, n_layer)


def _lfm2(config: Config, n_layer: int) -> list[str]:
    full = config.get("full_attn_idxs")
    return ["full_attention" if full is None or layer in full else "conv" for layer in range(n_layer)]


def _bamba(config: Config, n_layer: int) -> list[str]:
    full = config.get("attn_layer_indices") or ()
    return ["full_attention" if layer in full else "mamba" for layer in range(n_layer)]


def _nemotron(config: Config, n_layer: int) -> list[str]:
    letters = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
    pattern = str(config.get("hybrid_override_pattern") or "")
    return [letters.get(letter, letter) for letter in pattern]


def _jamba(config: Config, n_layer: int) -> list[str]:
    period, offset = config.get("attn_layer_period", 8), config.get("attn_layer_offset", 4)
    return ["full_attention" if layer % period == offset else "mamba" for layer in range(n_layer)]


PATTERNS: dict[str, Callable[[Config, int], list[str]]] = {
    "gemma2": every(2),
    "gemma3_text": every(6, "sliding_window_pattern"),
    "gemma3n_text": every(5),
    "gemma4_text": every(6),
    "gpt_oss": every(2),
    "cohere2": every(4, "sliding_window_pattern"),
    "exaone4": every(4, "sliding_window_pattern"),
    "olmo3": every(4),
    "t5gemma": every(2),
    "qwen3_next": every(4, "full_attention_interval", "linear_attention"),
    "minimax": every(2, most="linear_attention"),
    "llama4_text": _llama4,
    "lfm2": _lfm2,
    "jamba": _jamba,
    "bamba": _bamba,
    "nemotron_h": _nemotron,
    "falcon_h1": _all_full,
    "llama": _all_full,
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3"), _qwen),
}
"""The layers' kinds where a configuration has no `layer_types`; for others, every layer has the window, if any."""

STATE_SIGNS = ("mamba", "ssm", "state_size", "linear_num", "conv_kernel", "time_mix")
