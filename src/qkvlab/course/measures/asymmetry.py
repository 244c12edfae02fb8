"""Why W_q and W_k are separate: looking there and back, heads tied, and the symmetry of every head."""

import numpy as np

from ...circuits import SEED, random_symmetries, symmetries
from ...edits import Tie
from ...questions import token_index
from ...sharing import mean_loss
from ...spec import Head
from ..figures import Lab, digits, figure, percent, plain, whole
from .lookup import CAT, HEAD, TRACE, pair

TIED = f"model.trace({CAT!r}, edits=[Tie(where='13.8')])"
RANDOM = f"circuits.random_symmetries(model.spec, seed={SEED})"


@figure(digits(2), TRACE + "trace.scores('13.8', masked=False)[4, 1]")
def score_it_cat(lab: Lab) -> float:
    """Score of " it" looking at " cat" at head 13.8."""
    return float(lab.trace(CAT).scores(HEAD, masked=False)[4, 1])


@figure(digits(2), TRACE + "trace.scores('13.8', masked=False)[1, 4]")
def score_cat_it(lab: Lab) -> float:
    """Score of " cat" looking at " it" there, the mask left out."""
    return float(lab.trace(CAT).scores(HEAD, masked=False)[1, 4])


@figure(digits(2), TIED + ".weights('13.8')[4, 4]")
def tied_self(lab: Lab) -> float:
    """Weight from " it" to itself at head 13.8 when the head's keys are its own queries."""
    return pair(lab.trace(CAT, Tie(where=str(HEAD))), " it", " it")


@figure(digits(2), TIED + ".weights('13.8')[4, 1]")
def tied_cat(lab: Lab) -> float:
    """Weight from " it" to " cat" then."""
    return pair(lab.trace(CAT, Tie(where=str(HEAD))), " it", " cat")


@figure(whole, f"model.trace({CAT!r}, edits=[Tie()])")
def tied_everywhere_selves(lab: Lab) -> int:
    """Heads in which " it" looks at itself most, with every head tied."""
    trace = lab.trace(CAT, Tie())
    it = token_index(trace.tokens, " it")
    return sum(int(trace.weights(head)[it].argmax()) == it for head in trace.spec.heads())


@figure(digits(1), "sharing.mean_loss(model.trace(sharing.sharing_text()))")
def loss_plain(lab: Lab) -> float:
    """Loss of the model on a passage of 922 tokens, in nats a token."""
    return mean_loss(lab.passage())


@figure(digits(1), "sharing.mean_loss(model.trace(sharing.sharing_text(), edits=[Tie()]))")
def loss_tied(lab: Lab) -> float:
    """Its loss on the same passage with every head tied."""
    return mean_loss(lab.passage(Tie()))


@figure(digits(2), "circuits.symmetries(model).mean()")
def symmetry_mean(lab: Lab) -> float:
    """Symmetry of W_q W_kᵀ, the mean over all heads."""
    return float(_own(lab).mean())


@figure(digits(2), "circuits.symmetries(model).max()")
def symmetry_most(lab: Lab) -> float:
    """The largest one."""
    return float(_own(lab).max())


@figure(plain, "circuits.symmetries(model).argmax()")
def symmetry_most_head(lab: Lab) -> str:
    """The head with the largest one."""
    return _address(lab, int(_own(lab).argmax()))


@figure(digits(2), "circuits.symmetries(model).min()")
def symmetry_least(lab: Lab) -> float:
    """The smallest one."""
    return float(_own(lab).min())


@figure(plain, "circuits.symmetries(model).argmin()")
def symmetry_least_head(lab: Lab) -> str:
    """The head with the smallest one."""
    return _address(lab, int(_own(lab).argmin()))


@figure(digits(3), f"abs({RANDOM}).max()")
def symmetry_random(lab: Lab) -> float:
    """The furthest from 0 that a random matrix of the same sizes comes, of as many as the model has heads."""
    return float(np.abs(_random(lab)).max())


@figure(percent(), f"the share of circuits.symmetries(model) outside the range of {RANDOM}")
def symmetry_beyond(lab: Lab) -> float:
    """Share of heads whose symmetry lies outside the range of the random ones."""
    own, random = _own(lab), _random(lab)
    return float(((own < random.min()) | (own > random.max())).mean())


@figure(digits(3), "circuits.symmetries(model)[13, 8]")
def symmetry_example(lab: Lab) -> float:
    """The symmetry of head 13.8."""
    return float(_own(lab)[HEAD])


def _own(lab: Lab) -> np.ndarray:
    return lab.once("symmetries", lambda: symmetries(lab.model("smollm2")))


def _random(lab: Lab) -> np.ndarray:
    return lab.once("random", lambda: random_symmetries(lab.model("smollm2").spec))


def _address(lab: Lab, flat: int) -> str:
    return str(Head(*divmod(flat, lab.model("smollm2").spec.n_head)))
