"""What the fields of an edit may hold, from Python as from JSON, and the readers that make it plain."""

from collections.abc import Callable
from dataclasses import Field
from functools import partial
from numbers import Real
from typing import Any

from ..errors import EditError, HeadError, shown
from ..spec import Head, is_whole

LARGEST = 1e6
"""The largest number an edit may bring in: far beyond any use, far below what float32 cannot square."""


def _count(least: int, value: Any) -> int | None:
    return int(value) if is_whole(value) and least <= value < 2**31 else None


def _number(least: float, most: float, value: Any) -> float | None:
    good = isinstance(value, Real) and not isinstance(value, bool)
    return float(value) if good and least <= value <= most else None


def _vector(value: Any) -> tuple[Any, ...] | None:
    listed = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(listed, list | tuple) or not listed:
        return None
    numbers = tuple(_number(-LARGEST, LARGEST, x) for x in listed)
    return None if None in numbers else numbers


def _target(value: Any) -> str | tuple[Any, ...] | None:
    return value if isinstance(value, str) and value in ("zero", "mean") else _vector(value)


def _head(value: Any) -> str | None:
    try:
        Head.parse(value)
    except HeadError:
        return None
    return value if isinstance(value, str) else None


def _scope(value: Any) -> str | None:
    return value if isinstance(value, str) and (value == "all" or is_layer(value)) else _head(value)


def is_layer(where: str) -> bool:
    return where.isascii() and where.isdigit() and len(where) < 6


_NUMBERS = f"from -{LARGEST:,.0f} to {LARGEST:,.0f}"
READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        ("token", "source", "query", "key", "first_layer", "last_layer"), ("a whole number from 0", partial(_count, 0))
    ),
    "n_kv_head": ("a whole number from 1", partial(_count, 1)),
    "strength": ("a number from 0 to 1", partial(_number, 0.0, 1.0)),
    "factor": (f"a number from 0 to {LARGEST:,.0f}", partial(_number, 0.0, LARGEST)),
    **dict.fromkeys(("amount", "margin"), (f"a number {_NUMBERS}", partial(_number, -LARGEST, LARGEST))),
    "shift": (f"a vector: a list of numbers {_NUMBERS}", _vector),
    "to": (f"'zero', 'mean', or a vector: a list of numbers {_NUMBERS}", _target),
    **dict.fromkeys(("head", "kv_head"), ("layer.head as a text, for example '13.8'", _head)),
    "where": ("a head ('13.8'), a layer ('13') or 'all', as a text", _scope),
}
"""Field → what it holds, in words, and the reader that makes it plain: None where it is something else."""


def read_field(kind: str, field: Field[Any], value: Any) -> Any:
    if value is None and field.default is None:
        return None
    expected, read = READERS[field.name]
    plain = read(value)
    if plain is None:
        raise EditError(f"{kind}: {field.name} is {shown(value)}; expected {expected}")
    return plain
