"""A request's state on its model: the text as tokens, places as positions, edits that can act."""

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..edits import Edit, edit_from_dict
from ..errors import EditError, TokenError
from ..model import Model
from ..spec import ModelSpec
from ..text import Tokens
from .protocol import Place, Request, read_span
from .scheduler import WAIT, Wait

MOST_TOKENS = 2048
AT_ONCE = 10_000
"""Characters whose tokens are found in some milliseconds; 100,000 of the worst take seconds."""
ENCODERS = 2
"""Long texts that are cut into tokens at a time; the others wait."""
_PLACES = ("token", "source", "query", "key")
"""The fields by which edits name tokens."""


def token_limit(spec: ModelSpec) -> int:
    """The most tokens that are traced of a text."""
    return min(spec.n_context, MOST_TOKENS)


@dataclass(frozen=True)
class Scene:
    """What a request speaks of."""

    model: Model
    tokens: Tokens
    """Up to the limit."""
    n_token: int
    """Of the whole text."""
    places: tuple[Edit | None, ...]
    """The edits in the order of the request; None where one waits for its token, or cannot act."""
    refused: tuple[tuple[int, str], ...]
    """Places of edits that cannot act, and why."""
    query: int | None
    key: int | None
    at: int | None

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Those that act."""
        return tuple(edit for edit in self.places if edit is not None)

    def acting(self, place: int) -> int:
        """Where the edit at a place of the request stands among those that act. Raises EditError."""
        if place >= len(self.places) or self.places[place] is None:
            raise EditError(f"there is no acting edit at place {place}; the request has {len(self.places)} edits")
        return sum(edit is not None for edit in self.places[:place])


def scene_in_turn(request: Request, model: Model) -> Generator[Wait, None, Scene]:
    """As `set_scene`; a long text is cut into its tokens in a thread of its own, and others go on meanwhile."""
    if len(request.text) <= AT_ONCE:
        return set_scene(request, model)
    encoding = _encoders().submit(model.tokenizer.encode, request.text, request.special)
    try:
        while not encoding.done():
            yield WAIT
    finally:
        encoding.cancel()
    return _resolved(request, model, encoding.result())


def set_scene(request: Request, model: Model) -> Scene:
    """Resolve the state of a request. Raises TextError or TokenError."""
    return _resolved(request, model, model.tokenizer.encode(request.text, request.special))


@cache
def _encoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(ENCODERS, "qkvlab-tokens")


def _resolved(request: Request, model: Model, whole: Tokens) -> Scene:
    tokens = cut(whole, token_limit(model.spec)) if request.text else Tokens((), (), (), ())
    places: list[Edit | None] = []
    refused: list[tuple[int, str]] = []
    for place, values in enumerate(request.edits):
        try:
            places.append(_edit(values, tokens, model.spec))
        except EditError as error:
            places.append(None)
            refused.append((place, str(error)))
    typed = [at for at, special in enumerate(tokens.special) if not special]
    last = len(tokens) - 1 if len(tokens) else None
    query, at = position(tokens, request.query), position(tokens, request.at)
    return Scene(
        model=model,
        tokens=tokens,
        n_token=len(whole) if request.text else 0,
        places=tuple(places),
        refused=tuple(refused),
        query=query if query is not None else typed[-1] if typed else last,
        key=position(tokens, request.key),
        at=at if at is not None else last,
    )


def position(tokens: Tokens, place: Place | None) -> int | None:
    """Which token does a place mean? Of a span the token that covers most of it, of equals its part; None if none.

    Raises TokenError for a position that is not there.
    """
    if place is None or len(tokens) == 0:
        return None
    if isinstance(place, int):
        if place >= len(tokens):
            raise TokenError(f"there is no token #{place}; the text has #0 to #{len(tokens) - 1}")
        return place
    covered = [min(place.end, stop) - max(place.start, start) for start, stop in tokens.offsets]
    most = max(covered)
    equals = [at for at, length in enumerate(covered) if length == most]
    return equals[min(place.part, len(equals) - 1)] if most > 0 else None


def cut(tokens: Tokens, limit: int) -> Tokens:
    """The first tokens of a text, `limit` at most, with the special tokens behind it still behind it."""
    n = len(tokens)
    if n <= limit:
        return tokens
    tail = next((back for back in range(n) if not tokens.special[n - 1 - back]), n)
    kept = [*range(max(0, limit - tail)), *range(n - min(tail, limit), n)]
    return Tokens(
        ids=tuple(tokens.ids[at] for at in kept),
        texts=tuple(tokens.texts[at] for at in kept),
        offsets=tuple(tokens.offsets[at] for at in kept),
        special=tuple(tokens.special[at] for at in kept),
    )


def _edit(values: Mapping[str, Any], tokens: Tokens, spec: ModelSpec) -> Edit | None:
    """The edit with its places as positions; None where a token it names is gone. Raises EditError."""
    resolved = dict(values)
    for name in _PLACES:
        if (span := read_span(values.get(name))) is not None:
            resolved[name] = position(tokens, span)
            if resolved[name] is None:
                return None
    edit = edit_from_dict(resolved)
    edit.check(spec, len(tokens))
    return edit
