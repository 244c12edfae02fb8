"""Text to tokens: ids against independent pipelines, offsets against a walk over the bytes, damaged files."""

import gc
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from qkvlab import text as text_module
from qkvlab.checkpoint.gguf import read_header
from qkvlab.errors import CheckpointError, TextError, UnsupportedError
from qkvlab.text import Tokenizer, Tokens, from_gguf, from_tokenizer_json, from_vocab_txt

THIRSTY = "The cat drank because it was thirsty"
FAMILY = "👩\u200d👩\u200d👧\u200d👦"
TEXTS = [
    THIRSTY,
    "x =  3",
    "  two leading, two trailing  ",
    "In 2024 it's 3.14159 or 1,000,000; I'LL say WE'VE and 'tis",
    "tabs\tand\nnew\r\nlines\n\n\n  x",
    "東京は日本の首都です。 東 京",
    f"family {FAMILY}! flags 🇩🇪🇫🇷 e\u0301 cafe\u0301 é",
    "שלום עולם! مرحبا بالعالم ١٢٣ ½ ²",
    "ภาษาไทย हिन्दी 한국어 \u1112\u1161\u11ab",
    "NUL\x00 and \x7f\x1b, \u00a0\u2028\u3000\ufeff",
    "def f(x):\n    return x**2  # naïve",
]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
PUBLISHED: dict[str, list[dict[str, Any]]] = {
    "smollm": [DIGITS, BYTE_LEVEL],
    "gpt-2": [BYTE_LEVEL],
    "llama-bpe": [
        {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False},
        BYTE_LEVEL | {"use_regex": False},
    ],
    "qwen2": [
        {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False},
        BYTE_LEVEL | {"use_regex": False},
    ],
}
PIECES = "aZ '\n\t\r\x00\x04\x13 19½٣東京é\u0301\u0323שلİßſ\u3000\U00040000"
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.lists(
    st.sampled_from([*PIECES, FAMILY, "'S", "<x>"]), max_size=20
).map("".join)


def pipeline(kind: str, metadata: dict[str, Any], **extra: Any) -> tokenizers.Tokenizer:
    """The oracle: the same vocabulary in a tokenizer.json written by hand, as the models publish theirs."""
    entries = metadata["tokenizer.ggml.tokens"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    special = [i for i, type_ in enumerate(metadata["tokenizer.ggml.token_type"]) if type_ in (3, 4)]
    return tokenizers.Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [{"id": i, "content": entries[i], "special": True} | plain for i in special],
                "normalizer": {"type": "NFC"} if kind == "qwen2" else None,
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": PUBLISHED[kind]},
                "model": {
                    "type": "BPE",
                    "ignore_merges": kind == "llama-bpe",
                    "vocab": {token: i for i, token in enumerate(entries)},
                    "merges": metadata["tokenizer.ggml.merges"],
                },
            }
            | extra
        )
    )


def letters() -> dict[int, str]:
    """Byte → letter, as openai/gpt-2 wrote it down."""
    ranges = [("!", "~"), ("¡", "¬"), ("®", "ÿ")]
    table = {byte: chr(byte) for first, last in ranges for byte in range(ord(first), ord(last) + 1)}
    extra = 0
    for byte in range(256):
        if byte not in table:
            table[byte], extra = chr(256 + extra), extra + 1
    return table


LETTERS = letters()
BYTES = {letter: byte for byte, letter in LETTERS.items()}


def walk(text: str, ids: list[int], metadata: dict[str, Any]) -> list[tuple[int, int]]:
    """Offsets one byte at a time: the other way to find them."""
    entries, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    writable = {BYTES[entry] for entry in entries if len(entry) == 1 and entry in BYTES}
    queue = [(i, byte) for i, character in enumerate(text) for byte in character.encode()]
    spans, at = [], 0
    for id in ids:
        raw = entries[id].encode() if types[id] != 1 else bytes(BYTES[letter] for letter in entries[id])
        touched = []
        for byte in raw:
            while queue[at][1] != byte:
                assert queue[at][1] not in writable
                at += 1
            touched.append(queue[at][0])
            at += 1
        spans.append((touched[0], touched[-1] + 1))
    assert all(byte not in writable for _, byte in queue[at:])
    return spans


