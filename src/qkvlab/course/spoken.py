"""A sentence's plain text → what the voice says, "as a teacher would say it": W_q is "W sub q", 0.90 "zero point nine".

The text is the compiler's: formulas are small strings (`xW_q`, `QK^T`, `√d_k`). What comes out holds words and marks
of punctuation only: a symbol that no rule knows is an error, never silence. Rules run in the order of `RULES`.
"""

import re
from collections.abc import Callable

from .numerals import cardinal, decimal, ordinal, year

NAMES = {
    "SmolLM2-135M-Instruct": "smol L M two", "SmolLM2-135M": "smol L M two", "SmolLM2": "smol L M two",
    "smollm2": "smol L M two", "MiniLM": "mini L M", "minilm": "mini L M", "RoPE": "rope", "YaRN": "yarn",
    "Llama-3-8B": "Llama three eight B", "GPT-2": "G P T two", "enwik8": "enwik eight", "K/V": "K V",
    "QKV": "Q K V", "NumPy": "num pie", "PyTorch": "pie torch", "GUM": "gum", "BERT": "bert", "SVG": "S V G",
    "e.g.": "for example", "i.e.": "that is", "et al.": "and others", "vs.": "versus", "cf.": "compare",
    "log-sum-exp": "log sum exp", "1-D": "one D", "2-D": "two D", "3-D": "three D",
}  # fmt: skip
"""Names and abbreviations that are not said as they are written."""

UNITS = {
    "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte", "TiB": "tebibyte", "kB": "kilobyte", "KB": "kilobyte",
    "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "ms": "millisecond", "µs": "microsecond", "s": "second",
    "kbit/s": "kilobits per second", "σ": "sigma",
}  # fmt: skip
"""A unit behind a number, for one; more than one take an s."""

SIZES = {"M": "million", "B": "billion", "K": "thousand"}

SIGNS = {
    "·": "dot", "×": "times", "=": "equals", "≠": "is not", "≈": "is about", "≤": "is at most", "≥": "is at least",
    "<": "is less than", ">": "is greater than", "+": "plus", "−": "minus", "±": "plus or minus", "→": "to",
    "←": "from", "∈": "in", "Σ": "the sum of", "∞": "infinity", "∂": "the derivative of", "&": "and", "%": "percent",
    "#": "number", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "Δ": "delta", "ε": "epsilon", "θ": "theta",
    "λ": "lambda", "μ": "mu", "π": "pi", "σ": "sigma", "φ": "phi", "ω": "omega",
}  # fmt: skip

PUNCTUATION = {".": "full stop", ",": "comma", "!": "exclamation mark", "?": "question mark", "": "space"}
"""What a token is called that is nothing else."""

NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
SHAPES = r"matrix|matrices|grid|table|block|blocks|numbers"
GREEK = "α-ωΔ"
SCRIPT = r"(?:[_^](?:\([^()]*\)|[A-Z]|[a-z]+|\d+|⊤)|[²³ᵀ⊤])"
FACTORS = re.compile(rf"(?<![A-Za-z_])(?:[A-Za-z{GREEK}]{SCRIPT}*){{0,3}}[A-Za-z{GREEK}]{SCRIPT}+"
                     rf"(?:[A-Za-z{GREEK}]{SCRIPT}*(?![A-Za-z]))*")  # fmt: skip
FACTOR = re.compile(rf"([A-Za-z{GREEK}])({SCRIPT}*)")
SAYABLE = re.compile(r"[^\W\d_]|[ .,;:?!'’“”-]")


class UnspeakableError(ValueError):
    """A sentence holds something that no rule can say."""


def spoken(text: str) -> str:
    """What the voice says for one sentence. Raises UnspeakableError with the first sign that no rule knows."""
    said = text
    for pattern, said_as in RULES:
        try:
            said = re.sub(pattern, said_as, said)
        except ValueError as error:
            raise UnspeakableError(f"{error}, in: {text}") from None
    said = _tidied(said)
    for character in said:
        if not SAYABLE.fullmatch(character):
            raise UnspeakableError(f"no rule says how {character!r} is spoken, in: {text}")
    if not re.search(r"\w", said):
        raise UnspeakableError(f"there is nothing to say in: {text!r}")
    return said


def _tidied(said: str) -> str:
    """No doubled signs, no space before one, a sign at the end."""
    said = re.sub(r"\s+", " ", said).strip()
    said = re.sub(r" ([,.;:?!”])", r"\1", said)
    said = re.sub(r"“ ", "“", said)
    said = re.sub(r",(?=[,.;:?!])", "", said)
    said = re.sub(r"([:;]),", r"\1", said)
    said = said.strip(" ,")
    return said if re.search(r"[.?!]”?$", said) else f"{said.rstrip(':;')}."


# ---- the rules


def _quoted(match: re.Match[str]) -> str:
    """A token keeps its quotes, which the voice marks, and loses the space that belongs to it."""
    inner = match[1].strip()
    return f"“{PUNCTUATION.get(inner, inner)}”"


