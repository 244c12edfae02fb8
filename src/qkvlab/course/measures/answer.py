""" "In France they speak French. In Italy they speak": the value that flows, and what turns the answer."""

import numpy as np

from ..._shapes import Array, Float
from ...edits import Ablate, AimQuery, Edit, Mute, SwapValue
from ...effects import ablated, direct_effects, tracked_ids
from ...mechanism import softmax
from ...questions import ask, token_index
from ...spec import Head
from ...trace import Trace
from ..figures import Lab, digits, figure, percent, whole, words

ITALY = "In France they speak French. In Italy they speak"
HEAD, HIGH = Head(23, 4), Head(16, 2)
LAST = 9
ANSWERS = (" Italian", " French")
MUTE = "Mute(where='23.4', key=7, query=9)"
SWAP = "SwapValue(kv_head='23.1', token=7, source=1)"
AIM = "AimQuery(head='23.4', query=9, key=1)"


def share(trace: Trace, word: str) -> float:
    """How probable is this word after the last token?"""
    (token,) = tracked_ids(trace.model, [word])
    return float(softmax(trace.logits[0].astype(np.float64))[token])


def run(edit: str, word: str) -> str:
    return f"model.trace({ITALY!r}, edits=[{edit}]): {word.strip()}"


def mute(lab: Lab) -> Trace:
    return lab.trace(ITALY, Mute(where=str(HEAD), key=_at(lab, " Italy"), query=LAST))


def swap(lab: Lab) -> Trace:
    kv_head = f"{HEAD.layer}.{lab.model('smollm2').spec.kv_head(HEAD)}"
    return lab.trace(ITALY, SwapValue(kv_head=kv_head, token=_at(lab, " Italy"), source=_at(lab, " France")))


def aim(lab: Lab) -> Trace:
    return lab.trace(ITALY, AimQuery(head=str(HEAD), query=LAST, key=_at(lab, " France")))


def without(lab: Lab, head: Head) -> Trace:
    edit: Edit = Ablate(where=str(head))
    return lab.trace(ITALY, edit)


def _at(lab: Lab, word: str) -> int:
    return token_index(lab.trace(ITALY).tokens, word)


@figure(digits(2), f"model.trace({ITALY!r}).weights('23.4')[9, 7]")
def italy_weight(lab: Lab) -> float:
    """Weight from the last " speak" to " Italy" at head 23.4."""
    return float(lab.trace(ITALY).weights(HEAD)[LAST, _at(lab, " Italy")])


@figure(percent(), f"the part of z along z that w·v of ' Italy' makes, in model.trace({ITALY!r}) at 23.4")
def italy_share(lab: Lab) -> float:
    """Share of what head 23.4 writes there that comes from the value of " Italy", measured along the write itself."""
    trace, key = lab.trace(ITALY), _at(lab, " Italy")
    w_o = trace.model.w_o(HEAD)
    whole_write = trace.write(HEAD)[LAST].astype(np.float64)
    part = trace.weights(HEAD)[LAST, key] * (trace.values(HEAD)[key] @ w_o)
    return float(part @ whole_write / (whole_write @ whole_write))


@figure(words, f"qkvlab.ask(model.trace({ITALY!r}), ' Italy', '23.4').hands_over")
def italy_words(lab: Lab) -> list[str]:
    """What the value of " Italy" promotes most at head 23.4, in words."""
    return _promoted(lab, " Italy")


@figure(words, f"qkvlab.ask(model.trace({ITALY!r}), ' France', '23.4').hands_over")
def france_words(lab: Lab) -> list[str]:
    """What the value of " France" promotes most there."""
    return _promoted(lab, " France")


def _promoted(lab: Lab, token: str) -> list[str]:
    said = ask(lab.trace(ITALY), token, HEAD).hands_over
    assert said is not None
    return [word.text for word in said.promotes]


