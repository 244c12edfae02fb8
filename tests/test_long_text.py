"""4,096 tokens of the real model: memory stays under 3 GB, and grows with the text, not with its square."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import numpy as np
import qkvlab
from qkvlab.mechanism import softmax

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

model = qkvlab.open_model("smollm2")
ids = [int(i) for i in np.random.default_rng(7).integers(20, 49_000, int(sys.argv[1]))]
trace = model.trace(ids=ids).run()
logits = trace.logits
last = trace.score_rows("13.8", range(len(ids) - 5, len(ids)))
sums = softmax(last).sum(axis=-1)
print(json.dumps([peak(), bool(np.isfinite(logits).all()), float(abs(sums - 1).max())]))
"""


@pytest.mark.usefixtures("smollm2_path")
def test_a_long_text_fits_and_memory_is_linear() -> None:
    peaks = {}
    for n in (1024, 2048, 4096):
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(n)], capture_output=True, text=True, check=True)
        peaks[n], finite, off = json.loads(done.stdout)
        assert finite
        assert off < 1e-5
    assert peaks[4096] < 3e9
    first, second = peaks[2048] - peaks[1024], peaks[4096] - peaks[2048]
    assert second < 2.6 * first, peaks
