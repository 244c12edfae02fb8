"""Model and document → Counts: what every head does in it, by whichever measures were asked for.

Every count is of one document, whose windows depend on it alone; so whatever parts a corpus is scanned in, on however
many machines, the same counts come out, to the last bit.
"""

from collections.abc import Collection, Sequence

import numpy as np

from .._parallel import one_blas_thread
from .._shapes import Array, Float
from ..errors import HeadError, UnsupportedError, one_of
from ..model import Model
from ..spec import ModelSpec
from . import MEASURES, looks, writes
from .antecedents import Antecedents
from .clark import count_clark
from .counts import Counts, Options, Sum, Tally
from .examples import Kept
from .looks import LOOKS, Looks
from .questions import Kind, Questions
from .repeats import CONTROL, KINDS, RandomText, random_texts
from .syntax import syntax_questions
from .treebank import Document
from .walk import Seen, walk
from .weighing import Weighed
from .windows import Window, windows


def chosen_layers(spec: ModelSpec, layers: Sequence[int] | None) -> list[int]:
    """The layers of a scan, rising. Raises HeadError for one that has no heads."""
    have = list(spec.attention_layers)
    if layers is None:
        return have
    for layer in layers:
        if layer not in have:
            raise HeadError(f"layer {layer} has no heads to scan; {spec.name} has attention in {_listed(have)}")
    return sorted(set(layers))


def _listed(layers: Sequence[int]) -> str:
    whole = layers == list(range(layers[0], layers[-1] + 1))
    return f"layers {layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))


def check_measures(measures: Collection[str]) -> None:
    """Raise UnsupportedError for a measure that is none."""
    for measure in measures:
        if measure not in MEASURES:
            raise UnsupportedError(one_of("the measure", measure, MEASURES))


class Totals:
    """Counts of a document as they grow: rows are the layers asked for, and go to their places in the tables."""

    def __init__(self, spec: ModelSpec, layers: list[int], name: str) -> None:
        self.shape, self.layers, self.counts = (spec.n_layer, spec.n_head), layers, Counts(name)

    def tally(self, name: str, n: int, baselines: dict[str, float], hits: Array, mass: Array) -> None:
        """More questions of a measure; hits and mass are [layer, head]."""
        if name not in self.counts.tallies:
            self.counts.tallies[name] = Tally(0, np.zeros(self.shape), np.zeros(self.shape))
        tally = self.counts.tallies[name]
        tally.n += n
        tally.hits[self.layers] += hits
        tally.mass[self.layers] += mass
        for baseline, value in baselines.items():
            tally.baselines[baseline] = tally.baselines.get(baseline, 0.0) + value

    def sum(self, name: str, n: int, total: Array, squares: Array) -> None:
        """More queries of a quantity, [layer, head] each."""
        if name not in self.counts.sums:
            self.counts.sums[name] = Sum(0, np.zeros(self.shape), np.zeros(self.shape))
        one = self.counts.sums[name]
        one.n += n
        one.total[self.layers] += total
        one.squares[self.layers] += squares

    def blends(self, z: Float[Array, "layer head d_value"], n: int) -> None:
        """More positions' z."""
        if self.counts.z is None:
            self.counts.z = np.zeros((*self.shape, z.shape[-1]))
        self.counts.z[self.layers] += z
        self.counts.z_n += n


def count_document(model: Model, document: Document, options: Options | None = None) -> Counts:
    """Everything counted of a document that the options ask for. Raises HeadError, UnsupportedError, TextError."""
    options = options or Options()
    check_measures(options.measures)
    layers = chosen_layers(model.spec, options.layers)
    totals = Totals(model.spec, layers, document.name)
    totals.counts.problems = list(document.problems)
    kept = Kept(document, layers, model.spec.n_head) if options.examples else None
    mentions = Antecedents(document)
    if set(options.measures) & {"position", "syntax", "coreference", "values"}:
        for window in windows(model, document, options.window, options.examples):
            totals.counts.n_token += len(window.ids)
            totals.counts.n_window += 1
            kinds: dict[str, Kind] = {}
            if "syntax" in options.measures:
                kinds |= syntax_questions(document, window, totals.counts, model.spec.causal)
            if "coreference" in options.measures:
                kinds |= mentions.questions(window)
            _WindowCount(model, window, Questions(window, kinds), options, totals, kept).run()
    if kept is not None:
        totals.counts.examples = kept.done()
    if "clark" in options.measures and not model.spec.causal and document.words:
        with one_blas_thread():
            for found in count_clark(model, document, layers, totals.counts):
                totals.tally(*found)
    return totals.counts


