"""Does the recorded voice still say what the lesson says? Needs nothing but the two; the build asks it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from .spoken import spoken


@dataclass(frozen=True)
class Difference:
    """One sentence, by its number from 0: what should be said, and what is. None where one has no such sentence."""

    sentence: int
    wanted: str | None
    recorded: str | None

    def __str__(self) -> str:
        if self.wanted is None:
            return f"the voice says a sentence {self.sentence} that the lesson does not have: {self.recorded!r}"
        if self.recorded is None:
            return f"the voice never says sentence {self.sentence}: {self.wanted!r}"
        return f"sentence {self.sentence} is to be said as {self.wanted!r}; the voice says {self.recorded!r}"


def check(lesson_sentences: Sequence[str], narration: Mapping[str, Any]) -> list[Difference]:
    """Where do a lesson's sentences (their plain text, in order) and NN.json differ? Empty if nowhere.

    The hash is of the spoken text: a change that sounds the same needs no new recording, a new rule of `spoken` does.
    Raises UnspeakableError.
    """
    found = []
    for number, (text, row) in enumerate(zip_longest(lesson_sentences, narration["sentences"])):
        wanted = None if text is None else spoken(text)
        if wanted is None or row is None or row["sha256"] != sha256(wanted):
            found.append(Difference(number, wanted, None if row is None else row["spoken"]))
    return found


def sha256(said: str) -> str:
    """A spoken sentence's fingerprint: of its text in UTF-8."""
    return hashlib.sha256(said.encode()).hexdigest()
