"""The command line: a thin door. Each command asks one function and shows its answer."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from . import __version__
from .cli_atlas import atlas
from .cli_common import open_model_with_bar, print_json, with_bars, with_progress
from .errors import QkvLabError

if TYPE_CHECKING:
    from .model import Model
    from .text import Special

DEFAULT_MODEL = "smollm2"
F = TypeVar("F", bound=Callable[..., Any])


class Text(click.ParamType[str]):
    """A text given as itself, as @FILE, or as - for standard input."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "-" and not value.startswith("@"):
            return str(value)
        try:
            if value == "-" and sys.stdin is None:
                raise click.BadParameter("standard input is closed")
            data = sys.stdin.buffer.read() if value == "-" else Path(value[1:]).read_bytes()
            text = data.decode("utf-8-sig")
        except OSError as error:
            hint = "" if value == "-" else "; a text that begins with @ can come through - (standard input)"
            raise click.BadParameter(f"cannot read {value[1:]}: {error.strerror}{hint}") from None
        except UnicodeDecodeError as error:
            where = "standard input" if value == "-" else value[1:]
            raise click.BadParameter(f"{where} is not UTF-8 (byte {error.start})") from None
        return text.removesuffix("\n").removesuffix("\r")


class TextFile(Text):
    """A text in a file: FILE or @FILE, or - for standard input."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(value if value == "-" or value.startswith("@") else f"@{value}", param, ctx)


TEXT = Text()
as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON document and nothing else.")
model_option = click.option(
    "--model", "model_name", default=DEFAULT_MODEL, show_default=True, metavar="NAME",
    help="An alias, a file or folder, or org/name on the Hugging Face hub.",
)  # fmt: skip
allow_config = click.option(
    "--allow-config", multiple=True, metavar="KEY",
    help="Pass over this configuration key, which is refused otherwise; every result then says so.",
)  # fmt: skip
top_option = click.option(
    "--top", type=click.IntRange(1), metavar="N", default=5, show_default="5", help="Rows to show."
)
no_special = click.option(
    "--no-special", is_flag=True, help="Leave out the special tokens that the tokenizer adds, as [CLS] or <s>."
)
start_token = click.option(
    "--start", is_flag=True, help="Put the start token that the tokenizer names in front, where it adds none by itself."
)


def tracing(command: F) -> F:
    """The options of every command that follows a text through a model; it is given `special` for two of them."""

    @wraps(command)
    def with_special(*args: Any, no_special: bool, start: bool, **options: Any) -> Any:
        if no_special and start:
            raise click.UsageError("--no-special leaves out what --start puts in front; give one of them")
        return command(*args, special="start" if start else not no_special, **options)

    return allow_config(no_special(start_token(model_option(cast(F, with_special)))))


def pair(command: F) -> F:
    """The arguments of every command about one query and one key of a text."""
    key = click.option("--key", required=True, metavar="TOKEN", help="The token that is looked at.")
    query = click.option("--query", required=True, metavar="TOKEN", help="The token that looks.")
    return click.argument("text", type=TEXT)(query(key(command)))


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="qkvlab")
@click.pass_context
def cli(context: click.Context) -> None:
    """Open the query, key and value projections of a real transformer.

    Every number is the model's own. TEXT may be - for standard input or @FILE for a file. Without a command, the page
    opens in the browser, as by `qkvlab play`.
    """
    if context.invoked_subcommand is None:
        context.invoke(play)


cli.add_command(atlas)


@cli.command()
@click.argument("model", default=DEFAULT_MODEL)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="The port; default: 7341, or the next free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="H",
    help="The address to listen on; one that other machines can reach asks for the token in the printed address.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the address and open nothing.")
@click.option(
    "--atlas", "atlases", multiple=True, metavar="RUN", type=click.Path(path_type=Path),
    help="Show this run of `qkvlab atlas scan` too; may be given more than once.",
)  # fmt: skip
def play(model: str, port: int | None, host: str, no_browser: bool, atlases: tuple[Path, ...]) -> None:
    """Open the page: type, drag, and watch a real model's mechanism respond."""
    from .server.run import serve

    serve(model, port=port, host=host, browser=not no_browser, atlases=atlases, say=click.echo)


