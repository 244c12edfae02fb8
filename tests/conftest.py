"""Real models, brought by the product's own `pull`, and tiny random ones made from transformers configs."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tiny_models import make_tiny

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell starts what it puts in the background deaf to Ctrl-C, and a program hands that on to those it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# beartype draws which item of a list to check, in whichever thread checks. From the shared generator, Hypothesis would
# take a draw in a background thread for one inside a strategy, and fail the test.
random.getrandbits = random.Random(0).getrandbits
settings.register_profile("steady", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    from qkvlab.checkpoint.source import pull

    return pull("smollm2").path


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    from qkvlab.checkpoint.source import pull

    return pull("minilm").path


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Any:
    from qkvlab.model import open_model

    return open_model("smollm2")


@pytest.fixture(scope="session")
def minilm(minilm_path: Path) -> Any:
    from qkvlab.model import open_model

    return open_model("minilm")


@pytest.fixture(scope="session")
def served(smollm2_path: Path, minilm_path: Path) -> Iterator[Any]:
    """A running server of SmolLM2, for the whole session."""
    from page import serving

    with serving() as running:
        yield running


@pytest.fixture
def page(served: Any) -> Iterator[Any]:
    """A page connected to that server."""
    with served.page() as connected:
        yield connected


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """Kind → (the transformers model, the folder it was saved to), made once per session."""
    made: dict[str, tuple[Any, Path]] = {}

    def get(kind: str) -> tuple[Any, Path]:
        if kind not in made:
            model, folder = make_tiny(kind), tmp_path_factory.mktemp(kind)
            model.save_pretrained(folder)
            made[kind] = model, folder
        return made[kind]

    return get


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `witness.saved` keeps the models of the zoo."""
    return tmp_path_factory.mktemp("zoo")


@pytest.fixture
def tiny_model(tiny: Callable[[str], tuple[Any, Path]]) -> Callable[[str], Any]:
    """Kind → our Model of the tiny transformers model."""
    from qkvlab.model import open_model

    return lambda kind: open_model(tiny(kind)[1])


@pytest.fixture(autouse=True)
def _own_random_numbers() -> Iterator[None]:
    state = np.random.get_state()  # noqa: NPY002 - libraries under test may use it; leave it as found
    yield
    np.random.set_state(state)  # noqa: NPY002
