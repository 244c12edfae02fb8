"""A long text: 4,096 tokens, every q, k, v, z and x kept, beside transformers sdpa that keeps nothing."""

import json
import subprocess
import sys

from .common import held, report
from .peers import transformers_folder

OURS = """
import json, time
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024**2
import numpy as np, qkvlab
model = qkvlab.open_model("smollm2")
ids = [int(i) for i in np.random.default_rng(0).integers(20, 49_000, int({n}))]
model.trace(ids=ids[:8]).run()
start = time.perf_counter()
trace = model.trace(ids=ids).run(); trace.logits
took = time.perf_counter() - start
trace.weights("13.8")
print(json.dumps([took, peak()]))
"""
PEER = """
import json, time
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024**2
import numpy as np, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({folder!r}, attn_implementation="sdpa").eval()
ids = torch.tensor(np.random.default_rng(0).integers(20, 49_000, int({n})))[None]
with torch.inference_mode():
    model(ids[:, :8], use_cache=False)
    start = time.perf_counter()
    model(ids, use_cache=False, logits_to_keep=1)
    took = time.perf_counter() - start
print(json.dumps([took, peak()]))
"""


def _measure(script: str, **values: object) -> tuple[float, float]:
    code = script.format(**values)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    took, gib = json.loads(done.stdout.splitlines()[-1])
    return took, gib


def main() -> None:
    rows = []
    for n in (1024, 2048, 4096):
        ours, peer = _measure(OURS, n=n), _measure(PEER, n=n, folder=str(transformers_folder()))
        rows.append(
            {
                "work": f"{n:,} tokens", "ours (s)": ours[0], "peer": "sdpa, nothing kept", "peer (s)": peer[0],
                "ratio": ours[0] / peer[0], "ours (GiB)": ours[1], "peer (GiB)": peer[1], "reach (GiB)": 3.0,
                "held": held(ours[1], 3.0),
            }
        )  # fmt: skip
    report("long", "Long text: time and peak resident memory of a process", rows)