class _WindowCount:
    """One window, walked through once; all that is asked of a layer is read while its weights are at hand."""

    def __init__(
        self, model: Model, window: Window, asked: Questions, options: Options, totals: Totals, kept: Kept | None
    ) -> None:
        self.model, self.window, self.asked, self.totals, self.kept = model, window, asked, totals, kept
        n_layer, n_head = len(totals.layers), model.spec.n_head
        self.looks = Looks(window.queries, len(window.ids)) if "position" in options.measures else None
        self.values = "values" in options.measures
        self.chance: dict[str, float] = {}
        self.hits = np.zeros((len(LOOKS), n_layer, n_head))
        self.sums = np.zeros((2, len(looks.SUMS), n_layer, n_head))
        self.writes = np.zeros((2, len(writes.SUMS), n_layer, n_head))
        self.answers = [np.zeros((n_layer, n_head, len(asked)), kind) for kind in (np.float64, np.float32)]
        self.looked = np.zeros((n_layer, n_head, len(asked)), np.int32)
        n_sample = 0 if kept is None else len(window.samples)
        self.sampled = np.zeros((n_layer, n_head, n_sample), np.float32)
        self.sampled_at = np.zeros((n_layer, n_head, n_sample), np.int32)

    def run(self) -> None:
        """Walk through the window, and add what came out."""
        with one_blas_thread():
            self._walk()

    def _walk(self) -> None:
        queries = self.window.queries
        z: list[Array] = []
        for row, seen in enumerate(walk(self.model, self.window.ids, self.totals.layers)):
            if self.looks is not None and not row:
                self.chance = self.looks.chance(seen.scoring)
            if self.looks is not None or len(self.asked) or self.sampled.size:
                self._weights(row, seen)
            if self.values:
                sizes = writes.sizes(self.model, seen)[..., queries]
                self.writes[:, :, row] = _moments(sizes)
                z.append(seen.z[:, 1:].sum(axis=1, dtype=np.float64))
        self._add(len(queries), z)

    def _weights(self, row: int, seen: Seen) -> None:
        def part(heads: slice, weighed: Weighed) -> None:
            if self.looks is not None:
                hits, sums = self.looks.read(weighed)
                self.hits[:, row, heads] = hits.sum(axis=-1, dtype=np.float64)
                self.sums[:, :, row, heads] = _moments(sums)
            if len(self.asked):
                answers = self.asked.read(weighed)
                self.answers[0][row, heads], self.answers[1][row, heads] = answers.hits, answers.mass
                self.looked[row, heads] = answers.looked
            if self.sampled.size:
                self._sample(row, heads, weighed)

        seen.for_each_part(part)

    def _sample(self, row: int, heads: slice, weighed: Weighed) -> None:
        at = self.window.samples
        self.sampled[row, heads] = weighed.top[:, at] / weighed.total[:, at]
        self.sampled_at[row, heads] = weighed.e[:, at].argmax(axis=-1)

    def _add(self, n: int, z: list[Array]) -> None:
        """What came out, into the document's counts."""
        if self.looks is not None:
            masses = dict(zip(looks.SUMS, self.sums[0], strict=True))
            for look, hits in zip(LOOKS, self.hits, strict=True):
                chance = {"chance": self.chance[look]}
                self.totals.tally(f"position:{look}", n, chance, hits, masses[f"mass:{look}"])
            for name, total, squares in zip(looks.SUMS, *self.sums, strict=True):
                self.totals.sum(name, n, total, squares)
        if self.values:
            for name, total, squares in zip(writes.SUMS, *self.writes, strict=True):
                self.totals.sum(name, n, total, squares)
            self.totals.blends(np.stack(z), len(self.window.ids) - 1)
        if len(self.asked):
            hits, mass = (self.asked.by_measure(each) for each in self.answers)
            for at, (name, kind) in enumerate(self.asked.kinds.items()):
                self.totals.tally(name, len(kind.queries), kind.baselines, hits[..., at], mass[..., at])
        if self.kept is not None:
            self.kept.add(self.asked, self.window, self.answers[1], self.looked)
            self.kept.sample(self.window, self.sampled, self.sampled_at)


def _moments(values: Float[Array, "sum head query"]) -> Float[Array, "moment sum head"]:
    """Sum and sum of squares over queries, float64."""
    exact = values.astype(np.float64)
    return np.stack([exact.sum(axis=-1), (exact * exact).sum(axis=-1)])


def count_random(model: Model, seed: int, number: int, options: Options | None = None) -> Counts:
    """`repeats:` measures on random text `number` of a seed, as a document `random:007`; their controls as tallies of
    their own, `repeats:induction:control`. Raises HeadError, TextError."""
    options = options or Options()
    layers = chosen_layers(model.spec, options.layers)
    totals = Totals(model.spec, layers, f"random:{number:03d}")
    size = min(options.window, model.spec.n_context)
    for text, ending in zip(random_texts(model, seed, number, size), ("", f":{CONTROL}"), strict=True):
        with one_blas_thread():
            hits, mass, chance = _repeats(model, text, layers)
        totals.counts.n_token += len(text.ids)
        totals.counts.n_window += 1
        for at, kind in enumerate(KINDS):
            name = f"repeats:{kind}{ending}"
            totals.tally(name, len(text.queries), {"chance": chance[at]}, hits[at], mass[at])
    return totals.counts


def _repeats(model: Model, text: RandomText, layers: list[int]) -> tuple[Array, Array, list[float]]:
    """Hits and mass, [kind, layer, head], and the hits of evenly spread weights."""
    n_token = len(text.ids)
    flat = (text.queries * n_token + text.targets).reshape(-1)
    hits, mass = np.zeros((2, len(KINDS), len(layers), model.spec.n_head))
    chance: list[float] = []
    for row, seen in enumerate(walk(model, text.ids, layers)):
        if not row:
            first, last = looks.seen(seen.scoring, text.queries, n_token)
            visible = (first <= text.targets) & (text.targets < last)
            chance = (visible / (last - first)).sum(axis=-1).tolist()

        def part(heads: slice, weighed: Weighed, row: int = row) -> None:
            e = weighed.of(flat).reshape(-1, *text.targets.shape).swapaxes(0, 1)
            shared = (e == weighed.top[:, text.queries]) / weighed.n_heaviest()[:, text.queries]
            hits[:, row, heads] = shared.sum(axis=-1, dtype=np.float64)
            mass[:, row, heads] = (e / weighed.total[:, text.queries]).sum(axis=-1, dtype=np.float64)

        seen.for_each_part(part)
    return hits, mass, chance
