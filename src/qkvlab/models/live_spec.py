"""A live transformers model → what it is: its specification and where its parts lie, before anything runs."""

from typing import Any

from ..errors import UnsupportedError, one_of
from ..spec import ModelSpec, Rotation, is_whole
from .hooks import own_layers, reach
from .live_families import FAMILIES, GUESSED, Family, Stack

_Q_NORMS = ("q_norm", "q_layernorm")
"""What a norm of q within the attention module may be called."""


def family_of(model: Any) -> Family:
    """How this model's family is captured. Raises UnsupportedError where it cannot be, with the reason."""
    family = FAMILIES.get(model.config.model_type, GUESSED)
    if family.refused:
        raise UnsupportedError(
            f"{model.config.model_type} cannot be captured: {family.refused}; open a model whose layers score q · k"
        )
    for key, value in family.must:
        if (got := getattr(model.config, key, value)) != value:
            raise UnsupportedError(f"{model.config.model_type} cannot be captured with {key} {got}; only with {value}")
    return family


def stack_of(model: Any, family: Family, attention: str | None) -> tuple[str, Stack]:
    """Which attention a head address means: the only one, or one of encoder, decoder and cross (default: decoder)."""
    names = list(family.stacks)
    name = attention or ("decoder" if "decoder" in names else names[0])
    if name not in family.stacks:
        raise UnsupportedError(f"{model.config.model_type}: {one_of('the attention', name, names)}")
    return name, family.stacks[name]


def spec_of(model: Any, family: Family, stack: Stack, name: str) -> ModelSpec:
    """The specification of one stack of a live model. Raises UnsupportedError where its parts are not found."""
    config = model.config.get_text_config()
    base = model.base_model
    layers = own_layers(base, stack)
    attention = {number: reach(layer, stack.attention) for number, layer in enumerate(layers)}
    if not any(module is not None for module in attention.values()):
        raise UnsupportedError(
            f"{model.config.model_type}: no layer has a module {stack.attention}, so it is not captured"
        )
    n_layer = _number(config, stack.n_layer)
    without = [i for i in range(n_layer) if attention.get(i % len(layers)) is None]
    for number in attention:
        if number not in without and reach(layers[number], stack.o) is None:
            raise UnsupportedError(f"{model.config.model_type}: layer {number} has no output projection {stack.o}")
    n_head, d_model = _number(config, stack.heads), _number(config, "hidden_size")
    d_head, d_v = _sizes(config, n_head, d_model)
    window, windowed = _windows(config, family, n_layer)
    return ModelSpec(
        name=name,
        family=model.config.model_type,
        n_layer=n_layer,
        n_head=n_head,
        n_kv_head=_kv_heads(config, n_head, stack),
        d_head=d_head,
        d_v=d_v if d_v != d_head else 0,
        d_model=d_model,
        d_ff=0,
        n_vocab=_number(config, "vocab_size"),
        n_context=_context(config),
        norm_eps=_norm_eps(reach(base, stack.final) if stack.final else None),
        activation="",
        mask="causal" if stack.causal else "bidirectional",
        rotation=_rotation(config, family, d_head),
        window=window,
        windowed_layers=windowed if stack.keys == "own" else (),
        no_attention=tuple(without),
        score_extras=_extras(config, family),
        qk_norm=any(getattr(module, name, None) is not None for module in attention.values() for name in _Q_NORMS),
        qkv_bias=_has_bias(attention, stack),
        has_output=stack.output and model.get_output_embeddings() is not None,
    )


def _has_bias(attention: dict[int, Any], stack: Stack) -> bool:
    """Whether anything but W_o has a bias in the modules of attention."""
    o = stack.o.removeprefix(f"{stack.attention}.")
    names = [name for module in attention.values() if module is not None for name, _ in module.named_parameters()]
    return any(name.endswith("bias") and not name.startswith(o) and "relative" not in name for name in names)


def _number(config: Any, key: str) -> int:
    value: Any = getattr(config, key, None)
    if not is_whole(value):
        raise UnsupportedError(f"{config.model_type}: its configuration has no whole number {key}")
    return int(value)


def _sizes(config: Any, n_head: int, d_model: int) -> tuple[int, int]:
    """Components of a head's q and k, and of its v."""
    if getattr(config, "kv_lora_rank", None):
        return config.qk_nope_head_dim + config.qk_rope_head_dim, config.v_head_dim
    given: Any = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    own = int(given) if given else d_model // n_head
    return own, own


def _kv_heads(config: Any, n_head: int, stack: Stack) -> int:
    if getattr(config, "kv_lora_rank", None) or stack.heads != "num_attention_heads":
        return n_head
    if config.model_type == "falcon":
        if config.new_decoder_architecture or not config.multi_query:
            return int(config.num_kv_heads)
        return 1
    own: Any = getattr(config, "num_key_value_heads", None)
    return int(own) if own else n_head


def _windows(config: Any, family: Family, n_layer: int) -> tuple[int | None, tuple[int, ...]]:
    """The sliding window, and the layers that have it."""
    window: Any = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if config.model_type == "gpt_neo":
        window, kinds = (
            config.window_size,
            ["sliding_attention" if kind == "local" else "" for kind in config.attention_layers],
        )
    if window is None or not getattr(config, "use_sliding_window", True):
        return None, ()
    layers = range(n_layer) if kinds is None else [i for i, kind in enumerate(kinds) if kind == "sliding_attention"]
    return (int(window) + family.window, tuple(layers)) if layers else (None, ())


def _context(config: Any) -> int:
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions", "seq_length"):
        value: Any = getattr(config, key, None)
        if is_whole(value) and value > 0:
            return int(value)
    return 2**20  # nothing in the model limits it (relative positions, ALiBi)


def _norm_eps(norm: Any) -> float:
    for key in ("variance_epsilon", "eps"):
        value = getattr(norm, key, None)
        if isinstance(value, float):
            return value
    return 0.0


def _rotation(config: Any, family: Family, d_head: int) -> Rotation | None:
    """The rotation, where one formula holds in every layer: what stop-rotation undoes, and the page draws.

    None where layers differ (Gemma 3's two bases, layers that do not turn) or long-context scaling is set; q_raw and
    k_raw need none of it: they are turned back by the angles the model itself used.
    """
    if family.rotation not in ("half", "adjacent") or family.rotated_if or getattr(config, "alibi", False):
        return None
    given: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if given.get("rope_type", "default") != "default" or any(isinstance(value, dict) for value in given.values()):
        return None
    base = float(given.get("rope_theta") or getattr(config, "rope_theta", None) or 10_000.0)
    share: Any = given.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
    dims: Any = getattr(config, "rotary_dim", None) or d_head * share
    return Rotation(base, int(dims), family.rotation)


def _extras(config: Any, family: Family) -> str:
    found = []
    if getattr(config, "attn_logit_softcapping", None):
        found.append("a soft cap")
    if config.model_type == "gpt_oss":
        found.append("a sink per head")
    if config.model_type == "t5" or getattr(config, "alibi", False) or family.rule in ("bloom", "mpt"):
        found.append("a bias by position")
    return " and ".join(found)
