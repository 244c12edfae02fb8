"""THE WAIST: a text's way through a model, kept. Everything above makes a Trace, everything below reads one."""

from collections.abc import Callable, Sequence
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Literal

import numpy as np

from ._parallel import one_blas_thread
from ._shapes import Array, Float
from .edits import Edit, Here, edit_scores, visible
from .errors import HeadError, UnsupportedError, shown
from .mechanism import write
from .models import FAMILIES, no_tap, unembed
from .recording import Pieces, Rows, first_rows
from .scoring import Scoring
from .spec import Head, ModelSpec, is_whole

if TYPE_CHECKING:
    from .model import Model
    from .text import Tokens

Address = Head | tuple[int, int] | str
KEPT = ("k", "v", "q", "z")
"""What a trace keeps of each layer, besides x. The rest is computed from these when asked."""


class Cancelled(Exception):
    """A run was stopped between layers, because nobody wants its answer any more."""


class Trace:
    """One text's queries, keys, values, blends and residuals, in every layer of a model.

    Made by `Model.trace`. Nothing runs until it is asked for, and then only as deep as the question goes; what has
    run is kept. Arrays are float32; those it keeps (x, q, k, v, z, final, logits) are read-only. Layers and positions
    count from 0. It is linear in the text: scores and weights of a head are computed from its q and k when asked, and
    equal the forward pass's.
    """

    def __init__(
        self,
        model: "Model",
        ids: Sequence[int],
        tokens: "Tokens | None" = None,
        edits: Sequence[Edit] = (),
        positions: Literal["last", "all"] = "last",
        base: "Trace | None" = None,
    ) -> None:
        self.model = model
        self.ids: tuple[int, ...] = tuple(ids)
        self.text_tokens = tokens
        self.edits: tuple[Edit, ...] = tuple(edits)
        self.positions = positions
        self._kept: dict[str, Rows | Pieces] = {}
        self._base: dict[str, Rows | Pieces] = {}
        self._base_changed: dict[Edit, dict[int, int]] = {}
        self._changed: dict[Edit, dict[int, int]] = {edit: {} for edit in self.edits}
        """For each edit, the layers in which it changed something, and the first row there."""
        self._starts = [0] * model.spec.n_layer
        self._steps = 0
        self._rows = range(0)
        self._x: Array = None
        self._out: Array = None
        self._lock = RLock()
        if base is not None:
            with base._lock:
                done = base.layers_done
                self._starts = first_rows(model.spec, base.ids, base.edits, done, self.ids, self.edits)
                self._base, self._base_changed = dict(base._kept), dict(base._changed)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        edited = f", {len(self.edits)} edits" if self.edits else ""
        return f"<Trace of {len(self)} tokens through {self.spec.name}{edited}>"

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    def with_edits(self, edits: Sequence[Edit]) -> "Trace":
        """The same text with these edits instead; every row the two have in common is shared. Raises EditError."""
        for edit in edits:
            edit.check(self.spec, len(self))
        return Trace(self.model, self.ids, self.text_tokens, edits, self.positions, base=self)

    # ---- the text

    @property
    def tokens(self) -> tuple[str, ...]:
        """What each token prints as."""
        if self.text_tokens is None:
            return tuple(self.model.word(token) for token in self.ids)
        return self.text_tokens.texts

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """The character range of each token in the text; empty ranges where the trace was made from ids."""
        return self.text_tokens.offsets if self.text_tokens else ((0, 0),) * len(self)

    @property
    def special(self) -> tuple[bool, ...]:
        """Which tokens the tokenizer added by itself."""
        return self.text_tokens.special if self.text_tokens else (False,) * len(self)

    @property
    def own_keys(self) -> bool:
        """Whether its keys are its own tokens (all but cross attention)."""
        return True

    # ---- by layer

    def x(self, layer: int) -> Float[Array, "query d_model"]:
        """The residual as it enters the layer, [query, d_model]; `n_layer` gives the one that leaves the last."""
        if not is_whole(layer) or layer != self.spec.n_layer:
            self._check_layer(layer)
        return self._get(f"layer.{layer}.x", max(1, 2 * layer))

    def q(self, layer: int) -> Float[Array, "head query d_head"]:
        """The queries as they enter the scores (rotated; not yet scaled), [head, query, d_head]."""
        return self._kept_of(layer, "q")

    def k(self, layer: int) -> Float[Array, "kv_head key d_head"]:
        """The keys as they enter the scores (rotated), [kv_head, key, d_head], not repeated for grouped heads."""
        return self._kept_of(layer, "k")

    def v(self, layer: int) -> Float[Array, "kv_head key d_head"]:
        """The values as they are blended, [kv_head, key, d_head], not repeated for grouped heads."""
        return self._kept_of(layer, "v")

    def z(self, layer: int) -> Float[Array, "head query d_head"]:
        """Each head's blend of the values, before W_o, [head, query, d_head]."""
        return self._kept_of(layer, "z")

    def normed(self, layer: int) -> Float[Array, "query d_model"]:
        """What W_q, W_k and W_v multiply: the x that attention reads, [query, d_model]."""
        return self._again(layer, "normed")

    def q_raw(self, layer: int) -> Float[Array, "head query d_head"]:
        """The queries after bias and query norm, before rotation and before any edit, [head, query, d_head]."""
        return self._again(layer, "q_raw")

    def k_raw(self, layer: int) -> Float[Array, "kv_head key d_head"]:
        """The keys after bias and key norm, before rotation and before any edit, [kv_head, key, d_head]."""
        return self._again(layer, "k_raw")

    def out(self, layer: int) -> Float[Array, "query d_model"]:
        """What attention adds to the residual, before any norm that follows, [query, d_model]."""
        self._check_layer(layer)
        w = self.model.weights.layer(layer)
        return write(self.z(layer), w.w_o, w.b_o)

    def mlp(self, layer: int) -> Float[Array, "query d_model"]:
        """What the MLP adds to the residual, before any norm that follows, [query, d_model]."""
        self._check_layer(layer)
        added: list[Array] = []

        def keep(name: str, array: Array, rows: range) -> Array:
            added.append(array)
            return array

        x, out, w = self.x(layer), self.out(layer), self.model.weights.layer(layer)
        FAMILIES[self.spec.family].mlp(self.spec, w, layer, x, out, range(len(self)), keep)
        return added[0]

    # ---- by head

    def queries(self, head: Address) -> Float[Array, "query d_head"]:
        """One head's queries, [query, d_head]."""
        at = self.spec.head(head)
        return self.q(at.layer)[at.head]

    def keys(self, head: Address) -> Float[Array, "key d_head"]:
        """The keys one head reads (its K/V head's), [key, d_head]."""
        at = self.spec.head(head)
        return self.k(at.layer)[self.spec.kv_head(at)]

    def values(self, head: Address) -> Float[Array, "key d_head"]:
        """The values one head reads (its K/V head's), [key, d_head]."""
        at = self.spec.head(head)
        return self.v(at.layer)[self.spec.kv_head(at)]

    def scores(self, head: Address, *, masked: bool = True) -> Float[Array, "query key"]:
        """Exactly what enters softmax, [query, key]: scaled, edited, -inf where a query may not look.

        `masked=False` leaves the mask out (a number the model itself never uses), so that score(a→b) and
        score(b→a) can be compared.
        """
        return self.score_rows(head, range(len(self)), masked=masked)

    def weights(self, head: Address) -> Float[Array, "query key"]:
        """softmax(scores): each query's shares over the keys, [query, key]."""
        return self.weight_rows(head, range(len(self)))

    def score_rows(self, head: Address, rows: Sequence[int], *, masked: bool = True) -> Float[Array, "query key"]:
        """The scores of some queries of one head only, [len(rows), key]; `rows` are positions, rising."""
        at = self.spec.head(head)
        return self._scores(at.layer, range(at.head, at.head + 1), rows, masked)[0]

    def layer_scores(self, layer: int, rows: Sequence[int], *, masked: bool = True) -> Float[Array, "head query key"]:
        """The scores of some queries in every head of a layer, [head, len(rows), key]; `rows` as in `score_rows`."""
        return self._scores(layer, range(self.spec.n_head), rows, masked)

    def weight_rows(self, head: Address, rows: Sequence[int]) -> Float[Array, "query key"]:
        """The weights of some queries of one head only, [len(rows), key]; `rows` as in `score_rows`."""
        at = self.spec.head(head)
        return self.weights_of(at.layer, self.score_rows(at, rows)[None], at.head)[0]

    def layer_weights(self, layer: int, rows: Sequence[int]) -> Float[Array, "head query key"]:
        """The weights of some queries in every head of a layer, [head, len(rows), key]; `rows` as in `score_rows`."""
        return self.weights_of(layer, self.layer_scores(layer, rows))

    def weights_of(
        self, layer: int, scores: Float[Array, "head query key"], first_head: int = 0
    ) -> Float[Array, "head query key"]:
        """The weights that these scores of a layer become, for consecutive heads from `first_head` on."""
        return self.scoring(layer).weights(scores, first_head)

    def scoring(self, layer: int) -> Scoring:
        """How this layer turns q · k into weights."""
        spec = self.spec
        return Scoring(spec.d_head**-0.5, spec.causal, spec.window_of(layer))

    def write(self, head: Address) -> Float[Array, "query d_model"]:
        """What one head adds to the residual: z W_o of that head, [query, d_model], without the shared bias."""
        at = self.spec.head(head)
        return self.z(at.layer)[at.head] @ self.model.w_o(at)

    def visible(self, layer: int, query: int) -> tuple[int, int]:
        """The first key this query can see in a layer, and the one after the last."""
        return visible(self.spec, layer, query, len(self))

    # ---- the end

    @cached_property
    def final(self) -> Float[Array, "query d_model"]:
        """The residual after the last norm, [query, d_model]."""
        return _fixed(FAMILIES[self.spec.family].final(self.spec, self.model.weights, self.x(self.spec.n_layer)))

    @cached_property
    def logits(self) -> Float[Array, "query vocab"]:
        """One logit per vocabulary entry, [1, vocab] for the last position, or [query, vocab] with positions="all".

        Raises UnsupportedError for a model without an output head.
        """
        return _fixed(self.logits_at(slice(None) if self.positions == "all" else slice(len(self) - 1, None)))

    def logits_at(self, rows: slice) -> Float[Array, "query vocab"]:
        """The logits of some positions."""
        if not self.spec.has_output:
            raise UnsupportedError(f"{self.spec.name} has no output head, so it has no logits and no words")
        return unembed(self.model.weights, self.final[rows])

    def logits_of(self, ids: Sequence[int], at: int) -> Float[Array, " word"]:
        """The logits of a few words at one position."""
        logits: np.ndarray = self.model.weights.unembedding[list(ids)] @ self.final[at]
        return logits

    def check_output_head(self) -> None:
        """Raise UnsupportedError if the logits are more than final · unembeddingᵀ, so that no direction gives them."""

    @property
    def unchanged(self) -> tuple[Edit, ...]:
        """The edits that acted and changed nothing. Runs every layer they reach."""
        for edit in self.edits:
            self.run(edit.layers(self.spec)[-1] + 1)
        return tuple(edit for edit in self.edits if not self._changed[edit])

    def _scores(self, layer: int, heads: range, rows: Sequence[int], masked: bool) -> Float[Array, "head query key"]:
        """Of one head of a layer, or of all."""
        spec, k, rule = self.spec, self.k(layer), self.scoring(layer)
        positions = np.asarray(rows, int)
        first, last = (spec.kv_head(Head(layer, head)) for head in (heads[0], heads[-1]))

        def score_head(head: int, own_q: Array, own_k: Array) -> Array:
            return rule.scores(own_q[None, positions], own_k[None], rows, head, masked=masked)[0]

        with one_blas_thread():
            own = self._queries(layer, heads, positions)
            scores = rule.scores(own, k[first : last + 1], rows, heads.start, masked=masked)
            if not self.edits:
                return scores
            here, q = Here(spec, layer, rows, k=k, scale=rule.scale), self.q(layer)
            return edit_scores(self.edits, here, heads, scores, score_head, q)

    def _queries(self, layer: int, heads: range, rows: np.ndarray) -> Float[Array, "head query d_head"]:
        """Some queries of some heads of a layer, [head, len(rows), d_head]."""
        kept = self._kept.get(f"layer.{layer}.q")
        if isinstance(kept, Pieces) and len(rows) < len(self):
            return kept.pick(rows)[heads.start : heads.stop]
        return self.q(layer)[heads.start : heads.stop, rows]

    # ---- running

    @property
    def layers_done(self) -> int:
        """How many layers have run to their end."""
        return self._steps // 2

    def run(self, layers: int | None = None, cancelled: Callable[[], bool] | None = None) -> "Trace":
        """Run the first `layers` layers now (default: all). `cancelled` is asked between layers; if it answers
        yes, Cancelled is raised and what has run is kept. Raises HeadError for more layers than there are."""
        if layers is not None and not (is_whole(layers) and 0 <= layers <= self.spec.n_layer):
            raise HeadError(f"{shown(layers)} layers cannot be run; {self.spec.name} has {self.spec.n_layer}")
        self._advance(2 * (self.spec.n_layer if layers is None else layers), cancelled)
        return self

    def _get(self, name: str, steps: int) -> Array:
        if name not in self._kept:
            self._advance(steps)
        return self._kept[name].first(len(self))

    def _kept_of(self, layer: int, name: str) -> Array:
        self._check_layer(layer)
        return self._get(f"layer.{layer}.{name}", 2 * layer + 1)

    def _check_layer(self, layer: int) -> None:
        self.spec.head((layer, 0))

    def _advance(self, steps: int, cancelled: Callable[[], bool] | None = None) -> None:
        with self._lock, one_blas_thread():
            self.model.weights.prefetch(range(self._steps // 2, (steps + 1) // 2))
            while self._steps < steps:
                if cancelled is not None and cancelled():
                    raise Cancelled
                layer, half = divmod(self._steps, 2)
                (self._mlp if half else self._attention)(layer)
                self._steps += 1
            if self._steps == 2 * self.spec.n_layer:
                self._base, self._base_changed = {}, {}

    def _attention(self, layer: int) -> None:
        """The first half of a layer: q, k, v and z of the rows that are new here."""
        spec, family = self.spec, FAMILIES[self.spec.family]
        if layer == 0:
            self._rows = range(self._starts[0], len(self))
            self._enter(0, family.embed(spec, self.model.weights, list(self.ids[self._rows.start :]), self._rows))
        if len(self._rows):
            w = self.model.weights.layer(layer)
            self._out = family.attention(spec, w, layer, self._x, self._rows, _Recorder(self, layer))
        else:
            self._kept |= {name: self._base[name] for name in (f"layer.{layer}.{kept}" for kept in KEPT)}
        for edit in self.edits:
            earlier = self._base_changed.get(edit, {}).get(layer)
            if earlier is not None and earlier < self._rows.start:
                self._changed[edit][layer] = earlier

    def _mlp(self, layer: int) -> None:
        """The second half of a layer: from what attention wrote to the x of the next."""
        if len(self._rows):
            family, w = FAMILIES[self.spec.family], self.model.weights.layer(layer)
            self._x = family.mlp(self.spec, w, layer, self._x, self._out, self._rows, no_tap)
        self._enter(layer + 1, self._x)

    def _enter(self, layer: int, x: Array) -> None:
        """Keep the x of a layer; from here on more rows may be new than before, and the base has theirs."""
        name = f"layer.{layer}.x"
        start = self._starts[layer] if layer < self.spec.n_layer else self._rows.start
        if start < self._rows.start:
            x = np.concatenate([self._base[name].first(self._rows.start)[start:], x])
            self._rows = range(start, len(self))
        self._x = x
        self._keep(name, x, axis=0)

    def _keep(self, name: str, new: Array, axis: int) -> None:
        start = self._rows.start
        made = Rows if name.endswith((".k", ".v")) else Pieces
        self._kept[name] = self._base[name].extended(start, new) if start else made(new, axis)

    def _again(self, layer: int, name: str) -> Array:
        """A tap before attention that is not kept, from the x of its layer."""
        self._check_layer(layer)

        def stop_at(tap: str, array: Array, rows: range) -> Array:
            if tap == f"layer.{layer}.{name}":
                raise _Found(array)
            return array

        w = self.model.weights.layer(layer)
        try:
            FAMILIES[self.spec.family].attention(self.spec, w, layer, self.x(layer), range(len(self)), stop_at)
        except _Found as found:
            return found.array
        raise AssertionError(f"no tap {name}")


def _fixed(array: Array) -> Array:
    """The array, read-only: it is remembered, and handed out again."""
    array = array.view()
    array.flags.writeable = False
    return array


class _Found(Exception):
    def __init__(self, array: Array) -> None:
        self.array = array


class _Recorder:
    """The tap of a trace's run: edits, then keeps; hands back earlier keys and values with the new ones."""

    def __init__(self, trace: Trace, layer: int) -> None:
        self.trace = trace
        self.layer = layer
        self.edits = [edit for edit in trace.edits if layer in edit.layers(trace.spec)]
        self.stages = {stage for edit in self.edits for stage in edit.stages}

    def wants_scores(self, layer: int) -> bool:
        return bool(self.stages & {"pair", "scores"})

    def __call__(self, name: str, array: Array, rows: range) -> Array:
        stage = name.rpartition(".")[2]
        if stage == "scores":
            return self._edit_scores(array, rows)
        if stage in self.stages:
            array = self._edit(stage, array, rows)
        if stage not in KEPT:
            return array
        self.trace._keep(name, array, axis=1)
        return self.trace._kept[name].first(len(self.trace)) if stage in ("k", "v") else array

    def _here(self, rows: range) -> Here:
        kept = self.trace._kept.get(f"layer.{self.layer}.k")
        keys = None if kept is None else kept.first(len(self.trace))
        return Here(self.trace.spec, self.layer, rows, k=keys, mean_z=self.trace.model.mean_z)

    def _edit(self, stage: str, array: Array, rows: range) -> Array:
        for edit in self.edits:
            if stage in edit.stages:
                edited = edit.apply(array, self._here(rows))
                self._note(edit, array, edited, rows.start)
                array = edited
        return array

    def _edit_scores(self, scores: Array, rows: range) -> Array:
        spec, seen, rule = self.trace.spec, scores.shape[-1], self.trace.scoring(self.layer)
        q = self.trace._kept[f"layer.{self.layer}.q"].first(len(self.trace))

        def score_head(head: int, own_q: Array, own_k: Array) -> Array:
            return rule.scores(own_q[None, rows.start : rows.stop], own_k[None, :seen], rows, head)[0]

        heads = range(spec.n_head)
        return edit_scores(self.edits, self._here(rows), heads, scores, score_head, q, self._note)

    def _note(self, edit: Edit, before: Array, after: Array, start: int) -> None:
        """Keep the first row that an edit changed; rows are the last axis but one, from position `start`."""
        if after is before:
            return
        differs = (before != after).any(axis=-1).any(axis=0)
        if differs.any():
            row, seen = start + int(differs.argmax()), self.trace._changed[edit].get(self.layer)
            self.trace._changed[edit][self.layer] = row if seen is None else min(row, seen)
