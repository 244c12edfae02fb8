"""The treebank of the sample corpus, made from docs/sample_treebank.txt: `python docs/sample_treebank.py` writes it.

The notation says what depends on what and who is meant; parts of speech and features come from the lists below, so they
are right for these sentences and for no others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "sample_treebank.txt"
WRITTEN = HERE.parent / "src/qkvlab/data/atlas-sample.conllu"

CLAUSES = {"root", "conj", "advcl", "xcomp", "ccomp"}
CLOSED = {
    "DET": "a an another every no the",
    "AUX": "been can could did had has is should was were would",
    "ADP": "above across after at before behind below beside between by down during for from in inside into near of on "
    "out over than to under until up with without",
    "ADV": "again aloud always away even higher home never now slowly still then there too very well",
    "NUM": "eight four nine one seven six ten three two",
    "CCONJ": "and but or so",
    "SCONJ": "because since that when whether while",
    "PART": "n't not",
    "PRON": "he she it they him her them his its nothing",
    "PROPN": "clara emil friday hugo ines jonas lena mara may monday nora otto paul rosa sunday vera",
    "ADJ": "angry ashamed black broken clean clear close cold cracked dark empty famous flat fresh golden good green "
    "grey heavy high ill large last late long loud low many missing more narrow near new old older own quiet red safe "
    "short silver slow small strong sweet tall thick thin torn warm wet white whole wide wooden yellow young youngest",
    "PUNCT": ". ,",
}
UPOS = {word: upos for upos, words in CLOSED.items() for word in words.split()}
RELATIONS = {
    "DET": "det", "AUX": "aux", "ADP": "case", "ADV": "advmod", "NUM": "nummod", "CCONJ": "cc", "SCONJ": "mark",
    "PART": "advmod", "ADJ": "amod", "PUNCT": "punct", "NOUN": "compound", "PROPN": "compound",
}  # fmt: skip
"""What a word of this kind is to the head of its phrase, if nothing else is said."""
GENDER = {"he": "Masc", "him": "Masc", "his": "Masc", "she": "Fem", "her": "Fem", "it": "Neut", "its": "Neut"}
SINGULAR = {"class", "glass"}
PLURAL = {"children", "men"}


@dataclass
class Token:
    form: str
    marked: bool
    """As the head of its phrase."""
    relation: str
    upos: str = ""
    head: "Token | None" = None
    number: int = 0
    joined: bool = False
    """Written as one with the word before."""


@dataclass
class Phrase:
    relation: str
    group: str
    parts: list["Phrase | Token"] = field(default_factory=list)

    def tokens(self) -> Iterator[Token]:
        for part in self.parts:
            yield from part.tokens() if isinstance(part, Phrase) else [part]

    def direct(self) -> list[Token]:
        return [part for part in self.parts if isinstance(part, Token)]


def read(line: str) -> Phrase:
    """A sentence of the notation."""
    stack = [Phrase("root", "")]
    for piece in line.split():
        if piece == "]":
            done = stack.pop()
            stack[-1].parts.append(done)
        elif piece.startswith("["):
            relation, _, group = piece[1:].partition("@")
            stack.append(Phrase(relation, group))
        else:
            word, _, relation = piece.partition("/")
            for at, form in enumerate(word.rstrip("*").split("_")):
                stack[-1].parts.append(Token(form, word.endswith("*"), relation, joined=at > 0))
    (sentence,) = stack
    return sentence


def attach(phrase: Phrase) -> Token:
    """Find the head of a phrase, hang all else on it, and give it back."""
    head = name(phrase)
    auxiliaries = [token for token in phrase.direct() if token.upos == "AUX" and not token.relation]
    if head.upos not in ("VERB", "AUX") and auxiliaries:
        auxiliaries[-1].relation = "cop"
    for part in phrase.parts:
        if isinstance(part, Phrase):
            inner = attach(part)
            inner.head, inner.relation = head, part.relation
        elif part is not head:
            part.head, part.relation = head, part.relation or RELATIONS[part.upos]
    return head


def name(phrase: Phrase) -> Token:
    """Give the words of a phrase their parts of speech; which is its head."""
    clause, verb = phrase.relation in CLAUSES, None
    marked = [token for token in phrase.direct() if token.marked]
    for token in phrase.direct():
        token.upos = UPOS.get(token.form.lower(), "")
        if clause and token.form.lower() in ("before", "after", "until"):
            token.upos = "SCONJ"
        if phrase.relation == "xcomp" and token.form == "to":
            token.upos, token.relation = "PART", "mark"
        if not token.upos:
            token.upos = "VERB" if clause and verb is None and not marked else "NOUN"
            verb = verb or (token if token.upos == "VERB" else None)
    if marked or verb:
        return marked[0] if marked else verb
    plain = [token for token in phrase.direct() if token.upos != "PUNCT" and not token.relation]
    if clause:  # had, is: an auxiliary of nothing
        plain = [token for token in plain if token.upos == "AUX"]
        plain[-1].upos = "VERB"
    return plain[-1]


def features(token: Token) -> str:
    word = token.form.lower()
    if word == "nothing":
        return "Number=Sing|PronType=Neg"
    if token.upos == "PRON":
        case = {"nsubj": "Nom", "nsubj:pass": "Nom", "nmod:poss": "Gen"}.get(token.relation, "Acc")
        gender = f"Gender={GENDER[word]}|" if word in GENDER else ""
        number = "Sing" if gender else "Plur"
        return f"Case={case}|{gender}Number={number}|Person=3|{'Poss=Yes|' * (case == 'Gen')}PronType=Prs"
    if token.upos in ("NOUN", "PROPN"):
        plural = word in PLURAL or (word.endswith("s") and word not in SINGULAR and token.upos == "NOUN")
        return "Number=" + ("Plur" if plural else "Sing")
    return "_"


def mentions(phrase: Phrase) -> Iterator[tuple[str, int, int]]:
    """Group, first and last word of every mention; a preposition is not part of one."""
    if phrase.group:
        words = list(phrase.tokens())
        while words[0].upos in ("ADP", "CCONJ", "PUNCT"):
            words.pop(0)
        while words[-1].upos == "PUNCT":
            words.pop()
        yield phrase.group, words[0].number, words[-1].number
    for part in phrase.parts:
        if isinstance(part, Phrase):
            yield from mentions(part)


class Groups:
    """The groups of a document: the numbers it gives, and one of its own for each that has but a kind."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        self.met: set[str] = set()

    def opening(self, group: str) -> tuple[str, str]:
        """A group's number and the beginning of its bracket."""
        if not group.isdigit():
            self.kinds[str(100 + len(self.met))] = group
            group = str(100 + len(self.met))
        status = "giv" if group in self.met else "new"
        self.met.add(group)
        return group, f"({group}-{self.kinds[group]}-{status}"


