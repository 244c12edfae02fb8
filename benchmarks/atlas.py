"""The atlas' scan: tokens per second beside our own forward pass, and beside transformers eager with NumPy.

The text is made up of the shipped reference text, over and over, as a document whose words are whitespace-cut and hang
on the word before: as many questions per word as a treebank has. All numbers on the same windows of 256 tokens.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from qkvlab.atlas.count import count_document
from qkvlab.atlas.counts import Counts, Options
from qkvlab.atlas.looks import LOOKS, targets_of
from qkvlab.atlas.syntax import syntax_questions
from qkvlab.atlas.treebank import Document, Word
from qkvlab.atlas.windows import Window, windows
from qkvlab.model import open_model
from qkvlab.reference import reference_text

from .common import report, side_by_side
from .peers import in_transformers

N_TOKEN, ROUNDS = 1024, 5


def document(model: Any) -> Document:
    """Words in sentences of up to 20; each hangs on the word before, by one of 30 relations, as in a treebank."""
    text = reference_text()
    while len(model.tokenizer.encode(text).ids) < N_TOKEN:
        text += " " + reference_text()
    text = text[: model.tokenizer.encode(text).offsets[N_TOKEN - 1][1]]
    words, sentences, start = [], [], 0
    for match in re.finditer(r"\w+|[^\w\s]", text):
        at = len(words)
        head = at - 1 if at > start else None
        words.append(Word(match[0], *match.span(), head, f"relation{at % 30}", "X", {}))
        if match[0] == "." or at - start > 20:
            sentences.append(range(start, at + 1))
            start = at + 1
    sentences.append(range(start, len(words)))
    return Document("reference", text, words, sentences)


def in_numpy(eager: Callable[..., Any], own: Document, cut: list[Window]) -> dict[str, np.ndarray]:
    """The same questions asked of transformers' attentions in plain whole-array NumPy: a word matrix per window, its
    largest candidate per question; argmax, entropy and distance of every query."""
    found: dict[str, np.ndarray] = {}
    for window in cut:
        kinds = syntax_questions(own, window, Counts("x"), True)
        member = np.zeros((len(window.ids), len(window.words)), np.float32)
        for column, (first, last) in enumerate(zip(window.first_token, window.last_token, strict=True)):
            member[first : last + 1, column] = 1
        queries, keys = window.queries, np.arange(len(window.ids))
        apart = abs(keys[None] - queries[:, None])
        for layer, held in enumerate(eager(list(window.ids), output_attentions=True).attentions):
            weights = held[0].numpy()
            rows = weights[:, queries]
            best = rows.argmax(axis=-1)
            for look in LOOKS:
                _add(found, f"{look} {layer}", (best == targets_of(look, queries)).sum(axis=-1))
            _add(found, f"entropy {layer}", -(rows * np.log(np.maximum(rows, 1e-30))).sum(axis=(1, 2)))
            _add(found, f"distance {layer}", (rows * apart).sum(axis=(1, 2)))
            words = weights @ member
            for name, kind in kinds.items():
                for query, among, right in zip(kind.queries, kind.candidates, kind.right, strict=True):
                    _add(found, f"{name} {layer}", words[:, query, list(among)].argmax(axis=-1) + among[0] == right[0])
    return found


def _add(found: dict[str, np.ndarray], name: str, value: np.ndarray) -> None:
    found[name] = found.get(name, 0) + value


def main() -> None:
    model = open_model("smollm2")
    own, eager = document(model), in_transformers("eager")
    cut = list(windows(model, own))
    n_token = sum(len(window.ids) for window in cut)
    options = Options(measures=("position", "syntax", "coreference", "values"))
    works = {
        "scan": lambda: count_document(model, own, options),
        "forward": lambda: [model.trace(ids=window.ids).run() for window in cut],
        "eager": lambda: in_numpy(eager, own, cut),
    }
    took = side_by_side(works, ROUNDS)
    speed = {name: n_token / times["median"] * 1e3 for name, times in took.items()}
    rows = []
    for peer, said, reach in (("forward", "our forward pass", 0.8), ("eager", "transformers eager + NumPy", None)):
        share = speed["scan"] / speed[peer]
        rows.append({
            "work": f"scan of {n_token:,} tokens, windows of 256", "ours (tokens/s)": speed["scan"], "peer": said,
            "peer (tokens/s)": speed[peer], "share": share, "reach": reach or "",
            "held": "" if reach is None else "yes" if share >= reach else "NO",
        })  # fmt: skip
    report("atlas", "Tokens per second of an atlas scan (all layers; positions, syntax, values, examples)", rows)
