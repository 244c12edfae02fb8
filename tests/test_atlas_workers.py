"""Counting processes: none outlives its scan, not even one that is killed; and the plan that they share."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.atlas import tasks
from qkvlab.atlas.tasks import Job, Options, Part, Task, plan
from qkvlab.atlas.treebank import Document
from qkvlab.atlas.workers import processes
from qkvlab.errors import SourceError
from terminal import WORDS, readable

SCRIPT = """
import sys
from qkvlab.atlas import tasks
from qkvlab.atlas.scan import scan
if __name__ == "__main__":
    tasks.PART_CHARACTERS = 40
    model, out, text = sys.argv[1:]
    scan(model, out, [text], window=16, measures=("position",), workers=2, twin=False, causal=False)
"""


def children(process: int) -> list[int]:
    """The processes that a process has spawned to count."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1]) if path.name.isdigit() else 0
            if parent == process and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def is_alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_process_outlives_a_killed_scan(tiny: Any, tmp_path: Path) -> None:
    readable(tiny("llama")[1], tmp_path / "model")
    (tmp_path / "script.py").write_text(SCRIPT)
    line = json.dumps({"text": " ".join(word for word in WORDS if word.isalpha())})
    (tmp_path / "words.jsonl").write_text(f"{line}\n" * 400)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "QKVLAB_CACHE": str(tmp_path),
    }  # fmt: skip
    words = [sys.executable, *(str(tmp_path / name) for name in ("script.py", "model", "run", "words.jsonl"))]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    while process.poll() is None and not list((tmp_path / "run").glob("parts/0*")):
        time.sleep(0.01)
    counting = children(process.pid)
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    assert len(counting) == 2, said.decode()
    for _ in range(3000):
        if not any(map(is_alive, counting)):
            break
        time.sleep(0.01)
    assert not any(map(is_alive, counting))


def test_whoever_leaves_a_scan_does_not_wait_for_the_parts_on_their_way(tiny: Any, tmp_path: Path) -> None:
    small = readable(tiny("llama")[1], tmp_path / "model")
    documents = [Document(f"d:{at}", "the cat drank " * 40) for at in range(9)]
    todo = (Task(Part(f"{at:06d}", at, 1, 560), (document,)) for at, document in enumerate(documents))
    job = Job(Options(16, ("position",)), (0, 1), 0, str(small))
    before = set(active_children())
    parts = processes(2)(job, todo, lambda characters, tokens: None)
    next(parts)
    own = [process for process in active_children() if process not in before]
    parts.close()  # type: ignore[attr-defined]
    assert [process.exitcode for process in own] == [-signal.SIGTERM] * 2


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 200))
def test_a_plan_is_all_documents_in_order_and_no_part_grows_without_end(sizes: list[int], characters: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "PART_CHARACTERS", characters)
        patch.setattr(tasks, "GROWTH", 3)
        patch.setattr(tasks, "LARGEST", 4)
        parts = plan(Document(f"d:{at}", "x" * size) for at, size in enumerate(sizes))
    at = 0
    for number, part in enumerate(parts):
        own = sizes[at : at + part.n_document]
        limit = characters * min(1 + number // 3, 4)
        assert (part.name, part.first, part.n_character) == (f"{number:06d}", at, sum(own))
        assert sum(own[:-1]) < limit, "no document is added to a part that is full"
        assert sum(own) >= limit or part is parts[-1]
        at += part.n_document
    assert at == len(sizes)


def test_a_corpus_that_lost_documents_is_one_line() -> None:
    documents = [Document(f"d:{at}", "four") for at in range(3)]
    parts = plan(documents)
    with pytest.raises(SourceError, match="fewer documents than when the scan began"):
        list(tasks.tasks(iter(documents[:2]), parts, ()))
