"""The atlas that is shipped, smollm2 over GUM's dev part, and the results in docs/atlas-results.md, minilm's beside it.

`make atlas` measures all anew. Figures only: GUM (Zeldes 2017) is read where it lies, and the places shown are of our
own sample. A folder as argument keeps the runs there, and goes on with what is there.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from qkvlab.atlas.cards import examples_json
from qkvlab.atlas.run import Run
from qkvlab.atlas.scan import scan
from qkvlab.atlas.statistics import ENOUGH
from qkvlab.atlas.summary import summarise

ROOT = Path(__file__).resolve().parent.parent
TREEBANK = ROOT.parent / "shared" / "data" / "gum" / "gum-dev.conllu"
DATA, RESULTS = ROOT / "src" / "qkvlab" / "data", ROOT / "docs" / "atlas-results.md"


def main() -> None:
    """Scan, and write what is shipped."""
    if not TREEBANK.is_file():
        sys.exit(f"the atlas that is shipped is measured over {TREEBANK.name}; it belongs into {TREEBANK.parent}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(sys.argv[1] if len(sys.argv) > 1 else folder)
        smollm2 = measured("smollm2", place / "gum", treebank=[TREEBANK])
        sample = measured("smollm2", place / "sample", twin=False, causal=False)
        minilm = measured("minilm", place / "clark", treebank=[TREEBANK], measures=("clark",), causal=False)
    write_shipped(smollm2, sample)
    RESULTS.write_text(results(smollm2.atlas, minilm.atlas), encoding="utf-8")


def measured(model: str, folder: Path, **asked: Any) -> Run:
    """One run, with how far it is on standard error."""

    def said(stage: str, done: int, of: int, tokens: int) -> None:
        print(f"\r{folder.name}: {stage} {done:,} of {of:,}   ", end="", file=sys.stderr)

    return scan(model, folder, resume=folder.exists(), progress=said, for_the_page=False, **asked)


def write_shipped(smollm2: Run, sample: Run) -> None:
    """The figures of one run with the places of the other. Measures of too few places name nobody and stay out."""
    atlas = smollm2.atlas
    atlas["measures"] = {name: held for name, held in atlas["measures"].items() if held["n"] >= ENOUGH}
    found = summarise(smollm2, smollm2.twin, atlas["model"], atlas["run"])
    shown = examples_json(sample.parts.examples(), found)
    for name, value in (("atlas-smollm2.json", atlas), ("atlas-smollm2-examples.json", shown)):
        DATA.joinpath(name).write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def results(smollm2: dict[str, Any], minilm: dict[str, Any]) -> str:
    """Both as a page: what was found, and what was not."""
    about = "Made by `make atlas`. GUM dev: twelve documents of six genres (Zeldes 2017); figures only."
    lines = ["# What the atlas found", "", about, "", f"## {smollm2['model']['badge']}", ""]
    lines += [f"- {said}" for said in smollm2["findings"]]
    lines += ["", f"## {minilm['model']['badge']}, by Clark's protocol", ""]
    lines += ["Head and fixed offset are the best of one half of the documents; the figures are of the other half."]
    for title, above in (("Above the baseline", True), ("Not above it", False)):
        lines += ["", f"**{title}** (lower bound over the upper bounds of offset and twin, on 30 places or more)", ""]
        lines += [
            "| relation | head | n | value | 95 % | best offset | 95 % | twin |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += rows(minilm, above)
    return "\n".join(lines) + "\n"


def rows(atlas: dict[str, Any], above: bool) -> list[str]:
    """Relations of Clark's protocol, the largest lead over the offset first."""
    named = {(role["role"], row["head"]) for role in atlas["roles"] for row in role["heads"]}
    n_head, found = atlas["model"]["n_head"], []
    for name, held in atlas["measures"].items():
        if not name.startswith("clark:") or held["n"] < ENOUGH:
            continue
        known = [at for at, value in enumerate(held["selection"]) if value is not None]
        best = max(known, key=lambda at: held["selection"][at])
        head = f"{best // n_head}.{best % n_head}"
        if ((name, head) in named) != above:
            continue
        offset = held["baselines"]["offset"]
        twin = "" if held["twin"] is None else f"{held['twin'][best]:.2f}"
        value, low, high = (held[name][best] for name in ("value", "low", "high"))
        cells = (
            name.removeprefix("clark:"), head, held["n"], f"{value:.2f}",
            f"{low:.2f} to {high:.2f}", f"{offset['offset']:+d}: {offset['value']:.2f}",
            f"{offset['low']:.2f} to {offset['high']:.2f}", twin,
        )  # fmt: skip
        found.append((offset["value"] - value, f"| {' | '.join(map(str, cells))} |"))
    return [row for _, row in sorted(found)]


if __name__ == "__main__":
    main()
