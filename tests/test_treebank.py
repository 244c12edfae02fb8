"""CoNLL-U as documents: the text's exact form, words in it, mentions and their heads, and what is left out."""

import sys
from pathlib import Path

import pytest

from qkvlab.atlas.treebank import Document, read_treebank
from qkvlab.errors import MissingExtraError, TextError

HAND_MADE = Path(__file__).parent / "hand_made.conllu"


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    return {document.name: document for document in read_treebank(HAND_MADE)}


def forms(document: Document, *words: int) -> list[str]:
    return [document.text[document.words[at].start : document.words[at].end] for at in words]


def line_of(piece: str) -> int:
    lines = HAND_MADE.read_text().splitlines()
    return next(at for at, line in enumerate(lines, 1) if piece in line)


def test_the_text(documents: dict[str, Document]) -> None:
    assert list(documents) == ["boat", "keeper", "bell", "map"]
    assert documents["boat"].text == "Maria mended the old boat. She painted it can't."
    assert documents["keeper"].text == "The keeper of the lights always counted them twice. Then he slept."
    assert documents["map"].text.startswith("Gimme the map , the girl said; it helps her.")


def test_every_word_stands_on_its_characters(documents: dict[str, Document]) -> None:
    for name in ("boat", "keeper", "bell"):
        document = documents[name]
        assert forms(document, *range(len(document.words))) == [word.form for word in document.words]
    assert forms(documents["boat"], 9, 10) == ["ca", "n't"], "a surface that is its words one after the other"
    assert forms(documents["map"], 0, 1) == ["Gimme", "Gimme"], "one that is not is theirs undivided"
    assert "elided" not in documents["keeper"].text


def test_dependencies_count_through_the_document(documents: dict[str, Document]) -> None:
    document = documents["boat"]
    assert document.sentences == [range(6), range(6, 12)]
    heads = {word.form: word.head for word in document.words if word.form in ("She", "painted", "it", "boat")}
    assert heads == {"boat": 1, "She": 7, "painted": None, "it": 7}
    assert document.words[8].relation == "obj" and document.words[7].relation == "root"


def test_mentions(documents: dict[str, Document]) -> None:
    found = [(m.group, m.kind, m.first, m.last, m.head) for m in documents["keeper"].mentions]
    assert ("3", "person", 0, 4, 1) in found and ("4", "place", 3, 4, 4) in found, "two close at one word"
    assert ("4", "place", 7, 7, 7) in found and ("3", "person", 11, 11, 11) in found and len(found) == 4


def test_brackets_that_do_not_fit(documents: dict[str, Document]) -> None:
    assert [document.problems for name, document in documents.items() if name != "map"] == [[], [], []]
    assert documents["map"].problems == [
        f"hand_made.conllu:{line_of('99)')}: a mention of group 99 closes unopened",
        f"hand_made.conllu:{line_of('(10-')}: a mention of group 10 never closes",
    ]
    assert {m.group for m in documents["map"].mentions} == {"7", "8", "9"}


@pytest.mark.parametrize("head", ["9", "1", "_"])
def test_a_head_that_is_none(head: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.conllu"
    path.write_text(f"1\tyes\tyes\tINTJ\t_\t_\t{head}\tobj\t_\t_\n2\tno\tno\tINTJ\t_\t_\t1\tdep\t_\t_\n\n")
    (document,) = read_treebank(path)
    assert document.name == "broken" and document.words[0].head is None and document.words[1].head == 0
    assert len(document.problems) == 1 and "word 1 has the head" in document.problems[0]


GOOD = "1\tyes\tyes\tINTJ\t_\t_\t0\troot\t_\t_\n2\tno\tno\tINTJ\t_\t_\t1\tdep\t_\t_\n\n"


@pytest.mark.parametrize(
    ("broken", "line", "what"),
    [
        ("1\tonly\ttwo\n", 1, "3 columns of 10"),
        ("1\ta\ta\tX\t_\t_\t0\troot\t_\t_\n2\tb\n", 2, "2 columns of 10"),
        ("x\ta\ta\tX\t_\t_\t0\troot\t_\t_\n", 1, "'x' is no word's number"),
        ("1\ta\ta\tX\t_\t_\t0\troot\t_\t_\n1\tb\tb\tX\t_\t_\t0\troot\t_\t_\n", 2, "comes twice"),
        ("2\ta\ta\tX\t_\t_\t0\troot\t_\t_\n", 1, "not numbered from 1 on"),
        ("1\t\udcff\ta\tX\t_\t_\t0\troot\t_\t_\n", 1, "not UTF-8"),
        ("1\ta\ta\tX\t_\t_\tzero\troot\t_\t_\n", 1, ""),
    ],
)
@pytest.mark.parametrize("text", ["", "# text = lost words\n"])
def test_a_broken_line_leaves_its_sentence_out(broken: str, line: int, what: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_bytes((GOOD + text + broken + "\n" + GOOD).encode("utf-8", "surrogateescape"))
    (document,) = read_treebank(path)
    known = ["lost", "words"] if text else []
    assert document.text.split() == ["yes", "no", *known, "yes", "no"]
    assert [word.form for word in document.words] == ["yes", "no", "yes", "no"]
    assert [document.text[word.start : word.end] for word in document.words] == ["yes", "no", "yes", "no"]
    (problem,) = document.problems
    assert problem.startswith(f"some.conllu:{3 + bool(text) + line}: ")
    assert what in problem and problem.endswith("the sentence is left out")


@pytest.mark.parametrize("text", ["", "\n\n", "1\tonly\ttwo\n\n", "# newdoc id = a\n\n", "just some prose\n"])
def test_what_is_no_conllu_has_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "no.conllu"
    path.write_text(text)
    with pytest.raises(TextError, match=r"no\.conllu is no CoNLL-U: there is no sentence in it") as caught:
        list(read_treebank(path))
    assert "\n" not in str(caught.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "conllu", None)
    with pytest.raises(MissingExtraError, match=r"qkvlab\[atlas\]"):
        list(read_treebank(HAND_MADE))
