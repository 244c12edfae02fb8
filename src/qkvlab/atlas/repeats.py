"""Induction, duplicates and the token before, on random tokens repeated (Olsson et al. 2022), with their controls.

A text is n random tokens, all different, and then the same again. Every query of the second time is asked: is its
largest weight, among all keys it sees, on what followed it the first time (induction), on itself there (duplicate), on
the token before it (previous)? The control asks for the same keys in a text whose second half are other random tokens,
so that nothing repeats: what a head scores there it owes to the distance alone. `repeats:previous` has such a control,
too, for the record; as both texts are random, it is no bar for it.

Where we differ from Olsson et al.: a hit is the largest weight (their score, the mean weight, is the mass here); tokens
of one text are all different, so that "what followed" is one place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._shapes import Array, Int
from ..errors import TextError, UnsupportedError
from ..model import Model

KINDS = ("induction", "duplicate", "previous")
CONTROL = "control"
LONGEST = 128
"""Random tokens before they repeat, at most."""


@dataclass(frozen=True)
class RandomText:
    """Tokens, the queries asked in them, and for each of `KINDS` the keys that are right."""

    ids: tuple[int, ...]
    queries: Int[Array, " query"]
    targets: Int[Array, "kind query"]


def random_texts(model: Model, seed: int, number: int, size: int) -> tuple[RandomText, RandomText]:
    """Random text `number` of a seed, repeated, and its control: the same first half, then other tokens.

    Special tokens stand around it as around any text. Raises TextError where the vocabulary or the window is too
    small.
    """
    before, after, vocabulary = _frame(model)
    n = min((size - len(before) - len(after)) // 2, len(vocabulary) // 2, LONGEST)
    if n < 2:
        raise TextError(f"random tokens need a window of {4 + len(before) + len(after)} tokens or more; got {size}")
    drawn = np.random.default_rng((seed, number)).choice(vocabulary, 2 * n, replace=False)
    queries = np.arange(n, 2 * n) + len(before)
    targets = np.stack([queries - n + 1, queries - n, queries - 1])
    first, second = drawn[:n].tolist(), drawn[n:].tolist()
    repeated, other = ((*before, *first, *again, *after) for again in (first, second))
    return RandomText(repeated, queries, targets), RandomText(other, queries, targets)


def _frame(model: Model) -> tuple[Sequence[int], Sequence[int], Array]:
    """The special tokens on either side of a text, and all tokens of the vocabulary that are not special."""
    every = np.arange(model.spec.n_vocab)
    try:
        tokenizer = model.tokenizer
    except UnsupportedError:
        return (), (), every  # a live model without one: ids alone
    known = every[: tokenizer.n_vocab]
    special = (*tokenizer.recognised, *tokenizer.before, *tokenizer.after)
    return tokenizer.before, tokenizer.after, known[~np.isin(known, special)]