@cli.command()
@click.argument("text", type=TEXT)
@click.option(
    "--token",
    required=True,
    metavar="TOKEN",
    help="The token to ask about: its text (it matches ' it' if unique), or its number, quoted: '#4'.",
)
@click.option(
    "--head", metavar="HEAD", help="The head to ask, as layer.head; without it, the one where the token lands hardest."
)
@tracing
@top_option
@as_json
def ask(
    text: str,
    token: str,
    head: str | None,
    model_name: str,
    special: "Special",
    allow_config: tuple[str, ...],
    top: int,
    json_: bool,
) -> None:
    """Ask a token what it looks for, who finds it, what it hands over."""
    from . import questions

    model = open_model_with_bar(model_name, allow_config, quiet=json_)
    trace = model.trace(text, special=special)
    index = questions.token_index(trace.tokens, token)
    landings = None
    if head is None:
        landings = questions.landings(trace, index)
        if not landings:
            _nothing_left(model, trace.tokens, index, json_)
            return
        head = landings[0].head
    answer = questions.ask(trace, index, head, top)
    if json_:
        lists = {name: _dicts(getattr(answer, name)[:top]) for name in ("looking_for", "found_by")}
        print_json(answer.to_dict() | lists | {"landings": _dicts(landings and landings[:top])})
        return
    from . import show

    show.stdout_console().print(show.answer(answer, show.context(text, trace, index), landings, top))


@cli.command()
@pair
@tracing
@click.option("--top", type=click.IntRange(1), metavar="N", default=10, show_default="10", help="Heads to show.")
@as_json
def find(
    text: str,
    query: str,
    key: str,
    model_name: str,
    special: "Special",
    allow_config: tuple[str, ...],
    top: int,
    json_: bool,
) -> None:
    """Rank the heads by the weight with which one token looks at another."""
    from . import questions

    model = open_model_with_bar(model_name, allow_config, quiet=json_)
    model.weights.prefetch(range(model.spec.n_layer))
    trace = model.trace(text, special=special)
    at, of = questions.token_index(trace.tokens, query), questions.token_index(trace.tokens, key)
    rows = questions.find(trace, at, of)[:top]
    if json_:
        pair = {name: {"index": i, "text": trace.tokens[i]} for name, i in (("query", at), ("key", of))}
        print_json({"model": model.badge, "tokens": trace.tokens, **pair, "heads": _dicts(rows)})
        return
    from . import show

    show.stdout_console().print(
        show.heads(rows, show.context(text, trace, at, of), trace.tokens[at], trace.tokens[of], model.badge)
    )


@cli.command()
@pair
@click.option("--head", required=True, metavar="HEAD", help="The head, as layer.head.")
@tracing
@click.option("--top", type=click.IntRange(1), metavar="N", default=10, show_default="10", help="Rows of each table.")
@as_json
def why(
    text: str,
    query: str,
    key: str,
    head: str,
    model_name: str,
    special: "Special",
    allow_config: tuple[str, ...],
    top: int,
    json_: bool,
) -> None:
    """Split a score exactly into who wrote what meets in query and key.

    Embedding, positions, biases, each earlier head and each earlier MLP, every norm on the way frozen at its scale. The
    parts sum to the score; what rounding leaves is printed.
    """
    from . import questions
    from .why_score import why as explain

    model = open_model_with_bar(model_name, allow_config, quiet=json_)
    trace = model.trace(text, special=special)
    at, of = questions.token_index(trace.tokens, query), questions.token_index(trace.tokens, key)
    found = explain(trace, at, of, head)
    if json_:
        print_json({"tokens": trace.tokens, **found.to_dict(top)})
        return
    from . import show, show_parts

    show.stdout_console().print(show_parts.why(found, show.context(text, trace, at, of), top))


@cli.command()
@click.argument("text", type=TEXT)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file.")
@click.option("--layers", metavar="RANGE", help="Layers to write, as 0-29; default: all.")
@click.option("--scores", is_flag=True, help="Write scores and weights too: head · query · key numbers per layer.")
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    metavar="N",
    default=4 * 1024**3,
    show_default="4 GiB",
    help="Refuse a larger file.",
)
@tracing
def trace(
    text: str,
    output: Path,
    layers: str | None,
    scores: bool,
    max_bytes: int,
    model_name: str,
    special: "Special",
    allow_config: tuple[str, ...],
) -> None:
    """Write every x, q, k, v and z of a text to a safetensors file."""
    from . import export, show

    model = open_model_with_bar(model_name, allow_config)
    chosen = export.parse_layers(layers, model.spec) if layers else None

    def announce(size: int) -> None:
        _say(f"{output}: {show.byte_size(size)} ({size:,} bytes)")

    made = model.trace(text, special=special)
    export.save_trace(made, output, layers=chosen, scores=scores, max_bytes=max_bytes, announce=announce)
    _say(f"wrote {len(made)} tokens of {model.badge}")