def brackets(sentence: Phrase, groups: Groups) -> dict[int, str]:
    """What stands in MISC, by word: the widest opens first and closes last."""
    found = [(first, -last, *groups.opening(group)) for group, first, last in mentions(sentence)]
    at: dict[int, str] = {}
    for first, last, _, opening in sorted(found, key=lambda one: one[:2]):
        at[first] = at.get(first, "") + opening + ")" * (first == -last)
    for first, last, group, _ in sorted(found, key=lambda one: (one[1], -one[0])):
        if first != -last:
            at[-last] = at.get(-last, "") + f"{group})"
    return at


def rows(sentence: Phrase, groups: Groups) -> Iterator[str]:
    """The lines of a sentence."""
    root = attach(sentence)
    root.relation = "root"
    tokens = list(sentence.tokens())
    for number, token in enumerate(tokens, 1):
        token.number = number
    entities = brackets(sentence, groups)
    text = ""
    lines = []
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        glued = after is None or after.upos == "PUNCT"
        text += token.form + " " * (not glued and not after.joined)
        if after is not None and after.joined:
            lines.append(f"{token.number}-{after.number}\t{token.form}{after.form}" + "\t_" * 8)
        inside = token.joined or (after is not None and after.joined)
        misc = [f"Entity={entities[token.number]}"] if token.number in entities else []
        misc += ["SpaceAfter=No"] if glued and not inside and after is not None else []
        head = str(token.head.number) if token.head else "0"
        columns = (str(token.number), token.form, "_", token.upos, "_", features(token), head, token.relation, "_")
        lines.append("\t".join([*columns, "|".join(misc) or "_"]))
    yield f"# text = {text}"
    yield from lines


def treebank(source: str) -> str:
    """The notation as CoNLL-U."""
    lines: list[str] = []
    documents = re.split(r"^= ", source, flags=re.MULTILINE)[1:]
    for document in documents:
        title, *content = document.strip().splitlines()
        groups = Groups()
        number = 0
        for line in content:
            if match := re.fullmatch(r"(\d+) (\w+)", line):
                groups.kinds[match[1]] = match[2]
                continue
            number += 1
            if number == 1:
                lines += [f"# newdoc id = sample-{title}", "# global.Entity = GRP-etype-infstat"]
            lines += [f"# sent_id = sample-{title}-{number}", *rows(read(line), groups), ""]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(treebank(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
