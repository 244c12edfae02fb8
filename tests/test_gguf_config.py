"""GGUF files of tiny models: the same run as their safetensors folders, and metadata that is refused."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gguf_files
from qkvlab.anatomy import inspect
from qkvlab.checkpoint.gguf_config import REFUSED, USED
from qkvlab.errors import CheckpointError, ConfigError, QkvLabError, SourceError, UnsupportedError
from qkvlab.model import Model, open_model
from qkvlab.models.weights import turned_rows
from terminal import one_gib, run

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7, 19, 44]
Tiny = Callable[[str], tuple[Any, Path]]
Write = Callable[..., Path]


@pytest.fixture
def write(tiny: Tiny, tmp_path: Path) -> Write:
    """A tiny model's GGUF file, with changed metadata and changed or left-out tensors (None)."""

    def make(kind: str, changes: dict[str, Any] | None = None, permute: bool | None = None, **tensors: Any) -> Path:
        model, architecture = tiny(kind)[0], kind.partition("-")[0]
        turned = architecture == "llama" if permute is None else permute
        arrays = {**gguf_files.tensors_of(model, turned), **{k.replace("__", "."): v for k, v in tensors.items()}}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        metadata = {**gguf_files.metadata_of(model), **(changes or {})}
        return gguf_files.write(tmp_path / f"{kind}.gguf", architecture, metadata, arrays)

    return make


def refused(path: Path, kind: type[QkvLabError] | tuple[type[QkvLabError], ...] = ConfigError) -> str:
    """The same named error from opening and from inspecting, on one line of bounded length."""
    with pytest.raises(kind) as caught:
        open_model(path)
    with pytest.raises(kind):
        inspect(str(path))
    message = str(caught.value)
    assert message.isprintable() and len(message) < 600, message[:700]
    return message


def compare(ours: Model, folder: Model, tolerance: float = 1e-6) -> None:
    a, b = ours.trace(ids=IDS, positions="all"), folder.trace(ids=IDS, positions="all")
    pairs = [(getattr(a, tap)(i), getattr(b, tap)(i)) for tap in ("x", "q", "k", "v", "z", "out") for i in range(3)]
    for one, other in [*pairs, (a.final, b.final), (a.logits, b.logits)]:
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())
    weights = np.stack([a.weights(head) for head in ours.spec.heads()])
    theirs = np.stack([b.weights(head) for head in ours.spec.heads()])
    np.testing.assert_allclose(weights, theirs, rtol=0, atol=1e-5)


# ---- the same model


@pytest.mark.parametrize("kind", ["llama", "llama-mqa", "llama-biases", "qwen2", "qwen3"])
def test_a_gguf_file_runs_as_its_safetensors_folder(kind: str, tiny: Tiny, write: Write) -> None:
    path, folder = write(kind), open_model(tiny(kind)[1])
    ours = open_model(path)
    compare(ours, folder)
    for field in ("n_head", "n_kv_head", "d_head", "qk_norm", "qkv_bias", "mlp_bias", "tied_embeddings", "rotation"):
        assert getattr(ours.spec, field) == getattr(folder.spec, field), field
    assert inspect(str(path)).parameters == inspect(str(tiny(kind)[1])).parameters


def test_half_precision(tiny: Tiny, write: Write) -> None:
    half = {name: array.astype(np.float16) for name, array in gguf_files.tensors_of(tiny("llama")[0], True).items()}
    full = {name: array.astype(np.float32) for name, array in half.items()}
    one = open_model(write("llama", **half)).trace(ids=IDS).logits
    np.testing.assert_array_equal(one, open_model(write("llama", **full)).trace(ids=IDS).logits)


def test_a_folder_with_one_gguf_file_is_that_file(tiny: Tiny, write: Write) -> None:
    path = write("llama")
    (path.parent / "README.md").write_text("a model")
    (path.parent / "pytorch_model.bin").write_bytes(b"PK")
    opened = open_model(path.parent)
    assert opened.checkpoint.format == "gguf" and opened.spec.name == path.parent.name
    compare(opened, open_model(tiny("llama")[1]))
    assert inspect(str(path.parent)).format == "gguf"


