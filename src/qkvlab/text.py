"""text ↔ tokens with character offsets, over the `tokenizers` library."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal

from . import _bytelevel
from ._bytelevel import Span
from .errors import CheckpointError, TextError, UnsupportedError


def printable(text: str) -> str:
    """The text with what would steer a terminal (control characters, direction marks, line ends) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """The text in quotes, which make its spaces visible, safe to print."""
    return f'"{printable(text)}"'


Special = bool | Literal["start"]
"""Which special tokens stand around a text: those its tokenizer adds (True), none (False), or those it adds with the
start token it names in front, if it does not add that one itself ("start")."""


@dataclass(frozen=True)
class Tokens:
    """A text cut into tokens. All four tuples have one entry per token, in order."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    """What each token prints as: the characters of the text it covers, as they were typed.

    A token that is only part of a character says which part: "東 (1/2)" is the first of the two tokens that
    make up 東, and "(k/n)" always speaks of the character just before it. So " 東 (1/3)" is a space and a
    first part, and "東 (2/2)+京 (1/2)" is the end of one character and the start of the next.
    """
    offsets: tuple[Span, ...]
    """The range of characters each token covers, wholly or in part; empty, (i, i), if it covers none."""
    special: tuple[bool, ...]
    """True for tokens the tokenizer added by itself; a special token the user typed is False."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A vocabulary and how text is cut by it: from `from_tokenizer_json`, `from_vocab_txt` or `from_gguf`."""

    kind: str
    """For people: "byte-level BPE, smollm", "WordPiece"."""
    n_vocab: int
    before: tuple[int, ...]
    """Ids that `encode` puts before a text."""
    after: tuple[int, ...]
    """Ids that `encode` puts after a text."""
    library: Any
    """The `tokenizers.Tokenizer`, without padding, truncation and post-processor."""
    byte_level: bool
    recognised: frozenset[int]
    """Ids of the special tokens that are found in a text when someone types them."""
    start: int | None = None
    """The id of the start token that the tokenizer names and does not add by itself; None where there is none."""
    missing: bytes = b""
    """Bytes a byte-level vocabulary cannot write: they vanish, as in the model's own tokenizer."""

    @property
    def added(self) -> tuple[str, ...]:
        """Which special tokens does `encode` add, in order? `before` and `after` tell on which side."""
        return tuple(self.word(id) for id in (*self.before, *self.after))

    def encode(self, text: str, special: Special = True) -> Tokens:
        """Which tokens is this text, and where does each stand? An empty text has only the added tokens.

        Raises TextError for a text that is not valid Unicode and for a start token where there is none,
        CheckpointError if the vocabulary has no way to write it (a WordPiece vocabulary without its unknown token).
        """
        _check(text)
        try:
            encoding = self.library.encode(text, add_special_tokens=False)
        except Exception as error:
            raise CheckpointError(f"this {self.kind} tokenizer cannot cut the text: {error}") from None
        ids: list[int] = encoding.ids
        spans = self._spans(text, ids, encoding)
        texts = _texts(text, spans)
        before, after = (self._before(special), self.after) if special else ((), ())
        end = len(text)
        return Tokens(
            ids=(*before, *ids, *after),
            texts=(
                *map(self.word, before),
                *(shown or self.word(id) for shown, id in zip(texts, ids, strict=True)),
                *map(self.word, after),
            ),
            offsets=(*[(0, 0)] * len(before), *spans, *[(end, end)] * len(after)),
            special=(*[True] * len(before), *[False] * len(ids), *[True] * len(after)),
        )

    def word(self, id: int) -> str:
        """How does a vocabulary entry print on its own? " Italian", "##ing"; broken characters as ⟨E2⟩.

        An id without an entry (models pad their vocabularies) prints as ⟨no entry 50000⟩.
        """
        token: str | None = self.library.id_to_token(id) if 0 <= id < 2**32 else None
        if token is None:
            return f"⟨no entry {id}⟩"
        if id in self.recognised:
            return token
        if self.byte_level:
            return _bytelevel.readable(_bytelevel.token_bytes(token))
        if self.kind in ("BPE", "Unigram"):
            byte = re.fullmatch("<0x([0-9A-Fa-f]{2})>", token)
            return _bytelevel.readable(bytes.fromhex(byte[1])) if byte else token.replace("▁", " ")
        return token

    def _before(self, special: Special) -> tuple[int, ...]:
        if special != "start":
            return self.before
        if self.start is None:
            also = "it adds its special tokens by itself" if self.before else "its vocabulary names none"
            raise TextError(f"this {self.kind} tokenizer has no start token to put in front: {also}")
        return (self.start, *self.before)

    def _spans(self, text: str, ids: list[int], encoding: Any) -> list[Span]:
        spans: list[Span] = encoding.offsets
        if self.byte_level:
            typed = {i: spans[i] for i, id in enumerate(ids) if id in self.recognised}
            exact = _bytelevel.exact_spans(text, encoding.tokens, typed, self.missing)
            if exact is not None:
                return exact
        if self.library.normalizer is not None:
            spans = _whole_clusters(text, spans, self.library.normalizer.normalize_str)
        for i, ((start, end), (following, _)) in enumerate(pairwise(spans)):
            if following < end and not self.word(ids[i]).strip() and not text[start:end].isspace():
                spans[i] = (start, start)  # a space that the tokenizer put before the text
        return spans


