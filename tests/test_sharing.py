"""What sharing K/V heads costs: steps of a tiny model against naive runs, and points of the shipped answer."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab import sharing
from qkvlab.edits import ShareKV
from qkvlab.errors import UnsupportedError
from qkvlab.model import Model
from qkvlab.reference import checksum
from qkvlab.sharing import bytes_per_token, mean_loss, measure, share_layers, sharing_steps, sharing_text

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31]
LONG = [(7 * i * i + 3 * i) % 53 for i in range(101)]
PARTS = ["order", "loss", "bytes_per_token", "measured_on"]
Open = Callable[[str], Model]


class Ids:
    """A tokenizer that knows one text."""

    def encode(self, text: str) -> Any:
        assert text == sharing_text()
        return type("Tokens", (), {"ids": tuple(LONG)})


@pytest.fixture
def readable(tiny_model: Open) -> Open:
    """Kind → a tiny model with a tokenizer."""

    def get(kind: str) -> Model:
        model = tiny_model(kind)
        model.__dict__["tokenizer"] = Ids()
        return model

    return get


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path))
    return tmp_path / "sharing"


def naive_loss(model: Model, ids: list[int], edits: list[ShareKV]) -> float:
    logits = model.trace(ids=ids, edits=edits, positions="all").logits.astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return float(np.mean([-np.log(shares[at, ids[at + 1]]) for at in range(len(ids) - 1)]))


def test_layers_as_runs() -> None:
    assert share_layers([]) == []
    assert share_layers([4]) == [ShareKV(first_layer=4, last_layer=4)]
    runs = [(1, 3), (5, 5), (7, 8)]
    assert share_layers([8, 2, 5, 1, 3, 7]) == [ShareKV(first_layer=a, last_layer=b) for a, b in runs]
    assert share_layers(range(30)) == [ShareKV(first_layer=0, last_layer=29)]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("ids", [IDS, LONG[:64]], ids=len)
def test_the_loss(kind: str, ids: list[int], tiny_model: Open) -> None:
    model = tiny_model(kind)
    np.testing.assert_allclose(mean_loss(model.trace(ids=ids)), naive_loss(model, ids, []), rtol=1e-5)


def test_more_positions_than_logits_are_taken_at_once(tiny_model: Open) -> None:
    assert len(LONG) > sharing.ROWS
    model = tiny_model("llama")
    np.testing.assert_allclose(mean_loss(model.trace(ids=LONG)), naive_loss(model, LONG, []), rtol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "qwen3", "gpt2"])
def test_the_steps_against_naive_runs(kind: str, readable: Open) -> None:
    model = readable(kind)
    *steps, answer = measure(model)
    n = model.spec.n_layer
    assert steps == [{"done": done, "total": 2 * n} for done in range(2 * n)]
    ids = LONG[: model.spec.n_context]
    alone = [naive_loss(model, ids, share_layers([layer])) for layer in range(n)]
    assert list(answer) == PARTS and answer["order"] == np.argsort(alone).tolist()
    expected = [naive_loss(model, ids, share_layers(answer["order"][:shared])) for shared in range(n + 1)]
    np.testing.assert_allclose(answer["loss"], expected, rtol=1e-4)
    assert f"{len(ids)} tokens" in answer["measured_on"]
    json.dumps(answer, allow_nan=False)


def test_bytes(smollm2: Model, tiny_model: Open) -> None:
    kib = np.array(bytes_per_token(smollm2)) / 1024
    np.testing.assert_array_equal(kib[[0, 10, 15, 20, 30]], [22.5, 17.5, 15, 12.5, 7.5])
    per_head = 2 * 10 * 2  # k and v, d_head 10, 2 bytes
    assert bytes_per_token(tiny_model("llama")) == [per_head * heads for heads in (6, 5, 4, 3)]


@pytest.mark.parametrize("damage", [None, b"", b"{", b"[]", b'{"checksum": 1}'])
def test_measured_once(damage: bytes | None, readable: Open, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *steps, answer = sharing_steps(readable("llama"))
    (kept,) = cache.iterdir()
    assert steps and kept.stem == checksum(readable("llama"), sharing_text())
    if damage is not None:
        kept.write_bytes(damage)
        assert list(sharing_steps(readable("llama"))) == [*steps, answer], "measured anew"
    monkeypatch.setattr(sharing, "measure", None)
    assert list(sharing_steps(readable("llama"))) == [answer]


def test_a_cache_that_cannot_be_written_costs_time_only(readable: Open, cache: Path) -> None:
    cache.write_bytes(b"a file where the folder should be")
    assert list(list(sharing_steps(readable("llama")))[-1]) == PARTS


@pytest.mark.parametrize(
    ("kind", "message"),
    [("bert", "predicts nothing"), ("llama-mqa", "one K/V head"), ("llama", "no tokenizer.json")],
)
def test_where_there_is_nothing_to_measure(kind: str, message: str, tiny_model: Open, cache: Path) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        list(sharing_steps(tiny_model(kind)))
    assert "\n" not in str(caught.value)


def test_the_default_models_answer_is_shipped_and_true(smollm2: Model, cache: Path) -> None:
    (answer,) = sharing_steps(smollm2)
    shipped = json.loads(files("qkvlab").joinpath("data/sharing-smollm2.json").read_text())
    assert {"checksum": shipped.pop("checksum"), **answer} == {"checksum": checksum(smollm2, sharing_text()), **shipped}
    assert sorted(answer["order"]) == list(range(30)) and len(answer["loss"]) == 31
    assert answer["bytes_per_token"] == bytes_per_token(smollm2)
    trace = smollm2.trace(ids=smollm2.encode(sharing_text()).ids)
    assert f"{len(trace)} tokens" in answer["measured_on"]
    for shared in (1, 30):
        again = mean_loss(trace.with_edits(share_layers(answer["order"][:shared])))
        np.testing.assert_allclose(again, answer["loss"][shared], rtol=2e-3)
