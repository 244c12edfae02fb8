"""THE EQUATIONS: project, rotate, score, mask, softmax, blend, write. Pure functions on NumPy or PyTorch arrays.

    q = x W_q    k = x W_k    v = x W_v            three projections of the same x
    scores = q kᵀ / √d_head                        how well each key answers each query
    weights = softmax(scores)                      as shares
    z = weights v                                  the blend of the values
    out = Σ over heads of z W_o                    what attention writes

Shapes: q is [head, query, d_head]; k and v are [kv_head, key, d_head] and are never repeated for the query heads
that share them. Weight matrices come in tiles of columns, `[tile, d_in, width]`; for W_q, W_k and W_v a tile is a
head, so that `x @ W` is the equation as it is written. (At a few tokens this layout is also twice as fast as one
wide matrix: each tile fits the processor's cache. See docs/decisions.md.)
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace
from einops import rearrange

from ._parallel import in_parallel, shares
from ._shapes import Array, Float
from .products import products

Tap = Callable[[str, Any, range], Any]
"""`tap(name, array, rows)` sees every intermediate with the query positions it covers, and returns what goes on."""

WORTH_THREADS = 12
"""From so many queries on, an activation is spread over the processors."""
BLOCK_ELEMENTS = 524_288
"""Attention holds about so many scores at once: 2 MB, near to what a processor's cache holds."""


def namespace(x: Array) -> Any:
    """The array library of an array: NumPy at once, any other by the array API standard."""
    return np if isinstance(x, np.ndarray) else array_namespace(x)


# ---- heads


def kv_head_of(head: int, n_head: int, n_kv_head: int) -> int:
    """Which K/V head does a query head read? Consecutive query heads share: h // (n_head / n_kv_head).

    Source: Ainslie et al. 2023 (GQA), section 2.2; transformers' `repeat_kv`. Not `h % n_kv_head`, which
    pairs the heads of a different model.
    """
    return head // (n_head // n_kv_head)


def split_heads(columns: Float[Array, "query columns"], n_head: int) -> Float[Array, "head query d_head"]:
    """The columns of a fused projection, seen as heads: head h owns columns h·d_head to (h + 1)·d_head."""
    return rearrange(columns, "query (head d_head) -> head query d_head", head=n_head)


def merge_heads(z: Float[Array, "head query d_head"]) -> Float[Array, "query columns"]:
    """The heads side by side again, in order, as W_o reads them."""
    return rearrange(z, "head query d_head -> query (head d_head)")


def group_queries(q: Float[Array, "head query d_head"], n_kv_head: int) -> Float[Array, "kv_head rows d_head"]:
    """The queries of all heads that read one K/V head, stacked: row = member · queries + query."""
    return q.reshape(n_kv_head, -1, q.shape[-1])


def ungroup(rows: Float[Array, "kv_head rows last"], n_head: int) -> Float[Array, "head query last"]:
    """Stacked rows back to one row of queries per head: the inverse of `group_queries`."""
    return rows.reshape(n_head, -1, rows.shape[-1])


def share_kv(k: Float[Array, "kv_head key d_head"], n_shared: int) -> Float[Array, "kv_head key d_head"]:
    """K (or V) as if the model had `n_shared` K/V heads: each head replaced by the mean of its group.

    Source: Ainslie et al. 2023, section 2.1 (mean pooling of an existing checkpoint's heads).
    """
    xp = namespace(k)
    groups = rearrange(k, "(group member) key d -> group member key d", group=n_shared)
    means = xp.mean(groups, axis=1, keepdims=True) + xp.zeros_like(groups)
    return rearrange(means, "group member key d -> (group member) key d")


# ---- projections


def project_each(
    x: Float[Array, "query d_in"], tiled: Sequence[Array], biases: Sequence[Array | None]
) -> list[Float[Array, "_tile query _width"]]:
    """x W + b for several W at once (W_q, W_k, W_v), one result per tile of columns, [tile, query, width].

    With heads as tiles: the queries, keys and values of every head.
    """
    if isinstance(x, np.ndarray):
        ys = [np.empty((W.shape[0], x.shape[0], W.shape[2]), np.result_type(x, W)) for W in tiled]
        products(x, tiled, ys)
    else:
        ys = [x @ W for W in tiled]
    for y, b in zip(ys, biases, strict=True):
        if b is not None:
            y += b[:, None, :]
    return ys


