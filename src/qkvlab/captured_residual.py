"""A captured trace → the x that attention reads as a sum of writes, through norms frozen at the values of this run.

The steps are those of `models/live_writes.py`. Every residual that enters or leaves a layer and the x that attention
reads are held to the numbers of this very run; a family for which one does not hold is refused by name. float64.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ._shapes import Array, Float
from .errors import UnsupportedError
from .livetrace import LiveTrace
from .models.attending import to_numpy
from .models.hooks import own_layers, reach
from .models.live_writes import Role, Step
from .residual_parts import Component, Parts, everywhere, frozen_layer_norm, frozen_rms

Write = tuple[Component, Float[Array, "row d_model"]]
SPOKEN: dict[str, str] = {"heads": "attention"}
"""What a role is called in the name of a norm's bias, where not by itself."""


class _Residual:
    """The residual at some positions as it comes about: its parts, and what they sum to in this run."""

    def __init__(self, trace: LiveTrace, rows: list[int]) -> None:
        self.trace, self.rows, self.parts = trace, rows, Parts()
        self.total: Any = 0.0

    def take(self, step: Step, below: Any, layer: int | None, written: str) -> None:
        """One step; a module that is not there is no step. `written`: what was written last."""
        module = reach(below, step.path) if step.path else None
        if step.path and module is None:
            return
        where = f"{'' if layer is None else f' {layer}'} ({written})"
        if step.role in ("norm", "project"):
            norm = step.role == "norm"
            self.through(
                frozen(self.trace, module, self.total) if norm else _projection(module),
                bias_of(module),
                Component(f"{'norm' if norm else 'projection'} bias{where}", "bias", layer),
            )
            return
        writes = list(WRITES[step.role](self.trace, layer or 0, module, self.rows))
        after = reach(below, step.norm) if step.norm else None
        if after is not None and writes:
            change = frozen(self.trace, after, sum(vectors for _, vectors in writes))
            writes = [(component, change(vectors)) for component, vectors in writes]
            if (bias := bias_of(after)) is not None:
                writes.append((Component(f"norm bias{where}", "bias", layer), everywhere(bias, self.rows)))
        for component, vectors in writes:
            self.parts.add(component, vectors)
            self.total = self.total + vectors

    def through(self, change: Callable[[Array], Array], bias: Array | None, named: Component) -> None:
        """Pass all that is there through a linear map; its bias is a part of its own."""
        self.parts.through(change)
        self.total = change(self.total)
        if bias is not None:
            self.parts.add(named, everywhere(bias, self.rows))
            self.total = self.total + bias

    def meet(self, theirs: Array, what: str) -> None:
        """Hold the sum to the model's own, and go on with that."""
        hold(self.trace, self.total, theirs[self.rows], what)
        self.total = theirs[self.rows].astype(np.float64)


def captured_parts(trace: LiveTrace, layer: int, rows: list[int]) -> Parts:
    """What is the x that attention reads in a layer made of, at these positions? Its parts sum to `trace.normed`.

    Raises UnsupportedError where the residual is not made as the table says, with the place.
    """
    model, residual = trace.model, _Residual(trace, rows)
    base, way = model.hf.base_model, model.way
    layers = own_layers(base, model.stack)
    for step in way.start:
        residual.take(step, base, None, "embedding")
    residual.meet(trace.x(0), "residual that enters the first layer")
    for earlier in range(layer):
        _pass(residual, layers[earlier % len(layers)], earlier, way.layer)
        residual.meet(trace.x(earlier + 1), f"residual that leaves layer {earlier}")
    own = layers[layer % len(layers)]
    _pass(residual, own, layer, way.layer[: [step.role for step in way.layer].index("heads")])
    norms = [norm for name in way.read if getattr(norm := reach(own, name), "weight", None) is not None]
    if norms:
        residual.through(frozen(trace, norms[0], residual.total), bias_of(norms[0]), Component("norm bias", "bias"))
    hold(
        trace, residual.parts.vectors.sum(axis=0), trace.normed(layer)[rows], f"x that attention reads in layer {layer}"
    )
    return residual.parts


def _pass(residual: _Residual, below: Any, layer: int, steps: tuple[Step, ...]) -> None:
    written = "embedding"
    for step in steps:
        written = written if step.role == "norm" else SPOKEN.get(step.role, step.role)
        residual.take(step, below, layer, written)


