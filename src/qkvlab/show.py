"""Answers as text for a terminal: tables and bars. Numbers come ready; nothing is computed here."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .axes import HATS

if TYPE_CHECKING:
    from .anatomy import Anatomy
    from .checkpoint.source import Known
    from .questions import Answer, FoundHead, Landing, Link, Words

BAR = 24
QUERY, KEY, VALUE = HATS["query"].terminal, HATS["key"].terminal, HATS["value"].terminal


def quoted(token: str) -> str:
    """A token with its spaces visible by quotes, and control characters escaped."""
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token) + '"'


def bar(weight: float, style: str) -> Text:
    """A weight from 0 to 1 as a bar, an eighth of a character fine."""
    eighths = round(weight * BAR * 8)
    full, part = divmod(eighths, 8)
    return Text("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else ""), style=style)


def answer(found: "Answer", landings: "Sequence[Landing] | None", top: int) -> RenderableType:
    """The three questions, one below the other, and the sentence of truth."""
    parts: list[RenderableType] = [_title(found.tokens, found.token.index)]
    if landings is not None:
        parts += [Text(), _landings(landings[:top], found.token.text, found.head)]
    shared = f", shared with {', '.join(found.shares_kv_with)}" if found.shares_kv_with else ""
    parts += [
        Text(),
        Text.assemble(("Head ", "bold"), (found.head, "bold"), f"  reads K/V head {found.kv_head}{shared}"),
        Text(),
        Text.assemble((" Q ", f"bold reverse {QUERY}"), f"  What is {quoted(found.token.text)} looking for?"),
        _links(found.looking_for[:top], KEY, "key", len(found.looking_for)),
        Text(),
        Text.assemble((" K ", f"bold reverse {KEY}"), f"  Who finds {quoted(found.token.text)}?"),
        _links(found.found_by[:top], QUERY, "query", len(found.found_by))
        if found.found_by
        else Padding("no later token can see it", (0, 0, 0, 5)),
        Text(),
        Text.assemble((" V ", f"bold reverse {VALUE}"), f"  What does {quoted(found.token.text)} hand over?"),
        _words(found.hands_over, top),
        Padding(
            f"Its value through W_o has length {found.value_length:.3g}. At {quoted(found.token.text)} itself the head "
            f"writes {found.write.length:.3g}, {found.write.share:.0%} of the residual's {found.write.residual:.4g}.",
            (0, 0, 0, 5),
        ),
        Text(),
        Text(found.sentence, style="bold"),
        Text(found.model, style="dim"),
    ]
    return Group(*parts)


def heads(rows: "Sequence[FoundHead]", tokens: Sequence[str], query: int, key: int, model: str) -> RenderableType:
    """The heads in which a query looks at a key."""
    table = _table("head", "K/V head", "score", "weight", "")
    for row in rows:
        table.add_row(row.head, str(row.kv_head), f"{row.score:.2f}", f"{row.weight:.4f}", bar(row.weight, KEY))
    asked = Text.assemble(
        "Where does ", (quoted(tokens[query]), f"bold {QUERY}"), " look at ", (quoted(tokens[key]), f"bold {KEY}"), "?"
    )
    return Group(_title(tokens, query, key), Text(), asked, table, Text(model, style="dim"))


def anatomy(found: "Anatomy") -> RenderableType:
    """A checkpoint's anatomy."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grouping = "" if found.kv_heads == found.query_heads else f" ({found.query_heads // found.kv_heads} share one)"
    rows = [
        ("model", found.model),
        ("file", f"{found.path} ({found.format})"),
        ("family", f"{found.family}, {found.mask}"),
        ("layers", str(found.layers)),
        ("query heads", f"{found.query_heads} per layer"),
        ("K/V heads", f"{found.kv_heads} per layer{grouping}"),
        ("d_head, d_model", f"{found.d_head}, {found.d_model}"),
        ("Q, K, V", found.stored),
        ("number types", ", ".join(f"{kind}: {count:,}" for kind, count in found.number_types.items())),
        ("parameters", ", ".join(f"{part} {count:,}" for part, count in found.parameters.items() if count)),
    ]
    if found.kv_cache is None:
        rows.append(("K/V cache", "none: an encoder reads its text at once"))
    else:
        cache = found.kv_cache
        rows.append(
            (
                "K/V cache",
                f"{cache.bytes_per_token:,} bytes a token, {byte_size(cache.bytes)} for {cache.context:,} tokens, "
                f"as {cache.dtype}",
            )
        )
    rows += [("config keys ignored", ", ".join(found.ignored_config))] if found.ignored_config else []
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def models(rows: "Iterable[Known]") -> RenderableType:
    """The models known by name, and the ones in the hub's cache."""
    table = _table("name", "model", "licence", "on this machine", "where")
    for row in rows:
        state = byte_size(row.size_bytes) if row.cached else f"no; download {byte_size(row.download_bytes)}"
        table.add_row(row.name, row.title, row.license or "see its card", state, str(row.path or ""))
    return table