def linear_each(
    x: Float[Array, "query d_in"], tiled: Sequence[Array], biases: Sequence[Array | None]
) -> list[Float[Array, "query _d_out"]]:
    """x W + b for several W at once, the tiles side by side: ordinary linear layers, [query, d_out]."""
    if isinstance(x, np.ndarray):
        ys = [np.empty((x.shape[0], W.shape[0] * W.shape[2]), np.result_type(x, W)) for W in tiled]
        views = [y.reshape(y.shape[0], W.shape[0], -1).swapaxes(0, 1) for y, W in zip(ys, tiled, strict=True)]
        products(x, tiled, views)
    else:
        ys = [(x @ W).swapaxes(0, 1).reshape(x.shape[0], -1) for W in tiled]
    for y, b in zip(ys, biases, strict=True):
        if b is not None:
            y += b
    return ys


def project(
    x: Float[Array, "query d_in"],
    W: Float[Array, "tile d_in width"],
    b: Float[Array, "tile width"] | None = None,
) -> Float[Array, "tile query width"]:
    """x W + b, one result per tile of columns: with heads as tiles, the queries (keys, values) of every head."""
    return project_each(x, (W,), (b,))[0]


def linear(
    x: Float[Array, "query d_in"],
    W: Float[Array, "tile d_in width"],
    b: Float[Array, " d_out"] | None = None,
) -> Float[Array, "query d_out"]:
    """x W + b with the tiles side by side: an ordinary linear layer."""
    return linear_each(x, (W,), (b,))[0]


def write(
    z: Float[Array, "head query d_head"],
    W_o: Float[Array, "tile columns width"],
    b_o: Float[Array, " d_model"] | None = None,
) -> Float[Array, "query d_model"]:
    """What attention adds to the residual: Σ over heads of z_h W_o,h (+ bias), as one product over merged heads."""
    return linear(merge_heads(z), W_o, b_o)


# ---- norms and activations


def rms_norm(x: Float[Array, "*rows d"], gain: Float[Array, " d"], eps: float) -> Float[Array, "*rows d"]:
    """x / rms(x) · gain (Zhang & Sennrich 2019)."""
    xp = namespace(x)
    y = x / xp.sqrt(xp.vecdot(x, x)[..., None] / x.shape[-1] + eps)
    y *= gain
    return y


def layer_norm(
    x: Float[Array, "*rows d"], gain: Float[Array, " d"], bias: Float[Array, " d"], eps: float
) -> Float[Array, "*rows d"]:
    """(x - mean) / standard deviation · gain + bias (Ba et al. 2016; the variance is the biased one)."""
    xp = namespace(x)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    deviation = xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps)
    return centred / deviation * gain + bias


