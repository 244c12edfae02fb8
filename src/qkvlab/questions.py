"""Trace → small answers: what a token is looking for, what finds it, what it hands over, and what comes next."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ._shapes import Array, Float
from .errors import TokenError, UnsupportedError, shown
from .mechanism import softmax
from .overview import other_keys
from .spec import Head, is_whole
from .text import quoted
from .trace import Address, Trace
from .words import Words, value_words

LISTED = 200
"""How many tokens an error lists at most."""


@dataclass(frozen=True)
class TokenRef:
    """A token by position and print."""

    index: int
    text: str


@dataclass(frozen=True)
class Link:
    """One query-key pair at one head, seen from either side: the other token, raw score and weight."""

    index: int
    text: str
    score: float | None
    """None where the key is hidden from the query: by a window, or by an edit."""
    weight: float


@dataclass(frozen=True)
class FoundHead:
    """One head's answer to "how strongly does this query look at this key?"."""

    head: str
    layer: int
    kv_head: int
    score: float | None
    """None where the key is hidden from the query: by a window, or by an edit."""
    weight: float


@dataclass(frozen=True)
class Landing:
    """A head and the token on which a query lands hardest there."""

    head: str
    kv_head: int
    key: TokenRef
    score: float | None
    weight: float


@dataclass(frozen=True)
class Write:
    """The size of what a head writes into the residual at one position."""

    length: float
    residual: float
    """The length of the residual that enters the layer there."""
    share: float
    """length / residual."""


@dataclass(frozen=True)
class Answer:
    """The three questions, for one token at one head."""

    model: str
    tokens: tuple[str, ...]
    token: TokenRef
    head: str
    kv_head: int
    shares_kv_with: tuple[str, ...]
    looking_for: tuple[Link, ...]
    """All keys this query can see, by weight."""
    found_by: tuple[Link, ...]
    """The later queries (an encoder's: all others) that can see this token, by their weight on it."""
    hands_over: Words | None
    """None where the model has no output head."""
    value_length: float
    """The length of this token's value through W_o: what a query that looks only here would be given."""
    write: Write
    """What the head writes at this token."""
    edited: bool
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON values."""
        return asdict(self)


def token_index(tokens: Sequence[str], name: str | int) -> int:
    """Which position does a name mean? `#4` or 4, the exact print, or the print without its spaces if unique.

    Raises TokenError that lists the tokens with their numbers.
    """
    if is_whole(name):
        name = f"#{name}"
    if not isinstance(name, str):
        raise TokenError(f"a token is named by its text or its number; got {shown(name)}")
    listed = ", ".join(f"#{i} {token!r}" for i, token in enumerate(tokens[:LISTED]))
    listed += f", ... ({len(tokens)} in all)" if len(tokens) > LISTED else ""
    if name.startswith("#") and name[1:].isascii() and name[1:].isdigit():
        index = int(name[1:]) if len(name) < 12 else len(tokens)
        if index < len(tokens):
            return index
        raise TokenError(f"there is no token {name[:12]}; the tokens are: {listed}")
    exact = [i for i, token in enumerate(tokens) if token == name]
    loose = [i for i, token in enumerate(tokens) if token.strip() == name.strip() and name.strip()]
    for matches in (exact, loose):
        if len(matches) == 1:
            return matches[0]
        if matches:
            could_be = " or ".join(f"#{i}" for i in matches[:LISTED])
            raise TokenError(f"the token {name!r} could be {could_be}; say which: {listed}")
    raise TokenError(f"the token {name[:60]!r} is not in the text; the tokens are: {listed}")


def find(trace: Trace, query: str | int, key: str | int) -> list[FoundHead]:
    """In which heads does this query look at this key? Every head, by the weight of the pair, strongest first.

    Raises TokenError for a token that is not there, or a key that no query at that position can see.
    """
    _check_own_keys(trace)
    at, of = token_index(trace.tokens, query), token_index(trace.tokens, key)
    if trace.spec.causal and of > at:
        raise TokenError(
            f"token #{of} {trace.tokens[of]!r} comes after #{at} {trace.tokens[at]!r}, and a causal model "
            "cannot see it from there"
        )
    if not any(_sees(trace, layer, at, of) for layer in trace.spec.attention_layers):
        raise TokenError(
            f"token #{of} {trace.tokens[of]!r} is outside the window of {trace.spec.window} keys that "
            f"#{at} {trace.tokens[at]!r} sees, in every layer"
        )
    rows = []
    for layer in trace.spec.attention_layers:
        both = trace.layer_scores(layer, range(at, at + 1))
        scores, weights = both[:, 0], trace.weights_of(layer, both)[:, 0]
        for head in range(trace.spec.n_head):
            address = Head(layer, head)
            score, weight = _finite(scores[head, of]), float(weights[head, of])
            rows.append(FoundHead(str(address), layer, trace.spec.kv_head(address), score, weight))
    return sorted(rows, key=lambda row: (-row.weight, Head.parse(row.head)))


def landings(trace: Trace, token: str | int) -> list[Landing]:
    """On which one other token does this query land hardest, at every head? Strongest first.

    The token itself, the first position (the sink) and special tokens are left out; empty if nothing is left.
    """
    _check_own_keys(trace)
    at = token_index(trace.tokens, token)
    rows = []
    for layer in trace.spec.attention_layers:
        keys = other_keys(trace, layer, at)
        if len(keys) == 0:
            continue
        both = trace.layer_scores(layer, range(at, at + 1))
        scores, weights = both[:, 0], trace.weights_of(layer, both)[:, 0]
        for head, best in enumerate(keys[weights[:, keys].argmax(axis=-1)]):
            address, key = Head(layer, head), TokenRef(int(best), trace.tokens[best])
            score, weight = _finite(scores[head, best]), float(weights[head, best])
            rows.append(Landing(str(address), trace.spec.kv_head(address), key, score, weight))
    return sorted(rows, key=lambda row: -row.weight)


def ask(trace: Trace, token: str | int, head: Address, top: int = 5) -> Answer:
    """The three questions for one token at one head: what it looks for, what finds it, what it hands over."""
    _check_own_keys(trace)
    spec, at = trace.spec, trace.spec.head(head)
    index = token_index(trace.tokens, token)
    scores, weights = _row(trace, at, index)
    first, last = trace.visible(at.layer, index)
    looking = _ranked(trace, range(first, last), scores, weights)
    seeing = [query for query in range(len(trace)) if query != index and _sees(trace, at.layer, query, index)]
    found_by = _ranked(trace, seeing, *found(trace, at, index))
    w_o = trace.model.w_o(at)
    value = trace.values(at)[index] @ w_o
    said = value_words(trace, at, [index], top)[0] if spec.has_output else None
    residual = float(np.linalg.norm(trace.x(at.layer)[index]))
    length = float(np.linalg.norm(trace.z(at.layer)[at.head, index] @ w_o))
    token_ref = TokenRef(index, trace.tokens[index])
    return Answer(
        model=trace.model.badge,
        tokens=trace.tokens,
        token=token_ref,
        head=str(at),
        kv_head=spec.kv_head(at),
        shares_kv_with=tuple(str(h) for h in spec.readers(at.layer, spec.kv_head(at)) if h != at),
        looking_for=looking,
        found_by=found_by,
        hands_over=said,
        value_length=float(np.linalg.norm(value)),
        write=Write(length, residual, length / residual if residual else 0.0),
        edited=bool(trace.edits),
        sentence=_sentence(token_ref, str(at), looking, found_by, said, bool(trace.edits)),
    )


def found(trace: Trace, head: Address, key: int) -> tuple[Float[Array, " query"], Float[Array, " query"]]:
    """What finds this token? Every query's score and weight on it at one head; -inf and 0 where it cannot see it."""
    at = trace.spec.head(head)
    first = key if trace.spec.causal else 0
    rows = trace.score_rows(at, range(first, len(trace)))
    scores, weights = np.full(len(trace), -np.inf, np.float32), np.zeros(len(trace), np.float32)
    scores[first:] = rows[:, key]
    weights[first:] = trace.weights_of(at.layer, rows[None], at.head)[0, :, key]
    return scores, weights


