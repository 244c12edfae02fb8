"""QKV Lab: open the query, key and value projections of a real transformer. Every number is the model's own."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Head": "spec",
    "HeadWeights": "headweights",
    "Model": "model",
    "ModelSpec": "spec",
    "QkvLabError": "errors",
    "Trace": "trace",
    "ask": "questions",
    "find": "questions",
    "open_model": "model",
    "predict": "questions",
    "token_index": "questions",
    "weights": "headweights",
    "why": "why_score",
}

if TYPE_CHECKING:
    from .errors import QkvLabError
    from .headweights import HeadWeights, weights
    from .model import Model, open_model
    from .questions import ask, find, predict, token_index
    from .spec import Head, ModelSpec
    from .trace import Trace
    from .why_score import why

__all__ = [
    "Head",
    "HeadWeights",
    "Model",
    "ModelSpec",
    "QkvLabError",
    "Trace",
    "__version__",
    "ask",
    "find",
    "open_model",
    "predict",
    "token_index",
    "weights",
    "why",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `import qkvlab` stays light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
