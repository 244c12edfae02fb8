"""GGUF metadata → what transformers reads beside the weights: config.json and the tokenizer's files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedError
from ..mechanism import rotation_frequencies
from ..spec import ModelSpec
from .tensors import Checkpoint

if TYPE_CHECKING:
    from ..text import Tokenizer

SPECIAL = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
"""A special token by its name in GGUF (`tokenizer.ggml.*_token_id`) → in tokenizer_config.json."""
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def config_of_gguf(spec: ModelSpec, checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json of a model of the Llama family that came from a GGUF file.

    Raises UnsupportedError for biases or a rotation that transformers' class of that name does not have.
    """
    family = str(checkpoint.metadata["general.architecture"])
    family = "mistral" if family == "llama" and spec.window is not None else family
    _check_biases(spec, family)
    base, scaling = _rotation(spec)
    config: dict[str, Any] = {
        "architectures": [f"{CLASSES[family]}ForCausalLM"],
        "model_type": family,
        "vocab_size": spec.n_vocab,
        "hidden_size": spec.d_model,
        "intermediate_size": spec.d_ff,
        "num_hidden_layers": spec.n_layer,
        "num_attention_heads": spec.n_head,
        "num_key_value_heads": spec.n_kv_head,
        "head_dim": spec.d_head,
        "hidden_act": spec.activation,
        "max_position_embeddings": spec.n_context,
        "rms_norm_eps": spec.norm_eps,
        "rope_theta": base,
        "rope_scaling": scaling,
        "tie_word_embeddings": spec.tied_embeddings,
    }
    if family in ("llama", "qwen3"):
        config["attention_bias"] = spec.qkv_bias
    if family == "llama":
        config["mlp_bias"] = spec.mlp_bias
    if spec.window is not None:
        config["sliding_window"] = spec.window
        config |= {} if family == "mistral" else {"use_sliding_window": True, "max_window_layers": 0}
    for name in ("bos", "eos"):
        token = checkpoint.metadata.get(f"tokenizer.ggml.{name}_token_id")
        config[f"{name}_token_id"] = None if token is None else int(token)
    return config


def _check_biases(spec: ModelSpec, family: str) -> None:
    has = (spec.qkv_bias, spec.out_bias, spec.mlp_bias)
    known = {
        "llama": has[0] == has[1],
        "mistral": not any(has),
        "qwen2": has == (True, False, False),
        "qwen3": has[0] == has[1] and not has[2],
    }
    if not known[family]:
        parts = [part for part, there in zip(("Q, K, V", "the output", "the MLP"), has, strict=True) if there]
        raise UnsupportedError(
            f"{spec.name}: transformers' {family} has no place for biases of just {', '.join(parts)}"
        )


def _rotation(spec: ModelSpec) -> tuple[float, dict[str, Any] | None]:
    """rope_theta and rope_scaling, as transformers 4 and 5 read them."""
    assert spec.rotation is not None
    base, scaling = spec.rotation.base, dict(spec.rotation.scaling)
    kind = scaling.pop("kind", None)
    if kind == "factors":
        return base, _llama3(spec, np.asarray(scaling["factors"], np.float32))
    if "original_context" in scaling:
        scaling["original_max_position_embeddings"] = scaling.pop("original_context")
    return base, None if kind is None else {"rope_type": kind, **scaling}


def _llama3(spec: ModelSpec, factors: np.ndarray) -> dict[str, Any]:
    """Llama 3's scaling from the divisors of each pair that a GGUF carries: tried, and taken only if they come out."""
    assert spec.rotation is not None
    base, dims = spec.rotation.base, spec.rotation.dims
    plain, _ = rotation_frequencies(base, dims)
    for original in (8192, spec.n_context // max(1, round(float(factors.max()))), spec.n_context):
        tried = {"factor": round(float(factors.max()), 4), "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        made, _ = rotation_frequencies(base, dims, {"kind": "llama3", **tried, "original_context": original})
        if np.allclose(made, plain / factors, rtol=1e-4):
            return {"rope_type": "llama3", **tried, "original_max_position_embeddings": original}
    raise UnsupportedError(f"{spec.name}: its rope_freqs.weight is no scaling that a config.json has a name for")


def tokenizer_files(tokenizer: "Tokenizer", metadata: dict[str, Any], n_context: int, folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json of a GGUF's own tokenizer, cut as the kind it names cuts."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, processors

    library = Library.from_str(tokenizer.library.to_str())
    library.decoder = decoders.ByteLevel()
    before, after = ([(library.id_to_token(id), id) for id in side] for side in (tokenizer.before, tokenizer.after))
    if before or after:
        one, two = ([*(t for t, _ in before), f"${part}", *(t for t, _ in after)] for part in ("A", "B:1"))
        library.post_processor = processors.TemplateProcessing(
            single=one, pair=[*one, *two], special_tokens=list(dict([*before, *after]).items())
        )
    library.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": n_context,
    }
    for name, key in SPECIAL.items():
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if token is not None and library.id_to_token(int(token)) is not None:
            settings[key] = library.id_to_token(int(token))
    if isinstance(metadata.get("tokenizer.chat_template"), str):
        settings["chat_template"] = metadata["tokenizer.chat_template"]
    text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
