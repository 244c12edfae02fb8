"""A warm model: everything captured, beside transformers and the memory floor."""

from typing import Any

import numpy as np

from qkvlab.model import open_model
from qkvlab.trace import Trace

from .common import held, report, side_by_side
from .peers import in_transformers, memory_floor


def main() -> None:
    model = open_model("smollm2")
    ids = [int(i) for i in np.random.default_rng(0).integers(20, 49_000, 512)]
    floor, sdpa, eager = memory_floor(model), in_transformers("sdpa"), in_transformers("eager")

    def ours(n: int) -> Trace:
        trace = model.trace(ids=ids[:n]).run()
        trace.logits  # noqa: B018 - computed when asked
        return trace

    def row(work: str, took: dict[str, Any], peer: str, reach: float) -> dict[str, object]:
        ratio = took["ours"]["median"] / took[peer]["median"]
        return {
            "work": work, "ours (ms)": took["ours"]["median"], "peer": peer, "peer (ms)": took[peer]["median"],
            "ratio": ratio, "reach": reach, "held": held(ratio, reach),
        }  # fmt: skip

    works = {"ours": lambda: ours(8), "floor": floor, "eager": lambda: eager(ids[:8], output_attentions=True)}
    eight = side_by_side(works, 25, warm=3)
    more = _one_more(model, ids, floor)
    works = {"ours": lambda: ours(256), "sdpa": lambda: sdpa(ids[:256]), "floor": floor}
    many = side_by_side(works, 9)
    report(
        "warm",
        "Warm: every q, k, v, z and x of all 270 heads captured",
        [
            row("8 tokens", eight, "eager", 0.5),
            row("8 tokens", eight, "floor", 1.3),
            row("one more token after 64", more, "floor", 1.3),
            row("256 tokens", many, "sdpa", 1.15),
        ],
    )


def _one_more(model: Any, ids: list[int], floor: Any) -> Any:
    """A new 64-token trace each time, then one token more, which alone is timed."""
    ready: list[Trace] = []

    def prepare() -> None:
        ready[:] = [model.trace(ids=ids[:64]).run()]

    def append() -> Trace:
        trace = model.trace(ids=ids[:65]).run()
        trace.logits  # noqa: B018 - computed when asked
        return trace

    return side_by_side({"prepare": prepare, "ours": append, "floor": floor}, 15, warm=2)
