"""The glossary: every axis name and its one sentence, as data. The same words stand in code, docs, labels and files."""

from typing import NamedTuple

AXES: dict[str, str] = {
    "layer": "A block of the model, counted from 0 at the embedding's side.",
    "head": "A query head of a layer, counted from 0: one independent weighting of the text.",
    "kv_head": "A key/value head of a layer; with grouped queries several query heads read the same one.",
    "query": "The position that looks: the row of a score matrix.",
    "key": "The position that is looked at: the column of a score matrix.",
    "d_model": "A component of the residual stream.",
    "d_head": "A component of one head's query, key, value or blend.",
    "vocab": "An entry of the model's vocabulary.",
}

TAPS: dict[str, str] = {
    "x": "The residual as it enters the layer, [query, d_model].",
    "normed": "What W_q, W_k and W_v multiply, [query, d_model]: x after the norm; in BERT, x itself.",
    "q_raw": "The query after bias and query norm, before rotation, [head, query, d_head].",
    "k_raw": "The key after bias and key norm, before rotation, [kv_head, key, d_head].",
    "q": "The query as it enters the scores, [head, query, d_head].",
    "k": "The key as it enters the scores, [kv_head, key, d_head], never repeated.",
    "v": "The value as it is blended, [kv_head, key, d_head], never repeated.",
    "scores": "Exactly what enters softmax, scaled and masked, [head, query, key].",
    "weights": "softmax(scores): each query's shares over the keys, [head, query, key].",
    "z": "The blend of the values by the weights, before W_o, [head, query, d_head].",
    "out": "What attention adds to the residual, [query, d_model].",
    "mlp": "What the MLP adds to the residual, [query, d_model].",
}


class Hat(NamedTuple):
    """One of a token's three parts, and its hue wherever it is drawn."""

    question: str
    light: str
    dark: str
    terminal: str


HATS: dict[str, Hat] = {
    "query": Hat("What am I looking for?", "#0072B2", "#56B4E9", "#2E9BDA"),
    "key": Hat("What can others find me by?", "#D55E00", "#F0894A", "#E4752B"),
    "value": Hat("What do I hand over?", "#009E73", "#3CCFA0", "#1FB58A"),
}