@figure(percent(), f"qkvlab.predict(model.trace({ITALY!r}))")
def italian(lab: Lab) -> float:
    """Probability of " Italian" as the next word."""
    return share(lab.trace(ITALY), " Italian")


@figure(percent(2), f"qkvlab.predict(model.trace({ITALY!r}))")
def french(lab: Lab) -> float:
    """Probability of " French" there."""
    return share(lab.trace(ITALY), " French")


@figure(percent(), run(MUTE, " French"))
def muted_french(lab: Lab) -> float:
    """Probability of " French" when that one key is muted for that one query in that one head."""
    return share(mute(lab), " French")


@figure(percent(), run(MUTE, " Italian"))
def muted_italian(lab: Lab) -> float:
    """Probability of " Italian" then."""
    return share(mute(lab), " Italian")


@figure(percent(), run(SWAP, " French"))
def swapped_french(lab: Lab) -> float:
    """Probability of " French" when " Italy" hands over the value of " France" at K/V head 23.1."""
    return share(swap(lab), " French")


@figure(percent(), run(SWAP, " Italian"))
def swapped_italian(lab: Lab) -> float:
    """Probability of " Italian" then."""
    return share(swap(lab), " Italian")


@figure(percent(), run(AIM, " French"))
def aimed_french(lab: Lab) -> float:
    """Probability of " French" when the query is turned, as little as will do, so that " France" wins."""
    return share(aim(lab), " French")


@figure(percent(), run(AIM, " Italian"))
def aimed_italian(lab: Lab) -> float:
    """Probability of " Italian" then."""
    return share(aim(lab), " Italian")


@figure(percent(), run("Ablate(where='23.4')", " Italian"))
def ablated_italian(lab: Lab) -> float:
    """Probability of " Italian" when head 23.4 is switched off."""
    return share(without(lab, HEAD), " Italian")


@figure(digits(2), f"model.trace({ITALY!r}).weights('16.2')[9, 7]")
def high_weight(lab: Lab) -> float:
    """Weight from the last " speak" to " Italy" at head 16.2."""
    return float(lab.trace(ITALY).weights(HIGH)[LAST, _at(lab, " Italy")])


@figure(percent(), run("Ablate(where='16.2')", " Italian"))
def high_ablated_italian(lab: Lab) -> float:
    """Probability of " Italian" when head 16.2 is switched off."""
    return share(without(lab, HIGH), " Italian")


@figure(digits(2), "effects.ablated(trace, '16.2', 9, ids of ' Italian' and ' French')[0]")
def high_effect(lab: Lab) -> float:
    """What head 16.2 adds to the lead of " Italian" over " French", in logits, by switching it off."""
    return _effect(lab, HIGH)


@figure(digits(2), "effects.ablated(trace, '23.4', 9, ids of ' Italian' and ' French')[0]")
def answer_effect(lab: Lab) -> float:
    """What head 23.4 adds to it."""
    return _effect(lab, HEAD)


def _effect(lab: Lab, head: Head) -> float:
    trace = lab.trace(ITALY)
    return ablated(trace, head, LAST, tracked_ids(trace.model, ANSWERS))[0]


@figure(whole, "the place of 23.4 in effects.direct_effects(trace, 9, ids of ' Italian' and ' French'), largest first")
def answer_rank(lab: Lab) -> int:
    """Place of head 23.4 among all heads by its direct effect on the lead of " Italian" over " French"."""
    direct = _direct(lab)
    return int((direct > direct[HEAD]).sum()) + 1


@figure(whole, "the place of 16.2 in the same list")
def high_rank(lab: Lab) -> int:
    """Place of head 16.2 in it."""
    direct = _direct(lab)
    return int((direct > direct[HIGH]).sum()) + 1


def _direct(lab: Lab) -> Float[Array, "layer head"]:
    trace = lab.trace(ITALY)
    return direct_effects(trace, LAST, tracked_ids(trace.model, ANSWERS))
