"""Measure what sharing K/V heads costs the default model, and write it into the package."""

import json
from pathlib import Path

from qkvlab import open_model
from qkvlab.reference import checksum
from qkvlab.sharing import measure, sharing_text

model = open_model("smollm2")
for step in measure(model):
    print(f"\r{step.get('done', 'all')} passes", end="", flush=True)
print()
answer = {"checksum": checksum(model, sharing_text()), **step}
target = Path(__file__).parent.parent / "src" / "qkvlab" / "data" / "sharing-smollm2.json"
target.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
