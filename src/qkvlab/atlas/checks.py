"""The causal check of a run: what its named heads change when they are ablated; a window is kept when it is done."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from ..model import Model
from .causal import Place, ablated_heads, ablations, check_place, checked_heads, places, random_heads
from .corpus import Corpus
from .run import Run
from .statistics import Split, is_random
from .store import read_json, write_whole
from .summary import Atlas
from .tasks import Job

Found = dict[tuple[str, str], dict[str, Any]]


def run_checks(
    model: Model,
    corpus: Corpus,
    run: Run,
    job: Job,
    atlas: Atlas,
    most: int | None,
    progress: Callable[[str, int, int, int], None],
) -> tuple[Found, int]:
    """(role, head) → what its ablation changed, of all heads of each role or the `most` best; and in how many windows.

    The means that take the heads' places are those of the selection part; the windows are of the report part.
    """
    heads = checked_heads(atlas.roles(), most)
    if not heads:
        return {}, 0
    report_all, names = bool(run.settings["options"]["report_all"]), run.documents()
    text, random = (Split.of(names, measure, report_all) for measure in ("", "repeats:"))
    mean_z = run.mean_z(text.selection)
    report = set(text.report)
    chosen = places(
        model, (document for document in corpus.documents() if document.name in report), heads, job.seed, job.options,
        random=sorted(int(name.removeprefix("random:")) for name in random.report if is_random(name)),
    )  # fmt: skip
    asked = json.dumps({role: [str(head) for head in named] for role, named in heads.items()}, sort_keys=True)
    paths = [run.folder / "causal" / f"{_name(asked, place)}.json" for place in chosen]
    runs = [len(ablated_heads(random_heads(model, place, heads, job.seed))) for place in chosen]
    ablated, of = sum(n for n, path in zip(runs, paths, strict=True) if path.is_file()), sum(runs)

    def told() -> None:
        nonlocal ablated
        progress("checks", ablated, of, 0)
        ablated += 1

    for place, path in zip(chosen, paths, strict=True):
        if not path.is_file():
            write_whole(path, json.dumps(check_place(model, place, heads, mean_z, job.seed, told)).encode())
    progress("checks", of, of, 0)
    return ablations(read_json(path) for path in paths), len(chosen)


def _name(asked: str, place: Place) -> str:
    return sha256(f"{asked} {place.name} {place.ids}".encode()).hexdigest()[:16]
