"""What is counted of each head: planted heads score 1 and are the only ones, a uniform head scores chance, a slow
second implementation agrees, and no way of splitting a corpus changes a count."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planted import PlantedModel, noise, previous, uniform, wired
from qkvlab.atlas.metrics import Counts, count_document, shares_of_hits
from qkvlab.atlas.report import best_head, best_offset, halves, interval, measures
from qkvlab.atlas.treebank import Document, read_treebank
from qkvlab.atlas.windows import windows
from qkvlab.errors import TextError

DOCUMENTS = list(read_treebank(Path(__file__).parent / "hand_made.conllu"))
WHOLE = [document for document in DOCUMENTS if document.name != "map"]
"""Those in which every word can be a token of its own."""


def partners(document: Document) -> dict[int, int]:
    """For each word that is the later one of exactly one dependency, the earlier one."""
    pairs = [sorted((at, word.head)) for at, word in enumerate(document.words) if word.head is not None]
    later = [pair[1] for pair in pairs]
    return {b: a for a, b in pairs if later.count(b) == 1}


def antecedents(document: Document) -> dict[int, int]:
    """For each pronoun a word of its group before it."""
    first = {mention.group: mention.head for mention in reversed(document.mentions)}
    return {m.head: first[m.group] for m in document.mentions if document.words[m.head].upos == "PRON"}


def scan(document: Document, **how: Any) -> Counts:
    """Layer 0: uniform, previous; layer 1: wired to the partner, wired to the antecedent."""
    heads = [[uniform, previous], [wired(partners(document)), wired(antecedents(document))]]
    model: Any = PlantedModel(heads, **how)
    assert len(model.encode(document.text).ids) == len(document.words) + (0 if model.spec.causal else 2)
    return count_document(model, document)


def test_hits_by_hand() -> None:
    weights = np.array([[[0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]]])
    candidates = np.array([[True, True, True], [True, True, False], [True, True, False]])
    right = np.array([[True, False, False], [False, True, False], [True, True, False]])
    np.testing.assert_array_equal(shares_of_hits(weights, candidates, right), [[1, 0.5, 1]])
    np.testing.assert_array_equal(shares_of_hits(weights, candidates, ~right & candidates), [[0, 0.5, 0]])


@pytest.mark.parametrize("document", WHOLE, ids=lambda document: document.name)
def test_the_previous_token_head_is_the_only_one(document: Document) -> None:
    tally = scan(document).tallies["position:previous"]
    assert tally.n == len(document.words) - 1
    shares = tally.hits / tally.n
    assert shares[0, 1] == 1 and shares[0, 0] < 0.5
    assert shares[0, 0] == pytest.approx(tally.baselines["chance"] / tally.n), "evenly spread weights are chance"


@pytest.mark.parametrize("document", WHOLE, ids=lambda document: document.name)
def test_a_head_wired_to_the_partner_hits_where_it_is_wired(document: Document) -> None:
    counts = scan(document)
    wires = partners(document)
    for name, tally in counts.tallies.items():
        if not name.startswith("syntax:"):
            continue
        relation, side = name.split(":", 1)[1].rsplit(":", 1)
        pairs = [
            (max(at, word.head), min(at, word.head), document.sentences)
            for at, word in enumerate(document.words)
            if word.head is not None and word.relation == relation and (word.head > at) == (side == "head")
        ]
        assert tally.n == len(pairs)
        starts = [next(s.start for s in sentences if later in s) for later, _, sentences in pairs]
        assert tally.hits[0, 0] == pytest.approx(
            sum(1 / (later - s) for (later, *_), s in zip(pairs, starts, strict=True))
        )
        if all(later in wires for later, *_ in pairs):
            assert tally.hits[1, 0] == tally.n
        assert tally.hits[0, 1] == tally.baselines.get("offset 1", 0), "the word before is the fixed offset 1"


@pytest.mark.parametrize(("name", "n"), [("boat", 2), ("keeper", 2), ("bell", 2)])
def test_a_head_wired_to_the_antecedent(name: str, n: int) -> None:
    """The window's first word (Maria) is no candidate, so " She" has none; its pronoun is left out."""
    document = next(document for document in DOCUMENTS if document.name == name)
    tally = scan(document).tallies.get("coreference")
    if name == "boat":  # " it" alone: two candidates, boat and She
        assert tally is not None and tally.n == 1
    elif name == "keeper":  # " them": keeper and lights; " he": keeper, lights, them
        assert tally is not None and tally.n == n
        assert tally.baselines == {"nearest": 1, "chance": 0.5 + 1 / 3, "nearest agreeing": 2}
    else:
        assert tally is not None and tally.n == n
    assert tally.hits[1, 1] == tally.n and tally.hits[0, 0] == pytest.approx(tally.baselines["chance"])


