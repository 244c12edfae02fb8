"""Files as documents: how each kind is cut and named, what is passed over and told, and that twice gives the same."""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.atlas import corpus as corpora
from qkvlab.atlas.corpus import Corpus, open_corpus
from qkvlab.atlas.lines import Piece, pieces
from qkvlab.errors import MissingExtraError, TextError

HAND_MADE = Path(__file__).parent / "hand_made.conllu"


def put(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def table(path: Path, columns: dict[str, Any], rows: int = 7) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def read(corpus: Corpus) -> dict[str, str]:
    return {document.name: document.text for document in corpus.documents()}


# ---- plain text


def test_a_short_text_is_one_document(tmp_path: Path) -> None:
    corpus = open_corpus([put(tmp_path, "a.txt", b"\xef\xbb\xbfOne.\r\n\r\nTwo.\r\n")], [])
    (document,) = corpus.documents()
    assert (document.name, document.text, document.place) == ("a.txt:1", "One.\n\nTwo.", "a.txt:1")
    assert document.words == document.sentences == document.mentions == document.problems == []


def test_a_text_is_cut_at_empty_lines_then_line_ends_then_anywhere(tmp_path: Path) -> None:
    paragraph = "x" * 2_999 + "\n\n"
    assert [len(text) for text in read(open_corpus([put(tmp_path, "a.txt", paragraph * 4)], [])).values()] == [
        9_001,
        2_999,
    ]
    lines = ("y" * 999 + "\n") * 40
    assert [len(text) for text in read(open_corpus([put(tmp_path, "b.txt", lines)], [])).values()] == [31_999, 7_999]
    endless = "ж" * 40_000  # two bytes each: 32,000 bytes are 16,000 of them
    texts = read(open_corpus([put(tmp_path, "c.txt", endless)], []))
    assert "".join(texts.values()) == endless and max(map(len, texts.values())) <= 32_000
    assert list(texts) == [f"c.txt:{number}" for number in range(1, len(texts) + 1)]


@given(st.binary(max_size=60), st.integers(1, 9))
def test_pieces_are_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes, longest: int) -> None:
    data = data.replace(b"\0", b"0").replace(b"\r", b"\n")
    path = put(tmp_path_factory.mktemp("lines"), "a", data)
    found = list(pieces(path, longest))
    assert b"".join(piece.data + b"\n" * piece.ends for piece in found).rstrip(b"\n") == data.removeprefix(
        b"\xef\xbb\xbf"
    ).rstrip(b"\n")
    assert [piece.begins for piece in found] == [True, *(piece.ends for piece in found)][: len(found)]
    assert [piece.line for piece in found] == [1 + sum(each.ends for each in found[:at]) for at in range(len(found))]


def test_no_piece_is_cut_within_a_character(tmp_path: Path) -> None:
    path = put(tmp_path, "a", "aжж\nж")
    assert list(pieces(path, 2)) == [
        Piece(1, "aж".encode(), True, False), Piece(1, "ж".encode(), False, True), Piece(2, "ж".encode(), True, True),
    ]  # fmt: skip


def test_a_line_that_is_not_utf8_is_told_and_passed_over(tmp_path: Path) -> None:
    corpus = open_corpus([put(tmp_path, "a.txt", b"One.\nTw\xff.\nThree.\n" + b"z" * 40_000 + b"\n\xff\n")], [])
    texts = read(corpus)
    assert texts["a.txt:1"] == "One.\n\nThree." and sum(text.count("z") for text in texts.values()) == 40_000
    assert corpus.problems == [
        f"a.txt:{line}: byte {byte} of the line is not UTF-8; passed over" for line, byte in ((2, 3), (5, 1))
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.conllu"])
def test_what_is_no_text_has_one_line(name: str, tmp_path: Path) -> None:
    path = put(tmp_path, name, "Hello\n".encode("utf-16"))
    corpus = open_corpus(*(([], [path]) if name == "a.conllu" else ([path], [])))
    with pytest.raises(TextError, match=rf"{name} is no text in UTF-8: it holds zero bytes"):
        read(corpus)


@pytest.mark.parametrize("data", ["", "\n \n\n"])
def test_an_empty_text_is_told(data: str, tmp_path: Path) -> None:
    corpus = open_corpus([put(tmp_path, "a.txt", data)], [])
    assert read(corpus) == {} and corpus.problems == ["a.txt:1: the document is empty"] and corpus.n_problem == 1


# ---- JSONL and Parquet


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        b'{"text": "One."}', b"", b"{", b'{"other": 1}', b"[1]", b'{"text": 5}', b'{"text": "\\ud83d"}',
        b'{"text": "\xff"}',
        b'{"text": ""}', b"[" * 100_000, b'{"n": ' + b"9" * 5_000 + b"}", b'{"text": "\\ud83d\\ude00"}',
    ]  # fmt: skip
    corpus = open_corpus([put(tmp_path, "a.jsonl", b"\n".join(lines))], [])
    assert read(corpus) == {"a.jsonl:1": "One.", "a.jsonl:12": "😀"}
    assert corpus.problems == [
        "a.jsonl:3: the line is no JSON; passed over",
        "a.jsonl:4: no text in the field 'text'; passed over",
        "a.jsonl:5: no text in the field 'text'; passed over",
        "a.jsonl:6: no text in the field 'text'; passed over",
        "a.jsonl:7: half a surrogate pair in the field 'text'; passed over",
        "a.jsonl:8: byte 11 of the line is not UTF-8; passed over",
        "a.jsonl:9: the document is empty",
        "a.jsonl:10: the line is no JSON; passed over",
        "a.jsonl:11: the line is no JSON; passed over",
    ]


