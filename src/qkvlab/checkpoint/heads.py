"""The weights of attention as arrays: of one head, and of one layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._shapes import Array, Float
from ..errors import UnsupportedError
from ..spec import Head

SHAPES = {
    "w_q": "d_model d_head", "w_k": "d_model d_head", "w_v": "d_model d_value", "w_o": "d_value d_model",
    "w_gate": "d_model d_value", "b_q": "d_head", "b_k": "d_head", "b_v": "d_value", "b_gate": "d_value",
    "b_o": "d_model",
}  # fmt: skip
"""The arrays of a head, and their axes. A K/V head's are those of the K/V head that the head reads."""

LATENT = {
    "q_down": "d_model q_rank", "q_norm": "q_rank", "q_up": "q_rank d_head", "kv_down": "d_model kv_rank",
    "kv_norm": "kv_rank", "k_up": "kv_rank d_nope", "v_up": "kv_rank d_value", "k_rope": "d_model d_rope",
    "b_q_down": "q_rank", "b_kv_down": "kv_rank", "b_k_rope": "d_rope",
}  # fmt: skip
"""The factors of a head with latent attention, in their place. q is norm(x q_down) q_up, or x w_q where there is no
q_down; its last d_rope components turn. k is norm(x kv_down) k_up, then x k_rope, turned; v is norm(x kv_down) v_up.
The norm is RMS with the weights q_norm, kv_norm (epsilon 1e-6): with it between, no single matrix gives q, k or v."""

_ALWAYS = ("w_q", "w_k", "w_v")


@dataclass(frozen=True, repr=False)
class HeadWeights:
    """One head's own weights, as float32: `found.w_q`, `found.w_k`, `found.w_v` [d_model, d_head], `found.w_o`
    [d_head, d_model]; `found.b_q` and the other biases, None where there are none. They multiply the x that attention
    reads, as x w_q + b_q. `SHAPES` and `LATENT` name all there can be; `arrays` holds those there are.
    """

    model: str
    family: str
    head: Head
    kv_head: int
    """The K/V head that this head reads; with latent attention, the head itself."""
    stored: str
    """How the file stores them, in words."""
    mla: bool
    qk_norm: bool
    """Whether q and k are normalised before they meet, so that no W_q W_kᵀ gives the score."""
    notes: tuple[str, ...]
    """What else happens to q, k, v or z, in words."""
    bytes_read: int
    """How much of the data was read for this (headers not counted)."""
    arrays: Mapping[str, Float[Array, "..."]]

    def __getattr__(self, name: str) -> Any:
        """An array by its name; None for one that this head lacks. Raises UnsupportedError for a matrix that latent
        attention does not have."""
        if name not in SHAPES and name not in LATENT:
            raise AttributeError(f"a head's weights have no {name!r}")
        if name not in self.arrays and name in _ALWAYS and self.mla:
            raise UnsupportedError(
                f"{self.model} has latent attention (MLA): {name} is no single matrix, a norm stands between its "
                f"factors; ask for {', '.join(factor for factor in self.arrays if factor in LATENT)}"
            )
        return self.arrays.get(name)

    def __repr__(self) -> str:
        return f"<HeadWeights {self.head} of {self.model}: {', '.join(self.arrays)}>"


@dataclass(frozen=True)
class LayerAttention:
    """One layer's attention, as float32. Query head h reads K/V head h // (heads / K/V heads)."""

    w_q: Float[Array, "head d_model d_head"]
    w_k: Float[Array, "kv_head d_model d_head"]
    w_v: Float[Array, "kv_head d_model d_value"]
    w_o: Float[Array, "head d_value d_model"]
    b_q: Float[Array, "head d_head"] | None = None
    b_k: Float[Array, "kv_head d_head"] | None = None
    b_v: Float[Array, "kv_head d_value"] | None = None
    b_o: Float[Array, " d_model"] | None = None
    w_gate: Float[Array, "head d_model d_value"] | None = None
    """What the sigmoid is taken of that multiplies z before W_o (Qwen3-Next)."""
    b_gate: Float[Array, "head d_value"] | None = None
