"""Many heads: sizes, the sum of what they write, and what switching them off costs."""

from collections.abc import Callable

import numpy as np

from ...edits import Ablate
from ...residual import layer_writes
from ...sharing import mean_loss
from ...spec import Head, ModelSpec
from ..figures import Lab, below, digits, figure, percent, plain, sizes, whole
from .lookup import CAT, HEAD

WIDTH, HEADS = 4096, 32
"""The lesson's example of a large model: so many components, so many heads."""
ONE = "sharing.mean_loss of reference.reference_text() with Ablate(where=head), less without; every head in turn"
REST = "the same with every other head of its layer ablated; in every layer the head that is best left alone"
HARMLESS = 0.01
"""Nats a token: a loss that is changed by less is called unchanged."""


@figure(whole, "4096 // 32")
def wide_head(lab: Lab) -> int:
    """Dimensions of each of 32 heads of a model of width 4,096."""
    return WIDTH // HEADS


@figure(whole, "32 * 4096 * (4096 // 32)")
def wide_split(lab: Lab) -> int:
    """Numbers in W_q of such a model as 32 matrices of 4,096 × 128."""
    return HEADS * WIDTH * (WIDTH // HEADS)


@figure(whole, "4096 * 4096")
def wide_whole(lab: Lab) -> int:
    """Numbers in W_q of one head of the full width."""
    return WIDTH * WIDTH


@figure(below, f"residual.layer_writes(model.trace({CAT!r}), 13, 4)[1]")
def sum_difference(lab: Lab) -> float:
    """Largest difference between the sum of z W_o over the heads of layer 13 and what attention adds, for " it"."""
    return layer_writes(lab.trace(CAT), HEAD.layer, 4)[1]


@figure(sizes, "(spec.n_layer, spec.n_head)")
def head_grid(lab: Lab) -> list[int]:
    """Layers and heads of SmolLM2-135M."""
    spec = lab.model("smollm2").spec
    return [spec.n_layer, spec.n_head]


@figure(digits(2), "sharing.mean_loss(model.trace(reference.reference_text()))")
def loss_short(lab: Lab) -> float:
    """Loss of the model on the reference text of 255 tokens, in nats a token."""
    return mean_loss(lab.short_passage())


@figure(digits(3), ONE, slow=True)
def one_off_median(lab: Lab) -> float:
    """Change of that loss when one head is switched off: the median over all heads."""
    return float(np.median(one_off(lab)))


@figure(digits(2), ONE, slow=True)
def one_off_most(lab: Lab) -> float:
    """The largest one."""
    return float(one_off(lab).max())


@figure(plain, ONE, slow=True)
def one_off_most_head(lab: Lab) -> str:
    """The head that costs most."""
    return str(Head(*divmod(int(one_off(lab).argmax()), lab.model("smollm2").spec.n_head)))


@figure(percent(), ONE, slow=True)
def one_off_harmless(lab: Lab) -> float:
    """Share of heads whose absence changes the loss by less than 0.01, or lowers it."""
    return float((one_off(lab) < HARMLESS).mean())


@figure(digits(2), REST, slow=True)
def one_left_median(lab: Lab) -> float:
    """Change of that loss when one layer keeps only the one head that is best left alone: the median over layers."""
    return float(np.median(one_left(lab).min(axis=1)))


@figure(digits(2), REST, slow=True)
def one_left_least(lab: Lab) -> float:
    """The smallest one."""
    return float(one_left(lab).min())


@figure(plain, REST, slow=True)
def one_left_least_head(lab: Lab) -> str:
    """The head that is left alone there."""
    return str(Head(*divmod(int(one_left(lab).argmin()), lab.model("smollm2").spec.n_head)))


@figure(digits(2), REST, slow=True)
def one_left_most(lab: Lab) -> float:
    """The largest one."""
    return float(one_left(lab).min(axis=1).max())


@figure(whole, REST, slow=True)
def one_left_most_layer(lab: Lab) -> int:
    """The layer in which it is so."""
    return int(one_left(lab).min(axis=1).argmax())


def one_off(lab: Lab) -> np.ndarray:
    """Loss of the reference text with each head switched off, less the loss without, [layer, head]."""
    return lab.once("one_off", lambda: _costs(lab, lambda spec, head: [head]))


def one_left(lab: Lab) -> np.ndarray:
    """The same with all heads of a layer but one switched off, [layer, the head that is left]."""
    return lab.once("one_left", lambda: _costs(lab, others))


def others(spec: ModelSpec, head: Head) -> list[Head]:
    """The other heads of a head's layer."""
    return [other for other in spec.heads() if other.layer == head.layer and other != head]


def cost(lab: Lab, off: list[Head]) -> float:
    """What switching these heads off adds to the loss of the reference text."""
    edits = [Ablate(where=str(head)) for head in off]
    return mean_loss(lab.short_passage(*edits)) - mean_loss(lab.short_passage())


def _costs(lab: Lab, chosen: Callable[[ModelSpec, Head], list[Head]]) -> np.ndarray:
    spec = lab.model("smollm2").spec
    flat = [cost(lab, chosen(spec, head)) for head in spec.heads()]
    return np.array(flat).reshape(spec.n_layer, spec.n_head)
