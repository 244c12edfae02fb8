"""The voice: hibari-tts (Apache-2.0), which speaks offline from files inside its wheel; and what it said already.

Chosen over Piper's: see docs/decisions.md, "The voice of the lessons". An optional part: `qkvlab[narration]`.
"""

import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from .._shapes import Array, Float
from ..checkpoint.wheel import cache_dir
from ..errors import MissingExtraError
from .drift import sha256

SPEED = 0.93
"""Slower than the voice's own pace, as a lesson is told."""
PRONOUNCED = {
    "logit": "lˈOʤɪt", "logits": "lˈOʤɪts", "Kitaev": "kitˈɑəf", "embedding": "ˌɛmbˈɛdɪŋ", "embeddings": "ˌɛmbˈɛdɪŋz",
}  # fmt: skip
"""Words that the voice's lexicon does not have, has wrong, or slurs, in its own alphabet (misaki's)."""


@runtime_checkable
class Voice(Protocol):
    """What speaks a sentence. Equal names speak equal sentences alike."""

    @property
    def name(self) -> str: ...
    @property
    def rate(self) -> int:
        """Samples in a second."""

    def speak(self, said: str) -> Float[Array, " n"]:
        """Samples of one channel, between -1 and 1."""


class Hibari:
    """hibari-tts with the voice of its wheel ("heart"). Raises MissingExtraError."""

    def __init__(self) -> None:
        try:
            from hibari import Hibari as Engine
        except ImportError:
            raise MissingExtraError("speaking a lesson", "narration") from None
        self._engine: Any = Engine()
        self.name = f"hibari-tts {version('hibari-tts')}, heart, speed {SPEED}"
        self.rate = int(self._engine.sample_rate)

    def speak(self, said: str) -> Float[Array, " n"]:
        """The same sentence gives the same samples: the noise in a voice has a fixed seed."""
        wave: Float[Array, " n"] = self._engine(readable(said, self._phonemes), speed=SPEED, seed=0)
        return wave

    def _phonemes(self, word: str) -> str:
        return str("".join(self._engine.phonemize(word)))


def readable(said: str, phonemes: Callable[[str], str]) -> str:
    """A sentence as hibari-tts reads it well: `[word](/phonemes/)` where it would go wrong by itself.

    It drops quotation marks and then slurs a quoted "it", takes the full stop behind a last letter for that of an
    initial, and reads the letter A among others as an article.
    """

    def spelt(word: str, sound: str) -> str:
        return f"[{word}](/{sound}/)"

    def quoted(match: re.Match[str]) -> str:
        words = match[1]
        if " " in words:
            return f", {words},"
        sound = phonemes(words)
        return spelt(words, sound if "ˈ" in sound else re.sub("([AIOQWYaeiouæɑɒɔəɛɜɪʊʌᵻɐ])", r"ˈ\1", sound, count=1))

    text = re.sub("“([^”]*)”", quoted, said)
    text = re.sub(r"\s+,", ",", re.sub(r",\s*(?=[,.;:?!])", "", text)).removeprefix(", ")
    text = re.sub(r"\bA(?= sub )|(?<=\b[B-Z] )A\b", lambda match: spelt("A", "ˈA"), text)
    text = re.sub(r"(?<![\w\[’'])([A-Za-z])(?=[.?!]$)", lambda match: spelt(match[1], phonemes(match[1])), text)
    known = "|".join(PRONOUNCED)
    return re.sub(rf"\b({known})\b(?!\])", lambda match: spelt(match[1], PRONOUNCED[match[1]]), text)


class Remembered:
    """A voice that speaks a sentence once: what it said is kept in the cache folder, by voice and text."""

    def __init__(self, voice: Voice, folder: Path | None = None) -> None:
        self._voice = voice
        self._folder = folder or cache_dir() / "narration"
        self.name, self.rate = voice.name, voice.rate
        self.fresh = 0
        """How many sentences had to be spoken."""

    def speak(self, said: str) -> Float[Array, " n"]:
        import numpy as np

        key = sha256("\n".join((self.name, str(self.rate), said)))
        path = self._folder / f"{key}.f32"
        if path.is_file():
            return np.fromfile(path, np.float32)
        wave = np.asarray(self._voice.speak(said), np.float32)
        self.fresh += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        wave.tofile(part)
        part.replace(path)
        return wave
