"""The atlas that is shipped: smollm2 over GUM's dev part. Figures only; the places shown are of our own sample.

`make atlas` scans both anew. GUM: Zeldes 2017; its sentences are read where they lie and never kept.
"""

import json
import sys
import tempfile
from pathlib import Path

from qkvlab.atlas.cards import examples_json
from qkvlab.atlas.run import Run
from qkvlab.atlas.scan import scan
from qkvlab.atlas.summary import summarise
from qkvlab.model import open_model

ROOT = Path(__file__).resolve().parent.parent
TREEBANK = ROOT.parent / "shared" / "data" / "gum" / "gum-dev.conllu"
DATA = ROOT / "src" / "qkvlab" / "data"


def main() -> None:
    """Scan, and write the two files."""
    if not TREEBANK.is_file():
        sys.exit(f"the atlas that is shipped is measured over {TREEBANK.name}; it belongs into {TREEBANK.parent}")
    model = open_model("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        measured = scan(model, Path(folder) / "gum", treebank=[TREEBANK], progress=said)
        sample = scan(model, Path(folder) / "sample", twin=False, causal=False, progress=said)
        write(measured, sample)


def write(measured: Run, sample: Run) -> None:
    """The figures of one run with the places of another."""
    atlas = measured.atlas
    DATA.joinpath("atlas-smollm2.json").write_text(json.dumps(atlas, ensure_ascii=False) + "\n", encoding="utf-8")
    found = summarise(measured, measured.twin, atlas["model"], atlas["run"])
    shown = examples_json(sample.parts.examples(), found)
    path = DATA / "atlas-smollm2-examples.json"
    path.write_text(json.dumps(shown, ensure_ascii=False) + "\n", encoding="utf-8")


def said(stage: str, done: int, of: int, tokens: int) -> None:
    """How far it is, on one line of standard error."""
    print(f"\r{stage} {done:,} of {of:,}   ", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
