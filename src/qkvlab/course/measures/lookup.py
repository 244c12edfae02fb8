""" "The cat drank because it was thirsty": what x is, and where head 13.8 looks."""

from itertools import product

import numpy as np

from ...questions import find, token_index
from ...residual import residual_path
from ...spec import Head
from ...trace import Trace
from ..figures import Lab, digits, figure, percent, plain, sizes, whole

CAT = "The cat drank because it was thirsty"
HEAD = Head(13, 8)
TOLD = "The girl told the boy that she"
TRACE = f"trace = qkvlab.open_model('smollm2').trace({CAT!r}); "
VERBS = ("saw", "greeted", "thanked", "helped", "praised", "called")


def pair(trace: Trace, query: str, key: str) -> float:
    """The weight from one token to another at head 13.8."""
    rows = trace.weights(HEAD)
    return float(rows[token_index(trace.tokens, query), token_index(trace.tokens, key)])


@figure(plain, "model.badge")
def badge(lab: Lab) -> str:
    """The model that the figures are measured on."""
    return lab.model("smollm2").badge


@figure(whole, "spec.n_layer")
def layers_all(lab: Lab) -> int:
    """Layers of SmolLM2-135M."""
    return lab.model("smollm2").spec.n_layer


@figure(whole, "len(spec.heads())")
def heads_all(lab: Lab) -> int:
    """Heads of SmolLM2-135M, over all layers."""
    return len(lab.model("smollm2").spec.heads())


@figure(sizes, "circuits.head_weights(model, '13.8')['w_q'].shape")
def head_matrix(lab: Lab) -> list[int]:
    """The size of W_q of one head of SmolLM2-135M."""
    return list(lab.model("smollm2").weights.layer(HEAD.layer).w_q[HEAD.head].shape)


@figure(digits(3), TRACE + "residual.residual_path(trace, 4)['cosine'][13]")
def it_cosine(lab: Lab) -> float:
    """Cosine of the residual of " it" as it enters layer 13 with its embedding."""
    return float(residual_path(lab.trace(CAT), 4)["cosine"][HEAD.layer])


@figure(digits(0), TRACE + "np.linalg.norm(trace.x(13)[0])")
def first_length(lab: Lab) -> float:
    """Length of the first token's residual as it enters layer 13."""
    return float(np.linalg.norm(lab.trace(CAT).x(HEAD.layer)[0]))


@figure(digits(0), TRACE + "np.linalg.norm(trace.x(13)[1:], axis=1).max()")
def other_length(lab: Lab) -> float:
    """Length of the longest residual of the other tokens there."""
    return float(np.linalg.norm(lab.trace(CAT).x(HEAD.layer)[1:], axis=1).max())


@figure(digits(2), TRACE + "trace.weights('13.8')[4, 1]")
def it_cat(lab: Lab) -> float:
    """Weight from " it" to " cat" at head 13.8."""
    return pair(lab.trace(CAT), " it", " cat")


@figure(whole, TRACE + "[m.head for m in qkvlab.find(trace, ' it', ' cat')].index('13.8') + 1")
def it_cat_rank(lab: Lab) -> int:
    """Place of head 13.8 among all heads by the weight from " it" to " cat"."""
    return [match.head for match in find(lab.trace(CAT), " it", " cat")].index(str(HEAD)) + 1


@figure(whole, TRACE + "sum(m.weight > 0.25 for m in qkvlab.find(trace, ' it', ' cat'))")
def it_cat_heads(lab: Lab) -> int:
    """Heads in which " it" gives " cat" more than a quarter of its weight."""
    return sum(match.weight > 0.25 for match in find(lab.trace(CAT), " it", " cat"))


@figure(digits(2), TRACE + "trace.weights('13.8')[2, 1]")
def drank_cat(lab: Lab) -> float:
    """Weight from " drank" to " cat" at head 13.8."""
    return pair(lab.trace(CAT), " drank", " cat")