def test_a_folder_with_two_gguf_files_names_them(write: Write) -> None:
    folder = write("llama").parent
    write("qwen2")
    message = refused(folder, SourceError)
    assert "has 2 .gguf files (llama.gguf, qwen2.gguf); give the path of one of them" in message


def test_rows_left_in_file_order_would_show(write: Write) -> None:
    """Planted: a file whose rows were never permuted reads as another model. Each head's W_q W_kᵀ is the same,
    so scores before rotation agree, and the first token's own score; all others differ by order 1."""
    right = open_model(write("llama")).trace(ids=IDS)
    right.run()
    wrong = open_model(write("llama", permute=False)).trace(ids=IDS)
    raw = [t.q_raw(0)[0] @ t.k_raw(0)[0].T for t in (right, wrong)]
    np.testing.assert_allclose(raw[0], raw[1], atol=1e-4)
    one, other = right.scores("0.0", masked=False), wrong.scores("0.0", masked=False)
    np.testing.assert_allclose(np.diag(one)[0], np.diag(other)[0], atol=1e-4)
    assert np.abs(one - other)[np.tril_indices(len(IDS), -1)].max() > 1.0
    assert np.abs(right.q(0) - wrong.q(0)).max() > 0.5


@pytest.mark.parametrize(("n_head", "d_head"), [(1, 2), (2, 6), (3, 10), (7, 4)])
def test_turned_rows_undo_the_converters_permutation(n_head: int, d_head: int) -> None:
    rows = np.arange(n_head * d_head)
    in_file = gguf_files.permuted(rows[:, None], n_head)[:, 0]
    np.testing.assert_array_equal(in_file[turned_rows(n_head, d_head)], rows)
    assert d_head == 2 or not np.array_equal(in_file, rows)


# ---- rotation


