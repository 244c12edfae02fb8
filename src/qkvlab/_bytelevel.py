"""Byte-level BPE: bytes to characters and back, and the tokenizer inside a GGUF file's metadata."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from .errors import CheckpointError, UnsupportedError, one_of

Span = tuple[int, int]


class PreTokenizer(NamedTuple):
    """How a kind of byte-level tokenizer cuts text before it merges bytes, and what it adds by itself."""

    pattern: str | None = None
    """Where words end; None is GPT-2's own pattern, which the library holds."""
    single_digits: bool = False
    nfc: bool = False
    """Characters are composed first (Unicode NFC), as the model's own tokenizer does; llama.cpp does not."""
    whole_words_first: bool = False
    """A word that is in the vocabulary is one token, whatever the merges say."""
    adds_first_token: bool = False


# Patterns as the models publish them in tokenizer.json; llama.cpp (src/llama-vocab.cpp, llm_tokenizer_bpe)
# spells the (?i:...) out for ASCII letters only.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_LLAMA_BPE = PreTokenizer(_LLAMA3, whole_words_first=True, adds_first_token=True)

PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "smollm": PreTokenizer(single_digits=True),
    "gpt-2": PreTokenizer(),
    "llama-bpe": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
    "qwen2": PreTokenizer(_QWEN2, nfc=True),
}
_UNKNOWN_OR_CONTROL, _USER_DEFINED = (2, 3), (4,)
"""Values of `tokenizer.ggml.token_type` whose tokens are found in a text when someone types them."""


def _alphabet() -> dict[str, bytes]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): bytes([byte]) for byte in printable}
    return letters | {chr(256 + i): bytes([byte]) for i, byte in enumerate(others)}


ALPHABET = _alphabet()
"""GPT-2's printable letter for each of the 256 bytes, and the byte (`bytes_to_unicode` in openai/gpt-2)."""


def token_bytes(token: str) -> bytes:
    """Which bytes does a vocabulary entry stand for? A letter outside the alphabet is itself, in UTF-8."""
    return b"".join(ALPHABET.get(letter) or letter.encode() for letter in token)


def readable(raw: bytes) -> str:
    """How do bytes print? As UTF-8 where they are whole characters, else as hex in angle quotes: ⟨E2 80⟩."""
    shown = ""
    while raw:
        try:
            return shown + raw.decode()
        except UnicodeDecodeError as error:
            broken = raw[error.start : error.end].hex(" ").upper()
            shown += raw[: error.start].decode() + f"⟨{broken}⟩"
            raw = raw[error.end :]
    return shown


def missing_bytes(library: Any) -> bytes:
    """Which bytes can the vocabulary not write? They vanish from a text (SmolLM2 lacks 8 that UTF-8 uses)."""
    return b"".join(byte for letter, byte in ALPHABET.items() if library.token_to_id(letter) is None)


def exact_spans(text: str, tokens: list[str], typed: Mapping[int, Span], missing: bytes) -> list[Span] | None:
    """Which characters does each token touch, by counting bytes?

    `typed` gives the span of every special token that stands in the text, by its index. None if the tokens'
    bytes are not the text's (a normaliser changed it, a space was put before it). The library's own offsets
    are right only while no byte is missing: after a missing one they slide to the left within the word.
    """
    if not tokens:
        return []
    raw = np.frombuffer(text.encode(), np.uint8)
    character = np.cumsum((raw & 0xC0) != 0x80) - 1
    kept = ~np.isin(raw, list(missing))
    pieces = [token_bytes(token) for token in tokens]
    for index, (start, end) in typed.items():
        pieces[index] = text[start:end].encode()
        kept[np.searchsorted(character, start) : np.searchsorted(character, end)] = True
    if not all(pieces) or b"".join(pieces) != raw[kept].tobytes():
        return None
    lengths = np.array([len(piece) for piece in pieces])
    ends = np.cumsum(lengths)
    character = character[kept]
    return list(zip(character[ends - lengths].tolist(), (character[ends - 1] + 1).tolist(), strict=True))


