"""What a model is, as one frozen value: family, layers, heads, K/V heads, rotation, norms, mask."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, Literal, NamedTuple

from .errors import HeadError, shown
from .mechanism import kv_head_of

FAMILIES = ("llama", "gpt2", "bert")


def is_whole(value: object) -> bool:
    """Whether it is a whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


class Head(NamedTuple):
    """The one address of an attention head: layer and query head, both from 0. Written `13.8`."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}"

    @classmethod
    def parse(cls, address: "Head | tuple[int, int] | str") -> "Head":
        """Read `13.8`, `L13H8`, a pair or a Head. Raises HeadError for anything else."""
        parts: Sequence[Any] = ()
        if isinstance(address, str):
            numbers = address.strip().upper().removeprefix("L").replace("H", ".").split(".")
            if all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
                parts = [int(number) for number in numbers]
        elif isinstance(address, tuple) and all(map(is_whole, address)):
            parts = address
        if len(parts) != 2:
            raise HeadError(f"{shown(address)} is not a head address; write layer.head, for example 13.8")
        return cls(int(parts[0]), int(parts[1]))


@dataclass(frozen=True)
class Rotation:
    """Rotary position embedding of q and k (Su et al. 2021)."""

    base: float
    dims: int
    """How many of a head's components turn (the first ones); d_head when all do."""
    pairs: Literal["half", "adjacent"] = "half"
    """Which two components turn together: i and i + dims/2, or 2i and 2i + 1."""
    scaling: tuple[tuple[str, Any], ...] = ()
    """Long-context scaling as sorted items: kind and its numbers; empty for none."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything the forward pass needs to know besides the weights. Sizes are counts, not bytes."""

    name: str
    family: str
    n_layer: int
    n_head: int
    n_kv_head: int
    d_head: int
    d_model: int
    d_ff: int
    n_vocab: int
    n_context: int
    """The most tokens the model was made for."""
    norm_eps: float
    activation: str
    """silu, gelu (exact) or gelu_tanh."""
    mask: Literal["causal", "bidirectional"]
    rotation: Rotation | None = None
    qk_norm: bool = False
    """Whether q and k are normalised per head before rotation (Qwen3)."""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    window: int | None = None
    """Sliding window: a query sees itself and the window - 1 keys before it."""
    windowed_layers: tuple[int, ...] = ()
    first_position: int = 0
    """The learned position of the first token (RoBERTa starts at padding + 1)."""
    n_position: int = 0
    """Rows of the learned position table; 0 where there is none."""
    n_token_type: int = 0
    tied_embeddings: bool = False
    d_v: int = 0
    """Components of a value where they are not d_head; 0: d_head. Ask `d_value`."""
    no_attention: tuple[int, ...] = ()
    """Layers that mix tokens in another way (linear attention, convolution): no queries, keys, values or scores."""
    score_extras: str = ""
    """What stands between q · k and softmax besides scale and mask, in words: a soft cap, a position bias, sinks."""
    has_output: bool = True
    """Whether the model has an output head: without it there are no logits and no words."""
    allowed_config: tuple[str, ...] = ()
    """Configuration keys that were passed over on request: the numbers may not be the model's own."""

    @property
    def group(self) -> int:
        """How many query heads read one K/V head."""
        return self.n_head // self.n_kv_head

    @property
    def d_value(self) -> int:
        """Components of a value, and of a head's blend."""
        return self.d_v or self.d_head

    @property
    def attention_layers(self) -> Sequence[int]:
        """The layers that have heads."""
        layers = range(self.n_layer)
        return [layer for layer in layers if layer not in self.no_attention] if self.no_attention else layers

    @property
    def untied(self) -> bool:
        """Whether the output head is a matrix of its own."""
        return self.has_output and not self.tied_embeddings

    @property
    def causal(self) -> bool:
        return self.mask == "causal"

    def heads(self) -> list[Head]:
        """All head addresses, layer by layer."""
        return [Head(layer, head) for layer in self.attention_layers for head in range(self.n_head)]

    def head(self, address: "Head | tuple[int, int] | str") -> Head:
        """Read an address and check that this model has it. Raises HeadError."""
        head = Head.parse(address)
        if not (0 <= head.layer < self.n_layer and 0 <= head.head < self.n_head):
            raise HeadError(
                f"there is no head {head}: {self.name} has layers 0 to {self.n_layer - 1} "
                f"with query heads 0 to {self.n_head - 1}"
            )
        if head.layer in self.no_attention:
            listed = ", ".join(map(str, self.attention_layers))
            raise HeadError(f"layer {head.layer} of {self.name} has no attention; layers {listed} have")
        return head

    def kv_head(self, head: Head) -> int:
        """The K/V head that a query head reads."""
        return kv_head_of(head.head, self.n_head, self.n_kv_head)

    def readers(self, layer: int, kv_head: int) -> list[Head]:
        """The query heads that read one K/V head."""
        return [Head(layer, kv_head * self.group + member) for member in range(self.group)]

    def window_of(self, layer: int) -> int | None:
        """The sliding window of a layer, or None where it sees everything its mask allows."""
        return self.window if layer in self.windowed_layers else None

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        values = asdict(self)
        if self.rotation is not None:
            values["rotation"]["scaling"] = dict(self.rotation.scaling)
        return values