@cli.command()
@click.argument("model")
@click.option(
    "--context", type=click.IntRange(1), help="Tokens to count the K/V cache for; default: the model's limit."
)
@allow_config
@as_json
def inspect(model: str, context: int | None, allow_config: tuple[str, ...], json_: bool) -> None:
    """Show the anatomy of a checkpoint of any family, from its headers alone.

    The headers of a model that is not on this machine are read on the Hugging Face hub; nothing is downloaded.
    """
    from . import anatomy

    found = with_progress(
        lambda progress: anatomy.inspect(model, context=context, allow_config=allow_config, progress=progress), model
    )
    if json_:
        print_json(found.to_dict())
        return
    from . import show

    show.stdout_console().print(show.anatomy(found))


@cli.command(name="weights")
@click.argument("model")
@click.argument("head")
@click.option(
    "--attention", type=click.Choice(["decoder", "encoder", "cross"]), default="decoder", show_default=True,
    help="Of a model with an encoder and a decoder: which of its attentions the head is of.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write them to this file.")
@as_json
def weights_(model: str, head: str, attention: str, output: Path | None, json_: bool) -> None:
    """Show one head's own weights, straight from the files.

    No model is built, and only this head's part of the files is read; of a model that is not on this machine, from
    the Hugging Face hub. HEAD is layer.head, as 13.8.
    """
    from . import headweights

    found = with_progress(
        lambda progress: headweights.weights(model, head, attention=attention, progress=progress), model
    )
    if output is not None:
        headweights.save_head(found, output)
    if json_:
        print_json(headweights.summary(found) | {"output": output})
        return
    from . import show

    show.stdout_console().print(show.head_weights(headweights.summary(found)))
    if output is not None:
        _say(f"wrote {output}")


@cli.command()
@click.argument("model")
@click.option("--head", metavar="HEAD", help="One head, as layer.head, with its singular values and rotation pairs.")
@allow_config
@click.option(
    "--top", type=click.IntRange(1), metavar="N", default=10, show_default="10", help="Heads or pairs to show."
)
@as_json
def circuits(model: str, head: str | None, allow_config: tuple[str, ...], top: int, json_: bool) -> None:
    """Measure a model's QK and OV circuits, from its weights alone.

    Symmetry and direction of W_q W_k, layer by layer beside random matrices of the same shapes; effective ranks; the
    copying score; a head's share of every rotation pair.
    """
    from . import circuit_report
    from .circuit_source import open_circuit_source

    source = with_progress(
        lambda progress: open_circuit_source(model, progress=progress, allow_config=allow_config), model
    )
    found = circuit_report.head_card(source, head) if head else circuit_report.circuits(source)
    if json_:
        print_json(found.to_dict())
        return
    from . import show, show_parts

    if isinstance(found, circuit_report.HeadCard):
        shown = show_parts.head_card(found, top)
    else:
        shown = show_parts.circuits(found, top)
    show.stdout_console().print(shown)


