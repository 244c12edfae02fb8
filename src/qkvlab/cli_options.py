"""Arguments and options that commands share: a text, a model, the pair of a query and a key."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

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
