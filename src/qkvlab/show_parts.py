"""What something is made of, as text for a terminal: circuits layer by layer, a head's card, the parts of a score."""

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .show import INDENT, KEY, QUERY, Bar
from .text import printable, quoted

if TYPE_CHECKING:
    from .circuit_report import Circuits, HeadCard, HeadCircuit, LayerCircuit, Spread
    from .why_score import Why


def circuits(found: "Circuits", top: int) -> RenderableType:
    """Layer by layer beside random matrices, then the heads that differ most from them."""
    parts: list[RenderableType] = [Text(printable(found.model), style="bold"), Text()]
    if any(layer.own for layer in found.layers):
        parts += [
            _layers(found.layers),
            Padding(
                Text(
                    "Of the layer's M = Σ W_q W_kᵀ; of its heads, mean ± deviation; ± deviation of heads of Gaussian "
                    f"matrices in the same shapes (seed {found.seed}).",
                    style="dim",
                ),
                INDENT,
            ),
            Text(),
            Text("The most symmetric and antisymmetric heads:"),
        ]
    rows = found.heads()
    parts.append(_heads(rows[:top]))
    if len(rows) > top:
        parts.append(Padding(Text(f"and {len(rows) - top} more", style="dim"), INDENT))
    return Group(*parts, *_notes(found.notes))


def _layers(layers: "tuple[LayerCircuit, ...]") -> Table:
    table = _table("layer", "symmetry", "heads", "random", "direction", "heads", "random")
    for layer in layers:
        own, other = layer.own, layer.random
        if own is not None and other is not None:
            table.add_row(
                str(layer.layer), f"{own.symmetry:.3f}", _spread(own.head_symmetry), f"±{other.head_symmetry.std:.3f}",
                f"{own.direction:.2f}", _spread(own.head_direction), f"±{other.head_direction.std:.2f}",
            )  # fmt: skip
    return table


def _heads(rows: "list[HeadCircuit]") -> Table:
    table = _table("head", "K/V head", "symmetry", "direction", "QK rank", "OV rank", "copying")
    for row in rows:
        table.add_row(
            row.head, str(row.kv_head), _number(row.symmetry, 3), _number(row.direction, 2), _number(row.qk_rank, 1),
            _number(row.ov_rank, 1), _number(row.copying, 2),
        )  # fmt: skip
    return table


def head_card(card: "HeadCard", top: int) -> RenderableType:
    """One head's measures, largest singular values, and its strongest rotation pairs by wavelength."""
    shared = f", shared with {', '.join(card.shares_kv_with)}" if card.shares_kv_with else ""
    head = card.circuit
    parts: list[RenderableType] = [
        Text.assemble(
            ("Head ", "bold"), (head.head, "bold"), f"  reads K/V head {head.kv_head}{shared} · {printable(card.model)}"
        ),
        Text(),
        _heads([head]),
        Text(),
    ]
    for name, values in (("QK", card.qk_singular), ("OV", card.ov_singular)):
        if values is not None:
            listed = " ".join(f"{value:.3g}" for value in values[:top])
            parts.append(Text(f"Singular values of {name}: {listed}{' …' if len(values) > top else ''}"))
    if card.rotation is not None:
        parts += [Text(), Text("Where |W_q| |W_k| lies among the rotation pairs, strongest first:")]
        table = _table("pair", "turns once in", "share", "")
        for pair in sorted(card.rotation, key=lambda pair: -pair.share)[:top]:
            table.add_row(str(pair.pair), f"{pair.wavelength:,.1f} tokens", f"{pair.share:.1%}", Bar(pair.share, QUERY))
        parts.append(table)
        if card.still:
            parts.append(Padding(Text(f"{card.still:.1%} in components that do not turn", style="dim"), INDENT))
    return Group(*parts, *_notes(card.notes))


def why(found: "Why", text: Text, top: int) -> RenderableType:
    """The parts of a score, from either side and pair by pair. `text` is the `context`."""
    asked = Text.assemble(
        f"Head {found.head}: why does ", (quoted(found.query.text), f"bold {QUERY}"), " score ",
        (quoted(found.key.text), f"bold {KEY}"), f" with {found.score:.4f}?",
    )  # fmt: skip
    apart = "".join(f" + {name} {value:.4f}" for name, value in found.apart.items() if value)
    total = f"{len(found.components) ** 2:,} parts {found.sum:.4f}{apart} + remainder {found.remainder:.1e}"
    pairs = _table("in the query", "in the key", "adds")
    for pair in found.pairs(top):
        pairs.add_row(pair.query, pair.key, f"{pair.value:+.4f}")
    return Group(
        text,
        Text(),
        asked,
        Padding(Text(total), INDENT),
        Text(),
        Text("What each writer adds, by its part of the query and by its part of the key (each column is the whole):"),
        _writers(found, top),
        Text(),
        Text("The largest pairs:"),
        pairs,
        Text(printable(found.model), style="dim"),
    )


def _writers(found: "Why", top: int) -> Table:
    """The largest of either side, next to each other."""
    table = _table("in the query", "adds", "in the key", "adds")
    names = [component.name for component in found.components]
    sides = [
        sorted(zip(names, side.tolist(), strict=True), key=lambda row: -abs(row[1]))[:top] for side in _sides(found)
    ]
    for (query, a), (key, b) in zip(*sides, strict=True):
        table.add_row(query, f"{a:+.4f}", key, f"{b:+.4f}")
    return table


def _sides(found: "Why") -> tuple[Any, Any]:
    return found.by_query, found.by_key


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", padding=(0, 1), show_edge=False)
    for column in columns:
        left = column in ("", "in the query", "in the key")
        table.add_column(column, justify="left" if left else "right", no_wrap=True, overflow="fold")
    return table


def _spread(spread: "Spread") -> str:
    return f"{spread.mean:+.2f} ±{spread.std:.2f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _notes(notes: tuple[str, ...]) -> list[RenderableType]:
    return [Text(), *(Padding(Text(printable(note), style="dim"), INDENT) for note in notes)]
