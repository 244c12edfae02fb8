"""Clark et al.'s protocol: planted heads by hand, and a slow second implementation over a model's own attentions."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planted import PlantedModel, WordTokenizer, noise, uniform, wired
from qkvlab.atlas.clark import OFFSETS
from qkvlab.atlas.count import count_document
from qkvlab.atlas.counts import Options
from qkvlab.atlas.treebank import Document, read_treebank
from qkvlab.live import open_live
from test_atlas_count import slow_words
from zoo import zoo_model

DOCUMENTS = list(read_treebank(Path(__file__).parent / "hand_made.conllu"))
OPTIONS = Options(measures=("clark",))


def alone(document: Document, number: int) -> Document:
    """One sentence as a document."""
    sentence = document.sentences[number]
    words = document.words[sentence.start : sentence.stop]
    start = words[0].start
    moved = [
        type(word)(
            word.form, word.start - start, word.end - start,
            None if word.head is None else word.head - sentence.start, word.relation, word.upos, word.features,
        )
        for word in words
    ]  # fmt: skip
    return Document("alone", document.text[start : words[-1].end], moved, [range(len(words))])


def test_heads_wired_both_ways_are_the_only_ones() -> None:
    document = alone(DOCUMENTS[1], 0)  # The keeper of the lights always counted them twice.
    to_head = {at: word.head for at, word in enumerate(document.words) if word.head is not None}
    to_dependent = {head: at for at, head in to_head.items()}
    model: Any = PlantedModel([[wired(to_head), wired(to_dependent), uniform]], causal=False)
    counts = count_document(model, document, OPTIONS)
    assert {name.split(":")[0] for name in counts.tallies} == {"clark"} and counts.n_window == 0
    n_word = len(document.words)
    for name, tally in counts.tallies.items():
        relation, direction = name.removeprefix("clark:").rsplit(":", 1)
        pairs = [(at, word.head) for at, word in enumerate(document.words) if word.relation == relation and word.head]
        assert tally.n == len(pairs)
        if direction == "normal":
            assert tally.hits[0, 0] == len(pairs) and tally.mass[0, 0] > 0.99 * len(pairs)
        else:
            told = sum(to_dependent[head] == at for at, head in pairs)
            assert tally.hits[0, 1] == pytest.approx(told + sum(
                1 / (n_word - 1) for at, head in pairs if to_dependent[head] != at and at not in to_dependent.values()
            ), abs=0.5)  # fmt: skip
        assert tally.hits[0, 2] == pytest.approx(len(pairs) / (n_word - 1)), "uniform: one of the other words"
        offsets = {f"offset {offset}": sum(head - at == offset for at, head in pairs) for offset in OFFSETS}
        assert tally.baselines == offsets


def slow_clark(model: Any, weights: Any, document: Document) -> dict[str, tuple[int, np.ndarray]]:
    """Measure → items and hits [layer, head], by loops over every sentence, dependency, layer and head."""
    found: dict[str, list[Any]] = {}
    for number in range(len(document.sentences)):
        own = alone(document, number)
        encoded = model.tokenizer.encode(own.text)
        words = slow_words(own, [o if not s else (0, 0) for o, s in zip(encoded.offsets, encoded.special, strict=True)])
        every = weights(list(encoded.ids))
        for at, word in enumerate(own.words):
            if word.head is None or at not in words or word.head not in words:
                continue
            for direction in ("normal", "transposed"):
                row = found.setdefault(f"clark:{word.relation}:{direction}", [0, np.zeros(every.shape[:2])])
                row[0] += 1
                for layer, heads in enumerate(every):
                    for head, square in enumerate(heads):
                        given = {}
                        for other in words:
                            if other == at:
                                continue
                            source, target = (at, other) if direction == "normal" else (other, at)
                            cells = [[square[q][k] for k in words[target]] for q in words[source]]
                            given[other] = sum(map(sum, cells)) / len(words[source])
                        top = [other for other, weight in given.items() if weight >= max(given.values()) * (1 - 1e-6)]
                        row[1][layer, head] += (word.head in top) / len(top)
    return {name: (n, hits) for name, (n, hits) in found.items()}


@pytest.mark.parametrize("pieces", [2, 3, 99])
def test_a_slow_second_implementation_agrees(pieces: int) -> None:
    model: Any = PlantedModel([[noise(1), noise(2)], [noise(3), uniform]], causal=False, pieces=pieces)

    def weights(ids: list[int]) -> np.ndarray:
        e = np.exp(np.stack([model.trace(ids=ids).q(layer) for layer in range(2)]))
        return e / e.sum(axis=-1, keepdims=True)

    for document in DOCUMENTS:
        compare(model, weights, document)


def test_transformers_own_weights_counted_slowly_agree() -> None:
    import torch

    hf = deepcopy(zoo_model("bert"))  # other tests share it
    hf.set_attn_implementation("eager")
    model = open_live(hf)
    model.given_tokenizer = tokenizer = WordTokenizer(model.spec.n_vocab, framed=True, pieces=3)
    model.__dict__["tokenizer"] = tokenizer

    def weights(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            held = hf.base_model(torch.tensor([ids]), output_attentions=True).attentions
        return torch.stack(held)[:, 0].numpy()

    compare(model, weights, DOCUMENTS[2])


def compare(model: Any, weights: Any, document: Document) -> None:
    counts, slow = count_document(model, document, OPTIONS), slow_clark(model, weights, document)
    assert {name: tally.n for name, tally in counts.tallies.items()} == {name: n for name, (n, _) in slow.items()}
    for name, (_, hits) in slow.items():
        np.testing.assert_allclose(counts.tallies[name].hits, hits, err_msg=name)


def test_a_causal_model_has_no_such_measure_and_a_long_sentence_is_skipped() -> None:
    causal: Any = PlantedModel([[uniform]])
    assert not count_document(causal, DOCUMENTS[0], OPTIONS).tallies
    model: Any = PlantedModel([[uniform]], causal=False)
    from dataclasses import replace

    model.spec = replace(model.spec, n_context=9)
    counts = count_document(model, DOCUMENTS[0], OPTIONS)
    assert counts.skipped == {"sentences longer than the model's text": 0} or counts.skipped == {}
    model.spec = replace(model.spec, n_context=7)
    counts = count_document(model, DOCUMENTS[0], OPTIONS)
    assert counts.skipped == {"sentences longer than the model's text": 2} and not counts.tallies
