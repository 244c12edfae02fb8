"""What the commands share: a model opened with a bar, bars for long work, JSON on standard output."""

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from .checkpoint.source import Progress
    from .model import Model


def open_model_with_bar(name: str, allow: tuple[str, ...], quiet: bool = False) -> "Model":
    from .model import open_model

    return with_progress(lambda progress: open_model(name, progress=progress, allow_config=allow).alone(), name)


Result = TypeVar("Result")


def with_progress(work: Callable[["Progress"], Result], name: str) -> Result:
    """Run something that may download, with a bar on standard error from the first byte it reports."""
    bars: list[Any] = []

    def progress(done: int, total: int) -> None:
        if not bars:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            bars.append(Progress(*columns, console=Console(stderr=True)))
            bars[0].start()
            bars[0].add_task(f"downloading {name}", total=total)
        bars[0].update(bars[0].task_ids[0], completed=done, total=total)

    try:
        return work(progress)
    finally:
        if bars:
            bars[0].stop()


def with_bars(work: Callable[[Callable[[str, int, int], None]], Result]) -> Result:
    """Run something that reports how far it is, with one bar on standard error for each thing it does."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        return work(progress)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=str))


def say(line: str) -> None:
    """A line beside the answer, on standard error; whether anyone reads it changes nothing."""
    try:
        click.echo(line, err=True)
    except OSError:
        drop(sys.stderr)


def drop(stream: Any) -> None:
    """Let what is left in a stream that nobody can read go nowhere, instead of failing again at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
