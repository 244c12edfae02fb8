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
    from .questions import Answer, FoundHead, Landing, Link, Word, Words
    from .trace import Trace

BAR = 24
INDENT = (0, 0, 0, 2)
AROUND = 60
"""How many tokens of the text to print on each side of the one that looks."""
WIDTHS = {"key": 14, "query": 14, "promotes": 20}
"""Columns that keep a width, so that the tables of one answer stand below each other."""
QUERY, KEY, VALUE = HATS["query"].terminal, HATS["key"].terminal, HATS["value"].terminal


def escaped(token: str) -> str:
    """A token with its control characters written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)


def quoted(token: str) -> str:
    """A token in quotes, which make its spaces visible."""
    return f'"{escaped(token)}"'


def bar(weight: float, style: str) -> Text:
    """A weight from 0 to 1 as a bar, an eighth of a character fine."""
    eighths = round(weight * BAR * 8)
    full, part = divmod(eighths, 8)
    return Text("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else ""), style=style)


def answer(found: "Answer", text: Text, landings: "Sequence[Landing] | None", top: int) -> RenderableType:
    """The three questions, one below the other, and the sentence of truth. `text` is the `context`."""
    parts: list[RenderableType] = [text]
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
        else Padding("no later token can see it", INDENT),
        Text(),
        Text.assemble((" V ", f"bold reverse {VALUE}"), f"  What does {quoted(found.token.text)} hand over?"),
        _words(found.hands_over, top),
        Padding(
            f"Its value through W_o has length {found.value_length:.3g}. At {quoted(found.token.text)} itself the head "
            f"writes {found.write.length:.3g}, {found.write.share:.0%} of the residual's {found.write.residual:.4g}.",
            INDENT,
        ),
        Text(),
        Text(found.sentence, style="bold"),
        Text(found.model, style="dim"),
    ]
    return Group(*parts)


def heads(rows: "Sequence[FoundHead]", text: Text, query: str, key: str, model: str) -> RenderableType:
    """The heads in which a query looks at a key. `text` is the `context`."""
    table = _table("head", "K/V head", "score", "weight", "")
    for row in rows:
        table.add_row(row.head, str(row.kv_head), _score(row.score), f"{row.weight:.4f}", bar(row.weight, KEY))
    asked = Text.assemble(
        "Where does ", (quoted(query), f"bold {QUERY}"), " look at ", (quoted(key), f"bold {KEY}"), "?"
    )
    return Group(text, Text(), asked, table, Text(model, style="dim"))


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


def context(text: str, trace: "Trace", query: int, key: int | None = None) -> Text:
    """The text around the token that looks, with it and the one that is looked at underlined."""
    styles = {key: f"bold underline {KEY}", query: f"bold underline {QUERY}"}
    first, last = max(0, query - AROUND), min(len(trace), query + AROUND + 1)
    line = Text("… " if first else "")
    at = trace.offsets[first][0]
    for i in range(first, last):
        start, stop = trace.offsets[i]
        line.append(escaped(text[at:start]))
        at = max(at, start)
        shown = escaped(trace.tokens[i] if trace.special[i] else text[at:stop])
        word = shown.lstrip(" ")
        line.append(" " * (len(shown) - len(word)))
        line.append(word, style="dim" if trace.special[i] else styles.get(i, ""))
        at = max(at, stop)
    return line.append(f" … ({len(trace)} tokens)" if last < len(trace) else "")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, header_style="dim", padding=(0, 1))
    for column in columns:
        right = column in ("score", "weight", "head", "#", "K/V head", "σ")
        table.add_column(
            column, justify="right" if right else "left", no_wrap=column != "where", min_width=WIDTHS.get(column)
        )
    return table


def _score(score: float | None) -> str:
    return "hidden" if score is None else f"{score:.2f}"


def _links(links: "Sequence[Link]", style: str, side: str, total: int) -> RenderableType:
    table = _table("#", side, "score", "weight", "")
    for link in links:
        table.add_row(
            f"#{link.index}",
            Text(quoted(link.text)),
            _score(link.score),
            f"{link.weight:.4f}",
            bar(link.weight, style),
        )
    if total <= len(links):
        return table
    rest = Padding(Text(f"and {total - len(links)} more", style="dim"), INDENT)
    return Group(table, rest)


def _landings(rows: "Sequence[Landing]", token: str, chosen: str) -> RenderableType:
    table = _table("head", "key", "score", "weight", "")
    for row in rows:
        table.add_row(
            row.head, Text(quoted(row.key.text)), _score(row.score), f"{row.weight:.4f}", bar(row.weight, KEY)
        )
    text = f"Where {quoted(token)} lands hardest on one other token (itself, the first and special tokens left out):"
    return Group(Text(text), table, Text(f"Answering for {chosen}.", style="dim"))


def _words(words: "Words | None", top: int) -> RenderableType:
    if words is None:
        return Padding("This model has no output head, so its values cannot be read as words.", INDENT)
    table = _table("promotes", "σ", "suppresses", "σ")
    for up, down in zip(words.promotes[:top], words.suppresses[:top], strict=True):
        cells = [(_word(word, words.threshold), Text(f"{word.sigma:+.1f}", style="dim")) for word in (up, down)]
        table.add_row(*cells[0], *cells[1])
    if any(word.always for word in (*words.promotes[:top], *words.suppresses[:top])):
        verdict = "Struck out: extreme for most values of this head here, so no news about this token. "
    else:
        verdict = ""
    if words.stands_out:
        verdict += f"Coloured: stands out, {words.threshold:.0f}σ or more over the vocabulary."
    else:
        verdict += f"Nothing stands out: no word reaches {words.threshold:.0f}σ over the vocabulary."
    return Group(table, Padding(Text(verdict, style="dim"), INDENT))


def _word(word: "Word", threshold: float) -> Text:
    strong = abs(word.sigma) >= threshold
    style = "dim strike" if word.always else f"bold {VALUE}" if strong else "dim"
    shown = word.text if len(word.text) <= 24 else word.text[:23] + "…"
    return Text(quoted(shown), style=style)


def stdout_console() -> Console:
    """A console on standard output, as wide as the terminal, at least 80 and at most 120 columns."""
    console = Console(highlight=False, soft_wrap=False)
    console.width = max(80, min(console.width, 120))
    return console
