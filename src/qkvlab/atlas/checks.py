"""The causal check of a run: what its named heads change when they are ablated; each window is kept when done."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from ..model import Model
from .causal import ablations, check_place, checked_heads, places
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
    most: int,
    progress: Callable[[str, int, int, int], None],
) -> tuple[Found, int]:
    """(role, head) → what its ablation changed, of the `most` best heads of each role; and in how many windows.

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
    done: list[Mapping[str, Any]] = []
    for at, place in enumerate(chosen):
        progress("checks", at, len(chosen), 0)
        name = sha256(f"{asked} {place.name} {place.ids}".encode()).hexdigest()[:16]
        path = run.folder / "causal" / f"{name}.json"
        if not path.is_file():
            write_whole(path, json.dumps(check_place(model, place, heads, mean_z, job.seed)).encode())
        done.append(read_json(path))
    progress("checks", len(chosen), len(chosen), 0)
    return ablations(done), len(chosen)
