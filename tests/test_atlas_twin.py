"""The twin: every matrix the same numbers in another order, drawn from the seed; the original as it was."""

from typing import Any

import numpy as np
import pytest

from planted import WordTokenizer
from qkvlab.atlas.count import count_document
from qkvlab.atlas.counts import Options
from qkvlab.atlas.treebank import Document
from qkvlab.atlas.twin import shuffled, twin
from qkvlab.live import open_live
from qkvlab.model import open_model
from zoo import zoo_model

IDS = [5, 3, 17, 2, 29, 11, 7]


def test_shuffled_is_a_permutation_of_the_seed_and_the_name() -> None:
    matrix = np.arange(35.0).reshape(5, 7)[:, ::-1]
    found = shuffled(matrix, 3, "a")
    assert sorted(found.reshape(-1)) == sorted(matrix.reshape(-1)) and (found != matrix).mean() > 0.8
    np.testing.assert_array_equal(found, shuffled(matrix, 3, "a"))
    assert (found != shuffled(matrix, 4, "a")).any() and (found != shuffled(matrix, 3, "b")).any()


@pytest.mark.parametrize("kind", ["llama", "llama-biases", "gpt2", "bert", "qwen3"])
def test_a_native_twin(kind: str, tiny: Any) -> None:
    model = open_model(tiny(kind)[1])
    before = model.trace(ids=IDS).run().final.copy()
    made, again, other = twin(model, 3), twin(model, 3), twin(model, 4)
    ours, theirs = model.weights.layer(1), made.weights.layer(1)
    for field, value in vars(ours).items():
        of_twin = getattr(theirs, field)
        if value is None or not field.startswith("w_"):
            np.testing.assert_array_equal(value, of_twin)  # norms and biases stay
        else:
            np.testing.assert_array_equal(np.sort(value, axis=None), np.sort(of_twin, axis=None))
            assert (value != of_twin).any() and (of_twin != getattr(made.weights.layer(0), field)).any()
    np.testing.assert_array_equal(
        np.sort(made.weights.embedding, axis=None), np.sort(model.weights.embedding, axis=None)
    )
    np.testing.assert_array_equal(made.trace(ids=IDS).final, again.trace(ids=IDS).final)
    assert (made.trace(ids=IDS).final != other.trace(ids=IDS).final).any()
    np.testing.assert_array_equal(model.trace(ids=IDS).final, before)
    assert (made.trace(ids=IDS).final != before).any() and "weights shuffled (seed 3)" in made.badge
    if made.spec.has_output:
        assert made.trace(ids=IDS).logits.shape == (1, made.spec.n_vocab)
        tied = made.weights.unembedding is made.weights.embedding
        assert tied == (not model.spec.untied)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral", "bert"])
def test_a_live_twin(kind: str) -> None:
    hf = zoo_model(kind)
    model = open_live(hf)
    before = {name: parameter.detach().clone() for name, parameter in hf.named_parameters()}
    made: Any = twin(model, 3)
    shuffled_ones = 0
    for name, parameter in made.hf.named_parameters():
        own = before[name]
        assert (hf.get_parameter(name) == own).all(), "the original is as it was"
        assert (parameter.sort().values.flatten().sort().values == own.flatten().sort().values).all()
        moved = bool((parameter != own).any())
        assert moved == (own.ndim > 1 and bool((own != own.flatten()[0]).any())), name
        shuffled_ones += moved
    assert shuffled_ones > 5
    again = twin(model, 3)
    np.testing.assert_array_equal(made.trace(ids=IDS).final, again.trace(ids=IDS).final)


def test_a_twin_is_counted_like_any_model(tiny_model: Any) -> None:
    model = tiny_model("llama")
    model.__dict__["tokenizer"] = WordTokenizer(53)
    document = Document("a", "one two three one two three one two")
    own, other = (count_document(each, document, Options(31)) for each in (model, twin(model, 1)))
    assert own.tallies.keys() == other.tallies.keys() and own.n_token == other.n_token
    assert any((own.tallies[name].mass != other.tallies[name].mass).any() for name in own.tallies)
    assert twin(model, 1).mean_z  # of its own, never from the cache of the original
