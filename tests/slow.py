"""A forward pass in plain loops and float64, the edits done literally: slow, obvious, and nothing shared with `src`.

Only the weights and the rotation frequencies are read from the package; both have tests of their own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qkvlab import edits as e
from qkvlab.aim import least_shift
from qkvlab.mechanism import rotation_frequencies
from qkvlab.model import Model
from qkvlab.spec import ModelSpec

Array = np.ndarray


@dataclass
class Now:
    """One layer's arrays while it runs. An edit changes them in place."""

    spec: ModelSpec
    layer: int
    q: Array
    k: Array
    v: Array
    z: Array
    head: int = -1
    own_q: Array | None = None
    own_k: Array | None = None
    scores: Array | None = None


def slow_pass(
    model: Model, ids: Sequence[int], edits: Sequence[e.Edit] = (), mean_z: Array | None = None
) -> dict[str, Array]:
    """name → array for x, q, k, v, scores, weights, z of every layer, and final (and logits, all positions)."""
    spec, n, taps = model.spec, len(ids), dict[str, Array]()
    x = embed(model, ids)
    for layer in range(spec.n_layer):
        w, at = model.weights.layer(layer), f"layer.{layer}."
        h = x if spec.family == "bert" else np.array([norm(spec, row, w.attn_norm, w.attn_norm_bias) for row in x])
        now = Now(
            spec,
            layer,
            q=rotated(spec, heads(spec, h, w.w_q, w.b_q, w.q_norm)),
            k=rotated(spec, heads(spec, h, w.w_k, w.b_k, w.k_norm)),
            v=heads(spec, h, w.w_v, w.b_v, None),
            z=np.zeros((spec.n_head, n, spec.d_head)),
        )
        for stage in ("k", "v", "q"):
            act(edits, stage, now, mean_z)
        patterns = [attend_head(now, head, edits) for head in range(spec.n_head)]
        act(edits, "z", now, mean_z)
        out = np.array([np.concatenate(list(now.z[:, t])) @ wide(w.w_o) for t in range(n)])
        out = out if w.b_o is None else out + w.b_o
        scores, weights = (np.array(part) for part in zip(*patterns, strict=True))
        taps |= {at + name: getattr(now, name) for name in ("q", "k", "v", "z")}
        taps |= {at + "x": x, at + "scores": scores, at + "weights": weights, at + "out": out}
        x = mlp(spec, w, x, out)
    taps[f"layer.{spec.n_layer}.x"] = taps["final"] = x
    if spec.family != "bert":
        gain, bias = model.weights.vector("final_norm"), None
        if spec.family == "gpt2":
            bias = model.weights.vector("final_norm_bias")
        taps["final"] = np.array([norm(spec, row, gain, bias) for row in x])
        taps["logits"] = taps["final"] @ model.weights.unembedding.T.astype(np.float64)
    return taps


def attend_head(now: Now, head: int, edits: Sequence[e.Edit]) -> tuple[Array, Array]:
    """Scores and weights of one head, query by query and key by key; its blend goes into `now.z`."""
    spec, n = now.spec, now.q.shape[1]
    read = head // (spec.n_head // spec.n_kv_head)
    now.head, now.own_q, now.own_k = head, now.q[head].copy(), now.k[read].copy()
    act(edits, "pair", now)
    now.scores, weights = np.full((n, n), -math.inf), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if sees(spec, now.layer, i, j):
                now.scores[i, j] = float(now.own_q[i] @ now.own_k[j]) / math.sqrt(spec.d_head)
    act(edits, "scores", now)
    for i in range(n):
        seen = [j for j in range(n) if now.scores[i, j] > -math.inf]
        top = max((now.scores[i, j] for j in seen), default=0.0)
        total = sum(math.exp(now.scores[i, j] - top) for j in seen)
        for j in seen:
            weights[i, j] = math.exp(now.scores[i, j] - top) / total
            now.z[head, i] += weights[i, j] * now.v[read, j]
    return now.scores, weights


