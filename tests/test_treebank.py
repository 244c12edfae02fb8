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


GOOD = "1\tyes\tyes\tINTJ\t_\t_\t0\troot\t_\t_\n2\tno\tno\tINTJ\t_\t_\t1\tdep\t_\t_\n\n"


def row(number: str, form: str, head: str = "0", relation: str = "root", misc: str = "_") -> str:
    return f"{number}\t{form}\t_\tX\t_\t_\t{head}\t{relation}\t_\t{misc}\n"


UNREADABLE = {
    "1\tonly\ttwo\n": (1, "the line has 3 columns, not 10"),
    row("1", "a") + "2\tb\n": (2, "the line has 2 columns, not 10"),
    row("x", "a"): (1, "'x' is no number of a word"),
    row("1", "a") + row("1", "b"): (2, "the number 1 follows word 1"),
    row("2", "a"): (1, "the number 2 follows word 0"),
    row("1", "\udcff"): (1, "the line is not UTF-8 (byte 3)"),
    row("1", ""): (1, "column 2 is empty"),
    row("1", "a  b"): (1, "two spaces stand within a column"),
    row("1-2", "ab") + row("1", "a"): (2, "a range of words reaches to 2 of 1"),
    row("1-2", "ab") + row("1", "a") + row("2-3", "bc") + row("2", "b", "1") + row("3", "c", "1"): (3, "2-3 follows"),
    row("8.1", "a"): (1, "there is no word in it"),
}
NO_TREE = {
    row("1", "lost", "3") + row("2", "words", "1"): (1, "word 1 of 2 has the head '3'"),
    row("1", "lost") + row("2", "words", "_"): (2, "word 2 of 2 has the head '_'"),
    row("1", "lost") + row("2", "words", "zero"): (2, "word 2 of 2 has the head 'zero'"),
    row("1", "lost", "1") + row("2", "words"): (1, "the heads from word 1 on go round in a circle"),
    row("1", "lost") + row("2", "words", "1", "_"): (2, "word 2 has no relation to its head"),
    row("1-2", "lost words") + row("1", "a", "2") + row("2", "b", "1"): (2, "go round in a circle"),
    row("1", "lost", "1", "x", "SpaceAfter=No") + row("1.1", "never") + row("2", " words"): (1, "circle"),
}


@pytest.mark.parametrize(("broken", "expected"), [*UNREADABLE.items(), *NO_TREE.items()])
@pytest.mark.parametrize("comment", ["", "# text = lost words\n"])
def test_a_broken_line_leaves_its_sentence_out(
    broken: str, expected: tuple[int, str], comment: str, tmp_path: Path
) -> None:
    """What stands before and after is as it was; the text holds its surface wherever that is known."""
    path = tmp_path / "some.conllu"
    path.write_bytes((GOOD + comment + broken + "\n" + GOOD).encode("utf-8", "surrogateescape"))
    (document,) = read_treebank(path)
    known = ["lost", "words"] if comment or broken in NO_TREE else []
    assert document.text == " ".join(["yes", "no", *known, "yes", "no"])
    assert [document.text[word.start : word.end] for word in document.words] == ["yes", "no", "yes", "no"]
    assert [word.head for word in document.words] == [None, 0, None, 2]
    assert document.sentences == [range(2), range(2, 4)]
    line, what = expected
    (problem,) = document.problems
    assert problem.startswith(f"some.conllu:{3 + bool(comment) + line}: ") and what in problem
    assert problem.endswith("; the sentence is left out" if known else "; the sentence is left out, with its text")


def test_mentions_of_a_sentence_left_out_are_none(tmp_path: Path) -> None:
    """They neither stay open nor take a word of another sentence."""
    path = tmp_path / "some.conllu"
    lost = row("1", "He", "2", "nsubj", "Entity=(7-person)") + row("2", "saw", "1", "root", "Entity=(8-object")
    path.write_text(row("1", "Ann", misc="Entity=(7-person)") + "\n" + lost + "\n" + row("1", "It", misc="Entity=8)"))
    (document,) = read_treebank(path)
    assert document.text == "Ann He saw It"
    assert [(mention.group, mention.head) for mention in document.mentions] == [("7", 0)]
    assert document.problems[1:] == ["some.conllu:6: a mention of group 8 closes unopened"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("((7-person)", "no brackets of mentions: ((7-person)"),
        ("7-person", "no brackets of mentions: 7-person"),
        ("(7-person)x", "no brackets of mentions: (7-person)x"),
        ("()", "no brackets of mentions: ()"),
        ("(e7[1/2]-person)", "a mention in several pieces, e7[1/2], is left out"),
    ],
)
def test_values_that_are_no_brackets(value: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(row("1", "Ann", misc=f"Entity={value}"))
    (document,) = read_treebank(path)
    assert document.mentions == [] and document.problems == [f"some.conllu:1: {problem}"]


def test_a_value_with_an_equals_sign_is_whole(tmp_path: Path) -> None:
    """`conllu` cuts a value at its second equals sign; a bracket behind it must not be lost."""
    path = tmp_path / "some.conllu"
    misc = "Entity=(1-place-a=b)(2-x=y|SpaceAfter=No"
    path.write_text(row("1", "It", misc=misc) + row("2", "s", "1", "x", "Entity=2)"))
    (document,) = read_treebank(path)
    assert {(m.group, m.first, m.last) for m in document.mentions} == {("1", 0, 0), ("2", 0, 1)}
    assert document.problems == [] and document.text == "Its"


def test_brackets_of_one_group_close_the_last_that_opened(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    rows = [
        row("1", "the", "2", misc="Entity=(4-x"),
        row("2", "twin", misc="_"),
        row("3", "of", "4", misc="Entity=(4-y"),
    ]
    path.write_text("".join([*rows, row("4", "it", "2", misc="Entity=4)"), row("5", "there", "2", misc="Entity=4)")]))
    (document,) = read_treebank(path)
    assert [(m.kind, m.first, m.last, m.head) for m in document.mentions] == [("x", 0, 4, 1), ("y", 2, 3, 3)]


def test_documents_begin_where_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(GOOD + "#newdoc id = one\n\n# newdoc\n# newpar\n" + GOOD + "# newdoc id = two = 2\n" + GOOD)
    assert [(each.name, each.place, len(each.words)) for each in read_treebank(path)] == [
        ("some", "some.conllu:1", 2), ("one", "some.conllu:4", 0), ("some", "some.conllu:6", 2),
        ("two = 2", "some.conllu:11", 2),
    ]  # fmt: skip


def test_a_file_that_names_no_document_is_cut_unless_it_has_mentions(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(GOOD * 3_000)
    documents = list(read_treebank(path))
    assert [document.name for document in documents] == ["some", "some:2", "some:3"]
    assert [len(document.sentences) for document in documents] == [1_143, 1_143, 714], "7 · 1,143 − 1 = 8,000"
    path.write_text(row("1", "It", misc="Entity=(1-x)") + "\n" + GOOD * 3_000)
    assert len(list(read_treebank(path))) == 1


def test_prose_without_end_is_no_treebank(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text("so it goes\n" * 20_001)
    with pytest.raises(TextError, match="line 20001 follows 20,000 lines without an empty one"):
        list(read_treebank(path))


def test_line_ends_and_marks_of_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    (document,) = read_treebank(path)
    assert document.text == "yes no" and not document.problems


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
