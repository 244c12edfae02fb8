"""GGUF and safetensors files written byte by byte, sound and broken, without the readers under test."""

import json
import os
import pickle
import struct
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from qkvlab.errors import QkvLabError

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "B",
    U64: "Q",
    I64: "q",
    F64: "d",
}


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, item: Any) -> bytes:
    return string(item) if kind == STRING else struct.pack(f"<{CODES[kind]}", item)


def pair(key: str | bytes, kind: int, payload: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + payload


def array(kind: int, items: Sequence[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def tensor(name: str | bytes, dims: Sequence[int], kind: int, offset: int) -> bytes:
    """`dims` in the file's own order: the fastest axis first."""
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def gguf(
    pairs: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_tensors: int | None = None,
    n_pairs: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = (len(tensors) if n_tensors is None else n_tensors, len(pairs) if n_pairs is None else n_pairs)
    header = magic + struct.pack("<IQQ", version, *counts) + b"".join(pairs) + b"".join(tensors)
    return header + bytes(-len(header) % alignment) + data if tensors else header


def sound_gguf() -> bytes:
    """Every value type, nested arrays, two tensors: F32 [3, 5] and Q8_0 [7, 32]."""
    pairs = [pair(f"scalar.{kind}", kind, value(kind, 1)) for kind in CODES]
    pairs += [pair(f"array.{kind}", ARRAY, array(kind, [value(kind, i % 2) for i in range(3)])) for kind in CODES]
    pairs.append(pair("name", STRING, string("größer")))
    pairs.append(pair("tokens", ARRAY, array(STRING, [string(text) for text in ("", "a", "Ġthe", "日本")])))
    rows = [array(I32, [value(I32, i)] * i) for i in range(3)]
    pairs.append(pair("nested", ARRAY, array(ARRAY, [array(ARRAY, [row]) for row in rows])))
    tensors = [tensor("a", (5, 3), 0, 0), tensor("b", (32, 7), 8, 64)]
    return gguf(pairs, tensors, struct.pack("<15f", *range(15)) + bytes(4) + bytes(range(238)))


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """`header` as an object, or as the very bytes to write."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def sound_safetensors() -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a": entry("F32", [2, 3], 0, 24),
        "b": entry("BF16", [5], 24, 34),
        "empty": entry("I64", [0, 7], 34, 34),
        "scalar": entry("U8", [], 34, 35),
    }
    return safetensors(header, bytes(range(35)))


def sparse(path: Path, head: bytes, size: int) -> Path:
    """A file of any size that takes no space on disk: `head`, then zeros."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def cuts(path: Path, content: bytes) -> Iterator[Path]:
    """The file at every length shorter than it should be, longest first."""
    path.write_bytes(content)
    for length in reversed(range(len(content))):
        os.truncate(path, length)
        yield path


class Bomb:
    """Unpickling this makes a folder: the proof that a pickle was opened."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.evidence),)


def pickled_bomb(evidence: Path, protocol: int) -> bytes:
    return pickle.dumps({"weight": Bomb(evidence)}, protocol=protocol)


def refused(read: Callable[[Path], object], path: Path, kind: type[QkvLabError], match: str) -> str:
    """The file is refused by name, in one line that names it, and without making what it claims to hold."""
    _wait_for_decoding()
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=match) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(path.name) and "\n" not in message and len(message) < 600
    assert caught.value.__cause__ is None
    assert peak < 4 << 20, f"{peak:,} bytes were allocated for a file that is refused"
    return message


def _nested(depth: int) -> bytes:
    return struct.pack("<IQ", ARRAY, 1) * depth + array(I32, [])


def _file(*pairs: bytes) -> bytes:
    """These keys, well or badly formed, in an otherwise sound file."""
    return gguf(pairs, ONE, FOUR)


def _list(kind: int, *items: bytes) -> bytes:
    return _file(pair("k", ARRAY, array(kind, items)))


def _claim(kind: int, count: int) -> bytes:
    return pair("claim", ARRAY, struct.pack("<IQ", kind, count))


def _aligned(kind: int, payload: bytes) -> bytes:
    return _file(pair("general.alignment", kind, payload))


ONE = [tensor("w", (4,), 0, 0)]
FOUR = bytes(16)
HUGE = 1 << 62
LONG = struct.pack("<Q", HUGE)
BROKEN_GGUF = {
    "empty": (b"", "magic number runs past the end"),
    "another format": (b"PK\x03\x04" + bytes(60), "not a GGUF file"),
    "tensor count": (gguf([], ONE, FOUR, n_tensors=HUGE), "number of tensors is impossible"),
    "key count": (gguf([], ONE, FOUR, n_pairs=HUGE), "number of metadata keys is impossible"),
    "one tensor too many": (gguf([], ONE, FOUR, n_tensors=2), "tensor '' has 0 dimensions"),
    "key length": (_file(LONG + FOUR), "length of metadata key 0"),
    "string length": (_file(pair("k", STRING, LONG)), "length of 'k'"),
    "numbers claimed": (_file(_claim(U64, HUGE)), "length of 'claim' is impossible"),
    "strings claimed": (_file(_claim(STRING, HUGE)), "length of 'claim' is impossible"),
    "arrays claimed": (_file(_claim(ARRAY, HUGE)), "length of 'claim' is impossible"),
    "length of one of the strings": (_list(STRING, string("a"), LONG), "string 1 of 2"),
    "last string cut": (
        gguf([_claim(STRING, 1), struct.pack("<Q", 9), b"short"], n_pairs=1),
        "string 0 of 1",
    ),
    "nesting": (_file(pair("k", ARRAY, _nested(5))), "nests arrays too deeply"),
    "a nesting bomb": (_file(pair("k", ARRAY, _nested(100_000))), "nests arrays too deeply"),
    "value type": (_file(pair("k", 13, b"")), "unknown value type"),
    "element type": (_list(99), "unknown element type"),
    "truth value": (_file(pair("k", BOOL, b"\2")), "not a truth value"),
    "truth values": (_list(BOOL, b"\0", b"\7"), "not a truth value"),
    "key twice": (_file(*[pair("k", U32, value(U32, 1))] * 2), "'k' stands there twice"),
    "tensor twice": (gguf([], [*ONE, tensor("w", (4,), 0, 32)], bytes(64)), "'w' stands there twice"),
    "UTF-8 in a key": (_file(pair(b"\xff", U32, value(U32, 1))), "metadata key 0 is not valid UTF-8"),
    "UTF-8 in a string": (_file(pair("k", STRING, string(b"a\xc3"))), "'k' is not valid UTF-8"),
    "UTF-8 in a list": (_list(STRING, string(b"\xed\xa0\x80")), "string 0 at byte 0"),
    "UTF-8 in a name": (gguf([], [tensor(b"\x80", (4,), 0, 0)], FOUR), "tensor 0 is not valid UTF-8"),
    "no dimensions": (gguf([], [tensor("w", (), 0, 0)], FOUR), "0 dimensions"),
    "five dimensions": (gguf([], [tensor("w", (1,) * 5, 0, 0)], FOUR), "5 dimensions"),
    "a length of zero": (gguf([], [tensor("w", (4, 0), 0, 0)], FOUR), "impossible shape"),
    "overflow": (gguf([], [tensor("w", (1 << 32, 1 << 32), 0, 0)], FOUR), "impossible shape"),
    "half a block": (
        gguf([], [tensor("w", (48, 2), 8, 0)], bytes(102)),
        r"48 numbers \(expected a multiple of 32",
    ),
    "offset": (gguf([], [tensor("w", (4,), 0, 8)], bytes(24)), "starts at 8"),
    "outside": (gguf([], [tensor("w", (4,), 0, 1 << 40)], FOUR), "outside the file"),
    "offset near 2**64": (gguf([], [tensor("w", (4,), 0, (1 << 64) - 32)], FOUR), "outside the file"),
    "one byte missing": (gguf([], ONE, FOUR[:-1]), "outside the file"),
    "overlap": (
        gguf([], [tensor("a", (9,), 0, 0), tensor("b", (9,), 0, 32)], bytes(68)),
        "'a' and 'b' overlap",
    ),
    "the same place": (gguf([], [tensor("a", (9,), 0, 0), tensor("b", (9,), 0, 0)], bytes(36)), "overlap"),
    "alignment 0": (_aligned(U32, value(U32, 0)), "general.alignment"),
    "alignment 24": (_aligned(U32, value(U32, 24)), "general.alignment"),
    "alignment 2**31": (_aligned(U32, value(U32, 1 << 31)), "general.alignment"),
    "alignment as a word": (_aligned(STRING, string("32")), "general.alignment"),
    "alignment as a float": (_aligned(F32, value(F32, 32)), "general.alignment"),
    "alignment as a list": (_aligned(ARRAY, array(U32, [value(U32, 32)])), "general.alignment"),
}
UNSUPPORTED_GGUF = {
    "version 1": (gguf([], ONE, FOUR, version=1), "GGUF version 1 "),
    "version 4": (gguf([], ONE, FOUR, version=4), "GGUF version 4 "),
    "version 0": (gguf([], ONE, FOUR, version=0), "GGUF version 0 "),
    "big-endian": (gguf([], ONE, FOUR, version=3 << 24), "big-endian"),
    "a retired kind": (gguf([], [tensor("w", (32,), 4, 0)], bytes(32)), "unknown kind number 4 "),
    "a kind to come": (gguf([], [tensor("w", (32,), 999, 0)], bytes(32)), "unknown kind number 999 "),
    "a part of a model": (_file(pair("split.count", U32, value(U32, 3))), "llama-gguf-split --merge"),
}
CLAIMS_GGUF = {
    "a string": [pair("k", STRING, struct.pack("<Q", 1 << 33))],
    "numbers": [_claim(U64, 1 << 32)],
    "strings": [_claim(STRING, 1 << 32)],
    "long strings": [_claim(STRING, 2) + struct.pack("<Q", 1 << 33)],
    "arrays": [_claim(ARRAY, 1 << 32)],
    "keys": [b""] * 100_000,
}


def _wait_for_decoding() -> None:
    """Until no other thread decodes weights for an earlier test: tracemalloc would count them, and its end can crash
    what allocates meanwhile (CPython gh-128679)."""
    here = threading.get_ident()
    for _ in range(600):
        others = [frame for ident, frame in sys._current_frames().items() if ident != here]
        files = {step.filename for frame in others for step in traceback.extract_stack(frame, limit=40)}
        if not any(file.endswith("checkpoint/decode.py") for file in files):
            return
        time.sleep(0.1)
