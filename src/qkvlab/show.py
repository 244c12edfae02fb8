"""Answers as text for a terminal: tables and bars. Numbers come ready; nothing is computed here."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .axes import HATS
from .text import printable, quoted

if TYPE_CHECKING:
    from .anatomy import Anatomy
    from .checkpoint.source import Known
    from .questions import Answer, FoundHead, Landing, Link
    from .regroup import Grouping
    from .trace import Trace
    from .words import Word, Words

BAR = 24
INDENT = (0, 0, 0, 2)
AROUND = 60
"""How many tokens of the text to print on each side of the one that looks."""
WIDTHS = {"key": 14, "query": 14, "promotes": 20, "σ": 4}
"""Columns that keep a width, so that the tables of one answer stand below each other."""
QUERY, KEY, VALUE = HATS["query"].terminal, HATS["key"].terminal, HATS["value"].terminal


class Bar:
    """A weight from 0 to 1 as a bar, an eighth of a character fine; of # where the terminal knows no Unicode."""

    def __init__(self, weight: float, style: str) -> None:
        self.weight = weight
        self.style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if options.ascii_only:
            yield Text("#" * round(self.weight * BAR), style=self.style)
            return
        full, part = divmod(round(self.weight * BAR * 8), 8)
        yield Text("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else ""), style=self.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(BAR, BAR)


def answer(found: "Answer", text: Text, landings: "Sequence[Landing] | None", top: int) -> RenderableType:
    """The three questions, one below the other, and the sentence of truth. `text` is the `context`."""
    token = f"{quoted(found.token.text)} (#{found.token.index})"
    parts: list[RenderableType] = [text]
    if landings is not None:
        parts += [Text(), _landings(landings, token, found.head, top)]
    shared = f", shared with {', '.join(found.shares_kv_with)}" if found.shares_kv_with else ""
    parts += [
        Text(),
        Text.assemble(("Head ", "bold"), (found.head, "bold"), f"  reads K/V head {found.kv_head}{shared}"),
        Text(),
        Text.assemble((" Q ", f"bold reverse {QUERY}"), f"  What is {token} looking for?"),
        _links(found.looking_for, KEY, "key", top),
        Text(),
        Text.assemble((" K ", f"bold reverse {KEY}"), f"  Who finds {token}?"),
        _links(found.found_by, QUERY, "query", top) if found.found_by else Padding("no later token can see it", INDENT),
        Text(),
        Text.assemble((" V ", f"bold reverse {VALUE}"), f"  What does {token} hand over?"),
        _words(found.hands_over),
        Padding(Text(_sizes(found)), INDENT),
        Text(),
        Text(found.sentence, style="bold"),
        Text(printable(found.model), style="dim"),
    ]
    return Group(*parts)


def _sizes(found: "Answer") -> str:
    token, write = quoted(found.token.text), found.write
    return (
        f"Its value through W_o has length {found.value_length:.3g}. At {token} itself the head writes "
        f"{write.length:.3g}, {write.share:.0%} of the residual's {write.residual:.4g}."
    )


def heads(rows: "Sequence[FoundHead]", text: Text, query: str, key: str, model: str) -> RenderableType:
    """The heads in which a query looks at a key. `text` is the `context`."""
    table = _table("head", "K/V head", "score", "weight", "")
    for row in rows:
        table.add_row(row.head, str(row.kv_head), _score(row.score), f"{row.weight:.4f}", Bar(row.weight, KEY))
    asked = Text.assemble(
        "Where does ", (quoted(query), f"bold {QUERY}"), " look at ", (quoted(key), f"bold {KEY}"), "?"
    )
    return Group(text, Text(), asked, table, Text(model, style="dim"))


def anatomy(found: "Anatomy") -> RenderableType:
    """A checkpoint's anatomy."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    total = found.parameters["total"] or 1
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
        *(
            ("parameters" if part == "total" else f"  {part}", f"{count:,}  ({count / total:.1%})")
            for part, count in sorted(found.parameters.items(), key=lambda item: item[0] != "total")
            if count
        ),
    ]
    if found.kv_cache is None:
        rows.append(("K/V cache", found.cache_note))
    else:
        cache = found.kv_cache
        rows.append(
            (
                "K/V cache",
                f"{cache.bytes_per_token:,} bytes a token, {byte_size(cache.bytes)} for {cache.context:,} tokens, "
                f"as {cache.dtype}{found.cache_note and f'; {found.cache_note}'}",
            )
        )
        rows += [("", cache.note)] if cache.note else []
        rows += [("", f"{how}: {count:,} bytes a token") for how, count in cache.otherwise.items()]
    rows += [("config keys ignored", ", ".join(found.ignored_config))] if found.ignored_config else []
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    return table


def head_weights(found: "dict[str, Any]") -> RenderableType:
    """One head's arrays: their axes, shapes and lengths. `found` is the `summary`."""
    table = _table("array", "axes", "shape", "length")
    for name, array in found["arrays"].items():
        length = "not finite" if array["norm"] is None else f"{array['norm']:.5g}"
        table.add_row(name, " · ".join(array["axes"]), " × ".join(map(str, array["shape"])), length)
    notes = "".join(f"\n{note}" for note in found["notes"])
    return Group(
        Text.assemble(("Head ", "bold"), (found["head"], "bold"), f"  reads K/V head {found['kv_head']}"),
        table,
        Text(f"{found['stored']}; {byte_size(found['bytes_read'])} read{notes}"),
        Text(printable(f"{found['model']} ({found['family']})"), style="dim"),
    )


def grouping(found: "Grouping") -> RenderableType:
    """What grouping K/V heads costs, layer by layer and in all, and where the new checkpoint lies."""
    before, after = found.kv_heads
    head = Text(f"{found.model}: {before} K/V heads to {after} in {len(found.layers)} layers, {found.method}")
    parts: list[RenderableType] = [head]
    if found.costs:
        table = _table("layer", "K error", "V error", "KL alone")
        for cost in found.costs:
            alone = "" if cost.kl is None else f"{cost.kl:.4f}"
            table.add_row(str(cost.layer), f"{cost.k_error:.3f}", f"{cost.v_error:.3f}", alone)
        parts += [Text(f"Measured on {found.text}. Errors are relative; KL in nats a token.", style="dim"), table]
    if found.whole is not None:
        kls = sorted(cost.kl for cost in found.costs if cost.kl is not None)
        median = (kls[(len(kls) - 1) // 2] + kls[len(kls) // 2]) / 2
        whole = found.whole
        parts.append(Text(f"KL of one layer alone, median: {median:.4f}; of all of them together: {whole.kl:.4f}"))
        parts.append(Text(f"Perplexity: {whole.perplexity_before:,.1f} before, {whole.perplexity_after:,.1f} after"))
    own, new = found.bytes_per_token
    saved = f", {own - new:,} saved" if own != new else ""
    parts.append(Text(f"K/V cache in 16 bits: {own:,} bytes a token before, {new:,} after{saved}"))
    parts += [Text(note, style="dim") for note in found.notes]
    if found.path:
        parts.append(Text(f"wrote {found.path}: {byte_size(found.size)}, {found.dtype}"))
    return Group(*parts)


def models(rows: "Iterable[Known]") -> RenderableType:
    """The models known by name, and the ones in the hub's cache."""
    table, places = _table("name", "model", "licence", "on this machine"), Text()
    for row in rows:
        state = byte_size(row.size_bytes) if row.cached else f"no; download {byte_size(row.download_bytes)}"
        table.add_row(row.name, row.title, row.license or "see its card", state)
        if row.path is not None and row.cached:
            places.append(f"\n{row.name}: {printable(str(row.path))}")
    places.overflow = "fold"
    return Group(table, Padding(places, (0, 0, 0, 1)))


def modules(rows: "Iterable[dict[str, Any]]") -> RenderableType:
    """The course map, row by row."""
    table = _table("module", "title", "minutes", "needs", "here")
    for row in rows:
        minutes, needs = str(row.get("minutes", "")), ", ".join(row["needs"])
        table.add_row(row["module"], row["title"], minutes, needs, "yes" if row["here"] else "no")
    return table


def byte_size(count: int | float) -> str:
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
        line.append(_in_line(text[at:start]))
        at = max(at, start)
        shown = _in_line(trace.tokens[i] if trace.special[i] else text[at:stop])
        word = shown.lstrip(" ")
        line.append(" " * (len(shown) - len(word)))
        line.append(word, style="dim" if trace.special[i] else styles.get(i, ""))
        at = max(at, stop)
    return line.append(f" … ({len(trace)} tokens)" if last < len(trace) else "")


def _in_line(text: str) -> str:
    return printable(text.replace("\n", "↵"))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, header_style="dim", padding=(0, 1), show_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in ("score", "weight", "head", "#", "K/V head", "σ") else "left",
            no_wrap=True,
            overflow="fold",
            min_width=WIDTHS.get(column),
        )
    return table


def _score(score: float | None) -> str:
    return "hidden" if score is None else f"{score:.2f}"


def _links(links: "Sequence[Link]", style: str, side: str, top: int) -> RenderableType:
    table = _table("#", side, "score", "weight", "")
    for link in links[:top]:
        weight = f"{link.weight:.4f}"
        table.add_row(f"#{link.index}", quoted(link.text), _score(link.score), weight, Bar(link.weight, style))
    rest = links[top:]
    if not rest:
        return table
    together = f", {sum(link.weight for link in rest):.1%} together" if side == "key" else ""
    return Group(table, Padding(Text(f"and {len(rest)} more{together}", style="dim"), INDENT))


def _landings(rows: "Sequence[Landing]", token: str, chosen: str, top: int) -> RenderableType:
    table = _table("head", "key", "score", "weight", "")
    for row in rows[:top]:
        table.add_row(row.head, quoted(row.key.text), _score(row.score), f"{row.weight:.4f}", Bar(row.weight, KEY))
    text = f"Where {token} lands hardest on one other token (itself, the first and special tokens left out):"
    another = next((row for row in rows if row.key != rows[0].key), None)
    hint = f" For another: --head {another.head}, which looks at {quoted(another.key.text)}." if another else ""
    return Group(Text(text), table, Text(f"Answering for {chosen}, the first.{hint}", style="dim"))


def _words(words: "Words | None") -> RenderableType:
    if words is None:
        return Padding(Text("This model has no output head, so its values cannot be read as words."), INDENT)
    table = _table("promotes", "σ", "suppresses", "σ")
    for up, down in zip(words.promotes, words.suppresses, strict=True):
        table.add_row(*_word(up, words.threshold), *_word(down, words.threshold))
    notes = []
    if any(word.always for word in (*words.promotes, *words.suppresses)):
        notes.append("In brackets: extreme for most values of this head here, so no news about this token.")
    if words.stands_out:
        notes.append(f"* stands out: {words.threshold:.0f}σ or more over the vocabulary.")
    else:
        notes.append(f"Nothing stands out in what it promotes: no word reaches {words.threshold:.0f}σ.")
    return Group(table, Padding(Text(" ".join(notes), style="dim"), INDENT))


def _word(word: "Word", threshold: float) -> tuple[Text, Text]:
    shown = printable(word.text)
    shown = f'"{shown if len(shown) <= 20 else shown[:19] + "…"}"'
    sigma = Text(f"{word.sigma:+.1f}", style="dim")
    if word.always:
        return Text(f"({shown})", style="dim"), sigma
    if abs(word.sigma) >= threshold:
        return Text(f"{shown} *", style=f"bold {VALUE}"), sigma
    return Text(shown, style="dim"), sigma


def stdout_console() -> Console:
    """A console on standard output, as wide as the terminal, at least 80 and at most 120 columns."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(80, min(console.width, 120))
    return console
