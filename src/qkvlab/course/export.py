"""The course as a folder that any static host serves: the built page, the compiled course, and recorded answers."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from .. import __version__
from .._parallel import one_blas_thread
from ..errors import CourseError
from ..server.app import PAGE, page_from
from ..server.rooms import furnish
from .reachable import reachable
from .recorded import Reader, file_name, record
from .tables import record_tables

HERE = Path(__file__).parent
MARK = "course/static.json"
"""Only an exported folder has it: no server runs there."""
LIVE, RECORDED = '<meta name="qkvlab-desk" content="live"', '<meta name="qkvlab-desk" content="recorded"'
Say = Callable[[str], None]


def modules(page: Path = PAGE) -> list[dict[str, Any]]:
    """The modules on the map, as they were compiled. Raises CourseError where they were not."""
    path = page / "course" / "map.json"
    if not path.is_file():
        raise CourseError("the course is not compiled in this copy of QKV Lab; run `make web` in the project's folder")
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["modules"]
    return rows


def requests(path: Path = HERE / "requests.json", page: Path = PAGE) -> list[dict[str, Any]]:
    """Every request that the lessons' instruments make, each once; first the opening of every model they name: a page
    whose server has it open does not ask for that."""
    asked = []
    for module, heard in json.loads(path.read_text(encoding="utf-8")).items():
        lesson = json.loads((page / "course" / f"{module}.json").read_text(encoding="utf-8"))
        steps = [step for section in lesson["sections"] for step in section["steps"]]
        asked += [*heard, *reachable(heard, [block for step in steps for block in step["blocks"]])]
    opening = [{"lane": "open", "model": request["model"]} for request in asked]
    return list({file_name(request): request for request in (*opening, *asked)}.values())


def export_course(
    target: Path, *, force: bool = False, page: Path = PAGE, asked: list[dict[str, Any]] | None = None,
    say: Say = lambda line: None,
) -> int:  # fmt: skip
    """Write the folder; returns how many recordings it holds. It appears whole or not at all.

    Raises CourseError where the page is not built, the folder has other things in it, or it cannot be written.
    """
    here = [row["module"] for row in modules(page) if row["here"]]
    if not (page / "index.html").is_file():
        raise CourseError("the page is not built in this copy of QKV Lab; run `make web` in the project's folder")
    asked = requests(page=page) if asked is None else asked
    try:
        target = target.resolve()
        _may_write(target, force)
        inside = target if target.is_dir() else target.parent
        with tempfile.TemporaryDirectory(prefix=".qkvlab-", dir=inside) as work:
            fresh = Path(work) / "fresh"
            _copy_page(page, fresh, here)
            _record_all(asked, fresh, say)
            _put(fresh, target, Path(work) / "old")
    except OSError as error:
        raise CourseError(f"cannot write {target}: {error.strerror}") from None
    return len(asked)


def _may_write(target: Path, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise CourseError(f"cannot write {target}: it is there and is not a folder")
    if not target.parent.is_dir():
        raise CourseError(f"cannot write {target}: there is no folder {target.parent}")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not (target / MARK).is_file():
        raise CourseError(f"{target} has other things in it; name an empty or a new folder")
    if not force:
        raise CourseError(f"{target} has an exported course in it; --force puts a new one in its place")


def _copy_page(page: Path, fresh: Path, here: list[str]) -> None:
    """The page's files; and the page itself at each address it knows, so that a reload finds it there too."""
    shutil.copytree(page, fresh)
    index = (fresh / "index.html").read_text(encoding="utf-8")
    if LIVE not in index:
        raise CourseError("the built page does not say that it runs live; run `make web` in the project's folder")
    index = index.replace(LIVE, RECORDED)
    (fresh / "index.html").write_text(index, encoding="utf-8")
    for address in ("course", "playground", *(f"lesson/{module}" for module in here)):
        path = fresh / address / "index.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page_from(index, address.count("/") + 1), encoding="utf-8")


def _record_all(asked: list[dict[str, Any]], fresh: Path, say: Say) -> None:
    """Ask the server's lanes for everything, and write down what is there."""
    rooms, reader = furnish("smollm2"), Reader()
    folder = fresh / "course" / "recorded"
    folder.mkdir()
    views = [request for request in asked if "switched" not in request]
    with one_blas_thread():  # as the server's worker computes
        recorded = chain(
            ((request, record(request, rooms, reader)) for request in views),
            record_tables([request for request in asked if "switched" in request], rooms, reader),
        )
        for number, (request, answer) in enumerate(recorded, 1):
            (folder / file_name(request)).write_bytes(answer)
            what = f"layer {request['switched']} of" if "switched" in request else request["lane"]
            say(f"recorded {number} of {len(asked)}: {what} {request.get('text', request.get('model', ''))}")
    day = datetime.now(UTC).date().isoformat()
    mark = {"version": __version__, "day": day, "recorded": sorted(path.stem for path in folder.iterdir())}
    (fresh / MARK).write_text(json.dumps(mark), encoding="utf-8")


def _put(fresh: Path, target: Path, old: Path) -> None:
    """The finished folder in its place: a new one by its name, in an old one entry by entry, the first file last."""
    umask = os.umask(0)
    os.umask(umask)
    fresh.chmod(0o777 & ~umask)
    if not target.exists():
        fresh.rename(target)
        return
    old.mkdir()
    before = [entry for entry in target.iterdir() if entry != fresh.parent]
    after = sorted(fresh.iterdir(), key=lambda entry: entry.name == "index.html")
    moves = [(entry, old / entry.name) for entry in before] + [(entry, target / entry.name) for entry in after]
    done: list[tuple[Path, Path]] = []
    try:
        for move in moves:
            move[0].rename(move[1])
            done.append(move)
    except OSError:
        for was, now in reversed(done):
            now.rename(was)
        raise
