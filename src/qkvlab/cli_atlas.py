"""The command line's door to the atlas: scan, show, compare, report."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import click

from .atlas import MEASURES, WINDOW
from .cli_common import open_model_with_bar, print_json

OPEN_ENDED = ("--text", "--treebank")
"""Options that take all the files that follow them."""
LINE_EVERY = 60
"""Seconds between two lines of progress where no bar can be drawn."""
SAID = {"scan": "scanning", "twin": "scanning the twin", "checks": "ablating what was found"}
PROBLEMS = 5
"""Problems of the files that are told when a scan ends."""
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


class TakesFiles(click.Command):
    """`--text a.txt b.txt -o RUN`: an option may be followed by several files, as a shell's *.txt makes them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        current = ""
        for at, word in enumerate(args):
            if word.startswith("-") and word != "-":
                current = word if word in OPEN_ENDED else ""
                spread.append(word)
                continue
            if current and at and args[at - 1] != current:
                spread.append(current)
            spread.append(word)
        return super().parse_args(ctx, spread)


@click.group()
def atlas() -> None:
    """What every head of a model does, measured over a corpus with baselines."""


@atlas.command(cls=TakesFiles)
@click.argument("model")
@click.option("--text", multiple=True, type=EXISTING, metavar="FILES…", help="Plain text, JSONL or Parquet.")
@click.option("--treebank", multiple=True, type=EXISTING, metavar="FILES…", help="CoNLL-U, with or without Entity.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="RUN", help="The run's folder.")
@click.option("--window", type=int, default=WINDOW, show_default=True, metavar="N", help="Tokens of a window.")
@click.option("--measures", metavar="A,B", help=f"Only some of {', '.join(MEASURES)}.")
@click.option("--layers", metavar="0-5,13", help="Only these layers; the run stops at the last of them.")
@click.option("--workers", type=click.IntRange(1), metavar="N", default=1, help="Count in so many processes.")
@click.option(
    "--ray", is_flag=False, flag_value="local", metavar="[ADDRESS]",
    help="Count on a Ray cluster: one started here, or the one at ADDRESS.",
)  # fmt: skip
@click.option("--report-all", is_flag=True, help="Choose heads and report on the same documents: all of them.")
@click.option("--resume", is_flag=True, help="Go on with a run that was interrupted.")
@click.option("--no-twin", is_flag=True, help="Do not scan the model with shuffled weights.")
@click.option("--no-causal", is_flag=True, help="Do not ablate the heads that are found.")
@click.option(
    "--checks",
    type=click.IntRange(1),
    metavar="N",
    default=None,
    show_default="all",
    help="Ablate so many heads of each role, the best ones.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the twin and of random tokens.",
)
@click.option(
    "--field", default="text", show_default=True, metavar="NAME", help="The field or column of JSONL and Parquet."
)
@click.option("--allow-config", multiple=True, metavar="KEY", help="Pass over this configuration key.")
def scan(
    model: str, text: tuple[Path, ...], treebank: tuple[Path, ...], output: Path, window: int, measures: str | None,
    layers: str | None, workers: int, ray: str | None, report_all: bool, resume: bool, no_twin: bool, no_causal: bool,
    checks: int | None, seed: int, field: str, allow_config: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure every head of MODEL over texts and treebanks; without any, over the small sample that is shipped.

    RUN is a folder of Parquet tables (docs/atlas.md) with the findings in atlas.json. Interrupted at any moment, the
    same line with --resume goes on.
    """
    from .atlas.scan import scan as run_scan
    from .export import parse_layers

    opened = open_model_with_bar(model, allow_config)
    chosen = None if layers is None else parse_layers(layers, opened.spec)
    asked = MEASURES if measures is None else tuple(name.strip() for name in measures.split(","))

    def work(progress: Callable[[str, int, int, int], None]) -> Any:
        return run_scan(
            opened, output, text, treebank, window=window, measures=asked, layers=chosen, workers=workers, ray=ray,
            resume=resume, report_all=report_all, twin=not no_twin, causal=not no_causal, checks=checks, seed=seed,
            field=field, allow_config=allow_config, progress=progress, name=model,
        )  # fmt: skip

    try:
        run = _with_speed(work)
    except KeyboardInterrupt:
        raise click.ClickException(
            f"interrupted; what is done so far is in {output}: the same line with --resume goes on"
        ) from None
    _show(run.folder)
    _say_problems(run.folder)
    click.echo(f"More: qkvlab atlas show {output} --role ROLE (or --head L.H); atlas report {output} -o FILE", err=True)


def _say_problems(folder: Path) -> None:
    """What was broken in the files, on standard error: the first few, and where all of them are."""
    from .text import printable

    path = folder / "problems.txt"
    told = path.read_text(encoding="utf-8").splitlines()
    for line in told[:PROBLEMS]:
        click.echo(printable(line), err=True)
    if len(told) > PROBLEMS:
        click.echo(f"and {len(told) - PROBLEMS:,} more problems in the files: {path}", err=True)


def _with_speed(work: Callable[[Callable[[str, int, int, int], None]], Any]) -> Any:
    """Run a scan with one bar on standard error for each of its stages, with tokens/s and the time left; where that is
    no terminal, a line every minute."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    stages: dict[str, TaskID] = {}
    due = monotonic() + LINE_EVERY
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def progress(stage: str, done: int, of: int, tokens: int) -> None:
            nonlocal due
            if stage not in stages:
                stages[stage] = bars.add_task(SAID.get(stage, stage), total=of, speed="")
            task = bars.tasks[bars.task_ids.index(stages[stage])]
            speed = f"{tokens / task.elapsed:,.0f} tokens/s" if tokens and task.elapsed else ""
            bars.update(stages[stage], completed=done, total=of, speed=speed)
            if not console.is_terminal and monotonic() >= due:
                due = monotonic() + LINE_EVERY
                left = f"{task.time_remaining:,.0f} s left" if task.time_remaining else ""
                click.echo(
                    ", ".join(filter(None, (f"{task.description}: {done / max(of, 1):.0%}", speed, left))), err=True
                )

        return work(progress)


@atlas.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--head", metavar="HEAD", help="One head's card: all its measures, its roles, its examples.")
@click.option(
    "--role", metavar="ROLE", help="Every head by one role: coreference, position:previous, syntax:nsubj:head."
)
@click.option("--top", type=click.IntRange(1), metavar="N", default=12, show_default=True, help="Rows to show.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON document and nothing else.")
def show(run: Path, head: str | None, role: str | None, top: int, json_: bool) -> None:
    """What a scan found: the roles, one head, or every head by one role."""
    if head is not None and role is not None:
        raise click.UsageError("--head shows a head by all measures, --role all heads by one; give one of them")
    from .atlas.reading import card, measure_named, ranking, read_atlas

    if not json_:
        _show(run, head, role, top)
        return
    found = read_atlas(run)
    badge = found["model"]["badge"]
    if role is not None:
        rows = [{name: each for name, each in row.items() if name != "named"} for row in ranking(found, role)]
        print_json({"model": badge, "role": measure_named(found, role), "heads": rows})
    elif head is not None:
        print_json({"model": badge, **card(found, head)})
    else:
        print_json(found)


def _show(run: Path, head: str | None = None, role: str | None = None, top: int = 12) -> None:
    from .atlas.reading import read_atlas, read_examples
    from .atlas.show import show_run
    from .show import stdout_console

    places = run / "examples.json"
    examples = read_examples(places) if head is not None and places.is_file() else None
    stdout_console().print(show_run(read_atlas(run), head, role, top, examples))


@atlas.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="Print one JSON document and nothing else.")
def compare(run: Path, other: Path, json_: bool) -> None:
    """Two runs side by side: one model on two corpora, or two models on one."""
    from .atlas.compare import compare_runs, comparison
    from .atlas.reading import read_atlas

    found = compare_runs(read_atlas(run), read_atlas(other))
    if json_:
        print_json(found)
        return
    from .show import stdout_console

    stdout_console().print(comparison(found))


@atlas.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The HTML file.")
def report(run: Path, output: Path) -> None:
    """The findings as one HTML file, in plain words: what was found, how sure, and what was not."""
    from .atlas.html import write_report
    from .atlas.reading import read_atlas, read_examples

    examples = run / "examples.json"
    write_report(read_atlas(run), read_examples(examples) if examples.is_file() else None, output)
    click.echo(f"{output}: {output.stat().st_size:,} bytes")
