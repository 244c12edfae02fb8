"""The zoo is what the tests of any checkpoint stand on: every kind is built here, offline, and answers."""

from typing import Any

import pytest

from zoo import ZOO, zoo_inputs, zoo_model

IDS = [3, 17, 42, 5, 29]


def test_the_zoo_covers_the_families() -> None:
    assert len({kind.family for kind in ZOO.values()}) >= 30


@pytest.mark.parametrize("kind", ZOO)
def test_every_kind_answers(kind: str) -> None:
    import torch

    model: Any = zoo_model(kind)
    with torch.no_grad():
        logits = model(**zoo_inputs(kind, IDS)).logits
    assert logits.shape == (1, len(IDS), 53)
    assert float(logits.std()) > 0.05
