"""Every tap of every layer, against transformers: real models and tiny random ones of each native family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from qkvlab.model import Model, open_model
from tiny_models import TINY

TOLERANCE = 1e-5
"""Of a tensor's largest magnitude; absolute for weights."""
IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7, 19, 44]


def compare(model: Model, taps: dict[str, np.ndarray], ids: list[int]) -> dict[str, float]:
    """The largest difference per tap, relative to the tensor's largest magnitude; every tap must be there."""
    trace, worst = model.trace(ids=ids, positions="all"), dict[str, float]()

    def check(tap: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        assert ours.shape == theirs.shape, tap
        seen = np.isfinite(theirs)
        np.testing.assert_array_equal(np.isfinite(ours), seen, err_msg=tap)
        size = 1.0 if tap.endswith("weights") else np.abs(theirs[seen]).max()
        gap = float(np.abs(ours[seen] - theirs[seen]).max() / size)
        name = tap.rpartition(".")[2]
        worst[name] = max(worst.get(name, 0.0), gap)

    for layer in range(model.spec.n_layer):
        at = f"layer.{layer}."
        for name in ("x", "normed", "q", "k", "v", "z", "out", "mlp"):
            check(at + name, getattr(trace, name)(layer), taps[at + name])
        for name in ("q", "k"):
            raw = oracle.raw(taps, layer, name, model.spec.d_head)
            theirs = taps[at + name] if raw is None else raw
            check(f"{at}{name}_raw", getattr(trace, f"{name}_raw")(layer), theirs)
        for name in ("scores", "weights"):
            ours = np.stack([getattr(trace, name)((layer, head)) for head in range(model.spec.n_head)])
            check(at + name, ours, taps[at + name])
    check("final", trace.final, taps["final"])
    if model.spec.has_output:
        check("logits", trace.logits, taps["logits"])
    return worst


def judge(label: str, worst: dict[str, float]) -> None:
    print(f"\n{label}: largest difference per tap, of the tensor's largest magnitude (weights: absolute)")
    print("  " + "  ".join(f"{name} {gap:.1e}" for name, gap in worst.items()))
    assert len(worst) >= 13
    assert max(worst.values()) <= TOLERANCE, worst


@pytest.mark.parametrize("kind", TINY)
def test_tiny_models_of_every_family(kind: str, tiny: Callable[[str], tuple[Any, Path]]) -> None:
    theirs, folder = tiny(kind)
    judge(kind, compare(open_model(folder), oracle.every_tap(theirs, IDS), IDS))


def test_minilm(minilm: Model, minilm_path: Path) -> None:
    from transformers import AutoModel

    theirs = AutoModel.from_pretrained(minilm_path, attn_implementation="eager").eval()
    ids = list(minilm.encode("Zwei Katzen sleep under the old bridge, don't they?").ids)
    judge("minilm", compare(minilm, oracle.every_tap(theirs, ids), ids))


@pytest.fixture(scope="session")
def smollm2_in_transformers(smollm2_path: Path) -> Any:
    """The same GGUF file, dequantised and un-permuted by transformers (needs its `gguf` support)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        smollm2_path.parent, gguf_file=smollm2_path.name, attn_implementation="eager", dtype=torch.float32
    )
    return model.eval()


@pytest.mark.parametrize(
    "text",
    [
        "The cat drank because it was thirsty",
        "In France they speak French. In Italy they speak",
        "東京へ行く 3 times\n",
    ],
)
def test_smollm2(text: str, smollm2: Model, smollm2_in_transformers: Any) -> None:
    ids = list(smollm2.encode(text).ids)
    judge("smollm2", compare(smollm2, oracle.every_tap(smollm2_in_transformers, ids), ids))
