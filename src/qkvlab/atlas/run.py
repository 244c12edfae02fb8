"""The folder of a run: what was asked, the parts that are done, and in the end the atlas."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shapes import Array
from ..errors import SourceError
from ..model import Model
from .counts import Options
from .gather import Gathered
from .reading import AtlasJson, read_atlas
from .store import FORMAT, Parts, read_json, write_whole
from .tables import Moments, Table

if TYPE_CHECKING:
    from ..live import LiveModel
    from .tasks import Part

RUN, ATLAS, EXAMPLES = "run.json", "atlas.json", "examples.json"


class Counts:
    """The counts of some parts. `Counted`: statistics read it one measure at a time."""

    def __init__(self, parts: Parts, report_all: bool) -> None:
        self.parts = parts
        self._report_all = report_all

    @cached_property
    def _gathered(self) -> Gathered:
        return Gathered(self.parts, self._report_all)

    def measures(self) -> list[str]:
        return self.parts.measures()

    def documents(self) -> tuple[str, ...]:
        return self.parts.documents()

    def tokens(self) -> int:
        return self.parts.tokens()

    def table(self, measure: str) -> Table:
        """One measure over the documents, in the order of the corpus; of very many, over groups of them."""
        return self._gathered.table(measure)

    def sums(self) -> dict[str, Moments]:
        """Every quantity, added up over all documents."""
        return self._gathered.sums()

    def mean_z(self, documents: Collection[str]) -> Array:
        """Each head's mean blend over these documents, [layer, head, d_value]."""
        return self.parts.mean_z(documents)


class Run(Counts):
    """A run folder: its settings, its counts, those of its twin, and what was found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / RUN).is_file():
            raise SourceError(f"{folder} is no atlas run: there is no {RUN} in it; make one with qkvlab atlas scan")
        self.settings: dict[str, Any] = read_json(folder / RUN)
        if self.settings.get("format") != FORMAT:
            raise SourceError(
                f"{folder}: {RUN} has format {self.settings.get('format')!r}; this version reads {FORMAT}"
            )
        shape = (int(self.settings["model"]["n_layer"]), int(self.settings["model"]["n_head"]))
        super().__init__(Parts(folder / "parts", shape), bool(self.settings.get("options", {}).get("report_all")))
        self.twin_parts = Parts(folder / "twin" / "parts", shape)

    @cached_property
    def twin(self) -> Counts | None:
        """What was counted of the twin, if it was scanned."""
        return Counts(self.twin_parts, self._report_all) if self.twin_parts.numbers else None

    @property
    def atlas(self) -> AtlasJson:
        """The findings, as atlas.json has them. Raises AtlasError for a run that is not finished."""
        return read_atlas(self.folder)


def identity(model: Model) -> dict[str, Any]:
    """What a model is, so that a run is only ever gone on with by the same one."""
    spec = model.spec
    return {
        "name": spec.name, "badge": model.badge, "family": spec.family, "n_layer": spec.n_layer,
        "n_head": spec.n_head, "weights": weights_sum(model),
    }  # fmt: skip


def weights_sum(model: Model) -> str:
    """SHA-256 of the weights: of their files, or, of a live model, of its parameters as they are."""
    from ..reference import checksum

    if model.native or getattr(model, "checkpoint", None) is not None:
        return checksum(model, "")
    return live_sum(model)  # type: ignore[arg-type]


def live_sum(model: "LiveModel") -> str:
    """SHA-256 of the parameters of a live model, by name and value."""
    from ..models.attending import to_numpy

    total = sha256()
    for name, values in sorted(model.hf.state_dict().items()):
        total.update(name.encode())
        total.update(np.ascontiguousarray(to_numpy(values)).tobytes())
    return total.hexdigest()


def settings(
    model: Model, options: Options, files: Sequence[Mapping[str, Any]], parts: "list[Part]", more: Mapping[str, Any]
) -> dict[str, Any]:
    """What run.json holds: all that the counts depend on, and the plan."""
    made: dict[str, Any] = json.loads(
        json.dumps(
            {
                "format": FORMAT,
                "model": identity(model),
                "options": asdict(options) | dict(more),
                "files": list(files),
                "plan": [list(part) for part in parts],
            }
        )
    )

    return made


def check_same(folder: Path, ours: Mapping[str, Any]) -> None:
    """Is this the run that was begun there? Raises SourceError, saying what differs."""
    theirs = Run(folder).settings
    names = {
        "model": "another model, or other weights", "options": "other options", "files": "other files, or changed ones",
        "plan": "another corpus",
    }  # fmt: skip
    for name, what in names.items():
        if theirs.get(name) != ours[name]:
            old, new = theirs.get(name), ours[name]
            if isinstance(old, dict) and isinstance(new, dict):
                keys = [key for key in new if old.get(key) != new[key]]
                what += ": " + ", ".join(f"{key} was {old.get(key)!r}, is {new[key]!r}"[:120] for key in keys[:2])
            raise SourceError(f"{folder} was begun with {what}; resume it as it was begun, or name another folder")


def begin(folder: Path, ours: Mapping[str, Any], resume: bool) -> None:
    """Make the run's folder, or go on with it; a run that never counted anything is begun anew.

    Raises SourceError where it is taken.
    """
    if (folder / RUN).is_file() and (resume or any(folder.glob("**/*.parquet"))):
        if not resume:
            raise SourceError(f"{folder} holds a run already; go on with it by --resume, or name another folder")
        check_same(folder, ours)
        return
    if folder.exists() and not (folder / RUN).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(f"{folder} is there and is no atlas run; name a folder that is new or empty")
    write_whole(folder / RUN, json.dumps(ours, indent=1).encode())
