"""Inline mathematics: the small part of LaTeX that a sentence needs → HTML with sub, sup and var, and plain text.

`$W_q$` becomes `<var>W</var><sub><var>q</var></sub>` and the text `W_q`; `$\\sqrt{d}$` becomes √d.
"""

import html
import re
from dataclasses import dataclass

SYMBOLS = {
    "cdot": "·", "times": "×", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈",
    "to": "→", "in": "∈", "pm": "±", "sum": "Σ", "infty": "∞", "ldots": "…", "dots": "…", "partial": "∂",
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ", "lambda": "λ", "mu": "μ",
    "pi": "π", "sigma": "σ", "phi": "φ", "omega": "ω", "Delta": "Δ", "Sigma": "Σ", "top": "T",
    "%": "%", "#": "#", "$": "$", "{": "{", "}": "}", "_": "_", "&": "&",
    ",": " ", ";": " ", " ": " ", "quad": " ",
}  # fmt: skip
BETWEEN = set("+-−=<>·×≤≥≠≈→∈±")
"""Signs with a space on either side, unless nothing stands before them."""
PLAIN = set("()[]|/!:'.")
UPRIGHT = ("text", "mathrm", "operatorname")
TOKEN = re.compile(r"\\([A-Za-z]+|.)|\d+(?:[.,]\d+)*|\s+|.", re.DOTALL)


class MathsError(ValueError):
    """Not of the small part of LaTeX that lessons use."""


@dataclass(frozen=True)
class Piece:
    """A part of a formula, as HTML and as text."""

    html: str
    text: str
    opens: bool = False
    """Whether a sign after it has no left side: after another sign, or an opening bracket."""

    @property
    def single(self) -> bool:
        """Whether it can stand under a root or a bar without brackets."""
        return re.fullmatch(r"\w+", self.text.replace("_", "")) is not None


def typeset(source: str) -> tuple[str, str]:
    """HTML and plain text of a formula. Raises MathsError."""
    reader = _Reader([match[0] for match in TOKEN.finditer(source)])
    whole = reader.row(None)
    if not whole.text.strip():
        raise MathsError("the formula is empty")
    return whole.html.strip(), whole.text.strip()


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def row(self, end: str | None) -> Piece:
        """All up to `end`, which is taken too."""
        pieces: list[Piece] = []
        while (token := self._next()) != end:
            if token is None:
                raise MathsError(f"{end} is missing")
            if token in "_^":
                pieces.append(self._script(token, pieces))
            elif not token.isspace():
                pieces.append(self._piece(token, not pieces or pieces[-1].opens))
        return Piece("".join(piece.html for piece in pieces), "".join(piece.text for piece in pieces))

    def _next(self) -> str | None:
        if self._at == len(self._tokens):
            return None
        self._at += 1
        return self._tokens[self._at - 1]

    def _piece(self, token: str, first: bool) -> Piece:
        if token == "{":
            return self.row("}")
        if token.startswith("\\"):
            return self._command(token[1:], first)
        if token[0].isdecimal():
            return Piece(token, token)
        if token.isalpha():
            return Piece(f"<var>{token}</var>", token)
        return _sign(token, first)

    def _command(self, name: str, first: bool) -> Piece:
        if name in SYMBOLS:
            sign = SYMBOLS[name]
            return _sign(sign, first) if sign in BETWEEN else Piece(html.escape(sign, quote=False), sign)
        if name in UPRIGHT:
            return _plain(self._raw(name))
        if name == "sqrt":
            inner = _bracketed(self._argument(name))
            return Piece(f"√{inner.html}", f"√{inner.text}")
        if name == "frac":
            over, under = _bracketed(self._argument(name)), _bracketed(self._argument(name))
            return Piece(f"{over.html}/{under.html}", f"{over.text}/{under.text}")
        known = ", ".join(f"\\{word}" for word in ("sqrt", "frac", *UPRIGHT, *filter(str.isalpha, SYMBOLS)))
        raise MathsError(f"\\{name} is not known (accepted: {known})")

    def _argument(self, of: str) -> Piece:
        token = self._next()
        while token is not None and token.isspace():
            token = self._next()
        if token is None or token in "_^}":
            raise MathsError(f"{of} has nothing after it")
        return self._piece(token, True)

    def _raw(self, name: str) -> str:
        """The characters between the braces after \\text, spaces and all."""
        if self._next() != "{":
            raise MathsError(f"\\{name} has no {{ after it")
        words = ""
        while (token := self._next()) != "}":
            if token is None:
                raise MathsError("} is missing")
            words += token
        return words

    def _script(self, sign: str, before: list[Piece]) -> Piece:
        if not before:
            raise MathsError(f"{sign} has nothing before it")
        inner = self._argument(sign)
        tag = "sub" if sign == "_" else "sup"
        text = inner.text if inner.single else f"({inner.text})"
        return Piece(f"<{tag}>{inner.html}</{tag}>", sign + text)


def _sign(token: str, first: bool) -> Piece:
    shown = "−" if token == "-" else token
    escaped = html.escape(shown, quote=False)
    if shown in BETWEEN:
        return Piece(escaped, shown, True) if first else Piece(f" {escaped} ", f" {shown} ", True)
    if shown in (",", ";"):
        return Piece(f"{shown} ", f"{shown} ", True)
    if shown in PLAIN:
        return Piece(escaped, shown, shown in "([|/")
    if shown in "σαβγδεθλμπφωΔΣ∞…∂⊤":
        return Piece(escaped, shown)
    raise MathsError(f"{token!r} is not expected here")


def _plain(words: str) -> Piece:
    return Piece(html.escape(words, quote=False), words)


def _bracketed(piece: Piece) -> Piece:
    return piece if piece.single else Piece(f"({piece.html})", f"({piece.text})")
