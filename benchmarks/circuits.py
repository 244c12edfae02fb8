"""Every circuit of a 135M model from its file, beside the same numbers of formed d_model × d_model matrices."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from qkvlab.circuit_report import circuits, head_card
from qkvlab.circuit_source import open_circuit_source
from qkvlab.model import open_model
from qkvlab.why_score import why

from .common import held, report

ROUNDS = 5
REACH_S = 5.0
"""Circuits of a 135M model, from the file to the last number."""
TEXT = "The cat drank because it was thirsty"


def formed(layers: int) -> Callable[[], Any]:
    """What there is without the thin factors: symmetry, and singular values of QK and OV, of the formed matrices."""

    def work() -> list[Any]:
        source, found = open_circuit_source("smollm2"), []
        group = source.n_head // source.n_kv_head
        for layer in range(layers):
            w = source.layer(layer)
            for head in range(source.n_head):
                qk, ov = w.w_q[head] @ w.w_k[head // group].T, w.w_v[head // group] @ w.w_o[head]
                found.append(
                    [np.sum(qk * qk.T) / np.sum(qk * qk), *(np.linalg.svd(m, compute_uv=False) for m in (qk, ov))]
                )
        return found

    return work


def _median(work: Callable[[], Any], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return sorted(took)[rounds // 2]


def main() -> None:
    trace = open_model("smollm2").trace(TEXT).run()

    def row(work: str, ours: float, peer: str, theirs: float, reach: float | None = None) -> dict[str, Any]:
        return {
            "work": work, "ours (s)": ours, "peer": peer, "peer (s)": theirs, "ratio": ours / theirs,
            "reach (s)": reach or "", "held": held(ours, reach) if reach else "",
        }  # fmt: skip

    ours = _median(lambda: circuits(open_circuit_source("smollm2")), ROUNDS)
    theirs = _median(formed(1), 1) * 30
    card = _median(lambda: head_card(open_circuit_source("smollm2"), "13.8"), ROUNDS)
    split = _median(lambda: why(trace, " it", " cat", "29.3"), ROUNDS)
    plain = _median(lambda: open_model("smollm2").trace(TEXT).run(), ROUNDS)
    report(
        "circuits",
        "Circuits from weights, file included; and why one score",
        [
            row("270 heads, every measure", ours, "formed, one layer × 30", theirs, REACH_S),
            row("the card of head 13.8", card, "270 heads", ours),
            row("why at 29.3, 291 × 291 parts", split, "file and forward pass", plain),
        ],
    )
