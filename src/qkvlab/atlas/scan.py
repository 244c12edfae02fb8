"""A model and a corpus → the folder of a run: counted part by part, then the twin, then what was found checked.

Every stage puts whole files in their places and looks first at what is there, so a run that was interrupted at any
moment goes on where it stood, and nothing is counted twice or lost.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import SourceError, TextError, UnsupportedError
from ..model import Model, open_model
from . import MEASURES, WINDOW
from .cards import examples_json
from .corpus import Corpus, open_corpus, sample_corpus
from .count import check_measures, chosen_layers
from .counts import Options
from .run import ATLAS, EXAMPLES, Run, begin, settings
from .store import Parts, examples_table, schema, throw_away_unfinished, to_bytes, write_part, write_whole
from .summary import Atlas, model_facts, summarise
from .tasks import RANDOM, RANDOM_TEXTS, Job, Part, Task, plan, tasks
from .workers import Hands, here, processes

Progress = Callable[[str, int, int, int], None]
"""`progress(stage, done, of, tokens)`: scan and twin in characters of the corpus, and in tokens counted by this very
run; checks in ablations (tokens: 0)."""


def silent(stage: str, done: int, of: int, tokens: int) -> None:
    """Hears nothing."""


def scan(
    model: Model | str | Path,
    out: str | Path,
    text: Sequence[str | Path] = (),
    treebank: Sequence[str | Path] = (),
    *,
    window: int = WINDOW,
    measures: Sequence[str] = MEASURES,
    layers: Sequence[int] | None = None,
    workers: int = 0,
    ray: str | None = None,
    resume: bool = False,
    report_all: bool = False,
    twin: bool = True,
    causal: bool = True,
    checks: int | None = None,
    seed: int = 0,
    field: str = "text",
    allow_config: Sequence[str] = (),
    progress: Progress = silent,
    name: str = "",
    for_the_page: bool = True,
) -> Run:
    """What does every head of this model do in these texts? Count it, and write the folder of a run.

    `model` is a name, a folder or an open Model; `text` plain, JSONL or Parquet files, `treebank` CoNLL-U files; with
    neither, the sample that is shipped. `window` in tokens; `measures` of `MEASURES`; `layers` of all. `workers`
    counts in so many processes, `ray` on a cluster ("local" or an address); the counts are the same. `report_all`
    selects and reports on all documents; `twin` counts the model with shuffled weights (`seed`), too; `causal` ablates
    the heads that were found, all of them or the `checks` best of each role. `progress(stage, done, of, tokens)`.
    `name`: what other processes open an open Model by. `for_the_page`: whether the findings are kept where the page
    looks for them, too.

    Raises SourceError, TextError, UnsupportedError, HeadError or MissingExtraError. What is done when it raises, or
    when the process dies, is kept, and `resume=True` goes on with it.
    """
    schema("counts")  # without pyarrow nothing is begun
    name = str(model) if isinstance(model, str | Path) else name
    opened = model if isinstance(model, Model) else open_model(model, allow_config=allow_config)
    check_measures(measures)
    options = Options(window, tuple(measures), None if layers is None else tuple(chosen_layers(opened.spec, layers)))
    _check_window(opened, window)
    hands = _hands(opened, name, workers, ray)
    corpus = open_corpus([Path(path) for path in text], [Path(path) for path in treebank], field)
    if not text and not treebank:
        corpus = sample_corpus()
    parts = plan(corpus.documents())
    if not parts:
        raise TextError(f"there is no document to scan in {', '.join(file.name for file in corpus.files)}")
    folder = Path(out)
    more = {"report_all": report_all, "twin": twin, "causal": causal, "seed": seed}
    files = [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in corpus.files]
    begin(folder, settings(opened, options, files, parts, more), resume)
    throw_away_unfinished([folder, folder / "parts", folder / "twin" / "parts", folder / "causal"])
    run = Run(folder)
    job = Job(options, tuple(chosen_layers(opened.spec, options.layers)), seed, name, tuple(allow_config))
    _count(corpus, parts, job, hands, run.parts, "scan", progress)
    if twin:
        shuffled = replace(job, twin=True, options=replace(options, examples=False))
        _count(corpus, parts, shuffled, hands, run.twin_parts, "twin", progress)
    _finish(opened, corpus, run, job, causal, checks, progress)
    if for_the_page:
        keep_for_the_page(folder, run.atlas)
    return run


def _check_window(model: Model, window: int) -> None:
    if not 8 <= window <= model.spec.n_context:
        raise UnsupportedError(
            f"a window of {window} tokens: {model.spec.name} takes from 8 to {model.spec.n_context:,}; give --window N"
        )


def _hands(model: Model, name: str, workers: int, ray: str | None) -> Hands:
    if (ray is not None or workers > 1) and not name:
        raise SourceError(
            "other processes open the model by its name or folder; this one is in memory only: save it and name the "
            "folder, or scan in this process"
        )
    if ray is not None:
        from .cluster import cluster

        return cluster(ray, workers)
    return processes(workers) if workers > 1 else here(model)


def _count(
    corpus: Corpus, parts: list[Part], job: Job, hands: Hands, into: Parts, stage: str, progress: Progress
) -> None:
    """One pass over the corpus, and the random texts: what is done already is passed over."""
    finished, of = set(into.numbers), sum(part.n_character for part in parts)
    done = sum(part.n_character for part in parts if part.name in finished)

    counted = 0

    def told(characters: int, tokens: int) -> None:
        nonlocal done, counted
        done, counted = done + characters, counted + tokens
        progress(stage, done, of, counted)

    progress(stage, done, of, 0)
    last = parts[-1]
    random = Part(RANDOM, last.first + last.n_document, RANDOM_TEXTS, 0)
    todo = [Task(random, ())] if "repeats" in job.options.measures and RANDOM not in finished else []
    if all(part.name in finished for part in parts) and not todo:
        return
    for part, files in hands(job, chain(tasks(corpus.documents(), parts, finished), todo), told):
        write_part(into.folder / part.name, files)


def _finish(
    model: Model, corpus: Corpus, run: Run, job: Job, causal: bool, checks: int | None, progress: Progress
) -> None:
    """Counts → the atlas, its checks, and the files others read."""
    options = run.settings["options"]
    about = {
        "window": job.options.window, "documents": sum(not name.startswith("random:") for name in run.documents()),
        "tokens": run.tokens(), "files": _files(run), "report_all": options["report_all"], "seed": job.seed,
        "skipped": run.parts.skipped(), "problems": corpus.n_problem, "twin": options["twin"], "causal": None,
    }  # fmt: skip
    atlas = summarise(run, run.twin, model_facts(model, job.layers), about, None, _copying(model, job))
    if causal:
        from .checks import run_checks

        found, windows = run_checks(model, corpus, run, job, atlas, checks, progress)
        atlas = replace(atlas, run=about | {"causal": {"windows": windows, "heads": checks}}).with_ablations(found)
    _write(run, atlas, corpus)


def _files(run: Run) -> list[Mapping[str, Any]]:
    return [{"name": file["name"], "size": file["size"]} for file in run.settings["files"]]


def _copying(model: Model, job: Job) -> Any:
    """The copying score of the weights, where it is known."""
    if "values" not in job.options.measures or not model.native:
        return None
    from .writes import copying

    return copying(model)


def _write(run: Run, atlas: Atlas, corpus: Corpus) -> None:
    import pyarrow as pa

    examples = run.parts.examples()
    made = atlas.to_json()
    shown = examples_json(examples, atlas)
    files = to_bytes({"heads": pa.table(atlas.columns()), "examples": examples_table(examples)})
    for name, data in files.items():
        write_whole(run.folder / f"{name}.parquet", data)
    write_whole(run.folder / "problems.txt", "".join(f"{line}\n" for line in corpus.problems).encode())
    write_whole(run.folder / EXAMPLES, json.dumps(shown, ensure_ascii=False).encode())
    write_whole(run.folder / ATLAS, json.dumps(made, ensure_ascii=False).encode())


def keep_for_the_page(folder: Path, atlas: Mapping[str, Any]) -> None:
    """Put the findings into the cache folder, where the page looks for the atlas of the open model."""
    from ..checkpoint.source import cache_dir

    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in str(atlas["model"]["name"]))
    place = cache_dir() / "atlas" / (atlas["model"]["sha256"] or name)[:80]
    try:
        for file in (EXAMPLES, ATLAS):
            write_whole(place / file, (folder / file).read_bytes())
    except (SourceError, OSError):
        pass  # a cache that cannot be written costs a convenience; the run is whole