def llama3_factors(rope: dict[str, Any], d_head: int) -> np.ndarray:
    """llama.cpp's converter, generate_extra_tensors of the Llama family."""
    old, low, high = (rope[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    factors = []
    for pair in range(d_head // 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * pair / d_head)
        if wavelength < old / high:
            factors.append(1.0)
        elif wavelength > old / low:
            factors.append(rope["factor"])
        else:
            smooth = (old / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def test_rope_freqs_carry_llama3_scaling(tiny: Tiny, write: Write) -> None:
    theirs, folder = tiny("llama-llama3")
    factors = llama3_factors(theirs.config.rope_parameters, 10)
    assert (factors[0] == 1 and factors[-1] == 8 and 1 < factors[1:-1].max() < 8) or len(set(factors)) > 2
    compare(open_model(write("llama-llama3", rope_freqs__weight=factors)), open_model(folder), 1e-5)
    plain = open_model(write("llama-llama3")).trace(ids=IDS).q(0)
    assert np.abs(plain - open_model(folder).trace(ids=IDS).q(0)).max() > 0.1


@pytest.mark.parametrize("kind", ["llama-linear", "llama-yarn"])
def test_scaling_in_the_metadata(kind: str, tiny: Tiny, write: Write) -> None:
    theirs, folder = tiny(kind)
    rope = theirs.config.rope_parameters
    scaling = {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": rope["factor"]}
    if kind == "llama-yarn":
        scaling |= {"rope.scaling.original_context_length": 32, "rope.scaling.finetuned": True}
    compare(open_model(write(kind, scaling)), open_model(folder), 1e-5)


def test_yarn_over_a_base_of_one(write: Write) -> None:
    changes = {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 32}
    assert "rope.freq_base is 1" in refused(write("llama", {**changes, "rope.freq_base": 1.0}))


def test_a_factor_without_a_kind_is_linear_or_refused(tiny: Tiny, write: Write) -> None:
    """llama.cpp: `rope.scaling.type` is "linear" where a file does not say (llama-model.cpp, load_hparams)."""
    path = write("llama-linear", {"rope.scaling.factor": 3.0})
    try:
        ours = open_model(path)
    except ConfigError:
        return
    compare(ours, open_model(tiny("llama-linear")[1]), 1e-5)


def test_factors_beside_another_scaling_are_not_silently_alone(write: Write) -> None:
    """llama.cpp applies both: θ · (1 / factor) / freq_factor."""
    factors = np.ones(5, np.float32)
    scaling = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    linear = open_model(write("llama", scaling)).trace(ids=IDS).q(0)
    try:
        both = open_model(write("llama", scaling, rope_freqs__weight=factors)).trace(ids=IDS).q(0)
    except ConfigError:
        return
    np.testing.assert_allclose(both, linear, atol=1e-5)


@pytest.mark.parametrize(
    "factors", [[1.0] * 4, [1.0] * 6, [1.0] * 4 + [0.0], [1.0] * 4 + [-1.0], [math.nan] * 5, [math.inf] * 5]
)
def test_factors_that_cannot_be(factors: list[float], write: Write) -> None:
    assert "rope_freqs.weight" in refused(write("llama", rope_freqs__weight=np.float32(factors)))


@pytest.mark.parametrize("kind", ["longrope", "dynamic", "llama3"])
def test_another_scaling_is_refused_by_name(kind: str, write: Write) -> None:
    message = refused(write("llama", {"rope.scaling.type": kind, "rope.scaling.factor": 2.0}), UnsupportedError)
    assert repr(kind) in message and "linear" in message and "yarn" in message


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_part_of_a_head_that_turns_is_refused(architecture: str, write: Write) -> None:
    """llama.cpp itself refuses n_rot ≠ d_head here; which rows would turn is not defined for permuted ones."""
    for dims in (2, 8, 9, 12):
        refused(write(architecture, {"rope.dimension_count": dims}), (ConfigError, UnsupportedError))


# ---- lists


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_a_refused_key_is_named(key: str, write: Write) -> None:
    for neutral in REFUSED[key]:
        assert open_model(write("llama", {key: neutral})).spec.allowed_config == ()
    other: Any = 3 if isinstance(REFUSED[key][0], bool | int) else 0.25 if key != "tensor_data_layout" else "odd"
    path = write("llama", {key: other})
    message = refused(path)
    assert f"'llama.{key}'" in message and f"--allow-config llama.{key}" in message
    passed = open_model(path, allow_config=[f"llama.{key}"])
    assert passed.spec.allowed_config == (f"llama.{key}",) and f"llama.{key} ignored" in passed.badge


def test_unknown_keys(write: Write) -> None:
    for key in ("llama.attention.scale", "qwen2.block_count", "adapter.type", "clip.vision"):
        path = write("llama", {f".{key}": 7})
        assert f"'{key}' (7) is unknown" in refused(path)
        assert open_model(path, allow_config=[key]).spec.allowed_config == (key,)
        assert run("inspect", path, "--allow-config", key, "--json").document()["ignored_config"] == [key]
    assert open_model(write("llama", {".general.surprise": 7, ".quantize.x": "y"})).spec.allowed_config == ()


def test_another_architecture_lists_what_there_is(tiny: Tiny, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "g.gguf", "gemma3", {"block_count": 3}, {"w": np.ones(4, np.float32)})
    message = refused(path, UnsupportedError)
    assert "'gemma3'" in message and "llama, qwen2, qwen3" in message


# ---- junk, and tensors that disagree

JUNK: tuple[Any, ...] = (
    True, False, 0, -1, 1, 2, 7, 2**31 - 1, 0.0, 0.5, -1.0, 1e38, math.nan, math.inf, "x", "yarn", "x" * 5000,
    "\x1b[31m\n", [0], [1, 2, 3], [0.5, 1.0], ["a"], ["a", "b"], list(range(3000)),
)  # fmt: skip
SCALED = {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 32}


@pytest.mark.parametrize("key", sorted({*USED, *REFUSED}))
def test_junk_ends_in_a_named_error_or_in_a_model(key: str, write: Write) -> None:
    surprises = {}
    for value in JUNK:
        if (key, value) == ("block_count", 2**31 - 1):
            continue  # has a test of its own, in a process that may die
        path = write("llama", {**SCALED, key: value})
        try:
            spec = open_model(path).spec
            inspect(str(path))
            assert spec.window is None or (type(spec.window) is int and spec.window > 0)
        except (ConfigError, UnsupportedError, CheckpointError) as error:
            if not str(error).isprintable() or len(str(error)) >= 600:
                surprises[repr(value)[:30]] = f"a message of {len(str(error))} characters: {str(error)[:90]!r}"
        except Exception as error:
            surprises[repr(value)[:30]] = f"{type(error).__name__}: {error}"[:120]
    assert surprises == {}


@pytest.mark.parametrize("value", [-1, 0.5, "x", [1, 2], math.nan])
def test_a_window_that_cannot_be(value: Any, write: Write) -> None:
    assert "attention.sliding_window" in refused(write("llama", {"attention.sliding_window": value}))


def test_a_window(tiny: Tiny, write: Write) -> None:
    found = open_model(write("llama", {"attention.sliding_window": 4})).spec
    assert found.window == 4 and found.windowed_layers == (0, 1, 2)
    assert open_model(write("llama", {"attention.sliding_window": 0})).spec.window is None


def test_a_list_where_a_number_belongs(write: Write) -> None:
    """Models with another K/V head count per layer exist; the refusal is one line, however long the list."""
    for key in ("attention.head_count_kv", "feed_forward_length", "expert_count"):
        assert key in refused(write("llama", {key: list(range(1, 200))}))


def sizes() -> Iterable[tuple[str, int]]:
    keys = "block_count embedding_length feed_forward_length attention.head_count attention.key_length vocab_size"
    return [(key, step) for key in keys.split() for step in (-1, 1)]


@pytest.mark.parametrize(("key", "step"), sizes())
def test_a_size_off_by_one(key: str, step: int, tiny: Tiny, write: Write) -> None:
    right = gguf_files.metadata_of(tiny("llama")[0])[key]
    refused(write("llama", {key: right + step}), (ConfigError, CheckpointError, UnsupportedError))


def test_values_of_another_length_than_keys(write: Write) -> None:
    assert "10" in refused(write("llama", {"attention.value_length": 12}), UnsupportedError)


@pytest.mark.parametrize(
    "name", ["blk.1.attn_q.weight", "blk.2.ffn_norm.weight", "token_embd.weight", "output_norm.weight"]
)
def test_a_tensor_that_is_missing(name: str, write: Write) -> None:
    assert name in refused(write("llama", {"vocab_size": None}, **{name: None}), (ConfigError, CheckpointError))


def test_a_tensor_too_many(write: Write) -> None:
    for name in ("blk.3.attn_q.weight", "blk.0.attn_q.scale", "mystery"):
        assert name in refused(write("llama", **{name: np.ones((60, 24), np.float32)}), CheckpointError)
    biased = write("llama", **{"blk.1.attn_q.bias": np.ones(60, np.float32)})
    assert "blk.1.attn_q.bias" in refused(biased, (ConfigError, CheckpointError))


def test_without_an_output_matrix_the_embedding_is_it(write: Write) -> None:
    model = open_model(write("llama", **{"output.weight": None}))
    assert model.spec.tied_embeddings and model.weights.unembedding is model.weights.embedding


@pytest.mark.parametrize("window", [0, 4])
def test_a_claim_of_two_billion_layers_costs_nothing(window: int, write: Write) -> None:
    path = write("llama", {"block_count": 2**31 - 1, "attention.sliding_window": window})
    code = "import sys; from qkvlab.anatomy import inspect; from qkvlab.errors import QkvLabError\n"
    code += "try: inspect(sys.argv[1])\nexcept QkvLabError as error: print(type(error).__name__)"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, preexec_fn=one_gib, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-200:]}"
    assert done.stdout in ("CheckpointError\n", "ConfigError\n")
