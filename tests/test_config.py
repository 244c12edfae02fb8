"""config.json: three lists of keys, ill-typed values, rotation kinds, and files that disagree with it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from qkvlab.checkpoint.config import CONFIG_READERS, HARMLESS, REFUSED, SCALINGS, spec_from_config
from qkvlab.errors import ConfigError, QkvLabError, UnsupportedError
from qkvlab.model import open_model
from qkvlab.spec import ModelSpec, Rotation
from tiny_models import edit_config

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7]
Tiny = Callable[[str], tuple[Any, Path]]
LLAMA_3_8B: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14_336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "rope_theta": 500_000.0, "rope_scaling": None,
    "hidden_act": "silu", "tie_word_embeddings": False, "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 128_000, "eos_token_id": 128_001, "initializer_range": 0.02, "pretraining_tp": 1,
    "torch_dtype": "bfloat16", "transformers_version": "4.40.0.dev0", "use_cache": True,
}  # fmt: skip
"""As it is on the hub."""
QWEN: dict[str, Any] = {
    **{key: value for key, value in LLAMA_3_8B.items() if key != "attention_bias"}, "model_type": "qwen2",
    "sliding_window": 32, "max_window_layers": 28,
}  # fmt: skip


def read(config: dict[str, Any], *tensors: str, **changes: Any) -> ModelSpec:
    allow = changes.pop("allow", ())
    return spec_from_config({**config, **changes}, tensors, name="m", allow=allow)


def refusal(config: dict[str, Any], kind: type[QkvLabError] = ConfigError, **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        read(config, **changes)
    return one_line(caught.value)


def one_line(error: QkvLabError) -> str:
    message = str(error)
    assert message.isprintable() and len(message) < 600, message[:700]
    return message


# ---- what the keys become


def test_llama_3_8b() -> None:
    assert read(LLAMA_3_8B, "lm_head.weight") == ModelSpec(
        name="m", family="llama", n_layer=32, n_head=32, n_kv_head=8, d_head=128, d_model=4096, d_ff=14_336,
        n_vocab=128_256, n_context=8192, norm_eps=1e-5, activation="silu", mask="causal",
        rotation=Rotation(500_000.0, 128),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["llama", "llama-mqa", "llama-biases", "mistral-window", "qwen2-window", "qwen3"])
def test_defaults_are_transformers_defaults(kind: str, tiny: Tiny) -> None:
    """What a config.json leaves out is filled in as its own configuration class does."""
    from transformers import AutoConfig

    model_type = kind.partition("-")[0]
    sparse = {"vocab_size": 53, "hidden_size": 256, "intermediate_size": 3, "num_hidden_layers": 3}
    sparse |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    ours, theirs = (
        read({"model_type": model_type, **sparse}, "lm_head.weight"),
        AutoConfig.for_model(model_type, **sparse),
    )
    assert ours.d_head == (getattr(theirs, "head_dim", None) or 128)
    assert (ours.norm_eps, ours.tied_embeddings) == (theirs.rms_norm_eps, theirs.tie_word_embeddings)
    assert ours.rotation == Rotation(float(theirs.rope_parameters["rope_theta"]), ours.d_head)
    assert ours.activation == theirs.hidden_act


def test_windows() -> None:
    assert read(QWEN).window is None, "use_sliding_window is false unless it is set"
    found = read(QWEN, use_sliding_window=True)
    assert found.window == 32 and found.windowed_layers == (28, 29, 30, 31)
    kinds = ["full_attention", "sliding_attention"] * 16
    assert read(QWEN, use_sliding_window=True, layer_types=kinds).windowed_layers == tuple(range(1, 32, 2))
    assert read({**LLAMA_3_8B, "model_type": "mistral"}, sliding_window=7).windowed_layers == tuple(range(32))
    assert read(LLAMA_3_8B, sliding_window=7).window is None, "LlamaConfig has no window"
    for kinds in (["full_attention"] * 31, "full_attention", [1] * 32, ["chunked_attention"] * 32, {}):
        refusal(QWEN, use_sliding_window=True, layer_types=kinds)


# ---- three lists


def test_the_lists_do_not_overlap() -> None:
    assert not HARMLESS & REFUSED.keys()
    for model_type, (used, _) in CONFIG_READERS.items():
        assert not used & REFUSED.keys(), model_type
        assert used & HARMLESS <= {"pad_token_id"}, model_type


@pytest.mark.parametrize("key", REFUSED)
def test_a_refused_key_is_named_with_its_value_and_the_way_out(key: str) -> None:
    for neutral in REFUSED[key]:
        assert read(LLAMA_3_8B, **{key: neutral}).allowed_config == ()
    for value in ("surprise", 7, [1], {"a": 1}):
        message = refusal(LLAMA_3_8B, **{key: value})
        assert f"{key!r} ({value!r}) changes the computation" in message and f"--allow-config {key}" in message
        assert read(LLAMA_3_8B, **{key: value, "allow": [key]}).allowed_config == (key,)


def test_an_unknown_key_is_refused_and_let_pass_by_name_only() -> None:
    message = refusal(LLAMA_3_8B, attention_multiplier=0.5)
    assert "'attention_multiplier' (0.5) is unknown" in message and "--allow-config attention_multiplier" in message
    refusal(LLAMA_3_8B, attention_multiplier=0.5, allow=["attention"])
    refusal(LLAMA_3_8B, attention_multiplier=0.5, residual_multiplier=2, allow=["attention_multiplier"])
    both = ["residual_multiplier", "attention_multiplier", "not_there"]
    found = read(LLAMA_3_8B, attention_multiplier=0.5, residual_multiplier=2, allow=both)
    assert found.allowed_config == ("attention_multiplier", "residual_multiplier")
    assert asdict(found) | {"allowed_config": ()} == asdict(read(LLAMA_3_8B))


def test_another_familys_key_is_unknown_here() -> None:
    refusal(LLAMA_3_8B, layer_norm_epsilon=1e-5)
    refusal(
        {"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, "vocab_size": 9, "n_positions": 9, "head_dim": 4}
    )


@pytest.mark.parametrize("key", sorted(HARMLESS - {"model_type", "architectures"}))
def test_a_harmless_key_changes_nothing(key: str) -> None:
    for value in (None, "x", 7, [1], {"a": 1}, False):
        assert read(LLAMA_3_8B, **{key: value}) == read(LLAMA_3_8B)


def test_a_key_or_value_from_a_stranger_cannot_flood_or_steer_the_terminal() -> None:
    refusal(LLAMA_3_8B, **{"k" * 5000: 1})
    refusal(LLAMA_3_8B, **{"red\x1b[31m\nkey": 1})
    refusal(LLAMA_3_8B, key="\x1b[31m" * 5000)
    refusal(LLAMA_3_8B, hidden_size="v" * 5000)
    refusal(LLAMA_3_8B, hidden_act="a" * 5000)
    refusal(LLAMA_3_8B, UnsupportedError, model_type="t\x1b" * 5000)


def test_another_model_type_lists_what_there_is() -> None:
    message = refusal(LLAMA_3_8B, UnsupportedError, model_type="gemma3")
    assert "'gemma3'" in message and "llama, mistral, qwen2, qwen3, gpt2, bert, roberta" in message
    for value in (None, 5, ["llama"]):
        assert "model_type" in refusal(LLAMA_3_8B, model_type=value)


# ---- rotation

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}


def rotation(**changes: Any) -> Rotation:
    found = read(LLAMA_3_8B, **changes).rotation
    assert found is not None
    return found


def test_rotation_kinds() -> None:
    assert rotation(rope_scaling={"type": "linear", "factor": 2}).scaling == (("factor", 2.0), ("kind", "linear"))
    llama3 = dict(rotation(rope_scaling=LLAMA3).scaling)
    assert llama3 == {
        "kind": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 8192,
    }  # fmt: skip
    yarn = dict(rotation(rope_scaling=YARN).scaling)
    assert yarn["attention_factor"] == pytest.approx(0.1 * np.log(4) + 1)
    assert (yarn["original_context"], yarn["beta_fast"], yarn["beta_slow"]) == (2048, 32.0, 1.0)
    newer = {"rope_parameters": {**LLAMA3, "rope_theta": 7.0}, "rope_theta": None}
    assert rotation(**newer) == Rotation(7.0, 128, scaling=rotation(rope_scaling=LLAMA3).scaling)
    assert rotation(rope_scaling={"rope_type": "default"}).scaling == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({**YARN, "rope_theta": 1}, "rope_theta is 1, "),
        ({**YARN, "factor": 10**400}, "factor is 1000"),
        ({**YARN, "factor": 1e-300}, "factor is 1e-300; expected a positive number, from 1e-37 to 1e38"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "high_freq_factor is 1.0; expected more than low_freq_factor, 1.0"),
        ({**LLAMA3, "high_freq_factor": 0.5}, "high_freq_factor is 0.5"),
    ],
)
def test_scalings_that_cannot_be_computed(changes: dict[str, Any], says: str) -> None:
    assert says in refusal(QWEN, rope_scaling=changes)


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "su", "mrope", "proportional", "NTK", "yarn2"])
def test_another_scaling_is_refused_by_name(kind: str) -> None:
    for key in ("type", "rope_type"):
        message = refusal(LLAMA_3_8B, UnsupportedError, rope_scaling={key: kind, "factor": 2.0})
        assert repr(kind) in message and ", ".join(SCALINGS) in message


@pytest.mark.parametrize("kind", [{"type": "linear"}, LLAMA3, YARN])
def test_a_scaling_with_a_key_more_or_less_or_ill_typed(kind: dict[str, Any]) -> None:
    base = {"factor": 2.0, **kind}
    assert "'mscale'" in refusal(LLAMA_3_8B, rope_scaling={**base, "mscale": 1.0})
    for key in base.keys() - {"type", "rope_type"}:
        for value in ("x", -1, 0, [], float("nan"), float("inf"), True):
            assert key in refusal(LLAMA_3_8B, rope_scaling={**base, key: value})
        if (kind, key) != (YARN, "original_max_position_embeddings"):
            assert key in refusal(LLAMA_3_8B, rope_scaling={k: v for k, v in base.items() if k != key})


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_rotation_parameters_that_are_no_object(key: str) -> None:
    for value in ("linear", 5, [1], True, False, 0, "", []):
        refusal(LLAMA_3_8B, **{key: value})


def test_two_descriptions_of_the_rotation_are_not_silently_one(tiny: Tiny, tmp_path: Path) -> None:
    """transformers lets rope_scaling win over rope_parameters; whoever differs has another model's numbers."""
    theirs, folder = tiny("llama")
    both = edit_config(folder, tmp_path / "both", rope_scaling={"rope_type": "linear", "factor": 8.0})
    try:
        trace = open_model(both).trace(ids=IDS)
    except ConfigError:
        return
    scaled = type(theirs).from_pretrained(both, attn_implementation="eager")
    expected = oracle.every_tap(scaled, IDS)["layer.0.q"]
    np.testing.assert_allclose(trace.q(0), expected, atol=1e-5 * np.abs(expected).max())


def test_a_head_of_odd_width_cannot_turn() -> None:
    assert "7" in refusal(LLAMA_3_8B, head_dim=7)