def check_laws(text: str, tokens: Tokens, writable: bool) -> None:
    """Monotone, covering, printing as typed. `writable`: the vocabulary has all bytes of the text."""
    assert len(tokens) == len(tokens.ids) == len(tokens.texts) == len(tokens.offsets) == len(tokens.special)
    for (start, end), (later_start, later_end) in pairwise(tokens.offsets):
        assert start <= later_start and end <= later_end
    claims = [sum(start <= i < end for start, end in tokens.offsets) for i in range(len(text))]
    assert not writable or all(claims)
    rebuilt, reach = "", 0
    for shown, (start, end), added in zip(tokens.texts, tokens.offsets, tokens.special, strict=True):
        assert added == (start == end)
        if not added and all(claims[i] == 1 for i in range(start, end)):
            assert shown == text[start:end]
        elif not added:
            assert shown.endswith(")") or "/" in shown
        rebuilt, reach = rebuilt + text[max(start, reach) : end], max(end, reach)
    assert not writable or rebuilt == text


@pytest.fixture(scope="module")
def metadata(smollm2_path: Path) -> dict[str, Any]:
    return read_header(smollm2_path).metadata


@pytest.fixture(scope="module")
def smollm(metadata: dict[str, Any]) -> Tokenizer:
    return from_gguf(metadata)


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    """A GGUF's metadata around 600 tokens trained on the texts above: all bytes and three special tokens."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|begin|>", "<|end|>", "<x>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(TEXTS * 3, trainer)
    model = json.loads(library.to_str())["model"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": sorted(model["vocab"], key=model["vocab"].__getitem__),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.token_type": np.array([3, 3, 4] + [1] * (len(model["vocab"]) - 3), np.int32),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


def by_hand(merges: list[str], more: tuple[str, ...] = (), **keys: Any) -> Tokenizer:
    """All 256 bytes, these merges of their letters, and nothing else: every id can be counted on paper."""
    tokens = [*LETTERS.values(), *(merge.replace(" ", "") for merge in merges), *more]
    named = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    return from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.merges": merges,
        }
        | named
    )


@pytest.fixture(scope="module")
def minilm(minilm_path: Path) -> Tokenizer:
    return from_tokenizer_json(minilm_path / "tokenizer.json")


def test_the_lesson_sentence_is_seven_tokens(smollm: Tokenizer) -> None:
    tokens = smollm.encode(THIRSTY)
    assert tokens.ids == (504, 2644, 28970, 975, 357, 436, 36216)
    assert tokens.texts == ("The", " cat", " drank", " because", " it", " was", " thirsty")
    assert tokens.offsets == ((0, 3), (3, 7), (7, 13), (13, 21), (21, 24), (24, 28), (28, 36))
    assert not any(tokens.special) and len(tokens) == 7
    assert (smollm.kind, smollm.n_vocab, smollm.added) == ("byte-level BPE, smollm", 49_152, ())


def test_digits_are_cut_first_so_two_spaces_before_one_stay_together(
    smollm: Tokenizer, metadata: dict[str, Any]
) -> None:
    assert smollm.encode("x =  3").texts == ("x", " =", "  ", "3")
    gpt2 = from_gguf(metadata | {"tokenizer.ggml.pre": "gpt-2"})
    # The kind ignored, as transformers 5.23 does when it reads this file:
    assert gpt2.encode("x =  3").texts == ("x", " =", " ", " ", "3")


def test_smollm_equals_the_published_pipeline(smollm: Tokenizer, metadata: dict[str, Any]) -> None:
    oracle = pipeline("smollm", metadata)
    for text in [*TEXTS, "<|im_start|>user\n hi<|im_end|>", "".join(TEXTS)]:
        assert list(smollm.encode(text).ids) == oracle.encode(text).ids, text

    @settings(max_examples=300, deadline=None)
    @given(ANY_TEXT)
    def holds(text: str) -> None:
        tokens = smollm.encode(text)
        assert list(tokens.ids) == oracle.encode(text).ids
        assert list(tokens.offsets) == walk(text, list(tokens.ids), metadata)
        missing = set(smollm.missing)
        check_laws(text, tokens, writable=not missing.intersection(text.encode()))

    holds()


def test_a_part_of_a_character_says_which(smollm: Tokenizer) -> None:
    tokens = smollm.encode("東京 is 東")
    assert tokens.texts[:5] == ("東 (1/2)", "東 (2/2)", "京 (1/2)", "京 (2/2)", " is")
    assert tokens.texts[5:] == (" 東 (1/3)", "東 (2/3)", "東 (3/3)")
    assert tokens.offsets == ((0, 1), (0, 1), (1, 2), (1, 2), (2, 5), (5, 7), (6, 7), (6, 7))


def test_bytes_the_vocabulary_lacks_leave_gaps_and_shift_nothing(smollm: Tokenizer) -> None:
    assert sorted(set(smollm.missing) - {0xC0, 0xC1} - set(range(0xF5, 0x100))) == [
        *[0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2]
    ]
    tokens = smollm.encode("x\x04y\ufeff\x13\u0301")
    assert tokens.offsets == ((0, 1), (2, 3), (3, 4), (3, 4), (3, 4), (5, 6), (5, 6))
    assert tokens.texts[-2:] == ("\u0301 (1/2)", "\u0301 (2/2)")
    library = smollm.library.encode("\ufeff\x13\u0301").offsets
    assert library[-2:] == [(1, 2), (2, 3)]  # why we count bytes: here the library's offsets are wrong


def test_a_start_token_stands_in_front_on_request(smollm: Tokenizer) -> None:
    plain, started = smollm.encode("The cat"), smollm.encode("The cat", "start")
    assert started.texts == ("<|im_start|>", *plain.texts)
    assert started.ids == (smollm.start, *plain.ids)
    assert (started.offsets[0], started.special[0]) == ((0, 0), True)
    assert started.offsets[1:] == plain.offsets


def test_a_tokenizer_without_a_start_token_of_its_own_says_so(minilm_path: Path) -> None:
    tokenizer = from_tokenizer_json(minilm_path / "tokenizer.json")
    with pytest.raises(TextError, match="adds its special tokens by itself"):
        tokenizer.encode("The cat", "start")


def test_special_tokens_are_found_when_typed(smollm: Tokenizer) -> None:
    tokens = smollm.encode("<|im_start|>東<|im_end|>")
    assert (tokens.ids[0], tokens.ids[-1]) == (1, 2)
    assert (tokens.texts[0], tokens.offsets[0], tokens.special[0]) == ("<|im_start|>", (0, 12), False)
    assert tokens.offsets[-1] == (13, 23)


def test_words(smollm: Tokenizer) -> None:
    assert [smollm.word(id) for id in (0, 357, 198, 216)] == ["<|endoftext|>", " it", "\n", " "]
    assert smollm.word(230) == "⟨8C⟩"
    assert smollm.word(49_152) == "⟨no entry 49152⟩" and smollm.word(-1) == "⟨no entry -1⟩"
    one = by_hand(["â Ģ", "± ä"], more=("aâĢ", "ĠÃ©ä"))
    assert [one.word(id) for id in range(256, 260)] == ["⟨E2 80⟩", "⟨B1⟩⟨E4⟩", "a⟨E2 80⟩", " é⟨E4⟩"]


@pytest.mark.parametrize("kind", PUBLISHED)
def test_every_kind_equals_its_published_pipeline(kind: str, tiny: dict[str, Any]) -> None:
    ours = from_gguf(tiny | {"tokenizer.ggml.pre": kind, "tokenizer.ggml.add_bos_token": False})
    oracle = pipeline(kind, tiny)
    for text in TEXTS:
        assert list(ours.encode(text).ids) == oracle.encode(text).ids, text

    @settings(max_examples=150, deadline=None)
    @given(ANY_TEXT)
    def holds(text: str) -> None:
        tokens = ours.encode(text)
        assert list(tokens.ids) == oracle.encode(text).ids
        check_laws(text, tokens, writable=True)
        if oracle.normalizer is None or oracle.normalizer.normalize_str(text) == text:
            assert list(tokens.offsets) == walk(text, list(tokens.ids), tiny)

    holds()


def test_kinds_differ_where_they_should(tiny: dict[str, Any]) -> None:
    texts = {}
    for kind in PUBLISHED:
        metadata = tiny | {"tokenizer.ggml.pre": kind, "tokenizer.ggml.merges": ["1 2", "12 3", "123 4"]}
        metadata["tokenizer.ggml.tokens"] = [*LETTERS.values(), "12", "123", "1234"]
        metadata["tokenizer.ggml.token_type"] = None
        texts[kind] = from_gguf(metadata).encode("1234", special=False).texts
    assert texts == {
        "smollm": ("1", "2", "3", "4"),
        "gpt-2": ("1234",),
        "llama-bpe": ("123", "4"),
        "qwen2": ("1", "2", "3", "4"),
    }


def test_llama_takes_a_whole_word_that_no_merge_reaches() -> None:
    assert by_hand(["a b"], more=("Ġcab",), pre="gpt-2").encode(" cab").texts == (" ", "c", "ab")
    llama = by_hand(["a b"], more=("Ġcab",), pre="llama-bpe", add_bos_token=False)
    assert llama.encode(" cab").texts == (" cab",)


@pytest.mark.parametrize(
    ("keys", "before", "after"),
    [
        ({"pre": "llama-bpe"}, ["<|begin|>"], []),
        ({"pre": "llama3"}, ["<|begin|>"], []),
        ({"pre": "llama-v3", "add_bos_token": False}, [], []),
        ({"pre": "qwen2"}, [], []),
        ({"pre": "smollm", "add_bos_token": True, "add_eos_token": True}, ["<|begin|>"], ["<|end|>"]),
        ({"pre": "gpt-2", "add_eos_token": True}, [], ["<|end|>"]),
    ],
)
def test_first_and_last_tokens(tiny: dict[str, Any], keys: dict[str, Any], before: list[str], after: list[str]) -> None:
    ours = from_gguf(tiny | {f"tokenizer.ggml.{key}": value for key, value in keys.items()})
    assert ours.added == (*before, *after)
    tokens = ours.encode("é<|end|>")
    assert tokens.texts == (*before, "é", "<|end|>", *after)
    assert tokens.special == (*[True] * len(before), False, False, *[True] * len(after))
    assert tokens.offsets == (*[(0, 0)] * len(before), (0, 1), (1, 8), *[(8, 8)] * len(after))
    assert ours.encode("é<|end|>", special=False).texts == ("é", "<|end|>")
    assert ours.encode("").texts == ours.added


def test_the_end_of_one_character_and_the_start_of_the_next() -> None:
    ours = by_hand(["± ä", "Ġ æ"])  # 東 is E6 9D B1, 京 is E4 BA AC
    tokens = ours.encode("a東京b")
    assert tokens.texts == ("a", "東 (1/3)", "東 (2/3)", "東 (3/3)+京 (1/3)", "京 (2/3)", "京 (3/3)", "b")
    assert tokens.offsets == ((0, 1), (1, 2), (1, 2), (1, 3), (2, 3), (2, 3), (3, 4))
    assert ours.encode(" 東").texts == (" 東 (1/3)", "東 (2/3)", "東 (3/3)")


def test_a_special_token_may_hold_bytes_the_vocabulary_lacks() -> None:
    entries = [letter for byte, letter in LETTERS.items() if byte != 0xEF]  # ｜ is EF BD 9C, ｂ is EF BD 82
    ours = by_hand(["a b"], tokens=[*entries, "ab", "<｜>"], token_type=[1] * 256 + [3])
    tokens = ours.encode("ｂｂ<｜>a｜")
    assert tokens.offsets == ((0, 1), (0, 1), (1, 2), (1, 2), (2, 5), (5, 6), (6, 7), (6, 7))
    assert tokens.texts[2:] == ("ｂ (1/2)", "ｂ (2/2)", "<｜>", "a", "｜ (1/2)", "｜ (2/2)")


def test_composed_characters_cover_what_was_typed(tiny: dict[str, Any]) -> None:
    ours = from_gguf(tiny | {"tokenizer.ggml.pre": "qwen2"})
    accent = ours.encode("xe\u0301!")
    assert (accent.texts, accent.offsets) == (("x", "e\u0301", "!"), ((0, 1), (1, 3), (3, 4)))
    assert accent.ids == ours.encode("xé!").ids
    hangul = ours.encode("\u1112\u1161\u11ab!")
    assert hangul.ids == ours.encode("한!").ids
    assert set(hangul.offsets[:-1]) == {(0, 3)} and hangul.offsets[-1] == (3, 4)
    assert ours.encode("\r\u0301").offsets[0] == (0, 1)  # no base to melt into
    swapped = ours.encode("e\u0301\u0323!")  # composes across: dot below first, then the acute
    assert set(swapped.offsets[:-1]) == {(0, 3)} and swapped.texts[0].startswith("e\u0301\u0323 (1/")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"model": "llama"}, "'llama'.*accepted: gpt2.*token ids still work"),
        ({"model": "bert"}, "'bert'"),
        ({"model": "t5"}, "'t5'"),
        ({"pre": "tekken"}, "'tekken'.*smollm, gpt-2, llama-bpe.*token ids still work"),
        ({"pre": "default"}, "'default'"),
        ({"pre": None}, "pre-tokenizer"),
        ({"pre": "qwen"}, "did you mean 'qwen2'"),
    ],
)
def test_other_tokenizers_are_refused_by_name(tiny: dict[str, Any], keys: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedError, match=told):
        from_gguf(tiny | {f"tokenizer.ggml.{key}": value for key, value in keys.items()})


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"model": None}, "tokenizer.ggml.model"),
        ({"model": 3}, "tokenizer.ggml.model"),
        ({"tokens": None}, "tokenizer.ggml.tokens"),
        ({"tokens": []}, "tokenizer.ggml.tokens"),
        ({"tokens": np.arange(5)}, "tokenizer.ggml.tokens"),
        ({"tokens": ["a", "b", "a"]}, "same token twice"),
        ({"merges": None}, "tokenizer.ggml.merges"),
        ({"merges": ["a b", "q zz"]}, "merges does not fit.*zz"),
        ({"merges": ["ab"]}, "'ab'"),
        ({"merges": ["a b c", "a"]}, "'a b c'"),
        ({"token_type": np.ones(7, np.int32)}, "7 entries for"),
        ({"token_type": 1}, "1 entries for"),
        ({"add_bos_token": True, "bos_token_id": None}, "bos_token_id is None"),
        ({"add_bos_token": True, "bos_token_id": 10**6}, "bos_token_id is 1000000"),
        ({"add_eos_token": True, "eos_token_id": -1}, "eos_token_id is -1"),
        ({"add_eos_token": True, "eos_token_id": "</s>"}, "eos_token_id is </s>"),
    ],
)
def test_damaged_metadata(tiny: dict[str, Any], keys: dict[str, Any], told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        from_gguf(tiny | {f"tokenizer.ggml.{key}": value for key, value in keys.items()})
    assert gc.isenabled()


@pytest.fixture(scope="module", params=[True, False], ids=["lower", "cased"])
def bert(
    request: pytest.FixtureRequest, minilm_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, Any]:
    from transformers import BertTokenizerFast

    published = json.loads((minilm_path / "tokenizer.json").read_text(encoding="utf-8"))
    words: dict[str, int] = published["model"]["vocab"]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in sorted(words, key=words.__getitem__)), encoding="utf-8")
    theirs = BertTokenizerFast(vocab=words, do_lower_case=request.param)
    return from_vocab_txt(path, lower=request.param), theirs


def test_wordpiece_equals_transformers(bert: tuple[Tokenizer, Any]) -> None:
    ours, theirs = bert
    assert ours.added == ("[CLS]", "[SEP]") and ours.n_vocab == 30_522 and ours.kind == "WordPiece"

    @settings(max_examples=200, deadline=None)
    @given(ANY_TEXT | st.sampled_from([*TEXTS, "[MASK] [CLS] [mask]", "Ünlaut ÉCOLE İstanbul"]))
    def holds(text: str) -> None:
        tokens, expected = ours.encode(text), theirs(text, return_offsets_mapping=True)
        assert list(tokens.ids) == expected["input_ids"]
        for (start, end), (their_start, their_end) in zip(
            tokens.offsets[1:-1], expected["offset_mapping"][1:-1], strict=True
        ):
            assert start <= their_start < their_end <= end
            assert not any(character.isspace() for character in (text[start], text[end - 1]))
        for (start, end), (later_start, later_end) in pairwise(tokens.offsets):
            assert start <= later_start and end <= later_end

    holds()


def test_minilm(minilm: Tokenizer) -> None:
    tokens = minilm.encode(THIRSTY)
    assert tokens.ids == (101, 1996, 4937, 10749, 2138, 2009, 2001, 24907, 102)
    assert tokens.texts == ("[CLS]", "The", "cat", "drank", "because", "it", "was", "thirsty", "[SEP]")
    assert tokens.offsets[0] == (0, 0) and tokens.offsets[-1] == (36, 36)
    assert tokens.special == (True, *[False] * 7, True)
    assert minilm.kind == "WordPiece" and minilm.added == ("[CLS]", "[SEP]")
    assert minilm.encode(THIRSTY, special=False).ids == tokens.ids[1:-1]
    assert minilm.encode("").texts == ("[CLS]", "[SEP]")


def test_minilm_is_neither_padded_nor_cut(minilm: Tokenizer) -> None:
    assert len(minilm.encode("cat " * 500)) == 502


def test_minilm_prints_the_text_as_typed(minilm: Tokenizer) -> None:
    assert minilm.encode("CAFÉ cafe\u0301 [SEP]").texts[1:-1] == ("CAFÉ", "cafe\u0301", "[SEP]")
    assert minilm.encode("Thirstily").texts[1:-1] == ("Thirst", "ily")
    unknown = minilm.encode(f"a {FAMILY} b")
    assert unknown.texts[1:-1] == ("a", FAMILY, "b") and minilm.word(unknown.ids[2]) == "[UNK]"
    assert [minilm.word(id) for id in (2075, 4937)] == ["##ing", "cat"]
    syllable = minilm.encode("각")  # the normaliser takes it apart
    assert syllable.texts[1:-1] == ("각 (1/3)", "각 (2/3)", "각 (3/3)")


@pytest.mark.parametrize("bad", ["\ud800", "ab\udfffc", "x" * 50 + "\ud83d"])
def test_half_a_surrogate_pair(smollm: Tokenizer, minilm: Tokenizer, bad: str) -> None:
    place = next(i for i, character in enumerate(bad) if 0xD800 <= ord(character) <= 0xDFFF)
    for one in (smollm, minilm):
        with pytest.raises(TextError, match=rf"character {place} is U\+D[8-F]"):
            one.encode(bad)


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["a"]])
def test_a_text_is_a_str(bad: Any) -> None:
    with pytest.raises(TextError, match=type(bad).__name__):
        text_module._check(bad)


def test_an_empty_text_has_no_tokens_of_its_own(smollm: Tokenizer) -> None:
    assert smollm.encode("") == Tokens((), (), (), ())


def test_a_long_text(smollm: Tokenizer, metadata: dict[str, Any]) -> None:
    text = "".join(TEXTS) * 40
    tokens = smollm.encode(text)
    assert list(tokens.offsets) == walk(text, list(tokens.ids), metadata)


def json_file(folder: Path, **parts: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0"} | parts), encoding="utf-8")
    return path


BYTE_BPE = {"type": "BPE", "vocab": {letter: byte for byte, letter in LETTERS.items()}, "merges": []}
FRAME = [{"SpecialToken": {"id": "Ā", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]


def template(single: list[dict[str, Any]]) -> dict[str, Any]:
    pieces = {"type": "TemplateProcessing", "single": single, "pair": single}
    return pieces | {"special_tokens": {"Ā": {"id": "Ā", "ids": [0], "tokens": ["Ā"]}}}


def test_trimmed_offsets_are_not_believed(tmp_path: Path) -> None:
    """Llama 3 and RoBERTa publish post-processors that cut leading spaces off the offsets."""
    post = {"type": "Sequence", "processors": [BYTE_LEVEL, template(FRAME)]}
    path = json_file(tmp_path, model=BYTE_BPE, pre_tokenizer=BYTE_LEVEL, post_processor=post)
    ours = from_tokenizer_json(path)
    assert (ours.kind, ours.before, ours.after) == ("byte-level BPE", (0,), ())
    tokens = ours.encode(" a")
    assert (tokens.texts, tokens.offsets) == (("\x00", " ", "a"), ((0, 0), (0, 1), (1, 2)))
    parts = {"model": BYTE_BPE, "pre_tokenizer": BYTE_LEVEL, "post_processor": post}
    folding = from_tokenizer_json(json_file(tmp_path, normalizer={"type": "Lowercase"}, **parts))
    assert folding.encode(" A", special=False).offsets == ((0, 1), (1, 2))


def test_a_space_put_before_the_text_covers_nothing(tmp_path: Path) -> None:
    before = BYTE_LEVEL | {"add_prefix_space": True}
    ours = from_tokenizer_json(json_file(tmp_path, model=BYTE_BPE, pre_tokenizer=before))
    tokens = ours.encode("aé")
    assert tokens.texts == (" ", "a", "é (1/2)", "é (2/2)")
    assert tokens.offsets == ((0, 0), (0, 1), (1, 2), (1, 2)) and not any(tokens.special)
    entries = ["<unk>", "▁", "h", "i", "▁h", "<0xE6>", "<0x9D>", "<0xB1>", "<0xy?>"]
    vocabulary = {entry: id for id, entry in enumerate(entries)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": ["▁ h"], "byte_fallback": True}
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    llama2 = from_tokenizer_json(json_file(tmp_path, model=model, pre_tokenizer=space))
    assert llama2.encode("i hi").texts == (" ", "i", " h", "i")
    assert llama2.encode("hi東").texts == ("h", "i", "東 (1/3)", "東 (2/3)", "東 (3/3)")
    assert [llama2.word(id) for id in (4, 5, 8)] == [" h", "⟨E6⟩", "<0xy?>"]


def test_a_text_must_stand_once_between_its_special_tokens(tmp_path: Path) -> None:
    twice = template([*FRAME, FRAME[1]])
    with pytest.raises(UnsupportedError, match="2 times"):
        from_tokenizer_json(json_file(tmp_path, model=BYTE_BPE, post_processor=twice))


def test_an_added_token_must_exist(tmp_path: Path) -> None:
    post = template(FRAME)
    post["special_tokens"]["Ā"]["ids"] = [999]
    with pytest.raises(CheckpointError, match="token 999"):
        from_tokenizer_json(json_file(tmp_path, model=BYTE_BPE, post_processor=post))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\x80\x04K\x01.", b'{"model": {"type": "Foo"}}', None])
def test_damaged_tokenizer_json(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        from_tokenizer_json(path)


@pytest.mark.parametrize("content", [b"", b"[CLS]\n[SEP]\na\n", b"[UNK]\n[CLS]\n\xff[SEP]\n", None])
def test_damaged_vocab_txt(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"vocab\.txt"):
        from_vocab_txt(path, lower=True)


def test_vocab_txt_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[UNK]\n[CLS]\n[SEP]\n\u2028\n\x85\nb\n", encoding="utf-8")
    assert from_vocab_txt(path, lower=True).encode("b", special=False).ids == (5,)


def test_a_vocabulary_that_cannot_write_the_text(tmp_path: Path) -> None:
    model = {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[UNK]", "max_input_chars_per_word": 100}
    model["continuing_subword_prefix"] = "##"
    with pytest.raises(CheckpointError, match="WordPiece"):
        from_tokenizer_json(json_file(tmp_path, model=model)).encode("b")


def test_the_library_is_imported_late() -> None:
    code = "import sys, qkvlab.text; sys.exit('tokenizers' in sys.modules)"
    folder = str(Path(text_module.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": folder}, check=True)
