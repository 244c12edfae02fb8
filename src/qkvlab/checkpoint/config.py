"""A checkpoint's own description (config.json, GGUF metadata) → ModelSpec. Keys are used, harmless or refused.

A key on none of the three lists is refused by name: it may change the computation in a way nobody here has read.
`allow` lets named keys pass; the spec then says so, and with it every result.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import ConfigError, UnsupportedError, one_of, shown
from ..spec import ModelSpec, Rotation

HARMLESS = frozenset(
    """_name_or_path architectures attention_dropout attention_probs_dropout_prob attn_pdrop auto_map bos_token_id
    classifier_dropout directionality do_sample dtype embd_pdrop eos_token_id finetuning_task gradient_checkpointing
    hidden_dropout_prob id2label initializer_range is_llama_config keys_to_ignore_at_inference label2id language
    max_length model_type n_ctx output_attentions output_hidden_states output_past pad_token_id pooler_fc_size
    pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type problem_type resid_pdrop
    return_dict sep_token_id summary_activation summary_first_dropout summary_proj_to_labels summary_type
    summary_use_proj task_specific_params tokenizer_class torch_dtype transformers.js_config transformers_version
    unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache""".split()
)
"""Keys of config.json that do not change the forward pass of a trained model."""

REFUSED: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False, None),
    "attn_logit_softcapping": (None,),
    "chunk_size_feed_forward": (0, None),
    "final_logit_softcapping": (None,),
    "is_decoder": (False, None),
    "is_encoder_decoder": (False, None),
    "no_rope_layers": (None,),
    "num_experts": (None, 0),
    "num_local_experts": (None, 0),
    "partial_rotary_factor": (None, 1, 1.0),
    "position_embedding_type": ("absolute", None),
    "pretraining_tp": (1, None),
    "quantization_config": (None,),
    "reorder_and_upcast_attn": (False, None),
    "rope_interleaved": (False, None),
    "scale_attn_by_inverse_layer_idx": (False, None),
    "scale_attn_weights": (True, None),
}
"""Keys that change the forward pass in a way this version does not compute, with the values that leave it alone."""

LLAMA_USED = frozenset(
    """hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim vocab_size
    max_position_embeddings rms_norm_eps hidden_act rope_theta rope_scaling rope_parameters attention_bias mlp_bias
    tie_word_embeddings sliding_window use_sliding_window max_window_layers layer_types""".split()
)
GPT2_USED = frozenset(
    """vocab_size n_positions n_embd n_layer n_head n_inner activation_function layer_norm_epsilon
    tie_word_embeddings""".split()
)
BERT_USED = frozenset(
    """vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act
    max_position_embeddings type_vocab_size layer_norm_eps pad_token_id tie_word_embeddings""".split()
)

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}


MAX_LAYERS = 10_000


class Keys:
    """A description's keys with checked reading: a missing or ill-typed value is a ConfigError that names it."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def _wrong(self, key: str, value: object, expected: str) -> ConfigError:
        got = "missing" if value is None else shown(value)
        return ConfigError(f"{self.where}: {key} is {got}; expected {expected}")

    def count(self, key: str, default: int | None = None) -> int:
        """A positive whole number."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            raise self._wrong(key, value, "a positive whole number")
        return value

    def layers(self, key: str) -> int:
        """A number of layers, which a file of a few bytes must not make us count to."""
        n_layer = self.count(key)
        if n_layer > MAX_LAYERS:
            raise ConfigError(f"{self.where}: {key} is {n_layer:,}; expected at most {MAX_LAYERS:,}")
        return n_layer

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number that float32 holds."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-37 <= value <= 1e38:
            raise self._wrong(key, value, "a positive number, from 1e-37 to 1e38")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value


def spec_from_config(
    config: Mapping[str, Any], tensors: Collection[str], *, name: str, allow: Collection[str] = ()
) -> ModelSpec:
    """A Hugging Face config.json, with the names of the tensors it goes with, as a ModelSpec.

    Raises ConfigError for a refused, unknown or ill-typed key, UnsupportedError for another family.
    """
    if not config:
        raise ConfigError(
            f"config.json is empty; it needs model_type (one of {', '.join(CONFIG_READERS)}) and the model's sizes, "
            "as its publisher gives them"
        )
    keys = Keys(config, "config.json")
    model_type = keys.text("model_type")
    if model_type not in CONFIG_READERS:
        raise UnsupportedError(
            f"{name}: the model type {shown(model_type)} is not one this version computes "
            f"(it does: {', '.join(CONFIG_READERS)})"
        )
    used, read = CONFIG_READERS[model_type]
    allowed = _sort_keys(config, used, allow)
    spec = read(keys, tensors, model_type)
    return ModelSpec(**{"name": name, "allowed_config": allowed, **spec})


def _sort_keys(config: Mapping[str, Any], used: frozenset[str], allow: Collection[str]) -> tuple[str, ...]:
    allowed = []
    for key, value in config.items():
        if key in used or key in HARMLESS:
            continue
        if key in REFUSED and any(value is neutral or value == neutral for neutral in REFUSED[key]):
            continue
        if key in allow:
            allowed.append(key)
            continue
        reason = "changes the computation" if key in REFUSED else "is unknown to this version and could change it"
        raise ConfigError(
            f"config.json: the key {shown(key)} ({shown(value)}) {reason}; to go on without it, and have every "
            f"result say so, pass --allow-config {shown(key)[1:-1]}"
        )
    return tuple(allowed)


def _llama(keys: Keys, tensors: Collection[str], model_type: str) -> dict[str, Any]:
    n_layer = keys.layers("num_hidden_layers")
    n_head, d_model = keys.count("num_attention_heads"), keys.count("hidden_size")
    d_head = keys.count("head_dim", 128 if model_type == "qwen3" else d_model // n_head)
    bias = keys.flag("attention_bias")
    tied = keys.flag("tie_word_embeddings")
    window, windowed = _windows(keys, model_type, n_layer)
    return {
        "family": "llama",
        "n_layer": n_layer,
        "n_head": n_head,
        "n_kv_head": _kv_heads(n_head, keys.count("num_key_value_heads", n_head)),
        "d_head": d_head,
        "d_model": d_model,
        "d_ff": keys.count("intermediate_size"),
        "n_vocab": keys.count("vocab_size"),
        "n_context": keys.count("max_position_embeddings", 2048),
        "norm_eps": keys.number("rms_norm_eps", 1e-6),
        "activation": _activation(keys.text("hidden_act", "silu")),
        "mask": "causal",
        "rotation": rotation_from(keys, d_head),
        "qk_norm": model_type == "qwen3",
        "qkv_bias": model_type == "qwen2" or bias,
        "out_bias": model_type in ("llama", "qwen3") and bias,
        "mlp_bias": keys.flag("mlp_bias"),
        "window": window,
        "windowed_layers": windowed,
        "tied_embeddings": tied,
        "has_output": tied or "lm_head.weight" in tensors or _promises_output(keys),
    }


def _gpt2(keys: Keys, tensors: Collection[str], model_type: str) -> dict[str, Any]:
    d_model, n_head, n_context = keys.count("n_embd"), keys.count("n_head"), keys.count("n_positions")
    return {
        "family": "gpt2",
        "n_layer": keys.layers("n_layer"),
        "n_head": n_head,
        "n_kv_head": n_head,
        "d_head": _whole_heads(d_model, n_head),
        "d_model": d_model,
        "d_ff": keys.count("n_inner", 4 * d_model),
        "n_vocab": keys.count("vocab_size"),
        "n_context": n_context,
        "n_position": n_context,
        "norm_eps": keys.number("layer_norm_epsilon", 1e-5),
        "activation": _activation(keys.text("activation_function", "gelu_new")),
        "mask": "causal",
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "tied_embeddings": keys.flag("tie_word_embeddings", True),
        "has_output": True,
    }


def _bert(keys: Keys, tensors: Collection[str], model_type: str) -> dict[str, Any]:
    d_model, n_head = keys.count("hidden_size"), keys.count("num_attention_heads")
    n_position = keys.count("max_position_embeddings", 512)
    first = 0
    if model_type == "roberta":
        pad = keys.values.get("pad_token_id", 1)
        if isinstance(pad, bool) or not isinstance(pad, int) or not 0 <= pad < n_position - 1:
            raise ConfigError(f"config.json: pad_token_id is {shown(pad)}; expected 0 to {n_position - 2}")
        first = pad + 1
    return {
        "family": "bert",
        "n_layer": keys.layers("num_hidden_layers"),
        "n_head": n_head,
        "n_kv_head": n_head,
        "d_head": _whole_heads(d_model, n_head),
        "d_model": d_model,
        "d_ff": keys.count("intermediate_size"),
        "n_vocab": keys.count("vocab_size"),
        "n_context": n_position - first,
        "n_position": n_position,
        "first_position": first,
        "n_token_type": keys.count("type_vocab_size", 2),
        "norm_eps": keys.number("layer_norm_eps", 1e-12),
        "activation": _activation(keys.text("hidden_act", "gelu")),
        "mask": "bidirectional",
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "has_output": False,
    }


Reader = Callable[[Keys, Collection[str], str], dict[str, Any]]
CONFIG_READERS: dict[str, tuple[frozenset[str], Reader]] = {
    "llama": (LLAMA_USED, _llama),
    "mistral": (LLAMA_USED, _llama),
    "qwen2": (LLAMA_USED, _llama),
    "qwen3": (LLAMA_USED, _llama),
    "gpt2": (GPT2_USED, _gpt2),
    "bert": (BERT_USED, _bert),
    "roberta": (BERT_USED, _bert),
}
"""Model type → the keys its reader uses, and the reader."""


def _activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ConfigError(f"config.json: {one_of('the activation', name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _kv_heads(n_head: int, n_kv_head: int) -> int:
    if n_head % n_kv_head:
        raise ConfigError(f"{n_head} query heads cannot share {n_kv_head} K/V heads evenly")
    return n_kv_head


def _whole_heads(d_model: int, n_head: int) -> int:
    if d_model % n_head:
        raise ConfigError(f"a width of {d_model} does not divide into {n_head} heads")
    return d_model // n_head


def _promises_output(keys: Keys) -> bool:
    named = keys.values.get("architectures") or []
    if not isinstance(named, list):
        raise ConfigError(f"config.json: architectures is {shown(named)}; expected a list of names")
    return any(str(architecture).endswith("ForCausalLM") for architecture in named)


def _windows(keys: Keys, model_type: str, n_layer: int) -> tuple[int | None, tuple[int, ...]]:
    """The sliding window and the layers that have it (transformers' configuration classes of each model type)."""
    every = range(n_layer)
    if keys.values.get("sliding_window") is None or model_type == "llama":
        return None, ()
    window = keys.count("sliding_window")
    if model_type == "mistral":
        return window, tuple(every)
    if not keys.flag("use_sliding_window"):
        return None, ()
    kinds = keys.values.get("layer_types")
    if kinds is None:
        first = keys.values.get("max_window_layers", 28)
        if isinstance(first, bool) or not isinstance(first, int) or first < 0:
            raise ConfigError(f"config.json: max_window_layers is {shown(first)}; expected a whole number")
        return window, tuple(every[first:])
    if not isinstance(kinds, list) or len(kinds) != n_layer:
        raise ConfigError(f"config.json: layer_types must name the kind of each of the {n_layer} layers")
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            raise ConfigError(f"config.json: the layer type {shown(kind)} is not one this version computes")
    return window, tuple(layer for layer in every if kinds[layer] == "sliding_attention")


def rotation_from(keys: Keys, d_head: int) -> Rotation:
    """rope_parameters (transformers 5), or rope_theta and rope_scaling (before), as a Rotation."""
    both = [v for k in ("rope_parameters", "rope_scaling") if (v := keys.values.get(k)) is not None]
    if len(both) == 2:
        raise ConfigError("config.json describes the rotation twice, as rope_parameters and as rope_scaling; keep one")
    found = both[0] if both else {}
    if d_head % 2:
        raise ConfigError(f"config.json: a head of {d_head} components cannot turn in pairs")
    if not isinstance(found, Mapping):
        raise ConfigError(f"config.json: the rotation's parameters are {shown(found)}; expected an object")
    rope = Keys({"rope_theta": keys.values.get("rope_theta"), **found}, "config.json, rotation")
    base = rope.number("rope_theta", 10_000.0)
    kind = str(found.get("rope_type") or found.get("type") or "default")
    if kind not in SCALINGS:
        raise UnsupportedError(f"config.json: {one_of('the rotation scaling', kind, SCALINGS)}")
    wanted, read = SCALINGS[kind]
    for key in found:
        if key not in wanted and key not in ("rope_type", "type", "rope_theta"):
            raise ConfigError(
                f"config.json: the rotation scaling {kind!r} has a key {shown(key)} that is not known here"
            )
    return Rotation(base, d_head, scaling=tuple(sorted(read(rope, keys).items())))


def _default(rope: Keys, keys: Keys) -> dict[str, Any]:
    return {}


def _linear(rope: Keys, keys: Keys) -> dict[str, Any]:
    return {"kind": "linear", "factor": rope.number("factor")}


def _llama3(rope: Keys, keys: Keys) -> dict[str, Any]:
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if low >= high:
        raise ConfigError(f"{rope.where}: high_freq_factor is {high}; expected more than low_freq_factor, {low}")
    return {
        "kind": "llama3",
        "factor": rope.number("factor"),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_context": rope.count("original_max_position_embeddings"),
    }


def _yarn(rope: Keys, keys: Keys) -> dict[str, Any]:
    original = rope.count("original_max_position_embeddings", keys.values.get("max_position_embeddings"))
    factor = rope.number("factor")
    if rope.number("rope_theta", 10_000.0) == 1:
        raise ConfigError(f"{rope.where}: rope_theta is 1, with which all pairs turn alike; yarn needs another base")
    return {
        "kind": "yarn",
        "factor": factor,
        "original_context": original,
        "beta_fast": rope.number("beta_fast", 32.0),
        "beta_slow": rope.number("beta_slow", 1.0),
        "attention_factor": rope.number("attention_factor", 0.1 * math.log(factor) + 1 if factor > 1 else 1.0),
    }


SCALINGS: dict[str, tuple[frozenset[str], Callable[[Keys, Keys], dict[str, Any]]]] = {
    "default": (frozenset(), _default),
    "linear": (frozenset(["factor"]), _linear),
    "llama3": (
        frozenset(["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]),
        _llama3,
    ),
    "yarn": (
        frozenset(["factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"]),
        _yarn,
    ),
}
"""Rotation scaling → the keys it reads, and the reader."""