def hold(trace: LiveTrace, ours: Array, theirs: Array, what: str) -> None:
    """Refuse unless our sum is the model's own number, to the rounding of its dtype."""
    import torch

    tolerance = 1e-3 if trace.model.hf.dtype == torch.float32 else 5e-2
    if ours.shape != theirs.shape or np.abs(ours - theirs).max() > tolerance * max(np.abs(theirs).max(), 1e-30):
        raise UnsupportedError(
            f"{trace.spec.name}: the {what} is not what its parts sum to, so {trace.spec.family} has more on the "
            "way of a write to a score than is known here"
        )


def frozen(trace: LiveTrace, norm: Any, x: Float[Array, "row d_model"]) -> Callable[[Array], Array]:
    """A module's norm, its bias left out, with the scale it has for `x`: a linear map."""
    centred = trace.model.centred or type(norm).__name__ == "LayerNorm"
    gain = to_numpy(norm.weight).astype(np.float64) + trace.model.family.gain
    return (frozen_layer_norm if centred else frozen_rms)(x, gain, eps_of(norm))


def eps_of(norm: Any) -> float:
    return float(next(value for key in ("variance_epsilon", "eps") if (value := getattr(norm, key, None)) is not None))


def bias_of(module: Any) -> Float[Array, " d_model"] | None:
    bias = getattr(module, "bias", None)
    return None if bias is None else to_numpy(bias).astype(np.float64)


def _projection(module: Any) -> Callable[[Array], Array]:
    weight = to_numpy(module.weight).astype(np.float64)
    return lambda parts: parts @ weight.T


def _embedding(trace: LiveTrace, layer: int, module: Any, rows: list[int]) -> Iterator[Write]:
    yield Component("embedding", "embedding"), trace.step(0, "embedding")[rows].astype(np.float64)


def _position(trace: LiveTrace, layer: int, module: Any, rows: list[int]) -> Iterator[Write]:
    yield Component("position", "position"), trace.step(0, "position")[rows].astype(np.float64)


def _token_type(trace: LiveTrace, layer: int, module: Any, rows: list[int]) -> Iterator[Write]:
    yield Component("token type", "bias"), trace.step(0, "token type")[rows].astype(np.float64)


def _heads(trace: LiveTrace, layer: int, module: Any, rows: list[int]) -> Iterator[Write]:
    """The write of every head of the stack's own attention, and W_o's bias."""
    if layer in trace.spec.no_attention:
        return
    w, width = trace.model.weights.layer(layer), trace.spec.d_value
    z = np.concatenate(list(trace.z(layer)[:, rows]), axis=1)
    if trace.model.family.gated:
        z = trace.step(layer, "gated")[rows]
    for head, blend in enumerate(np.split(z.astype(np.float64), trace.spec.n_head, axis=1)):
        write = blend @ w.head_w_o(head, width).astype(np.float64)
        yield Component(f"{layer}.{head}", "head", layer, head), write
    if w.b_o is not None:
        yield Component(f"attention bias {layer}", "bias", layer), everywhere(w.b_o, rows)


def _cross(trace: LiveTrace, layer: int, module: Any, rows: list[int]) -> Iterator[Write]:
    """The write of every head of the decoder's attention to its encoder, and its bias."""
    z, weight = trace.step(layer, "cross")[rows].astype(np.float64), to_numpy(module.weight).astype(np.float64)
    blends, columns = (np.split(each, trace.spec.n_head, axis=1) for each in (z, weight))
    for head, (blend, own) in enumerate(zip(blends, columns, strict=True)):
        yield Component(f"cross {layer}.{head}", "cross", layer, head), blend @ own.T
    if (bias := bias_of(module)) is not None:
        yield Component(f"cross bias {layer}", "bias", layer), everywhere(bias, rows)


def _mixer(trace: LiveTrace, layer: int, module: Any, rows: list[int]) -> Iterator[Write]:
    yield Component(f"mixer {layer}", "mixer", layer), trace.step(layer, "mixer")[rows].astype(np.float64)


def _mlp(trace: LiveTrace, layer: int, module: Any, rows: list[int]) -> Iterator[Write]:
    yield Component(f"mlp {layer}", "mlp", layer), trace.mlp(layer)[rows].astype(np.float64)


WRITES: dict[Role, Callable[[LiveTrace, int, Any, list[int]], Iterator[Write]]] = {
    "embedding": _embedding,
    "position": _position,
    "token type": _token_type,
    "heads": _heads,
    "cross": _cross,
    "mixer": _mixer,
    "mlp": _mlp,
}
"""Who writes in a step, and what."""