def sees(spec: ModelSpec, layer: int, query: int, key: int) -> bool:
    """A window of w keys is the query itself and the w - 1 before it."""
    window = spec.window if layer in spec.windowed_layers else None
    if spec.mask == "causal" and key > query:
        return False
    return window is None or abs(query - key) < window


def embed(model: Model, ids: Sequence[int]) -> Array:
    spec, w = model.spec, model.weights
    x = np.asarray(w.embed(list(ids)), np.float64)
    if spec.family in ("gpt2", "bert"):
        x = x + np.array([w.positions[spec.first_position + t] for t in range(len(ids))])
    if spec.family == "bert":
        gain, bias = w.vector("embed_norm"), w.vector("embed_norm_bias")
        x = np.array([norm(spec, row + w.token_type, gain, bias) for row in x])
    return x


def norm(spec: ModelSpec, row: Array, gain: Array, bias: Array | None) -> Array:
    """RMSNorm without a bias, LayerNorm with one."""
    if bias is None:
        return row / math.sqrt(sum(row * row) / len(row) + spec.norm_eps) * gain
    centred = row - sum(row) / len(row)
    return centred / math.sqrt(sum(centred * centred) / len(row) + spec.norm_eps) * gain + bias


def wide(tiles: Array) -> Array:
    return np.concatenate(list(tiles.astype(np.float64)), axis=1)


def heads(spec: ModelSpec, h: Array, W: Array, b: Array | None, gain: Array | None) -> Array:
    """h W + b, head by head, each row normalised where the model has a gain for it (Qwen3)."""
    rows = [[row @ W[head].astype(np.float64) + (0 if b is None else b[head]) for row in h] for head in range(len(W))]
    if gain is not None:
        rows = [[norm(spec, row, gain, None) for row in head] for head in rows]
    return np.array(rows, np.float64)


def rotated(spec: ModelSpec, x: Array, back: bool = False) -> Array:
    """Every pair turned by position · frequency, with the scaling's factor; or only turned back, the factor kept."""
    if spec.rotation is None:
        return x
    assert spec.rotation.pairs == "half"
    frequencies, factor = rotation_frequencies(spec.rotation.base, spec.rotation.dims, dict(spec.rotation.scaling))
    half, turned = spec.rotation.dims // 2, x.copy()
    for t in range(x.shape[-2]):
        for pair in range(half):
            angle = float(frequencies[pair]) * t * (-1 if back else 1)
            size = 1.0 if back else factor
            a, b = x[..., t, pair], x[..., t, pair + half]
            turned[..., t, pair] = size * (a * math.cos(angle) - b * math.sin(angle))
            turned[..., t, pair + half] = size * (b * math.cos(angle) + a * math.sin(angle))
    return turned


def mlp(spec: ModelSpec, w: Any, x: Array, out: Array) -> Array:
    acts: dict[str, Callable[[float], float]] = {
        "silu": lambda a: a / (1 + math.exp(-a)),
        "gelu": lambda a: a * 0.5 * (1 + math.erf(a / math.sqrt(2))),
        "gelu_tanh": lambda a: a * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    }
    act_fn = np.vectorize(acts[spec.activation], otypes=[float])
    post, result = spec.family == "bert", []

    def product(row: Array, W: Array, b: Array | None) -> Array:
        return row @ wide(W) + (0 if b is None else b)

    for row in x + out:
        row = norm(spec, row, w.attn_norm, w.attn_norm_bias) if post else row
        h = row if post else norm(spec, row, w.mlp_norm, w.mlp_norm_bias)
        up = product(h, w.w_up, w.b_up)
        up = act_fn(up) if w.w_gate is None else act_fn(product(h, w.w_gate, w.b_gate)) * up
        row = row + product(up, w.w_down, w.b_down)
        result.append(norm(spec, row, w.mlp_norm, w.mlp_norm_bias) if post else row)
    return np.array(result)


