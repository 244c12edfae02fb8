"""What each head does in a document, counted: position, syntax, antecedents. Counts of documents add up.

Definitions: position, syntax ("the later word looks back") and coreference (antecedent selection). Every count is of
one document, whose windows depend on it alone; so whatever parts a corpus is scanned in, the same counts come out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .._shapes import Array, Bool, Float
from ..model import Model
from ..trace import Trace
from .treebank import Document, Mention, Word
from .windows import WINDOW, Window, windows

LOOKS = ("self", "previous", "next", "first")
"""Where a query may look most: offset 0, -1, +1, or the window's first token."""
FURTHEST = 60
"""The largest distance in words that is counted as a baseline."""


@dataclass
class Tally:
    """Items of one kind, the hits of every head, and of those who look at no model."""

    n: int = 0
    hits: Array = 0.0  # no layer counted yet
    """[layer, head]; ties share a hit."""
    baselines: dict[str, float] = field(default_factory=dict)

    def add(self, hits: Float[Array, "head item"], layer: int, n_layer: int) -> None:
        """The hits of one layer's heads."""
        if np.ndim(self.hits) == 0:
            self.hits = np.zeros((n_layer, len(hits)))
        self.hits[layer] += hits.sum(axis=1)

    def count(self, name: str, value: float = 1.0) -> None:
        """What a baseline scores."""
        self.baselines[name] = self.baselines.get(name, 0.0) + value


@dataclass
class Counts:
    """All that is counted of a document."""

    document: str
    tallies: dict[str, Tally] = field(default_factory=dict)
    """`position:previous` and its like, `syntax:nsubj:dependent`, `coreference`."""
    sums: dict[str, Array] = field(default_factory=dict)
    """Sums over queries, [layer, head]: `distance`, `entropy`, and `mass:previous` and its like."""
    skipped: dict[str, int] = field(default_factory=dict)
    """What could not be measured, and how often."""

    def tally(self, name: str) -> Tally:
        return self.tallies.setdefault(name, Tally())

    def skip(self, why: str, n: int = 1) -> None:
        if n:
            self.skipped[why] = self.skipped.get(why, 0) + n


@dataclass(frozen=True)
class Items:
    """Questions asked of a window: does this query look most at one of these, among those?"""

    name: str
    queries: list[int]
    """Positions of tokens."""
    candidates: Bool[Array, "item word"]
    right: Bool[Array, "item word"]


def count_document(model: Model, document: Document, size: int = WINDOW) -> Counts:
    """Everything counted of a document, in windows of `size` tokens."""
    counts = Counts(document.name)
    counts.skip("problems of the treebank", len(document.problems))
    for window in windows(model, document, size):
        trace = model.trace(ids=window.ids)
        asked = [
            *syntax_items(document, window, counts, model.spec.causal),
            *antecedent_items(document, window, counts),
        ]
        _count_positions(trace, window, counts)
        for layer in range(model.spec.n_layer):
            _count_layer(trace, window, layer, asked, counts)
    return counts


def shares_of_hits(
    weights: Float[Array, "head item word"], candidates: Bool[Array, "item word"], right: Bool[Array, "item word"]
) -> Float[Array, "head item"]:
    """Is the heaviest candidate right? 1 or 0; where several are equally heavy, the share of right ones among them."""
    held = np.where(candidates, weights, -1.0)
    heaviest = (held == held.max(axis=-1, keepdims=True)) & candidates
    return (heaviest & right).sum(axis=-1) / heaviest.sum(axis=-1)


# ---- position


def _count_positions(trace: Trace, window: Window, counts: Counts) -> None:
    """How many queries there are, and what evenly spread weights would score: all but special tokens and the first."""
    queries = _queries(window)
    for look in LOOKS:
        tally = counts.tally(f"position:{look}")
        tally.n += len(queries)
        for query in queries:
            first, last = trace.visible(0, query)
            tally.count("chance", float(first <= _target(look, query) < last) / (last - first))


def _queries(window: Window) -> list[int]:
    return [at for at, special in enumerate(window.special) if at > 0 and not special]


def _target(look: str, query: int) -> int:
    """The key that a look means."""
    return {"self": query, "previous": query - 1, "next": query + 1, "first": 0}[look]


def _count_layer(trace: Trace, window: Window, layer: int, asked: list[Items], counts: Counts) -> None:
    """One layer of one window: its weights, and all that is asked of them."""
    weights = trace.layer_weights(layer, range(len(trace)))
    n_layer = trace.spec.n_layer
    queries = _queries(window)
    if queries:
        _count_looks(weights, queries, layer, n_layer, counts)
    if asked:
        of_words = weights @ window.member
        for items in asked:
            hits = shares_of_hits(of_words[:, items.queries], items.candidates, items.right)
            counts.tally(items.name).add(hits, layer, n_layer)


