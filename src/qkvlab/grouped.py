"""A model with grouped K/V heads, run beside the one it came from: what each layer's grouping costs, and all of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from einops import rearrange

from ._shapes import Array, Float
from .grouping import Plan, new_keys, new_outputs, new_queries, new_values, turned_keys, turned_values
from .mechanism import project, rms_norm
from .model import Model
from .models import FAMILIES, LayerWeights, Weights, no_tap, unembed
from .models.weights import Matrix, Tiles, Vector
from .spec import ModelSpec

ROWS = 64
"""Logits are taken for so many positions at once."""
KEPT_NUMBERS = 1 << 26
"""A text's predictions are kept for comparison up to so many numbers (256 MB)."""


class GroupedWeights(Weights):
    """The weights of a model with some layers' K/V heads grouped, made layer by layer from its own and not kept."""

    def __init__(self, own: Weights, plans: Mapping[int, Plan]) -> None:
        self._own = own
        self.spec, self.layout, self.plans = own.spec, own.layout, plans

    def prefetch(self, layers: Iterable[int]) -> None:
        self._own.prefetch(layers)

    def layer(self, layer: int) -> LayerWeights:
        own = self._own.layer(layer)
        return regrouped(own, self.plans[layer]) if layer in self.plans else own

    def embed(self, ids: Sequence[int]) -> Matrix:
        return self._own.embed(ids)

    def vector(self, field: str) -> Vector:
        return self._own.vector(field)

    @cached_property
    def unembedding(self) -> Matrix:
        return self._own.unembedding


def regrouped(w: LayerWeights, plan: Plan) -> LayerWeights:
    """One layer's weights under a plan."""

    def bias(change: Callable[[Plan, Array], Array], b: Matrix | None) -> Matrix | None:
        return None if b is None else change(plan, b[:, None])[:, 0]

    return replace(
        w,
        w_q=new_queries(plan, w.w_q) if plan.moves_queries else w.w_q,
        w_k=new_keys(plan, w.w_k),
        w_v=new_values(plan, w.w_v),
        w_o=_outputs(w, plan) if plan.moves_outputs else w.w_o,
        b_q=bias(new_queries, w.b_q) if plan.moves_queries else w.b_q,
        b_k=bias(new_keys, w.b_k),
        b_v=bias(new_values, w.b_v),
    )


def _outputs(w: LayerWeights, plan: Plan) -> Tiles:
    by_head = rearrange(w.w_o, "tile (head d) width -> head d (tile width)", head=len(w.w_q))
    made = rearrange(new_outputs(plan, by_head), "head d (tile width) -> tile (head d) width", tile=len(w.w_o))
    return np.ascontiguousarray(made)


def grouped_model(model: Model, plans: Mapping[int, Plan]) -> Model:
    """The same model with these layers grouped, in memory: with fewer K/V heads if all its layers have fewer."""
    fewer = {plan.n_shared for plan in plans.values() if not plan.repeated and plan.merge != "none"}
    spec = replace(model.spec, n_kv_head=fewer.pop()) if fewer else model.spec
    return Model(spec, GroupedWeights(model.weights, plans), model.source, model.checkpoint)


@dataclass(frozen=True)
class LayerCost:
    """What grouping one layer does."""

    layer: int
    k_error: float
    """‖merged keys - keys‖ / ‖keys‖ on the text, each key compared as its group sees it."""
    v_error: float
    """The same of the values."""
    kl: float | None = None
    """Mean KL divergence of the next-token predictions with this layer alone grouped, in nats; None: no output head."""


@dataclass(frozen=True)
class ModelCost:
    """What grouping all the chosen layers does to the predictions on a text."""

    kl: float
    """Mean KL divergence from the model's own predictions, in nats."""
    perplexity_before: float
    perplexity_after: float


def layer_errors(model: Model, layer: int, plan: Plan, normed: Array) -> tuple[float, float]:
    """How far are the merged keys and values of a text from the ones they stand for? Relative, on the model's own x."""
    spec, w = model.spec, model.weights.layer(layer)
    new = regrouped(w, replace(plan, repeated=True))

    def keys(of: LayerWeights) -> Float[Array, "kv_head key d_head"]:
        k = project(normed, of.w_k, of.b_k)
        return k if of.k_norm is None else rms_norm(k, of.k_norm, spec.norm_eps)

    own_v = turned_values(plan, project(normed, w.w_v, w.b_v))
    merged_v = project(normed, new.w_v, new.b_v)
    return relative_error(keys(new), turned_keys(plan, keys(w))), relative_error(merged_v, own_v)


def relative_error(merged: Array, own: Array) -> float:
    """‖merged - own‖ / ‖own‖."""
    return float(np.linalg.norm((merged - own).astype(np.float64)) / np.linalg.norm(own.astype(np.float64)))


def run_from(spec: ModelSpec, weights: Weights, layer: int, x: Float[Array, "query d_model"]) -> Array:
    """The final residual, from the one that enters a layer."""
    family, rows = FAMILIES[spec.family], range(len(x))
    for at in range(layer, spec.n_layer):
        w = weights.layer(at)
        x = family.mlp(spec, w, at, x, family.attention(spec, w, at, x, rows, no_tap), rows, no_tap)
    return family.final(spec, weights, x)


class Predictions:
    """What a model says comes next at every position of a text, as log shares, in blocks of rows."""

    def __init__(self, weights: Weights, final: Float[Array, "query d_model"]) -> None:
        self.weights, self.final = weights, final
        self._kept: dict[int, Array] = {}

    def rows(self, start: int) -> Float[Array, "query vocab"]:
        """The block that begins at a row; kept while all of them together are of bearable size."""
        if start in self._kept:
            return self._kept[start]
        logits = log_shares(unembed(self.weights, self.final[start : start + ROWS]))
        if len(self.final) * logits.shape[1] <= KEPT_NUMBERS:
            self._kept[start] = logits
        return logits


def log_shares(logits: Float[Array, "query vocab"]) -> Float[Array, "query vocab"]:
    """The logarithm of each word's share."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def compare(before: Predictions, after: Array, ids: Sequence[int]) -> ModelCost:
    """A model's predictions and another final residual of the same text: KL(before ‖ after) at every position, and
    both perplexities."""
    return weigh(before.rows, Predictions(before.weights, after).rows, ids)


def weigh(before: Callable[[int], Array], after: Callable[[int], Array], ids: Sequence[int]) -> ModelCost:
    """The same of two models' log shares; each gives a block of `ROWS` positions by the first of them."""
    n, total = len(ids), np.zeros(3)
    for start in range(0, n, ROWS):
        p, q = before(start), after(start)
        total[0] += float((np.exp(p) * (p - q)).sum(dtype=np.float64))
        following = list(ids[start + 1 : start + ROWS + 1])
        at = np.arange(len(following))
        total[1:] -= p[at, following].sum(dtype=np.float64), q[at, following].sum(dtype=np.float64)
    kl, *losses = total / [n, n - 1, n - 1]
    with np.errstate(over="ignore"):
        own, grouped = np.exp(losses)
    return ModelCost(max(float(kl), 0.0), float(own), float(grouped))