# ---- the edits, as their docstrings say


def act(edits: Sequence[e.Edit], stage: str, now: Now, mean_z: Array | None = None) -> None:
    for edit in edits:
        if isinstance(edit, e.ShareKV):
            in_layer = edit.first_layer <= now.layer <= edit.last_layer
        else:
            address = getattr(edit, "kv_head", None) or getattr(edit, "head", None) or edit.where  # type: ignore[attr-defined]
            in_layer = address == "all" or int(address.split(".")[0]) == now.layer
        if in_layer:
            by_hand(edit, stage, now, mean_z)


def mix(edit: e.Edit, before: Any, after: Any) -> Any:
    return (1 - edit.strength) * before + edit.strength * after


def by_hand(edit: e.Edit, stage: str, now: Now, mean_z: Array | None) -> None:
    spec = now.spec
    match edit, stage:
        case e.ShiftKey(), "k":
            now.k[second(edit.kv_head), edit.token] += edit.strength * np.array(edit.shift)
        case e.SwapValue(), "v":
            v = now.v[second(edit.kv_head)]
            v[edit.token] = mix(edit, v[edit.token], v[edit.source])
        case e.ShareKV(), "k" | "v":
            array, size = getattr(now, stage), spec.n_kv_head // edit.n_kv_head
            for first in range(0, spec.n_kv_head, size):
                mean = sum(array[first + member] for member in range(size)) / size
                for member in range(size):
                    array[first + member] = mix(edit, array[first + member], mean)
        case e.ShiftQuery(), "q":
            now.q[second(edit.head), edit.query] += edit.strength * np.array(edit.shift)
        case e.AimQuery(), "q":
            head = second(edit.head)
            keys = now.k[head // spec.group]
            seen = [j for j in range(len(keys)) if sees(spec, now.layer, edit.query, j)]
            q = now.q[head, edit.query]
            q += edit.strength * least_shift(q, keys[seen], seen.index(edit.key), spec.d_head**-0.5, edit.margin)
        case e.Tie(), "pair" if reaches(edit.where, now):
            now.own_k = mix(edit, now.own_k, now.own_q)
        case e.StopRotation(), "pair" if reaches(edit.where, now):
            now.own_q = mix(edit, now.own_q, rotated(spec, now.own_q, back=True))
            now.own_k = mix(edit, now.own_k, rotated(spec, now.own_k, back=True))
        case e.Mute(), "scores" if reaches(edit.where, now):
            assert now.scores is not None
            for query in range(len(now.scores)) if edit.query is None else [edit.query]:
                left = 1 - edit.strength
                now.scores[query, edit.key] += math.log(left) if left else -math.inf
        case e.Strengthen(), "scores" if reaches(edit.where, now):
            assert now.scores is not None
            now.scores[edit.query, edit.key] += edit.strength * edit.amount
        case e.ScaleScores(), "scores" if reaches(edit.where, now):
            assert now.scores is not None
            seen = now.scores > -math.inf
            now.scores[seen] *= mix(edit, 1.0, edit.factor)
        case e.Ablate(), "z":
            for head in range(spec.n_head):
                if edit.where in ("all", f"{now.layer}", f"{now.layer}.{head}"):
                    for t in range(now.z.shape[1]):
                        now.z[head, t] = mix(edit, now.z[head, t], ablated(edit, now.layer, head, mean_z))


def ablated(edit: e.Ablate, layer: int, head: int, mean_z: Array | None) -> Any:
    if edit.to == "mean":
        assert mean_z is not None
        return mean_z[layer, head]
    return 0.0 if edit.to == "zero" else np.array(edit.to)


def second(address: str) -> int:
    return int(address.split(".")[1])


def reaches(where: str, now: Now) -> bool:
    return where in ("all", f"{now.layer}", f"{now.layer}.{now.head}")