@cli.command()
@click.argument("model")
@click.option("--kv-heads", type=int, required=True, metavar="N", help="How many K/V heads are left in each layer.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder.")
@click.option(
    "--method", default="mean", show_default=True, metavar="METHOD",
    help="mean, first or random (drawn anew) of each group; cluster: the heads most alike share; aligned: the heads of "
    "a group are turned towards each other first.",
)  # fmt: skip
@click.option(
    "--layers", metavar="RANGE", help="Layers to group, as 0-29, last:10 or 3,5; default: all. Some only: to measure."
)
@click.option(
    "--text", "text", type=TextFile(), metavar="FILE",
    help="What it is fitted and measured on; default: a text of some 250 tokens shipped with QKV Lab.",
)  # fmt: skip
@click.option(
    "--dtype", metavar="TYPE",
    help="float32, float16 or bfloat16; default: the file's own, float32 for the quantised numbers of a GGUF.",
)  # fmt: skip
@allow_config
@as_json
def group(
    model: str,
    kv_heads: int,
    output: Path,
    method: str,
    layers: str | None,
    text: str | None,
    dtype: str | None,
    allow_config: tuple[str, ...],
    json_: bool,
) -> None:
    """Write a checkpoint with fewer K/V heads, and say what that costs.

    The folder holds config.json, safetensors and the tokenizer, as transformers loads them (Ainslie et al. 2023).
    """
    from . import regroup

    opened = open_model_with_bar(model, allow_config, quiet=json_)
    chosen = regroup.choose_layers(layers, opened.spec) if layers is not None else None

    def work(progress: Callable[[str, int, int], None]) -> "regroup.Grouping":
        return regroup.group(
            opened, kv_heads, output, method=method, layers=chosen, text=text, dtype=dtype, progress=progress
        )

    found = work(lambda what, done, of: None) if json_ else with_bars(work)
    if json_:
        print_json(found.to_dict())
        return
    from . import show

    show.stdout_console().print(show.grouping(found))


@cli.command()
@as_json
def models(json_: bool) -> None:
    """List the models known by name: cached or not, where, how large, which licence."""
    from .checkpoint.source import known

    rows = known()
    if json_:
        print_json({"models": _dicts(rows)})
        return
    from . import show

    show.stdout_console().print(show.models(rows))


@cli.command()
@click.argument("name")
def pull(name: str) -> None:
    """Download a model into the cache, if it is not there yet."""
    from .checkpoint.source import pull as pull_model

    source = with_progress(lambda progress: pull_model(name, progress=progress), name)
    click.echo(f"{source.name} is at {source.path}")


@cli.group()
def course() -> None:
    """The course: lessons whose every claim is an experiment on the open model."""


@course.command(name="list")
@as_json
def list_modules(json_: bool) -> None:
    """List the modules: those of this edition, and the others they stand among."""
    from .course.export import modules

    rows = modules()
    if json_:
        print_json({"modules": rows})
        return
    from . import show

    show.stdout_console().print(show.modules(rows))


@course.command(name="export")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Put it in the place of an earlier export.")
def export_(folder: Path, force: bool) -> None:
    """Write the course as a folder that any static host serves.

    It holds the page, the lessons, and the model's recorded answers to what the lessons ask. What acts within one
    head is computed in the page. Typing a text, and many heads off at once, need the program.
    """
    from .course.export import export_course

    count = export_course(folder, force=force, say=_say)
    click.echo(f"wrote {folder} with {count} recorded answers; any file server shows it")


def main() -> None:
    """The program: a person's mistake becomes one line on standard error and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run()
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # the reader has left; click and rich leave, too, when they notice
        _drop(sys.stdout)
        status = 0
    except OSError as error:
        _say(f"qkvlab: cannot write: {error.strerror}")
        _drop(sys.stdout)
        status = 2
    sys.exit(status)


def _run() -> int:
    try:
        status = cli.main(prog_name="qkvlab", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except (QkvLabError, click.ClickException) as error:
        from .text import printable

        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        _say(f"qkvlab: {printable(' '.join(message.split()))}")
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say("qkvlab: stopped")
        return 130


def _say(line: str) -> None:
    """A line beside the answer, on standard error; whether anyone reads it changes nothing."""
    try:
        click.echo(line, err=True)
    except OSError:
        _drop(sys.stderr)


def _drop(stream: Any) -> None:
    """Let what is left in a stream that nobody can read go nowhere, instead of failing again at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nothing_left(model: "Model", tokens: tuple[str, ...], index: int, json_: bool) -> None:
    note = (
        f"{tokens[index]!r} (#{index}) sees no other token than itself, the first and special ones, "
        "so no head can be chosen by where it lands; name one with --head"
    )
    if json_:
        token = {"index": index, "text": tokens[index]}
        print_json({"model": model.badge, "tokens": tokens, "token": token, "landings": [], "note": note})
    else:
        click.echo(note)


def _dicts(rows: Any) -> Any:
    from dataclasses import asdict

    return None if rows is None else [asdict(row) for row in rows]