def test_words_that_share_a_token_are_counted_and_left_out() -> None:
    document = next(document for document in DOCUMENTS if document.name == "map")
    model: Any = PlantedModel([[uniform]])
    counts = count_document(model, document)
    # Give and me stand on one token; so every dependency with one of them is left out
    with_them = [at for at, word in enumerate(document.words) if word.head is not None and {at, word.head} & {0, 1}]
    assert counts.skipped == {"words that share a token": len(with_them), "problems of the treebank": 2}
    asked = sum(tally.n for name, tally in counts.tallies.items() if name.startswith("syntax:"))
    assert asked == sum(word.head is not None for word in document.words) - len(with_them)


def test_a_bidirectional_model_is_asked_both_ways() -> None:
    document = WHOLE[0]
    forwards = {earlier: later for later, earlier in partners(document).items()}
    model: Any = PlantedModel([[wired(forwards), uniform]], causal=False)
    counts = count_document(model, document)
    tally = counts.tallies["syntax:nsubj:head:forward"]
    assert tally.n == 2 and tally.hits[0, 0] == 2
    assert counts.tallies["position:next"].baselines["chance"] == pytest.approx(len(document.words) / 14)
    assert counts.tallies["position:self"].n == len(document.words), "special tokens are no queries"


# ---- a second, slow way


def slow_items(document: Document, window: Any) -> Iterator[tuple[str, int, list[int], set[int]]]:
    """(name, query, candidates, right), in words of the document, straight from the definitions."""
    for sentence in window.sentences:
        for at in sentence:
            head = document.words[at].head
            if head is None or not {at, head} <= set(window.words):
                continue
            side = "head" if head > at else "dependent"
            candidates = [word for word in range(sentence.start, max(at, head)) if word in window.words]
            yield f"syntax:{document.words[at].relation}:{side}", max(at, head), candidates, {min(at, head)}
    for mention in document.mentions:
        word = document.words[mention.head]
        if word.upos != "PRON" or word.features.get("Person") != "3" or mention.head not in window.words:
            continue
        heads = [m for m in document.mentions if m.head < mention.head and m.head in window.words]
        heads = [m for m in heads if not window.member[0, window.words.index(m.head)]]
        right = {m.head for m in heads if m.group == mention.group}
        if right and len({m.head for m in heads}) > 1:
            yield "coreference", mention.head, sorted({m.head for m in heads}), right


@pytest.mark.parametrize("size", [7, 13, 99])
@pytest.mark.parametrize("pieces", [2, 3, 99])
def test_a_slow_second_implementation_agrees(size: int, pieces: int) -> None:
    model: Any = PlantedModel([[noise(1), noise(2)], [uniform, previous]], pieces=pieces)
    for document in DOCUMENTS:
        counts, expected, n = count_document(model, document, size), dict[str, np.ndarray](), dict[str, int]()
        for window in windows(model, document, size):
            for layer in range(2):
                scores = model.trace(ids=window.ids).layer_scores(layer, range(len(window.ids)))
                weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
                for name, query, candidates, right in slow_items(document, window):
                    n[name] = n.get(name, 0) + (layer == 0)
                    for head in range(2):
                        row = weights[head, window.last_token[window.words.index(query)]]
                        heavy = [
                            sum(row[t] for t in np.flatnonzero(window.member[:, window.words.index(word)]))
                            for word in candidates
                        ]
                        top = [w for w, h in zip(candidates, heavy, strict=True) if h >= max(heavy) * (1 - 1e-6)]
                        table = expected.setdefault(name, np.zeros((2, 2)))
                        table[layer, head] += len(right & set(top)) / len(top)
        counted = {name: tally for name, tally in counts.tallies.items() if not name.startswith("position:")}
        assert {name: tally.n for name, tally in counted.items()} == n
        for name, tally in counted.items():
            np.testing.assert_allclose(tally.hits, expected[name], err_msg=name)


