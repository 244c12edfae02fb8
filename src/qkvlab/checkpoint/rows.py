"""What a row of the tables of families says: the kinds of rows, and how one is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PREFIXES = (
    "", "model.", "transformer.", "bert.", "roberta.", "electra.", "albert.", "distilbert.", "gpt_neox.",
    "model.language_model.", "language_model.model.", "model.text_model.", "language_model.",
)  # fmt: skip
"""What may stand before a name: a base model saved alone lacks it, one saved under a head or beside an eye has it."""


@dataclass(frozen=True)
class SizeKeys:
    """The configuration's keys for each size; the first that is there counts. No key for d_head: d_model / heads."""

    n_layer: tuple[str, ...] = ("num_hidden_layers",)
    n_head: tuple[str, ...] = ("num_attention_heads",)
    n_kv_head: tuple[str, ...] = ("num_key_value_heads",)
    """Empty: every query head has its own."""
    d_head: tuple[str, ...] = ("head_dim",)
    d_model: tuple[str, ...] = ("hidden_size",)
    default_d_head: int | None = None
    """What the family's own code assumes where the key is missing."""


@dataclass(frozen=True)
class Stack:
    """One stack of attention layers: part → the name of its tensor without .weight or .bias; {i} is the layer."""

    tensors: Mapping[str, str]
    arrangement: str = "split"
    keys: SizeKeys = field(default_factory=SizeKeys)
    in_out: bool = False
    """Stored [d_in, d_out] (GPT-2's Conv1D) instead of [d_out, d_in]."""
    turned: bool = False
    """GGUF: the rows of each q and k head are interleaved for adjacent-pair rotation."""
    norms: tuple[str, ...] = ()
    """Tensors whose presence says that q and k are normalised before they meet."""
    single_kv: bool = False
    """All query heads read one K/V head, whatever the sizes say."""
    when: tuple[str, Any, Any] | None = None
    """(key, value, what it is where missing): this row holds for such configurations only."""


@dataclass(frozen=True)
class Rope:
    """How q and k turn, as far as the configuration says it."""

    pairs: Literal["half", "adjacent"] = "half"
    fraction_keys: tuple[str, ...] = ("partial_rotary_factor",)
    fraction: float = 1.0
    """The share of a head that turns where no key says it."""
    dims_key: str = ""
    """The key with the number of components that turn."""
    layers: Literal["all", "flagged", "sliding", "by kind"] = "all"
    """Which turn: all; those with a 1 in no_rope_layers; those with a window; all, with a base for each kind."""
    base: float | None = 10_000.0
    """The family's own base where the configuration names none; None: then the rotation is not known."""
    off: str = ""
    """A flag under which nothing turns."""


@dataclass(frozen=True)
class Family:
    """All stacks of a family: "decoder", "encoder", "cross"; variants of one stack in the order they are tried."""

    stacks: Mapping[str, tuple[Stack, ...]]
    rope: Rope | None = None
    mask: Literal["causal", "bidirectional"] = "causal"
    hybrid: bool = False
    """Some layers have another mechanism in the place of attention."""
    must: tuple[tuple[str, Any], ...] = ()
    """Keys that may only have this value (or be missing)."""
    clip: str = ""
    """The key of a bound to which q, k and v are clipped after the projection."""
    extra_layers: str = ""
    """The key that counts layers beyond the model's own (for predicting several tokens)."""


def stack_of(family: Family, config: Mapping[str, Any], attention: str) -> Stack:
    """The variant of a stack that this configuration has."""
    for stack in family.stacks[attention]:
        if stack.when is None:
            return stack
        key, value, missing = stack.when
        if config.get(key, missing) == value:
            return stack
    raise AssertionError("the last variant of a stack holds always")