def from_tokenizer_json(path: Path) -> Tokenizer:
    """The tokenizer in a `tokenizer.json`, with padding and truncation switched off.

    Raises CheckpointError naming the file if it is missing or damaged, UnsupportedError if it does not put a
    text whole between its special tokens.
    """
    from tokenizers import Tokenizer as Library

    try:
        library = Library.from_file(str(path))
    except Exception as error:
        raise CheckpointError(f"{path} is not a tokenizer.json that can be read: {error}") from None
    return _from_own(library, str(path))


def from_library(library: Any, name: str) -> Tokenizer:
    """A copy of a `tokenizers.Tokenizer` in memory, as `from_tokenizer_json` reads one. Raises UnsupportedError if it
    does not put a text whole between its special tokens; `name` is what the error calls it."""
    from tokenizers import Tokenizer as Library

    return _from_own(Library.from_str(library.to_str()), name)


def _from_own(library: Any, name: str) -> Tokenizer:
    library.no_padding()
    library.no_truncation()
    before, after = _frame(library, name)
    # A post-processor would also trim spaces off the offsets. Its special tokens are in before and after.
    library.post_processor = None
    byte_level = "ByteLevel(" in f"{library.normalizer!r} {library.pre_tokenizer!r}"
    model = type(library.model).__name__
    return _assemble(library, f"byte-level {model}" if byte_level else model, before, after)


def from_vocab_txt(path: Path, lower: bool) -> Tokenizer:
    """BERT's WordPiece from a `vocab.txt`, one token a line; `lower` is do_lower_case of its configuration.

    Raises CheckpointError naming the file if it cannot be read or lacks [UNK], [CLS] or [SEP].
    """
    from tokenizers import Tokenizer as Library
    from tokenizers import models, normalizers, pre_tokenizers

    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not a vocab.txt that can be read: {error}") from None
    vocabulary = {line: id for id, line in enumerate(lines)}
    for token in ("[UNK]", "[CLS]", "[SEP]"):
        if token not in vocabulary:
            raise CheckpointError(f"{path} has {len(lines)} lines and none is {token}, which BERT needs")
    library = Library(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    library.normalizer = normalizers.BertNormalizer(lowercase=lower)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if token in vocabulary]
    library.add_special_tokens(special)
    return _assemble(library, "WordPiece", (vocabulary["[CLS]"],), (vocabulary["[SEP]"],))