def build(metadata: Mapping[str, Any]) -> tuple[Any, str, tuple[int, ...], tuple[int, ...], int | None]:
    """What tokenizer does a GGUF file carry? The library's own, its kind, the ids before and after a text, and the
    start token it names.

    Keys are those of gguf's specification (`tokenizer.ggml.*`); defaults are llama.cpp's.
    Raises UnsupportedError for a tokenizer that is not byte-level BPE of a known kind, CheckpointError for
    metadata that is missing or contradicts itself.
    """
    from tokenizers import Tokenizer, models

    name, kind = _kind(metadata)
    tokens: list[str] = _need(metadata, "tokens", list)
    with _garbage_collection_paused():
        vocabulary = dict(zip(tokens, range(len(tokens)), strict=True))
        if len(vocabulary) != len(tokens):
            raise CheckpointError("tokenizer.ggml.tokens holds the same token twice")
        merges = _merges(_need(metadata, "merges", list))
        try:
            model = models.BPE(vocabulary, merges, ignore_merges=kind.whole_words_first)
        except Exception as error:
            raise CheckpointError(f"tokenizer.ggml.merges does not fit its tokens: {error}") from None
    library = Tokenizer(model)
    _cut(library, kind)
    _recognise(library, tokens, metadata.get("tokenizer.ggml.token_type"))
    before = _added(metadata, "bos", kind.adds_first_token, len(tokens))
    after = _added(metadata, "eos", False, len(tokens))
    start = metadata.get("tokenizer.ggml.bos_token_id")
    if not isinstance(start, (int, np.integer)) or not 0 <= start < len(tokens):
        start = None
    return library, f"byte-level BPE, {name}", before, after, None if start is None else int(start)


def _kind(metadata: Mapping[str, Any]) -> tuple[str, PreTokenizer]:
    way_out = "its text cannot be cut into tokens here, but token ids still work"
    model = _need(metadata, "model", str)
    if model != "gpt2":
        raise UnsupportedError(f"{one_of('GGUF tokenizer', model, ['gpt2'])}; {way_out}")
    name = str(metadata.get("tokenizer.ggml.pre", "(none named)"))
    if name not in PRE_TOKENIZERS:
        raise UnsupportedError(f"{one_of('GGUF pre-tokenizer', name, PRE_TOKENIZERS)}; {way_out}")
    return name, PRE_TOKENIZERS[name]


def _need(metadata: Mapping[str, Any], key: str, kind: type) -> Any:
    value = metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(value, kind) or not value:
        raise CheckpointError(f"the GGUF file holds no usable tokenizer.ggml.{key}; token ids still work")
    return value


def _merges(lines: list[str]) -> list[tuple[str, str]]:
    if set(map(str.count, lines, repeat(" "))) != {1}:
        odd = next(line for line in lines if line.count(" ") != 1)
        raise CheckpointError(f"tokenizer.ggml.merges: {odd[:40]!r} is not two tokens and a space between")
    halves = " ".join(lines).split(" ")
    return list(zip(halves[::2], halves[1::2], strict=True))


def _cut(library: Any, kind: PreTokenizer) -> None:
    from tokenizers import Regex, normalizers, pre_tokenizers

    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if kind.single_digits else []
    if kind.pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(kind.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind.pattern is None))
    library.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if kind.nfc:
        library.normalizer = normalizers.NFC()


def _recognise(library: Any, tokens: list[str], types: Any) -> None:
    """Special tokens are found in a text when someone types them, as in the models' own tokenizers."""
    from tokenizers import AddedToken

    if types is None:
        return
    types = np.asarray(types)
    if types.shape != (len(tokens),):
        raise CheckpointError(f"tokenizer.ggml.token_type has {types.size} entries for {len(tokens)} tokens")
    for kinds, special in ((_UNKNOWN_OR_CONTROL, True), (_USER_DEFINED, False)):
        found = np.flatnonzero(np.isin(types, kinds)).tolist()
        added = [AddedToken(tokens[index], normalized=False, special=special) for index in found]
        (library.add_special_tokens if special else library.add_tokens)(added)


def _added(metadata: Mapping[str, Any], which: str, default: bool, n_vocab: int) -> tuple[int, ...]:
    if not bool(np.all(metadata.get(f"tokenizer.ggml.add_{which}_token", default))):
        return ()
    id = metadata.get(f"tokenizer.ggml.{which}_token_id")
    if not isinstance(id, (int, np.integer)) or not 0 <= id < n_vocab:
        raise CheckpointError(f"tokenizer.ggml.{which}_token_id is {id}; expected an id below {n_vocab}")
    return (int(id),)


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Fifty thousand small tuples wake the collector again and again: a third of the time to build."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
