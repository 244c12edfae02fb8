"""What capturing a live transformers model costs, beside the same model left alone; and its memory on a long text."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .common import held, report, side_by_side

SHAPE = {
    "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
}  # fmt: skip
"""SmolLM2-135M's, with random weights: time and memory do not depend on them."""
LONG = 4096


def random_model(implementation: str = "sdpa") -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE)
    config._attn_implementation = implementation
    return LlamaForCausalLM(config).eval()


def main() -> None:
    import torch

    from qkvlab.live import open_live

    hf = random_model()
    model = open_live(hf)
    ids = [int(i) for i in np.random.default_rng(0).integers(20, 49_000, 1024)]

    def plain(n: int) -> Any:
        with torch.no_grad():
            return hf(torch.tensor([ids[:n]]), use_cache=False, logits_to_keep=1)

    rows = []
    for n, rounds in ((16, 15), (256, 9), (1024, 5)):
        works = {
            "sdpa": lambda n=n: plain(n),
            "qkv": lambda n=n: model.trace(ids=ids[:n], keep=("q", "k", "v")).run(),
            "all": lambda n=n: model.trace(ids=ids[:n]).run(),
        }
        took = side_by_side(works, rounds)
        for kept, reach in (("qkv", 1.15), ("all", None)):
            ratio = took[kept]["median"] / took["sdpa"]["median"]
            rows.append({
                "work": f"{n:,} tokens, {'q, k, v kept' if kept == 'qkv' else 'every tap kept'}",
                "ours (ms)": took[kept]["median"], "peer": "sdpa, nothing kept", "peer (ms)": took["sdpa"]["median"],
                "ratio": ratio, "reach": reach or "", "held": held(ratio, reach) if reach else "",
            })  # fmt: skip
    report("live", "A live transformers model (135M, random weights), captured", rows)
    ours, eager = (_memory(which) for which in ("captured", "eager"))
    report("live-memory", f"Memory beyond the model at {LONG:,} tokens", [
        {"work": "every tap kept", "ours (GiB)": ours, "peer": "eager, attentions kept", "peer (GiB)": eager,
         "ratio": ours / eager}
    ])  # fmt: skip


def _memory(which: str) -> float:
    """The most memory beyond the model, in GiB, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.live", which]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(said.splitlines()[-1]))


def _measure(which: str) -> None:
    import torch

    layers = 8  # eager keeps [head, T, T] of every layer: 30 of them would not fit
    SHAPE["num_hidden_layers"] = layers
    hf = random_model("eager" if which == "eager" else "sdpa")
    ids = np.random.default_rng(0).integers(20, 49_000, LONG).tolist()
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew here
    if which == "eager":
        with torch.no_grad():
            kept: Any = hf(torch.tensor([ids]), use_cache=False, logits_to_keep=1, output_attentions=True)
    else:
        from qkvlab.live import open_live

        kept = open_live(hf).trace(ids=ids).run()
    peak = _resident("VmHWM") - before
    del kept
    print(json.dumps(peak / 2**20))


def _resident(which: str) -> int:
    """VmRSS (now) or VmHWM (the most so far) of this process, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(which)))


if __name__ == "__main__":
    _measure(sys.argv[1])