def predict(trace: Trace, position: int = -1, top: int = 5) -> list[tuple[str, float, float]]:
    """What comes after a position, by the model: (word, probability, logit), most probable first.

    Raises TokenError for no such position, UnsupportedError for a model without an output head.
    """
    if not is_whole(position) or not -len(trace) <= position < len(trace):
        raise TokenError(f"there is no position {shown(position)}; the text has #0 to #{len(trace) - 1}")
    row = position % len(trace)
    logits = trace.logits_at(slice(row, row + 1))[0].astype(np.float64)
    shares = softmax(logits)
    best = np.argsort(-logits, kind="stable")[:top]
    return [(trace.model.word(int(i)), float(shares[i]), float(logits[i])) for i in best]


def _row(trace: Trace, head: Head, query: int) -> tuple[Array, Array]:
    """One query's scores and weights at one head."""
    row = trace.score_rows(head, range(query, query + 1))
    return row[0], trace.weights_of(head.layer, row[None], head.head)[0, 0]


def _check_own_keys(trace: Trace) -> None:
    if not trace.own_keys:
        raise UnsupportedError(
            f"{trace.spec.name}: in cross attention the keys are the encoder's tokens, so a token of this text has no "
            "answer to who finds it; read trace.weights(head) instead"
        )


def _ranked(trace: Trace, tokens: range | list[int], scores: Array, weights: Array) -> tuple[Link, ...]:
    links = [Link(i, trace.tokens[i], _finite(scores[i]), float(weights[i])) for i in tokens]
    return tuple(sorted(links, key=lambda link: -link.weight))


def _finite(score: Array) -> float | None:
    return float(score) if np.isfinite(score) else None


def _sees(trace: Trace, layer: int, query: int, key: int) -> bool:
    first, last = trace.visible(layer, query)
    return first <= key < last


def _sentence(
    token: TokenRef,
    head: str,
    looking: Sequence[Link],
    found_by: Sequence[Link],
    words: Words | None,
    edited: bool,
) -> str:
    """The numbers of an answer, in one plain sentence."""
    if looking and looking[0].weight > 0:
        first = looking[0]
        parts = [f"At head {head}, {quoted(token.text)} looks at {quoted(first.text)} with weight {first.weight:.2f}"]
    else:
        parts = [f"At head {head}, {quoted(token.text)} has no key left to look at"]
    if found_by:
        parts.append(f"it is found most by {quoted(found_by[0].text)}, with {found_by[0].weight:.2f}")
    if words is not None:
        out = [w.text for w in words.promotes if not w.always and w.sigma >= words.threshold][:3]
        promoted = ", ".join(quoted(word) for word in out)
        parts.append(f"its value promotes {promoted}" if out else "nothing stands out in what its value promotes")
    return "; ".join(parts) + (" (edited)." if edited else ".")