def from_gguf(metadata: dict[str, Any]) -> Tokenizer:
    """The byte-level BPE tokenizer in a GGUF file's metadata, cut as `tokenizer.ggml.pre` names it.

    Raises UnsupportedError for every other tokenizer, CheckpointError if the metadata is incomplete or
    contradicts itself.
    """
    return _assemble(*_bytelevel.build(metadata))


def _assemble(
    library: Any, kind: str, before: tuple[int, ...], after: tuple[int, ...], start: int | None = None
) -> Tokenizer:
    for id in (*before, *after):
        if library.id_to_token(id) is None:
            raise CheckpointError(f"the tokenizer adds token {id}, which its vocabulary does not have")
    byte_level = kind.startswith("byte-level")
    return Tokenizer(
        kind=kind,
        n_vocab=library.get_vocab_size(),
        before=before,
        after=after,
        library=library,
        byte_level=byte_level,
        recognised=frozenset(library.get_added_tokens_decoder()),
        start=start if not before else None,
        missing=_bytelevel.missing_bytes(library) if byte_level else b"",
    )


def _frame(library: Any, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which ids does the post-processor put before and after a text? Asked with a text of one token, x."""
    from tokenizers import Tokenizer as Library
    from tokenizers import models

    if library.post_processor is None:
        return (), ()
    one_token = Library(models.WordLevel({"x": 0}, unk_token="x")).encode("x")
    framed = library.post_processor.process(one_token)
    places = [i for i, special in enumerate(framed.special_tokens_mask) if not special]
    if len(places) != 1:
        raise UnsupportedError(f"{name} puts a text {len(places)} times among special tokens, not once")
    return tuple(framed.ids[: places[0]]), tuple(framed.ids[places[0] + 1 :])


def _check(text: Any) -> None:
    if not isinstance(text, str):
        raise TextError(f"a text is a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"the text is not valid Unicode: character {error.start} is U+{ord(text[error.start]):04X}, "
            "half of a surrogate pair; remove it or write the whole character"
        ) from None


def _joins(character: str) -> bool:
    """Can it melt into the character before it? Marks do, and Hangul vowels and final consonants."""
    return character > "\u02ff" and (unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff")


def _whole_clusters(text: str, spans: list[Span], normalize: Callable[[str], str]) -> list[Span]:
    """Where a normaliser melts or strips marks, they belong with their base: e + U+0301 is covered whole."""
    starts = [i for i, character in enumerate(text) if i == 0 or not _joins(character)]
    begin: dict[int, int] = {}
    stop: dict[int, int] = {}
    for base, end in pairwise([*starts, len(text)]):
        start = base + (unicodedata.category(text[base])[0] in "CZ")  # no mark melts into a space
        if end - start > 1 and text[start:end] not in normalize(text[start:end]):
            begin.update((i, start) for i in range(start, end))
            stop.update((i + 1, end) for i in range(start, end))
    return [(begin.get(start, start), stop.get(end, end)) for start, end in spans]


def _texts(text: str, spans: list[Span]) -> list[str]:
    texts = [text[start:end] for start, end in spans]
    first_of_two = [i for i, (one, other) in enumerate(pairwise(spans)) if other[0] < one[1]]
    overlapping = sorted({*first_of_two, *(i + 1 for i in first_of_two)})
    owners: defaultdict[int, list[int]] = defaultdict(list)
    for token in overlapping:
        for character in range(*spans[token]):
            owners[character].append(token)
    for token in overlapping:
        texts[token] = _partial(text, spans[token], token, owners)
    return texts


def _partial(text: str, span: Span, token: int, owners: dict[int, list[int]]) -> str:
    shown, joint = "", ""
    for sharers, run in groupby(range(*span), key=owners.__getitem__):
        shown += joint + "".join(text[i] for i in run)
        joint = "+" if len(sharers) > 1 else ""
        shown += f" ({sharers.index(token) + 1}/{len(sharers)})" if joint else ""
    return shown
