"""The exception tree: every mistake a user can make has a name and one clear line.

A message says what is wrong, what was expected against what was got, and the way out.
The command line prints it and exits with status 2; it never shows a traceback for these.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class QkvLabError(Exception):
    """Anything a user can cause and a user can mend. Catch this to catch them all."""


class SourceError(QkvLabError):
    """A model's name leads to no usable files: unknown name, no network, bad checksum, wrong folder."""


class CheckpointError(QkvLabError):
    """A file of weights is damaged, hostile or incomplete."""


class UnsupportedError(QkvLabError):
    """The files are sound, but hold something this version does not compute (refused by name, never guessed)."""


class ConfigError(UnsupportedError):
    """A configuration key is refused, unknown, or disagrees with the tensors."""


class TextError(QkvLabError):
    """A text that cannot become tokens: empty, too long for the model, not valid Unicode."""


class TokenError(QkvLabError):
    """A token that was named is missing from the text, or could be several."""


class HeadError(QkvLabError):
    """A head address that is malformed or that the model does not have."""


class EditError(QkvLabError):
    """An edit that cannot act: no such token or head, a key after the query, a rotation where there is none."""


class RequestError(QkvLabError):
    """A message to the server that is not what docs/protocol.md says."""


class AtlasError(QkvLabError):
    """An atlas that is not there, damaged, or without the measure that was asked for."""


class LessonError(QkvLabError):
    """A file of the course that is not what docs/course.md says; the message begins with file and line."""

    def __init__(self, message: str, file: str, line: int) -> None:
        super().__init__(f"{file}:{line}: {message}")
        self.file = file
        self.line = line


class CourseError(QkvLabError):
    """The course is not there, or cannot be written where it was asked for."""


class LimitError(QkvLabError):
    """The answer would be larger than the limit that was set."""


class MissingExtraError(QkvLabError):
    """An optional part of QKV Lab is not installed."""

    def __init__(self, needed_for: str, extra: str) -> None:
        super().__init__(f"{needed_for} needs an optional part; install it with: pip install 'qkvlab[{extra}]'")


def one_of(kind: str, got: object, accepted: Iterable[object]) -> str:
    """The message for a value outside a known list: names it, the nearest accepted one, and all of them."""
    names = [str(name) for name in accepted]
    text = got[:100] if isinstance(got, str) else shown(got)
    near = get_close_matches(text, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{kind} {text!r} is not known{hint} (accepted: {', '.join(names) or 'none'})"


def shown(value: object) -> str:
    """A stranger's value on one line, of bounded length."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # a number of too many digits, lists nested too deeply
        text = f"a {type(value).__name__}"
    text = text if isinstance(value, str) else " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."