def silu(x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """x · sigmoid(x) (Hendrycks & Gimpel 2016)."""
    return x / one_plus_exp(-x)


def one_plus_exp(x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """1 + e^x, what sigmoid(-x) divides by; infinite, without a warning, where e^x is more than the number type holds.

    With NumPy in float32 a third of the time of tanh, and exact where 1 + tanh cancels (silu(-20) is not 0).
    """
    xp = namespace(x)
    with np.errstate(over="ignore"):
        y = xp.exp(x)
    y += 1
    return y


def gated(gate: Float[Array, "query d_ff"], up: Float[Array, "query d_ff"]) -> Float[Array, "query d_ff"]:
    """silu(gate) · up, in the place of `up`, rows spread over the processors (Shazeer 2020, SwiGLU)."""
    most = 1 if len(up) < WORTH_THREADS else len(up)
    in_parallel([partial(_gated, gate[rows], up[rows]) for (rows,) in shares(len(up), most=most)])
    return up


def _gated(gate: Array, up: Array) -> None:
    up *= silu(gate)


def gelu_tanh(x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """GELU's tanh form, which GPT-2 was trained with (Hendrycks & Gimpel 2016, section 2): x (1 + tanh u) / 2 with
    u = √(2/π) (x + 0.044715 x³), written as x · sigmoid(2u), which is the same."""
    return x / one_plus_exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


def gelu(x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """GELU, x Φ(x), with erf after Abramowitz & Stegun 7.1.26 (absolute error of erf ≤ 1.5e-7).

    NumPy has no erf, and SciPy for one function would double the size of an installation.
    """
    xp = namespace(x)
    u = xp.abs(x) * math.sqrt(0.5)
    t = 1 / (1 + 0.3275911 * u)
    tail = 1.061405429 * t - 1.453152027
    for coefficient in (1.421413741, -0.284496736, 0.254829592):
        tail = tail * t + coefficient
    tail = tail * t * xp.exp(-u * u)
    return x * 0.5 * (1 + xp.sign(x) * (1 - tail))


# ---- rotation


def rotation_frequencies(base: float, dims: int, scaling: dict[str, Any] | None = None) -> tuple[np.ndarray, float]:
    """How far each rotation pair turns per position, in radians, [dims/2], and a factor on cos and sin.

    Frequency i is base^(-2i/dims) (Su et al. 2021, section 3.2.2). `scaling` stretches them for longer texts:
    linear (all divided by `factor`), llama3 (Llama 3.1: only the slow ones, smoothly), yarn (Peng et al. 2023),
    factors (a divisor per pair, as GGUF files carry it). Same arithmetic as transformers' `modeling_rope_utils`.
    """
    powers = np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims)
    frequencies = (1.0 / np.power(np.float32(base), powers)).astype(np.float32)
    kind = (scaling or {}).get("kind", "none")
    return _SCALINGS[kind](frequencies, base, dims, scaling or {})


def _unscaled(f: np.ndarray, base: float, dims: int, s: dict[str, Any]) -> tuple[np.ndarray, float]:
    return f, 1.0


def _linear(f: np.ndarray, base: float, dims: int, s: dict[str, Any]) -> tuple[np.ndarray, float]:
    return f / np.float32(s["factor"]), 1.0


def _factors(f: np.ndarray, base: float, dims: int, s: dict[str, Any]) -> tuple[np.ndarray, float]:
    return f / np.asarray(s["factors"], np.float32), 1.0


def _llama3(f: np.ndarray, base: float, dims: int, s: dict[str, Any]) -> tuple[np.ndarray, float]:
    low, high, original = s["low_freq_factor"], s["high_freq_factor"], s["original_context"]
    wavelength = 2 * np.pi / f
    keep = np.clip((original / wavelength - low) / (high - low), 0, 1)  # 1: fast pairs, kept as they are
    return ((1 - keep) * f / s["factor"] + keep * f).astype(np.float32), 1.0


def _yarn(f: np.ndarray, base: float, dims: int, s: dict[str, Any]) -> tuple[np.ndarray, float]:
    def pair_turning(turns: float) -> float:
        return dims * math.log(s["original_context"] / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_turning(s["beta_fast"])), 0)
    high = min(math.ceil(pair_turning(s["beta_slow"])), dims - 1)
    slow = np.clip((np.arange(dims // 2) - low) / (high - low or 0.001), 0, 1)  # high may be below low, too
    return (f / s["factor"] * slow + f * (1 - slow)).astype(np.float32), s["attention_factor"]


_SCALINGS = {"none": _unscaled, "linear": _linear, "factors": _factors, "llama3": _llama3, "yarn": _yarn}
SCALING_KINDS = tuple(_SCALINGS)


def rotate(
    x: Float[Array, "head query d_head"],
    cos: Float[Array, "query pairs"],
    sin: Float[Array, "query pairs"],
    pairs: Literal["half", "adjacent"] = "half",
) -> Float[Array, "head query d_head"]:
    """Turn each pair of components by its position's angle: (a, b) → (a cos - b sin, b cos + a sin).

    `half` pairs component i with i + dims/2 (GPT-NeoX, Llama in transformers), `adjacent` pairs 2i with 2i + 1
    (Su et al. 2021, Llama's own files). Components past the rotated dims stay as they are.
    """
    xp = namespace(x)
    n_pairs = cos.shape[-1]
    if pairs == "half":
        first, second = slice(0, n_pairs), slice(n_pairs, 2 * n_pairs)
    else:
        first, second = slice(0, 2 * n_pairs, 2), slice(1, 2 * n_pairs, 2)
    turned = xp.empty_like(x)
    a, b = x[..., first], x[..., second]
    turned[..., first] = a * cos - b * sin
    turned[..., second] = b * cos + a * sin
    if 2 * n_pairs < x.shape[-1]:
        turned[..., 2 * n_pairs :] = x[..., 2 * n_pairs :]
    return turned


# ---- attention


def score(
    q: Float[Array, "*heads query d_head"], k: Float[Array, "*heads key d_head"], scale: float
) -> Float[Array, "*heads query key"]:
    """How well does each key answer each query? q · k · scale; scale is 1/√d_head (Vaswani et al. 2017, eq. 1)."""
    return (q * scale) @ k.swapaxes(-1, -2)


def hide(
    scores: Float[Array, "*heads query key"], rows: Sequence[int], causal: bool, window: int | None = None
) -> Float[Array, "*heads query key"]:
    """Set to -inf, in place, the scores of keys a query may not see; `rows` are the queries' positions, rising.

    Causal: keys after the query. Window: keys more than window - 1 before it. Bidirectional without window: none.
    """
    if len(rows) == 0 or (window is None and (not causal or scores.shape[-1] == rows[0] + 1)):
        return scores
    mask = hidden_keys(tuple(rows) if not isinstance(rows, range) else rows, scores.shape[-1], causal, window)
    scores[..., scores.shape[-1] - mask.shape[-1] :] += namespace(scores).asarray(mask)
    return scores


@lru_cache(maxsize=4)
def hidden_keys(
    rows: Sequence[int], n_key: int, causal: bool, window: int | None
) -> Float[np.ndarray, "query last_keys"]:
    """0 or -inf for the last keys, from the first one that any of the queries may not see."""
    first = 0 if window is not None else min(rows[0], n_key)
    distance = np.asarray(rows)[:, None] - np.arange(first, n_key)[None, :]
    hidden = (distance < 0) if causal else np.zeros(distance.shape, bool)
    if window is not None:
        hidden |= abs(distance) >= window
    return np.where(hidden, np.float32(-np.inf), np.float32(0))


def exponentials(scores: Float[Array, "*rows key"]) -> Float[Array, "*rows 1"]:
    """Turn scores, in place, into e^(score - the row's largest); returns their sums: softmax before its division.

    A row without any visible key (all -inf) becomes zeros, with a sum of 1.
    """
    xp = namespace(scores)
    top = xp.max(scores, axis=-1, keepdims=True)
    top[xp.isinf(top)] = 0
    scores -= top
    xp.exp(scores, out=scores)
    total = xp.sum(scores, axis=-1, keepdims=True)
    total += total == 0
    return total


def softmax(scores: Float[Array, "*rows key"]) -> Float[Array, "*rows key"]:
    """Scores as shares: e^score / Σ e^score. A row without any visible key (all -inf) gets weights 0, never NaN."""
    weights = namespace(scores).asarray(scores, copy=True)
    weights /= exponentials(weights)
    return weights


def blend(
    weights: Float[Array, "*heads query key"], v: Float[Array, "*heads key d_head"]
) -> Float[Array, "*heads query d_head"]:
    """z: the values, mixed by each query's weights."""
    return weights @ v


def attend(
    q: Float[Array, "head query d_head"],
    k: Float[Array, "kv_head key d_head"],
    v: Float[Array, "kv_head key d_head"],
    *,
    scale: float,
    causal: bool,
    window: int | None = None,
    tap: Callable[[str, Any, range], Any] | None = None,
) -> Float[Array, "head query d_head"]:
    """Score, hide, softmax and blend, block by block, so that [head, T, T] is never held.

    The queries are the last ones of the text: query row r stands at position n_keys - n_queries + r. `tap`, if
    given, sees each block as `scores` and `weights`, [head, rows, keys], where a causal block ends with the key
    of its last row; what it returns goes on.
    """
    n_head, n_query, n_kv, n_key = q.shape[0], q.shape[1], k.shape[0], k.shape[1]
    z = namespace(q).empty_like(q)
    heads_at_once = n_kv if tap is not None or n_head * n_query * n_key <= BLOCK_ELEMENTS else 1
    rows_at_once = BLOCK_ELEMENTS * n_kv // (n_head * heads_at_once * n_key)
    step = max(16, min(rows_at_once, 128))
    kv_heads = [slice(first, first + heads_at_once) for first in range(0, n_kv, heads_at_once)]
    blocks = []
    for start in range(0, n_query, step):
        for kv in kv_heads:
            here = slice(kv.start * n_head // n_kv, kv.stop * n_head // n_kv), slice(start, min(start + step, n_query))
            rows = range(n_key - n_query + start, n_key - n_query + here[1].stop)
            seen = slice(rows.stop if causal else n_key)
            blocks.append(
                partial(_attend, q[here], k[kv, seen], v[kv, seen], z[here], rows, scale, causal, window, tap)
            )
    if tap is None:
        in_parallel(blocks)
    else:
        for each in blocks:
            each()
    return z


def _attend(
    q: Array, k: Array, v: Array, z: Array, rows: range, scale: float, causal: bool, window: int | None,
    tap: Callable[[str, Any, range], Any] | None,
) -> None:  # fmt: skip
    """One block, into `z`: these queries with the keys they can see."""
    n_head, n_kv = len(q), len(k)
    scores = hide(ungroup(score(group_queries(q, n_kv), k, scale), n_head), rows, causal, window)
    if tap is None:
        total = exponentials(scores)
    else:
        scores, total = tap("weights", softmax(tap("scores", scores, rows)), rows), 1.0
    mixed = ungroup(blend(group_queries(scores, n_kv), v), n_head)
    mixed /= total  # Σ e v / Σ e: the division is cheaper here than on the weights
    z[...] = mixed
