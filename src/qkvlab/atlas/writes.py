"""The value side: how much does each head write into the residual, and how much of what is there is that?

|z W_o| without ever making z W_o: its square is z (W_o W_oᵀ) zᵀ, with one small matrix [d_value, d_value] per head.
"""

from weakref import WeakKeyDictionary

import numpy as np

from .._parallel import one_blas_thread
from .._shapes import Array, Float
from ..circuit_report import copying_scores
from ..circuit_source import NativeSource
from ..model import Model
from ..spec import Head
from .walk import Seen

SUMS = ("write", "share")
"""|z W_o|, in the residual's own unit, and the same over |x|, the residual that enters the layer."""
_GRAMS: WeakKeyDictionary[Model, dict[int, Array]] = WeakKeyDictionary()


def gram(model: Model, layer: int) -> Float[Array, "head d_value d_value"]:
    """W_o W_oᵀ of every head of a layer; computed once per model."""
    known = _GRAMS.setdefault(model, {})
    if layer not in known:
        each = [model.w_o(Head(layer, head)) for head in range(model.spec.n_head)]
        known[layer] = np.stack([w_o @ w_o.T for w_o in each])
    return known[layer]


def sizes(model: Model, seen: Seen) -> Float[Array, "sum head query"]:
    """`SUMS` of every query."""
    squares = np.vecdot(seen.written @ gram(model, seen.layer), seen.written)
    write = np.sqrt(np.maximum(squares, 0))
    x = np.sqrt(np.vecdot(seen.x, seen.x))
    return np.stack([write, write / np.where(x > 0, x, 1)])


def copying(model: Model) -> Float[Array, "layer head"] | None:
    """Does each head that looks at a word raise that same word? Of weights alone, `circuit_measures.copying`.

    None for a model that the native engine does not compute, or without an output head; NaN for a head without score.
    """
    if not model.native or not model.spec.has_output:
        return None
    with one_blas_thread():
        return copying_scores(NativeSource(model))