def test_a_line_of_jsonl_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkvlab.atlas.texts.LARGEST", 64)
    path = put(tmp_path, "a.ndjson", json.dumps({"body": "x" * 200}) + "\n" + json.dumps({"body": "y"}))
    corpus = open_corpus([path], [], field="body")
    assert read(corpus) == {"a.ndjson:2": "y"}
    assert corpus.problems == ["a.ndjson:1: the line is longer than 64 bytes; passed over"]


def test_parquet(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", {"n": [1, 2, 3], "text": ["One.", None, "Three."]}, rows=2)
    corpus = open_corpus([path], [])
    assert read(corpus) == {"a.parquet:1": "One.", "a.parquet:3": "Three."}
    assert corpus.problems == ["a.parquet:2: no text in the column 'text'; passed over"]
    with pytest.raises(TextError, match=r"a\.parquet has no one column 'body'; it has n, text: name one with --field"):
        read(open_corpus([path], [], field="body"))


def test_parquet_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    wrong = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"ok"]).buffers())
    corpus = open_corpus([table(tmp_path / "a.parquet", {"text": wrong})], [])
    assert read(corpus) == {"a.parquet:2": "ok"} and corpus.n_problem == 1


@pytest.mark.parametrize("cut", [0, 4, 100])
def test_parquet_that_is_none(cut: int, tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", {"text": ["One."] * 50})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TextError, match=r"a\.parquet cannot be read as Parquet") as caught:
        read(open_corpus([path], []))
    assert "\n" not in str(caught.value)


def test_parquet_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"qkvlab\[atlas\]"):
        read(open_corpus([put(tmp_path, "a.parquet", "")], []))


# ---- the whole


def test_files_come_in_the_order_given_and_twice_the_same(tmp_path: Path) -> None:
    texts = [put(tmp_path, "b.txt", "B."), put(tmp_path, "a.jsonl", '{"text": "A."}\n{')]
    corpus = open_corpus(texts, [HAND_MADE])
    first = list(corpus.documents())
    problems = list(corpus.problems)
    assert [document.name for document in first] == ["b.txt:1", "a.jsonl:1", "boat", "keeper", "bell", "map"]
    assert problems[0] == "a.jsonl:2: the line is no JSON; passed over" and len(problems) == corpus.n_problem == 3
    next(corpus.documents())
    assert list(corpus.documents()) == first and corpus.problems == problems and corpus.n_problem == 3
    assert [(file.name, file.size) for file in corpus.files[:2]] == [("b.txt", 2), ("a.jsonl", 16)]
    assert corpus.files[0].sha256 == sha256(b"B.").hexdigest()


def test_problems_are_bounded_in_words_not_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "TOLD", 5)
    corpus = open_corpus([put(tmp_path, "a.jsonl", "{\n" * 13)], [])
    for _ in range(2):
        assert read(corpus) == {}
        assert len(corpus.problems) == 5 and corpus.n_problem == 13


def test_no_two_documents_have_one_name(tmp_path: Path) -> None:
    bank = "# newdoc id = {}\n1\tIt\tit\tX\t_\t_\t0\troot\t_\t_\n\n"
    names = ("a", "a#2", "a", "one/x.txt:1", "a")
    files = [put(tmp_path, f"{folder}/x.txt", folder) for folder in ("one", "two", "deep/one")]
    corpus = open_corpus(files, [put(tmp_path, "b.conllu", "".join(bank.format(name) for name in names))])
    assert [document.name for document in corpus.documents()] == [
        "one/x.txt:1", "two/x.txt:1", "one/x.txt#2:1", "a", "a#2", "a#3", "one/x.txt:1#2", "a#4",
    ]  # fmt: skip
    assert corpus.problems[0] == "b.conllu:7: a document was named a before; this one is called a#3"
    assert corpus.n_problem == 3


def test_an_empty_document_of_a_treebank_is_told(tmp_path: Path) -> None:
    bank = "# newdoc id = a\n\n# newdoc id = b\n1\tIt\tit\tX\t_\t_\t0\troot\t_\t_\n"
    corpus = open_corpus([], [put(tmp_path, "b.conllu", bank)])
    assert read(corpus) == {"b": "It"} and corpus.problems == ["b.conllu:1: the document is empty"]


def test_what_cannot_be_a_corpus(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "A.")
    for text, treebank, said in (
        ([tmp_path], [], "is a folder; name its files"),
        ([tmp_path / "b.txt"], [], "is not there"),
        ([path, tmp_path / "." / "a.txt"], [], "given twice"),
        ([HAND_MADE], [], r"hand_made\.conllu is a treebank; give it with --treebank"),
    ):
        with pytest.raises(TextError, match=said):
            open_corpus(text, treebank)
    corpus = open_corpus([path], [])
    path.unlink()
    for ask in (lambda: read(corpus), lambda: corpus.files[0].size, lambda: corpus.files[0].sha256):
        with pytest.raises(TextError, match="cannot be read"):
            ask()


def test_a_corpus_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    """The first document comes before the second file is looked at, and no file is read beyond it."""
    texts = [put(tmp_path, "a.txt", "A.\n" * 20_000), put(tmp_path, "b.txt", "B.")]
    documents = open_corpus(texts, []).documents()
    texts[1].unlink()
    assert next(documents).name == "a.txt:1"
    with pytest.raises(TextError, match=r"b\.txt cannot be read"):
        list(documents)