def byte_size(count: float) -> str:
    """Bytes in binary units, three digits."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count:.0f} bytes"
        count /= 1024
    return f"{count:,.3g} TiB"


def _title(tokens: Sequence[str], query: int, key: int | None = None) -> Text:
    line = Text()
    for i, token in enumerate(tokens[:200]):
        style = f"bold {QUERY} underline" if i == query else f"bold {KEY} underline" if i == key else ""
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
        line.append(shown, style=style)
    return line.append(f" … ({len(tokens)} tokens)" if len(tokens) > 200 else "")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, header_style="dim", padding=(0, 1))
    for column in columns:
        right = column in ("score", "weight", "head", "#", "K/V head")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "where")
    return table


def _links(links: "Sequence[Link]", style: str, side: str, total: int) -> RenderableType:
    table = _table("#", side, "score", "weight", "")
    for link in links:
        table.add_row(
            f"#{link.index}",
            Text(quoted(link.text)),
            f"{link.score:.2f}",
            f"{link.weight:.4f}",
            bar(link.weight, style),
        )
    if total <= len(links):
        return table
    rest = Padding(Text(f"and {total - len(links)} more", style="dim"), (0, 0, 0, 5))
    return Group(table, rest)


def _landings(rows: "Sequence[Landing]", token: str, chosen: str) -> RenderableType:
    table = _table("head", "key", "score", "weight", "")
    for row in rows:
        table.add_row(
            row.head, Text(quoted(row.key.text)), f"{row.score:.2f}", f"{row.weight:.4f}", bar(row.weight, KEY)
        )
    text = f"Where {quoted(token)} lands hardest on one other token (itself, the first and special tokens left out):"
    return Group(Text(text), table, Text(f"Answering for {chosen}.", style="dim"))


def _words(words: "Words | None", top: int) -> RenderableType:
    if words is None:
        return Padding("This model has no output head, so its values cannot be read as words.", (0, 0, 0, 5))
    lines = []
    for verb, listed in (("promotes", words.promotes[:top]), ("suppresses", words.suppresses[:top])):
        line = Text(f"{verb:>10}  ")
        for word in listed:
            strong = abs(word.sigma) >= words.threshold
            style = "dim strike" if word.always else f"bold {VALUE}" if strong else "dim"
            line.append(quoted(word.text), style=style).append(f" {word.sigma:+.1f}σ  ", style="dim")
        lines.append(line)
    verdict = (
        f"Bold stands out: {words.threshold:.0f}σ or more over the vocabulary."
        if words.stands_out
        else f"Nothing stands out: no word reaches {words.threshold:.0f}σ over the vocabulary."
    )
    return Padding(Group(*lines, Text(verdict, style="dim")), (0, 0, 0, 1))


def stdout_console() -> Console:
    """A console on standard output, as wide as the terminal, at least 80 and at most 120 columns."""
    console = Console(highlight=False, soft_wrap=False)
    console.width = max(80, min(console.width, 120))
    return console
