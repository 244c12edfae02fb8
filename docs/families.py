"""The table of docs/families.md: what of every family is given, from the tables the program itself reads."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from qkvlab.checkpoint.config import CONFIG_READERS  # noqa: E402
from qkvlab.checkpoint.wordnames import WORD_NAMES  # noqa: E402
from qkvlab.models.live_families import FAMILIES, Family  # noqa: E402
from zoo import ZOO  # noqa: E402

CALLS = {
    "registry": "the attention function it asks transformers for",
    "operators": "torch's own product, softmax, product",
}


def lacking(name: str, family: Family) -> str:
    """What is refused by name, in words."""
    gone = []
    if family.rotation == "unknown":
        gone.append("q_raw, k_raw, why")
    if family.rotation == "unknown" or family.rotated_if:
        gone.append("stop-rotation")
    if family.rotation != "unknown" and any(stack.keys != "own" for stack in family.stacks.values()):
        gone.append("why of cross attention")
    if not any(stack.output for stack in family.stacks.values()):
        gone.append("words")
    elif name not in WORD_NAMES:
        gone.append("copying score")
    return ", ".join(gone)


def rows() -> list[str]:
    """One line per family of the table, with what the tests hold it to."""
    tested = {kind.family for kind in ZOO.values()}
    lines = ["| family | state | captured through | a head address means | refused by name | in the tests |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name, family in sorted(FAMILIES.items()):
        if family.refused:
            lines.append(f"| {name} | refused: {family.refused} | | | | |")
            continue
        state = "native and captured" if name in CONFIG_READERS else "captured"
        stacks = ", ".join(family.stacks) if len(family.stacks) > 1 else "its one attention"
        shown = "yes" if name in tested else "no"
        lines.append(f"| {name} | {state} | {CALLS[family.calls]} | {stacks} | {lacking(name, family)} | {shown} |")
    return lines
