"""Writes web/tests/golden: real heads with every edit that acts inside one head, for the page's own arithmetic.

Run as `python tests/golden.py` when what they hold changes on purpose; test_golden.py fails until then.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qkvlab import edits as e
from qkvlab import open_model
from qkvlab.aim import least_shift
from qkvlab.checkpoint.write import to_bytes
from qkvlab.mechanism import rotation_frequencies
from qkvlab.model import Model
from qkvlab.models.common import turns
from qkvlab.onehead import head_arrays, raw_arrays
from qkvlab.scoring import Scoring
from qkvlab.spec import Head, ModelSpec
from qkvlab.trace import Trace

FOLDER = Path(__file__).parent.parent / "web" / "tests" / "golden"
HEADS = [
    ("cat-13.8", "smollm2", "The cat drank because it was thirsty", "13.8", 4, 1),
    ("italy-23.4", "smollm2", "In France they speak French. In Italy they speak", "23.4", 9, 7),
    ("encoder-2.5", "minilm", "The cat drank because it was thirsty", "2.5", 5, 2),
]
"""Name, model, text, head, the query that looks, and the key the edits name."""

Arrays = dict[str, np.ndarray]


def single_edits(spec: ModelSpec, head: Head, query: int, key: int) -> dict[str, e.Edit]:
    """One edit of every kind that acts inside one head, at full strength."""
    at, shared = str(head), f"{head.layer}.{spec.kv_head(head)}"
    shift = tuple(np.sin(np.arange(spec.d_head)).round(3).tolist())
    edits: dict[str, e.Edit] = {
        "shift-key": e.ShiftKey(kv_head=shared, token=key, shift=shift),
        "swap-value": e.SwapValue(kv_head=shared, token=key, source=0),
        "shift-query": e.ShiftQuery(head=at, query=query, shift=shift),
        "tie": e.Tie(where=at),
        "mute": e.Mute(where=at, key=key),
        "mute-one-query": e.Mute(where=at, key=key, query=query),
        "strengthen": e.Strengthen(where=at, query=query, key=key, amount=-2.5),
        "scale-scores": e.ScaleScores(where=at, factor=0.25),
        "ablate": e.Ablate(where=at),
        "ablate-mean": e.Ablate(where=at, to="mean"),
    }
    if spec.rotation is not None:
        edits["stop-rotation"] = e.StopRotation(where=at)
    return edits


def cases(spec: ModelSpec, head: Head, query: int, key: int, keys: Iterable[int]) -> dict[str, list[e.Edit]]:
    """Every list of edits by name: each kind, at half strength too; the only key muted; aims; several at once."""
    single, at = single_edits(spec, head, query, key), str(head)
    several = [single["scale-scores"], replace(single["tie"], strength=0.6), single["mute"], single["shift-query"]]
    return {
        **{name: [edit] for name, edit in single.items()},
        **{f"{name}-half": [replace(edit, strength=0.5)] for name, edit in single.items()},
        **({"mute-only-key": [e.Mute(where=at, key=0, query=0)]} if spec.causal else {}),
        **{f"aim-{aimed}": [e.AimQuery(head=at, query=query, key=aimed)] for aimed in keys},
        "aim-half": [e.AimQuery(head=at, query=query, key=key, margin=1.5, strength=0.5)],
        "several": several,
    }


def rotation_of(spec: ModelSpec, n_token: int) -> tuple[dict[str, Any] | None, Arrays]:
    """The rotation for the index, and its turns as arrays."""
    if spec.rotation is None:
        return None, {}
    own = spec.rotation
    frequencies, factor = rotation_frequencies(own.base, own.dims, dict(own.scaling))
    cos, sin = turns(own, 0, n_token)
    return {"pairs": own.pairs, "dims": own.dims, "factor": factor}, {
        "frequencies": frequencies,
        "cos": cos,
        "sin": sin,
    }


def case_arrays(trace: Trace, head: Head) -> Arrays:
    """What one list of edits makes of the head; q, k and v only where an edit is of theirs."""
    edited = {stage for edit in trace.edits for stage in edit.stages}
    entering = {"q": trace.queries(head), "k": trace.keys(head), "v": trace.values(head)}
    arrays = {name: array for name, array in entering.items() if name in edited}
    return {**arrays, "scores": trace.scores(head), "weights": trace.weights(head), "z": trace.z(head.layer)[head.head]}


def one_head(model: Model, name: str, text: str, address: str, query: int, key: int) -> tuple[dict[str, Any], Arrays]:
    """A head's entry in the index, and all its arrays."""
    spec, head, trace = model.spec, Head.parse(address), model.trace(text)
    keys = range(*trace.visible(head.layer, query))
    rotation, arrays = rotation_of(spec, len(trace))
    arrays |= {**head_arrays(trace, trace, head, query), **raw_arrays(trace, head), **case_arrays(trace, head)}
    arrays["mean_z"] = model.mean_z(head.layer)[head.head]
    entry = {
        "file": f"{name}.safetensors", "model": spec.name, "text": text, "tokens": trace.tokens,
        "special": trace.special, "head": address, "kv_head": spec.kv_head(head), "query": query, "key": key,
        "causal": spec.causal, "window": spec.window_of(head.layer), "scale": spec.d_head**-0.5, "rotation": rotation,
        "cases": [],
    }  # fmt: skip
    for case, edits in cases(spec, head, query, key, keys).items():
        made = case_arrays(trace.with_edits(edits), head)
        if case.startswith("aim-") and edits[0].strength == 1:
            q, k = arrays["q"][query], arrays["k"][keys.start : keys.stop]
            made["shift"] = least_shift(q, k, edits[0].key - keys.start, spec.d_head**-0.5)
        entry["cases"].append({"name": case, "edits": [edit.to_dict() for edit in edits], "arrays": list(made)})
        arrays |= {f"{case}.{part}": array for part, array in made.items()}
    return entry, arrays


