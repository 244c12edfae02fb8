"""What the page needs to know about a model: its sizes, its rotation, its cache, and why something is missing."""

from typing import Any

from ..errors import UnsupportedError
from ..kvcache import cache_of_config, cache_size
from ..live import LiveModel
from ..mechanism import rotation_frequencies
from ..model import Model
from ..spec import ModelSpec
from .scene import token_limit

SIZES = ("n_layer", "n_head", "n_kv_head", "d_head", "d_value", "d_model", "n_vocab")


def describe(name: str, model: Model) -> dict[str, Any]:
    """A model as plain JSON values: MODEL of docs/protocol.md."""
    spec = model.spec
    cache, no_cache = _cache(model)
    return {
        "name": name,
        "badge": model.badge,
        "license": model.source.license,
        **{size: getattr(spec, size) for size in SIZES},
        "n_context": spec.n_context,
        "limit": token_limit(spec),
        "start": _start(model),
        "q_made": _q_made(model),
        "causal": spec.causal,
        "has_output": spec.has_output,
        "scale": model.scale,
        "score_extras": spec.score_extras,
        "window": spec.window,
        "windowed_layers": spec.windowed_layers,
        "rotation": _rotation(spec),
        "rotates": model.rotates,
        "cache": cache,
        "why": _why(spec, no_cache),
    }


def _start(model: Model) -> str | None:
    """How the start token prints that could be put in front of a text."""
    try:
        tokenizer = model.tokenizer
    except UnsupportedError:
        return None
    return None if tokenizer.start is None else tokenizer.word(tokenizer.start)


def _q_made(model: Model) -> list[str]:
    """What besides one W_q makes q, in order."""
    latent = isinstance(model, LiveModel) and model.latent_queries
    return ["latent"] * latent + ["bias"] * model.spec.qkv_bias + ["qk-norm"] * model.spec.qk_norm


def _rotation(spec: ModelSpec) -> dict[str, Any] | None:
    if spec.rotation is None:
        return None
    rotation = spec.rotation
    frequencies, factor = rotation_frequencies(rotation.base, rotation.dims, dict(rotation.scaling))
    return {
        "pairs": rotation.pairs,
        "dims": rotation.dims,
        "frequencies": frequencies.tolist(),
        "factor": float(factor),
    }


def _cache(model: Model) -> tuple[dict[str, Any] | None, str | None]:
    """The K/V cache with one K/V head per query head, as the model is, and with one for all; or why there is none."""
    spec = model.spec
    if not spec.causal:
        return None, f"{spec.name} reads a text whole, in both directions: it keeps no keys and values for later."
    rows = [(heads, cache_size(spec, n_kv_head=heads)) for heads in (spec.n_head, spec.n_kv_head, 1)]
    own = rows[1][1]
    assert own is not None
    if isinstance(model, LiveModel):
        kept = cache_of_config(model.hf.config.to_dict(), own.context, own.dtype)
        if kept is None or kept.bytes != own.bytes:
            said = kept.note if kept is not None and kept.note else "its layers do not all keep K/V heads alike"
            return None, f"The cache of {spec.name} is not one of so many K/V heads: {said}."
    fields = [
        {"n_kv_head": heads, "bytes_per_token": size.bytes_per_token, "bytes": size.bytes}
        for heads, size in rows
        if size is not None
    ]
    return {"dtype": own.dtype, "context": own.context, "rows": fields}, None


def _why(spec: ModelSpec, no_cache: str | None) -> dict[str, str | None]:
    name, no_output = spec.name, not spec.has_output
    return {
        "prediction": f"{name} has no output head: it describes a text and predicts no next word."
        if no_output
        else None,
        "words": f"{name} has no output head, so its values cannot be read as words." if no_output else None,
        "cache": no_cache,
    }