def _factors(match: re.Match[str]) -> str:
    """xW_q is "x times W sub q"; QK^T "Q times K transposed"."""
    said = [letter + _scripts(scripts) for letter, scripts in FACTOR.findall(match[0])]
    return " times ".join(said)


def _scripts(scripts: str) -> str:
    said = ""
    for script in re.findall(SCRIPT, scripts):
        inner = script[1:].strip("()")
        said += f" {_lowered(inner)}" if script[0] == "_" else f" {_raised(inner or script)}"
    return said


def _lowered(inner: str) -> str:
    """W_q is "W sub q", A_ij "A sub i j"; but d_head is "d head"."""
    return inner if len(inner) > 2 and inner.isalpha() else f"sub {' '.join(inner) if len(inner) == 2 else inner}"


def _raised(inner: str) -> str:
    known = {"2": "squared", "²": "squared", "3": "cubed", "³": "cubed"} | dict.fromkeys("Tᵀ⊤", "transposed")
    return known.get(inner, f"to the power of {inner}")


def _head(match: re.Match[str]) -> str:
    """Head 13.10 is not head 13.1: what stands behind the point is a whole number."""
    return re.sub(r"(\d+)\.(\d+)", lambda one: f"{cardinal(int(one[1]))} point {cardinal(int(one[2]))}", match[0])


def _measured(match: re.Match[str]) -> str:
    unit = UNITS[match[2]]
    many = "" if match[1] == "1" or " per " in unit or unit == "sigma" else "s"
    return f"{decimal(match[1])} {unit}{many}"


def _tiny(match: re.Match[str]) -> str:
    factor = "" if match[1] in ("", "1") else f"{decimal(match[1])} times "
    return f"{factor}ten to the power of {'minus ' if match[2] else ''}{cardinal(int(match[3]))}"


def _alternation(names: dict[str, str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


Said = str | Callable[[re.Match[str]], str]

RULES: list[tuple[str, Said]] = [
    (r'["“]([^"“”]*)["”]', _quoted),
    (rf"(?<![\w])(?:{_alternation(NAMES)})(?!\w)", lambda match: NAMES[match[0]]),
    (r"\b[Hh]eads? \d+\.\d+(?:(?:, | and | or |, and )\d+\.\d+)*", _head),
    # formulas
    (r"(?<=\w)\((s|es)\)", r"\1"),
    (FACTORS.pattern, _factors),
    (r"√\(([^()]*)\)", r"the square root of \1 "),
    (r"√", "the square root of "),
    (r"(?<=[A-Za-z])\(([^()]*)\)(?=[A-Za-z])", r" of \1, times "),
    (r"(?<=[A-Za-z])\(([^()]*)\)", r" of \1 "),
    (r"Σ(?= over\b)", "the sum"),
    (rf"(?<=[\dA-Za-z{GREEK})])\s*/\s*(?=the square root)", " over "),
    (rf"(?<![A-Za-z])([A-Za-z{GREEK}]|\d[\d,.]*|\))\s*/\s*(?=(?:[A-Za-z{GREEK}]\b|[\d(]))", r"\1 over "),
    # numbers
    (r"\b(\d+(?:\.\d+)?)e(-|−)?(\d+)\b", _tiny),
    (r"()\b10\^\(?(-|−)?(\d+)\)?", _tiny),
    (rf"({NUMBER})(?:²|\^2\b)", r"\1 squared"),
    (rf"({NUMBER})(?:³|\^3\b)", r"\1 cubed"),
    (r"(?:(?<=^)|(?<=[\s(“,=·×→]))[-−](?=\d|[A-Za-z]\b)", "minus "),
    (rf"({NUMBER}) ?× ?({NUMBER})(?= (?:{SHAPES})\b)", r"\1 by \2"),
    (r"(?<=\d) ?– ?(?=\d)", " to "),
    (r"\b(\d+)(?:st|nd|rd|th)\b", lambda match: ordinal(int(match[1]))),
    (rf"({NUMBER})[ \u00a0-]?({_alternation(UNITS)})(?![\w/])", _measured),
    (rf"\b({NUMBER})([MBK])\b", lambda match: f"{decimal(match[1])} {SIZES[match[2]]}"),
    (r"(?<![\d.,×=])\b((?:19|20)\d\d)\b(?![.,]?\d)", lambda match: year(int(match[1]))),
    (NUMBER, lambda match: decimal(match[0])),
    # signs
    (r"(?<=[A-Za-z])/(?=[A-Za-z])", " or "),
    (r"\s+[–—-]\s+|—", ", "),
    (f"[{''.join(SIGNS)}]", lambda match: f" {SIGNS[match[0]]} "),
    (r"…|\.\.\.", ","),
    (r"[(\[]", ", "),
    (r"[)\]]", ", "),
    (r"(?<![\w-])[A-Z]{2,5}(?![A-Za-z])", lambda match: " ".join(match[0])),
]
"""(what is looked for, what is said), from the special to the general."""