def rules() -> dict[str, tuple[dict[str, Any], Arrays]]:
    """One head of every kind of scoring that some families have: name → (entry, arrays)."""
    random, n, d = np.random.default_rng(5), 7, 5
    q, k = (random.standard_normal((1, n, d), np.float32) * 2 for _ in range(2))
    made: dict[str, dict[str, Any]] = {
        "softcap": {"softcap": 3.0},
        "key-bias": {"key_bias": random.standard_normal((1, n), np.float32)},
        "distance-bias": {"distance_bias": random.standard_normal((1, 2 * n - 1), np.float32), "causal": False},
        "sink": {"sinks": np.array([0.8], np.float32), "window": 3},
    }
    found = {}
    for name, parts in made.items():
        rule = Scoring(**{"scale": 0.4, "causal": True, **parts})
        scores = rule.scores(q, k, range(n))
        arrays = {"q": q[0], "k": k[0], "scores": scores[0], "weights": rule.weights(scores)[0]}
        arrays |= {part: parts[part][0] for part in ("key_bias", "distance_bias") if part in parts}
        sink = None if rule.sinks is None else float(rule.sinks[0])
        entry = {"scale": 0.4, "causal": rule.causal, "window": rule.window, "softcap": rule.softcap, "sink": sink}
        found[f"rule-{name}"] = (entry, arrays)
    return found


def sound_files() -> dict[str, tuple[Arrays, dict[str, str]]]:
    """Small files that a reader must understand: name → (tensors, metadata)."""
    return {
        "nothing": ({}, {}),
        "only-metadata": ({}, {"reply": '{"part": "done", "ms": 1.5}'}),
        "every-type": (
            {
                "bytes": np.array([[0, 1, 127], [128, 254, 255]], np.uint8),
                "whole": np.array([-1, 0, 2_147_483_647], np.int32),
                "real": np.array([[[0.5]], [[-1.25]], [[3e38]]], np.float32),
                "one": np.array(7.0, np.float32),
                "none": np.empty((0, 3), np.float32),
            },
            {"reply": '{"text": "東 é “quoted”"}', "other": ""},
        ),
    }


def broken_files() -> dict[str, bytes]:
    """Files that a reader must refuse."""

    def file(header: object, data: bytes) -> bytes:
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data

    def tensor(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
        return {"x": {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}}

    return {
        "no-length": b"\x10\x00\x00",
        "header-past-the-end": (1 << 40).to_bytes(8, "little") + b"{}",
        "header-not-json": (2).to_bytes(8, "little") + b"{]",
        "data-past-the-end": file(tensor("F32", [2], 0, 8), b"\x00" * 4),
        "shape-against-bytes": file(tensor("F32", [3], 0, 8), b"\x00" * 8),
        "backwards": file(tensor("U8", [4], 4, 0), b"\x00" * 4),
        "unknown-type": file(tensor("X9", [4], 0, 4), b"\x00" * 4),
    }


def everything(models: dict[str, Model]) -> dict[str, bytes]:
    """File name → bytes, the index included."""
    index: dict[str, Any] = {"heads": [], "rules": [], "sound": [], "broken": []}
    written = {}
    for name, model, text, head, query, key in HEADS:
        entry, arrays = one_head(models[model], name, text, head, query, key)
        index["heads"].append(entry)
        written[entry["file"]] = to_bytes(arrays, {"head": head})
    for name, (entry, arrays) in rules().items():
        index["rules"].append({"file": f"{name}.safetensors", **entry})
        written[f"{name}.safetensors"] = to_bytes(arrays, {})
    for name, (arrays, metadata) in sound_files().items():
        tensors = {part: {"shape": a.shape, "values": a.ravel().tolist()} for part, a in arrays.items()}
        index["sound"].append({"file": f"{name}.safetensors", "metadata": metadata, "tensors": tensors})
        written[f"{name}.safetensors"] = to_bytes(arrays, metadata)
    for name, content in broken_files().items():
        index["broken"].append(f"{name}.safetensors")
        written[f"{name}.safetensors"] = content
    written["index.json"] = (json.dumps(index, ensure_ascii=False, indent=1) + "\n").encode()
    return written


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in everything({name: open_model(name) for name in ("smollm2", "minilm")}).items():
        (FOLDER / name).write_bytes(content)
