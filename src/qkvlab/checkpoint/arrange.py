"""Where in a stored matrix do the rows of one head lie? Four arrangements, as arithmetic on the sizes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Sizes:
    """The sizes of one stack of attention layers, as counts. The last four: multi-head latent attention (MLA) only."""

    n_layer: int
    n_head: int
    n_kv_head: int
    d_head: int
    d_value: int
    d_model: int
    d_nope: int = 0
    """Components of a head that do not turn; the other d_rope do."""
    d_rope: int = 0
    q_rank: int = 0
    """The width q is squeezed through; 0: it is not."""
    kv_rank: int = 0

    @property
    def group(self) -> int:
        return self.n_head // self.n_kv_head


@dataclass(frozen=True)
class Place:
    """Rows of one part (q, say) in a matrix of `total` rows: `width` for each of `heads`."""

    heads: int
    width: int
    total: int
    first: int = 0
    stride: int = 0
    """Rows from one run of heads to the next. (0: all heads follow each other.)"""
    run: int = 1
    """How many heads follow each other without a gap."""
    d_in: str = "d_model"
    """The size, by its name in `Sizes`, of what the matrix multiplies."""

    def start(self, head: int) -> int:
        """The first row of a head."""
        if not self.stride:
            return self.first + head * self.width
        return self.first + head // self.run * self.stride + head % self.run * self.width

    def rows(self) -> npt.NDArray[np.intp] | slice:
        """The rows of all heads, one head after the other; a slice where they already stand so."""
        if not self.stride:
            return slice(self.first, self.first + self.heads * self.width)
        starts = np.array([self.start(head) for head in range(self.heads)], np.intp)
        return (starts[:, None] + np.arange(self.width)).reshape(-1)


Places = dict[str, Place]


def split(s: Sizes) -> Places:
    """A matrix each: the heads one below the other."""
    return {
        "q": Place(s.n_head, s.d_head, s.n_head * s.d_head),
        "k": Place(s.n_kv_head, s.d_head, s.n_kv_head * s.d_head),
        "v": Place(s.n_kv_head, s.d_value, s.n_kv_head * s.d_value),
    }


def blocks(s: Sizes) -> Places:
    """One matrix: all q heads, then all k heads, then all v heads."""
    q, k, v = s.n_head * s.d_head, s.n_kv_head * s.d_head, s.n_kv_head * s.d_value
    return {
        "q": Place(s.n_head, s.d_head, q + k + v),
        "k": Place(s.n_kv_head, s.d_head, q + k + v, first=q),
        "v": Place(s.n_kv_head, s.d_value, q + k + v, first=q + k),
    }


def grouped(s: Sizes) -> Places:
    """One matrix: for each K/V head the q heads that read it, then its k, then its v.

    With one q head to each K/V head this is the interleaving of GPT-NeoX and Bloom; with a single K/V head, Falcon-7B.
    """
    queries = s.group * s.d_head
    stride = queries + s.d_head + s.d_value
    total = s.n_kv_head * stride
    return {
        "q": Place(s.n_head, s.d_head, total, stride=stride, run=s.group),
        "k": Place(s.n_kv_head, s.d_head, total, first=queries, stride=stride),
        "v": Place(s.n_kv_head, s.d_value, total, first=queries + s.d_head, stride=stride),
    }


def gated(s: Sizes) -> Places:
    """Split, and below the q of each head the gate that its blend is multiplied by before W_o."""
    both = 2 * s.d_head
    return split(s) | {
        "q": Place(s.n_head, s.d_head, s.n_head * both, stride=both),
        "gate": Place(s.n_head, s.d_value, s.n_head * both, first=s.d_head, stride=both),
    }


def latent(s: Sizes) -> Places:
    """MLA: x is squeezed to a latent vector, normalised, and widened again for each head; k's turning part is shared.

    DeepSeek-AI 2024 (V2), section 2.1; their W^DQ, W^UQ, W^DKV, W^UK, W^UV, W^KR, in this order below.
    """
    down, up = s.kv_rank + s.d_rope, s.n_head * (s.d_nope + s.d_value)
    return {
        "q": Place(s.n_head, s.d_head, s.n_head * s.d_head),
        "q_down": Place(1, s.q_rank, s.q_rank),
        "q_up": Place(s.n_head, s.d_head, s.n_head * s.d_head, d_in="q_rank"),
        "kv_down": Place(1, s.kv_rank, down),
        "k_up": Place(s.n_head, s.d_nope, up, stride=s.d_nope + s.d_value, d_in="kv_rank"),
        "v_up": Place(s.n_head, s.d_value, up, first=s.d_nope, stride=s.d_nope + s.d_value, d_in="kv_rank"),
        "k_rope": Place(1, s.d_rope, down, first=s.kv_rank),
    }


ARRANGEMENTS: dict[str, tuple[Callable[[Sizes], Places], str]] = {
    "split": (split, "split: one matrix each for Q, K and V"),
    "blocks": (blocks, "fused: Q, K and V in blocks of one matrix"),
    "grouped": (grouped, "fused and interleaved: for each K/V head its queries, its key, its value"),
    "gated": (gated, "split: one matrix each for Q, K and V; Q also holds the gate of each head"),
    "latent": (latent, "latent (MLA): K and V through one narrow vector, normalised, then widened per head"),
}
"""Arrangement → where the rows are, and how it is said in words."""