def test_sums_over_queries_by_hand() -> None:
    document = WHOLE[0]
    counts = scan(document)
    n = len(document.words)
    entropies = [np.log(query + 1) for query in range(1, n)]
    assert counts.sums["entropy"][0, 0] == pytest.approx(sum(entropies))
    assert counts.sums["distance"][0, 0] == pytest.approx(sum(query / 2 for query in range(1, n)))
    assert counts.sums["mass:first"][0, 0] == pytest.approx(sum(1 / (query + 1) for query in range(1, n)))
    assert counts.sums["mass:self"][0, 0] == pytest.approx(counts.sums["mass:previous"][0, 0])
    assert counts.sums["mass:next"][0, 0] == 0 and counts.sums["mass:previous"][0, 1] > 0.99 * (n - 1)


# ---- many documents


SCANNED = [scan(document) for document in WHOLE]


@given(st.permutations(range(3)))
def test_no_order_and_no_split_changes_anything(order: list[int]) -> None:
    again = [scan(WHOLE[at]) for at in order]
    assert [counts.document for counts in halves(again)[0]] == [counts.document for counts in halves(SCANNED)[0]]
    assert measures(again) == measures(SCANNED)
    for measure in ("position:previous", "syntax:punct:dependent", "coreference"):
        assert best_head(again, measure) == best_head(SCANNED, measure)


def test_the_best_heads_are_the_planted_ones() -> None:
    found = best_head(SCANNED, "position:previous")
    assert found.head == (0, 1) and found.found.value == found.selection == found.whole == 1
    assert (found.found.low, found.found.high) == (1, 1) and list(found.baselines) == ["chance"]
    found = best_head(SCANNED, "coreference")
    assert found.head == (1, 1) and found.whole == 1
    assert set(found.baselines) == {"nearest", "chance", "nearest agreeing"} and not found.stands_out, "too few items"
    with pytest.raises(TextError, match="nothing to measure syntax:nummod:head"):
        best_head(SCANNED, "syntax:nummod:head")


def test_head_and_offset_are_chosen_on_one_half_and_measured_on_the_other() -> None:
    def document(name: str, hits: list[float], offsets: dict[str, float]) -> Counts:
        counts = Counts(name)
        tally = counts.tally("m")
        tally.n, tally.hits, tally.baselines = 40, np.array([hits]), offsets
        return counts

    names = [counts.document for half in halves([Counts(name) for name in "abcd"]) for counts in half]
    hits = [[30.0, 10.0], [30.0, 10.0], [0.0, 40.0], [0.0, 40.0]]
    offsets = [{"offset 1": 9.0, "offset 2": 8.0}] * 2 + [{"offset 1": 1.0, "offset 2": 33.0}] * 2
    made = [document(*row) for row in zip(names, hits, offsets, strict=True)]
    found = best_head(made, "m")
    assert found.head == (0, 0) and found.selection == 0.75 and found.found.value == 0 and found.whole == 0.375
    assert best_offset(made[:2], "m") == 1 and found.baselines["offset"].value == 1 / 40 and found.n == 80
    gain = found.gains["offset"]
    assert (gain.value, gain.low, gain.high) == (-1 / 40,) * 3
    assert found.offset == 1 and found.lead == (30 - 9) / 40


def test_intervals() -> None:
    certain = interval(np.array([3.0]), np.array([4.0]))
    assert (certain.value, certain.low, certain.high) == (0.75, 0.75, 0.75)
    spread = interval(np.array([0.0, 10.0]), np.array([10.0, 10.0]))
    assert (spread.value, spread.low, spread.high) == (0.5, 0, 1)
    random = np.random.default_rng(3)
    many = interval(random.binomial(50, 0.3, 40).astype(float), np.full(40, 50.0))
    deviation = np.sqrt(0.3 * 0.7 / 2000)
    assert many.high - many.low == pytest.approx(2 * 1.96 * deviation, rel=0.35) and many.low < 0.3 < many.high
