"""The rotation of each layer, from its configuration: held against the frequencies that the modules keep."""

import numpy as np
import pytest

from qkvlab.checkpoint.attention import AttentionFile, open_attention
from qkvlab.spec import Rotation
from zoo import ZOO, zoo_model


def test_rotations() -> None:
    def of(kind: str) -> AttentionFile:
        return open_attention(zoo_model(kind))

    assert of("llama").rotation == Rotation(10_000.0, 10)
    assert of("gptj").rotation == Rotation(10_000.0, 4, "adjacent")
    assert of("gpt_neox").rotation == of("phi").rotation == Rotation(10_000.0, 4)
    assert of("deepseek_v3").rotation == Rotation(10_000.0, 4, "adjacent"), "of the part that turns"
    for kind in ("gpt2", "bloom", "mpt", "bert", "t5", "falcon-rw"):
        assert of(kind).rotation is None
    cohere, smollm3 = of("cohere2"), of("smollm3")
    turned = Rotation(10_000.0, 10, "adjacent")
    assert [cohere.rotation_of(layer) for layer in range(3)] == [turned, None, turned] and cohere.rotation is None
    assert [smollm3.rotation_of(layer) is None for layer in range(3)] == [False, True, False]
    bert = of("modernbert")
    assert [bert.rotation_of(layer).base for layer in range(3)] == [160_000.0, 10_000.0, 160_000.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [k for k in ZOO if k not in ("qwen3_next", "gpt_oss")])
def test_the_rotation_is_the_modules_own(kind: str) -> None:
    """The inverse frequencies of the module, in float32, where it keeps any."""
    file = open_attention(zoo_model(kind))
    for layer in range(file.n_layer):
        found = file.rotation_of(layer)
        kinds = file.config.get("layer_types") or ["full_attention"] * file.n_layer
        buffers = {name.rpartition(".")[2]: value for name, value in zoo_model(kind).named_buffers()}
        theirs = buffers.get(f"{kinds[layer]}_inv_freq", buffers.get("inv_freq"))
        if theirs is None:
            assert found is None or kind in ("gptj",), kind
        elif found is not None:
            ours = found.base ** (-np.arange(0, found.dims, 2) / found.dims)
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
        else:
            assert (kind, layer) in {("cohere2", 1), ("smollm3", 1)} or kind == "falcon-rw"