@figure(whole, TRACE + "(trace.weights('13.8')[2:].argmax(axis=1) == 1).sum()")
def cat_finders(lab: Lab) -> int:
    """Of the five words after " cat", how many look at it most at head 13.8."""
    return int((lab.trace(CAT).weights(HEAD)[2:].argmax(axis=1) == 1).sum())


@figure(digits(2), f"model.trace({TOLD!r}).weights('13.8')[6, 4]")
def control_boy(lab: Lab) -> float:
    """Weight from " she" to " boy" at head 13.8 in "The girl told the boy that she"."""
    return pair(lab.trace(TOLD), " she", " boy")


@figure(digits(2), f"model.trace({TOLD!r}).weights('13.8')[6, 1]")
def control_girl(lab: Lab) -> float:
    """Weight from " she" to " girl" at head 13.8 in the same sentence."""
    return pair(lab.trace(TOLD), " she", " girl")


@figure(digits(2), "model.trace('The cat drank the milk because it was cold').weights('13.8')")
def control_milk_cat(lab: Lab) -> float:
    """Weight from " it" to " cat" at head 13.8 in "The cat drank the milk because it was cold"."""
    return pair(lab.trace("The cat drank the milk because it was cold"), " it", " cat")


def control_sentences() -> list[tuple[str, str, str, str]]:
    """(sentence, pronoun, whom it means, the other): boy and girl in both orders, he and she, six verbs."""
    found = []
    for verb, (who, whom), pronoun in product(VERBS, (("boy", "girl"), ("girl", "boy")), ("he", "she")):
        meant, other = ("boy", "girl") if pronoun == "he" else ("girl", "boy")
        text = f"The {who} {verb} the {whom} because {pronoun} was tired"
        found.append((text, f" {pronoun}", f" {meant}", f" {other}"))
    return found


@figure(whole, "len(control_sentences())")
def control_all(lab: Lab) -> int:
    """Control sentences with a boy, a girl and one pronoun: six verbs, both orders, he and she."""
    return len(control_sentences())


@figure(whole, "head 13.8 in every sentence of control_sentences()")
def control_right(lab: Lab) -> int:
    """In how many of them the pronoun gives the one it means more weight than the other, at head 13.8."""
    return sum(
        pair(lab.trace(text), pronoun, meant) > pair(lab.trace(text), pronoun, other)
        for text, pronoun, meant, other in control_sentences()
    )


@figure(whole, TRACE + "sum(trace.weights(head)[4].argmax() == 0 for head in trace.spec.heads())")
def first_token_heads(lab: Lab) -> int:
    """Heads in which " it" looks at the first token most."""
    trace = lab.trace(CAT)
    return sum(int(trace.weights(head)[4].argmax()) == 0 for head in trace.spec.heads())


def ahead(trace: Trace, head: Head) -> float:
    """The weight of "it" on the words after it; [SEP] is none."""
    it = token_index(trace.tokens, "it")
    later = [at for at in range(it + 1, len(trace)) if not trace.special[at]]
    return float(trace.weights(head)[it, later].sum())


@figure(digits(2), f"qkvlab.open_model('minilm').trace({CAT!r}).weights('2.8')[5, 6:8].sum()")
def later_at_head(lab: Lab) -> float:
    """Weight that "it" gives to the words after it at head 2.8 of all-MiniLM-L6-v2."""
    return ahead(lab.trace(CAT, model="minilm"), Head(2, 8))


@figure(percent(), f"qkvlab.open_model('minilm').trace({CAT!r})")
def later_in_minilm(lab: Lab) -> float:
    """Weight that "it" gives to the words after it in all-MiniLM-L6-v2, the mean over its heads."""
    trace = lab.trace(CAT, model="minilm")
    return float(np.mean([ahead(trace, head) for head in trace.spec.heads()]))


@figure(percent(), TRACE + "max(trace.weights(head)[4, 5:].sum() for head in trace.spec.heads())")
def later_in_smollm2(lab: Lab) -> float:
    """Weight that " it" gives to the words after it in SmolLM2, the largest of all heads."""
    trace = lab.trace(CAT)
    return float(max(trace.weights(head)[4, 5:].sum() for head in trace.spec.heads()))
