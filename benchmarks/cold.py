"""A whole process: from nothing to the weight with which " it" looks at " cat" at head 13.8."""

import subprocess
import sys
from pathlib import Path

from .common import held, report, side_by_side
from .peers import SENTENCE, transformers_folder

PEER = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], attn_implementation="eager")
ids = tokenizer(sys.argv[2], return_tensors="pt")
with torch.no_grad():
    print(model(**ids, output_attentions=True).attentions[13][0, 8, 4, 1].item())
"""


def main() -> None:
    program = str(Path(sys.executable).with_name("qkvlab"))
    find = [program, "find", SENTENCE, "--query", " it", "--key", " cat", "--top", "1", "--json"]
    peer = [sys.executable, "-c", PEER, str(transformers_folder()), SENTENCE]
    printed = subprocess.run(find, check=True, capture_output=True, text=True).stdout
    same = subprocess.run(peer, check=True, capture_output=True, text=True).stdout.strip()
    assert '"weight": 0.9037' in printed and same.startswith("0.9037"), (printed, same)

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True)

    works = {
        "find": lambda: run(find),
        "transformers": lambda: run(peer),
        "import": lambda: run([sys.executable, "-c", "import qkvlab"]),
        "import all": lambda: run([sys.executable, "-c", "import qkvlab; qkvlab.open_model, qkvlab.ask"]),
        "python": lambda: run([sys.executable, "-c", "pass"]),
    }
    took = {name: times["median"] for name, times in side_by_side(works, 7).items()}
    bare = took["python"]

    def row(work: str, ours: float, peer: str, theirs: float, reach: float) -> dict[str, object]:
        ratio = ours / theirs
        return {
            "work": work, "ours (ms)": ours, "peer": peer, "peer (ms)": theirs, "ratio": ratio, "reach": reach,
            "held": held(ratio, reach),
        }  # fmt: skip

    report(
        "cold",
        "Cold: whole processes",
        [
            row("qkvlab find, the example", took["find"], "transformers script", took["transformers"], 0.25),
            row("qkvlab find, the example", took["find"], "one second", 1000.0, 1.0),
            row("import qkvlab", took["import"] - bare, "0.3 seconds", 300.0, 1.0),
            row("import qkvlab and its public names", took["import all"] - bare, "0.3 seconds", 300.0, 1.0),
        ],
    )
