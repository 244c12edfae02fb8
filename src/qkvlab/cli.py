"""The command line: a thin door. Each command asks one function and shows its answer."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .cli_atlas import atlas
from .cli_common import drop, open_model_with_bar, print_json, say, with_progress
from .cli_options import DEFAULT_MODEL, TEXT, as_json, pair, top_option, tracing
from .cli_weights import circuits, group, inspect, weights
from .errors import QkvLabError

if TYPE_CHECKING:
    from .model import Model
    from .text import Special


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
        say(f"{output}: {show.byte_size(size)} ({size:,} bytes)")

    made = model.trace(text, special=special)
    export.save_trace(made, output, layers=chosen, scores=scores, max_bytes=max_bytes, announce=announce)
    say(f"wrote {len(made)} tokens of {model.badge}")


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
    head is computed in the page; only typing a text needs the program. Takes some minutes.
    """
    from .course.export import export_course

    count = export_course(folder, force=force, say=say)
    click.echo(f"wrote {folder} with {count} recordings; any file server shows it")


for command in (inspect, weights, circuits, group, atlas):
    cli.add_command(command)


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
        drop(sys.stdout)
        status = 0
    except OSError as error:
        say(f"qkvlab: cannot write: {error.strerror}")
        drop(sys.stdout)
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
        say(f"qkvlab: {printable(' '.join(message.split()))}")
        return 2
    except (click.Abort, KeyboardInterrupt):
        say("qkvlab: stopped")
        return 130


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