def _count_looks(
    weights: Float[Array, "head query key"], queries: list[int], layer: int, n_layer: int, counts: Counts
) -> None:
    rows, n_key = weights[:, queries].astype(np.float64), weights.shape[-1]
    heaviest = rows == rows.max(axis=-1, keepdims=True)
    shared = heaviest / heaviest.sum(axis=-1, keepdims=True)
    keys = np.arange(n_key)

    def add(name: str, value: Array) -> None:
        counts.sums.setdefault(name, np.zeros((n_layer, len(weights))))[layer] += value

    for look in LOOKS:
        there = keys == np.array([_target(look, query) for query in queries])[:, None]
        counts.tally(f"position:{look}").add((shared * there).sum(axis=-1), layer, n_layer)
        add(f"mass:{look}", (rows * there).sum(axis=(1, 2)))
    add("distance", (rows * abs(keys - np.array(queries)[:, None])).sum(axis=(1, 2)))
    add("entropy", -(rows * np.log(np.where(rows > 0, rows, 1))).sum(axis=(1, 2)))


# ---- syntax


def syntax_items(document: Document, window: Window, counts: Counts, causal: bool) -> Iterator[Items]:
    """For each relation and each side that may come first: does the later word look at its partner most?

    Candidates are all earlier words of the sentence. Named `syntax:RELATION:SIDE`, SIDE being what the later word is:
    head or dependent. In a bidirectional model also the earlier word among all later ones, `...:forward`.
    """
    column = {number: at for at, number in enumerate(window.words)}
    found: dict[str, list[tuple[int, int, range]]] = {}
    for sentence in window.sentences:
        for number in sentence:
            word = document.words[number]
            if word.head is None:
                continue
            if number not in column or word.head not in column:
                counts.skip("words that share a token")
                continue
            earlier, later = sorted((number, word.head))
            name = f"syntax:{word.relation}:{'head' if later == word.head else 'dependent'}"
            found.setdefault(name, []).append((later, earlier, range(sentence.start, later)))
            counts.tally(name).n += 1
            if later - earlier <= FURTHEST:
                counts.tally(name).count(f"offset {later - earlier}")
            if not causal:
                found.setdefault(f"{name}:forward", []).append((earlier, later, range(earlier + 1, sentence.stop)))
                counts.tally(f"{name}:forward").n += 1
                counts.tally(f"{name}:forward").count(f"offset {later - earlier}")
    for name, items in found.items():
        yield _items(name, window, [(query, around, {partner}) for query, partner, around in items])


def _items(name: str, window: Window, asked: list[tuple[int, range | list[int], set[int]]]) -> Items:
    """From words of the document to rows and columns of the window."""
    words = np.array(window.words)
    column = {number: at for at, number in enumerate(window.words)}
    candidates = np.stack([np.isin(words, list(around)) for _, around, _ in asked])
    right = np.stack([np.isin(words, list(meant)) for *_, meant in asked])
    return Items(name, [window.last_token[column[query]] for query, *_ in asked], candidates, right)


# ---- coreference


def antecedent_items(document: Document, window: Window, counts: Counts) -> Iterator[Items]:
    """Does each third-person pronoun look most at a word of its own group, among the head words of earlier mentions?

    The pronoun is a mention of one word (UPOS PRON, PronType Prs, Person 3), with two earlier candidates or more in
    the window, one or more of its group. Mentions with one head word are one candidate with all their groups. The
    window's first word is no candidate.
    """
    column = {number: at for at, number in enumerate(window.words)}
    asked: list[tuple[int, range | list[int], set[int]]] = []
    for pronoun in document.mentions:
        if not _is_pronoun(document, pronoun) or pronoun.head not in column:
            continue
        groups = {m.group for m in document.mentions if (m.first, m.last) == (pronoun.first, pronoun.last)}
        earlier = [
            mention for mention in document.mentions if mention.head < pronoun.head and column.get(mention.head, 0) > 0
        ]
        candidates = sorted({mention.head for mention in earlier})
        right = {mention.head for mention in earlier if mention.group in groups}
        if len(candidates) < 2 or not right or pronoun.group != min(groups):
            continue
        asked.append((pronoun.head, candidates, right))
        _count_baselines(document, pronoun, earlier, candidates, right, counts.tally("coreference"))
    if asked:
        yield _items("coreference", window, asked)


def _is_pronoun(document: Document, mention: Mention) -> bool:
    word = document.words[mention.first]
    named = word.upos == "PRON" and word.features.get("PronType") == "Prs" and word.features.get("Person") == "3"
    return named and mention.first == mention.last


def _count_baselines(
    document: Document, pronoun: Mention, earlier: list[Mention], candidates: list[int], right: set[int], tally: Tally
) -> None:
    """The nearest candidate; any candidate; the nearest that agrees in number and kind (if none does, the nearest)."""
    tally.n += 1
    tally.count("nearest", float(candidates[-1] in right))
    tally.count("chance", len(right) / len(candidates))
    word = document.words[pronoun.head]
    agreeing = [
        at
        for at in candidates
        if _agrees(word, document.words[at], {mention.kind for mention in earlier if mention.head == at})
    ]
    tally.count("nearest agreeing", float((agreeing or candidates)[-1] in right))


def _agrees(pronoun: Word, word: Word, kinds: set[str]) -> bool:
    """In Number where both have one; a masculine or feminine pronoun with a person, a neuter one with anything else."""
    number, other = pronoun.features.get("Number"), word.features.get("Number")
    gender = pronoun.features.get("Gender")
    if number is not None and other is not None and number != other:
        return False
    if gender in ("Masc", "Fem"):
        return "person" in kinds
    return gender != "Neut" or kinds != {"person"}
