"""ARCHITECTURE.md, "Facts measured here": what the default model does, to the digits written there."""

import numpy as np

from qkvlab.edits import Ablate, Edit, Mute, Tie
from qkvlab.model import Model
from qkvlab.questions import ask, landings, predict
from qkvlab.words import STANDS_OUT

CAT = "The cat drank because it was thirsty"
ITALY = "In France they speak French. In Italy they speak"


def test_it_looks_at_the_cat(smollm2: Model) -> None:
    answer = ask(smollm2.trace(CAT), " it", "13.8")
    assert answer.looking_for[0].text == " cat" and answer.kv_head == 2
    np.testing.assert_allclose(answer.looking_for[0].weight, 0.9037, atol=5e-5)
    np.testing.assert_allclose(answer.looking_for[0].score, 6.613, atol=5e-4)


def test_cat_hands_over_nothing_that_stands_out(smollm2: Model) -> None:
    said = ask(smollm2.trace(CAT), " cat", "13.8").hands_over
    assert said is not None and not said.stands_out
    np.testing.assert_allclose(max(word.sigma for word in said.promotes), 4.3, atol=0.06)


def test_dogs_hand_over_the_plural(smollm2: Model) -> None:
    trace = smollm2.trace("The dogs slept because they were tired")
    looking = ask(trace, " they", "13.8")
    assert looking.looking_for[0].text == " dogs"
    np.testing.assert_allclose(looking.looking_for[0].weight, 0.825, atol=1e-3)
    said = ask(trace, " dogs", "13.8")
    assert said.hands_over is not None and said.hands_over.stands_out
    strong = {word.text: word for word in said.hands_over.promotes if word.sigma > STANDS_OUT and not word.always}
    assert {" were", " themselves", " their"} <= strong.keys()
    np.testing.assert_allclose(max(word.sigma for word in strong.values()), 5.8, atol=0.05)
    assert '" were"' in said.sentence


def test_italy_hands_over_italian(smollm2: Model) -> None:
    trace = smollm2.trace(ITALY)
    answer = ask(trace, len(trace) - 1, "23.4")
    assert answer.looking_for[0].text == " Italy"
    np.testing.assert_allclose(answer.looking_for[0].weight, 0.948, atol=1e-3)
    promoted = {
        country: {word.text.strip() for word in said.promotes}
        for country in (" Italy", " France")
        if (said := ask(trace, country, "23.4").hands_over) is not None
    }
    assert {"Italians", "Italian", "Italy"} <= promoted[" Italy"]
    assert {"France", "Breton", "Jacques", "French"} <= promoted[" France"]
    word, share, _ = predict(trace)[0]
    assert word == " Italian"
    np.testing.assert_allclose(share, 0.930, atol=1e-3)


def test_one_muted_key_turns_italian_to_french(smollm2: Model) -> None:
    def shares(edit: Edit) -> dict[str, float]:
        return {word: share for word, share, _ in predict(smollm2.trace(ITALY, edits=[edit]))}

    tokens = smollm2.encode(ITALY).texts
    muted = shares(Mute(where="23.4", key=tokens.index(" Italy"), query=len(tokens) - 1))
    np.testing.assert_allclose([muted[" French"], muted[" Italian"]], [0.632, 0.103], atol=1e-3)
    np.testing.assert_allclose(shares(Ablate(where="23.4"))[" Italian"], 0.548, atol=1e-3)


def test_the_first_token_gathers_the_looks(smollm2: Model) -> None:
    trace = smollm2.trace(CAT)
    firsts = [int(trace.weights(head)[4].argmax()) == 0 for head in trace.spec.heads()]
    assert sum(firsts) == 196
    norms = np.linalg.norm(trace.x(13).astype(np.float64), axis=1).round()
    assert norms[0] == 22_704 and 121 <= norms[1:].min() and norms[1:].max() <= 160
    assert all(row.key.index != 0 for row in landings(trace, " it"))


def test_looking_there_and_back(smollm2: Model) -> None:
    scores = smollm2.trace(CAT).scores("13.8", masked=False)
    np.testing.assert_allclose([scores[4, 1], scores[1, 4]], [6.613, -0.264], atol=5e-4)


def test_tied_a_query_finds_itself(smollm2: Model) -> None:
    tied = smollm2.trace(CAT, edits=[Tie(where="13.8")])
    answer = ask(tied, " it", "13.8")
    assert answer.looking_for[0].text == " it" and answer.edited
    np.testing.assert_allclose(answer.looking_for[0].weight, 0.94, atol=5e-3)
    unmasked = tied.scores("13.8", masked=False)
    np.testing.assert_allclose(unmasked, unmasked.T, atol=1e-4)
