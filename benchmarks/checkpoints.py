"""Large checkpoints: one head's weights, and the anatomy, from sparse files made on the spot (headers are real)."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from qkvlab.anatomy import inspect
from qkvlab.headweights import weights

from .common import held, report, side_by_side

HEAD = "17.21"
LLAMA_8B = {"layers": 32, "d": 4096, "ff": 14_336, "heads": 32, "kv": 8}
LLAMA_70B = {"layers": 80, "d": 8192, "ff": 28_672, "heads": 64, "kv": 8}


def checkpoint(folder: Path, sizes: dict[str, int], shards: int) -> int:
    """Llama 3's tensors in bfloat16 over so many files that take no space on disk; returns their size."""
    d, ff, kv = sizes["d"], sizes["ff"], sizes["kv"] * 128
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (128_256, d),
        "model.norm": (d,),
        "lm_head": (128_256, d),
    }
    for layer in range(sizes["layers"]):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}{name}_layernorm": (d,) for name in ("input", "post_attention")}
        shapes |= {f"{at}self_attn.{part}_proj": (n, d) for part, n in (("q", d), ("k", kv), ("v", kv), ("o", d))}
        shapes |= {f"{at}mlp.{part}_proj": (ff, d) for part in ("gate", "up")} | {f"{at}mlp.down_proj": (d, ff)}
    names, weight_map, total = list(shapes), {}, 0
    per_file = -(-len(names) // shards)
    for shard in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        header, end = dict[str, Any](), 0
        for name in names[shard * per_file : (shard + 1) * per_file]:
            rows, *columns = shapes[name]
            begin, end = end, end + 2 * rows * (columns or [1])[0]
            header[f"{name}.weight"] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [begin, end]}
            weight_map[f"{name}.weight"] = file
        text = json.dumps(header).encode()
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text)
        os.truncate(folder / file, 8 + len(text) + end)
        total += end
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": d, "intermediate_size": ff,
        "num_hidden_layers": sizes["layers"], "num_attention_heads": sizes["heads"], "num_key_value_heads": sizes["kv"],
        "vocab_size": 128_256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "tie_word_embeddings": False,
    }))  # fmt: skip
    return total


def peer_head(file: Path) -> list[Any]:
    """The same rows and columns by hand, with the safetensors library into PyTorch."""
    from safetensors import safe_open

    layer, head = map(int, HEAD.split("."))
    at, rows, own = f"model.layers.{layer}.self_attn.", slice(head * 128, head * 128 + 128), head // 4
    kv = slice(own * 128, own * 128 + 128)
    with safe_open(file, "pt") as opened:
        found = [
            opened.get_slice(f"{at}{part}_proj.weight")[where] for part, where in (("q", rows), ("k", kv), ("v", kv))
        ]
        return [part.float().T.contiguous() for part in (*found, opened.get_slice(f"{at}o_proj.weight")[:, rows])]


def row(work: str, ours: float, peer: str, theirs: float, reach: float) -> dict[str, object]:
    ratio = ours / theirs
    return {
        "work": work, "ours (ms)": ours, "peer": peer, "peer (ms)": theirs, "ratio": ratio, "reach": reach,
        "held": held(ratio, reach),
    }  # fmt: skip


def main() -> None:
    program = str(Path(sys.executable).with_name("qkvlab"))
    with tempfile.TemporaryDirectory() as made:
        small, large = Path(made) / "8b", Path(made) / "70b"
        small.mkdir(), large.mkdir()
        gigabytes = checkpoint(small, LLAMA_8B, 1) / 1e9
        total = checkpoint(large, LLAMA_70B, 30) / 1e9
        assert weights(small, HEAD).w_o.shape == (128, 4096) and inspect(str(large)).parameters["total"] > 70e9
        command = [sys.executable, "-m", "qkvlab", "weights", str(small), HEAD, "--json"]
        command = [program, *command[3:]] if Path(program).is_file() else command
        took = side_by_side(
            {
                "weights": lambda: weights(small, HEAD),
                "peer": lambda: peer_head(small / "model.safetensors"),
                "inspect": lambda: inspect(str(large)),
                "sharded": lambda: weights(large, "79.63"),
                "process": lambda: subprocess.run(command, check=True, capture_output=True),
            },
            7,
        )
    ms = {name: times["median"] for name, times in took.items()}
    report("checkpoints", "Large checkpoints (sparse files, warm cache)", [
        row(f"weights of one head, one file of {gigabytes:.0f} GB", ms["weights"], "0.2 seconds", 200.0, 1.0),
        row("the same", ms["weights"], "safetensors' slices, by hand", ms["peer"], 2.0),
        row("the same, as a whole process", ms["process"], "one second", 1000.0, 1.0),
        row(f"weights of one head, 30 files of {total:.0f} GB", ms["sharded"], "0.5 seconds", 500.0, 1.0),
        row(f"inspect, 30 files of {total:.0f} GB", ms["inspect"], "one second", 1000.0, 0.5),
    ])  # fmt: skip
