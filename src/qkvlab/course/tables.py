"""Recordings of heads switched off together: one table for a layer and a token, with the answers to all sets of heads.

A table is asked for like a view of a prediction, with the layer as `switched` in the place of its edits, and named like
any recording. docs/course.md says what its one frame holds.
"""

import json
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from .._parallel import in_parallel
from .._shapes import Array, Float, Int
from ..effects import EARLIER, MOST
from ..server.protocol import Reply, encode, parse_request
from ..server.rooms import Rooms
from ..server.scene import set_scene
from ..trace import Trace
from .recorded import Reader, pack, record, unpack
from .switched import logits_without

Request = dict[str, Any]
BLOCK = 256
"""The largest logits are looked for in the blocks of the vocabulary whose maxima are largest."""


def record_tables(asked: list[Request], rooms: Rooms, reader: Reader) -> Iterator[tuple[Request, bytes]]:
    """These tables as their files' bytes; for all tokens of a text the model runs once for each set of a layer."""

    def run(request: Request) -> tuple[str, str, int]:
        return request["model"], request["text"], request["switched"]

    for (name, _, layer), together in groupby(sorted(asked, key=run), run):
        requests = list(together)
        views = [{field: value for field, value in request.items() if field != "switched"} for request in requests]
        plain = [_answers(view, rooms, reader) for view in views]
        model = rooms.models.ready(name)
        assert model is not None, "it has answered"
        trace = model.trace(set_scene(parse_request({"id": 0, **views[0]}), model).tokens)
        yield from zip(requests, _tables(trace, layer, plain), strict=True)


def _answers(request: Request, rooms: Rooms, reader: Reader) -> dict[str, Any]:
    """What the server says to a view without arrays, by part."""
    replies = [json.loads(frame) for frame in unpack(record(request, rooms, reader))]
    return {reply["part"]: reply for reply in replies}


def _tables(trace: Trace, layer: int, plain: list[dict[str, Any]]) -> Iterator[bytes]:
    """One for each of the plain answers, whose tokens all belong to this text."""
    heads = range(trace.spec.n_head)
    sets = [[head for head in heads if number >> head & 1] for number in range(1 << len(heads))]
    tables = [_Table(trace, answer) for answer in plain]
    for logits in logits_without(trace, layer, sets):
        in_parallel([partial(table.add, logits[:, table.at]) for table in tables])
    return (table.packed() for table in tables)


class _Table:
    """What follows one token without each set of heads; grows row by row, in the order of the sets."""

    def __init__(self, trace: Trace, plain: dict[str, Any]) -> None:
        self.trace, self.at = trace, int(plain["tokens"]["at"])
        said = plain["prediction"]
        earlier = [row["id"] for row in said["rows"][:EARLIER]]  # of the plain answer's rows the most probable
        self.fields = {"tokens": plain["tokens"], "earlier": earlier, "tracked": [row["id"] for row in said["tracked"]]}
        self.fixed = np.asarray([*earlier, *self.fields["tracked"]])
        self.rows: list[tuple[Array, Array, Array]] = []

    def add(self, logits: Float[Array, "set vocab"]) -> None:
        most = largest(logits, MOST)
        listed = np.concatenate([most, np.tile(self.fixed, (len(most), 1))], axis=1)
        self.rows.append((most, *_said(logits, listed)))

    def packed(self) -> bytes:
        most, p, logit = (np.concatenate(parts) for parts in zip(*self.rows, strict=True))
        ids = np.unique([*most.ravel(), *self.fixed])
        before = _said(self.trace.logits_at(slice(self.at, self.at + 1)), ids[None])
        numbers = {"p": p, "logit": logit, "p_before": before[0][0], "logit_before": before[1][0]}
        arrays = {name: array.astype(np.float32) for name, array in numbers.items()}
        arrays |= {"most": most.astype(np.int32), "ids": ids.astype(np.int32)}
        words = [self.trace.model.word(int(token)) for token in ids]
        return pack([encode(0, "view", Reply("switched", {**self.fields, "words": words}, arrays))])


def largest(logits: Float[Array, "row vocab"], n: int) -> Int[Array, "row n"]:
    """The `n` largest entries of each row, largest first."""
    n_block = -(-logits.shape[1] // BLOCK)
    padded = np.pad(logits, [(0, 0), (0, n_block * BLOCK - logits.shape[1])], constant_values=-np.inf)
    blocks = padded.reshape(len(logits), n_block, BLOCK)
    few = np.argpartition(-blocks.max(-1), min(n, n_block) - 1)[:, : min(n, n_block)]
    near = (few[:, :, None] * BLOCK + np.arange(BLOCK)).reshape(len(logits), -1)
    order = np.argsort(-np.take_along_axis(padded, near, axis=1), axis=1)[:, :n]
    return np.take_along_axis(near, order, axis=1)


def _said(logits: Float[Array, "row vocab"], ids: Int[Array, "row id"]) -> tuple[Array, Array]:
    """Probabilities and logits of these words, one list of them for each row."""
    top = logits.max(axis=-1, keepdims=True)
    total = np.exp(logits - top).sum(axis=-1, keepdims=True, dtype=np.float64)
    chosen = np.take_along_axis(logits, ids, axis=1)
    return np.exp((chosen - top).astype(np.float64)) / total, chosen
