"""A scan on Ray: the files of the serial run, also when a worker is killed; and clusters that are not there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab.atlas import tasks
from qkvlab.atlas.cluster import cluster
from qkvlab.atlas.run import Run
from qkvlab.atlas.scan import scan
from qkvlab.atlas.tasks import Job, Options
from qkvlab.errors import MissingExtraError, SourceError
from terminal import WORDS, readable

PLAIN = [word for word in WORDS if word.isalpha()]
DOCUMENTS, CHARACTERS = 24, 300
ASKED: dict[str, Any] = {"window": 16, "measures": ("position", "values"), "causal": False, "twin": False}
KILLED = """
import os, signal, sys
from pathlib import Path
from qkvlab.atlas import tasks
from qkvlab.atlas.scan import scan

def parent(process):
    return int((Path("/proc") / process / "stat").read_text().rpartition(")")[2].split()[1])

def is_ours(process):
    while process > 1 and process != os.getpid():
        process = parent(str(process))
    return process > 1

def counters():
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and b"ray::Counter" in (path / "cmdline").read_bytes() and is_ours(int(path.name)):
                yield int(path.name)
        except OSError:
            continue

killed = []

def progress(stage, done, of, tokens):
    if done and not killed:
        found = sorted(counters())
        killed.append(found[0])
        os.kill(found[0], signal.SIGKILL)
        print("killed one of", len(found))

if __name__ == "__main__":
    tasks.PART_CHARACTERS = {characters}
    scan({model!r}, {out!r}, [{text!r}], ray="local", workers=2, progress=progress, **{asked!r})
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Finished atlases are kept for the page: in a cache of these tests' own."""
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def small(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readable(tiny("llama")[1], tmp_path_factory.mktemp("readable"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, random = tmp_path_factory.mktemp("text") / "words.jsonl", np.random.default_rng(7)
    lines = [json.dumps({"text": " ".join(random.choice(PLAIN, 11 + 6 * (at % 7)))}) for at in range(DOCUMENTS)]
    path.write_text("\n".join(lines) + "\n")
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_worker_leaves_the_serial_runs_files(
    small: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = KILLED.replace("{characters}", str(CHARACTERS))
    for name, value in {"model": str(small), "out": str(tmp_path / "ray"), "text": str(text), "asked": ASKED}.items():
        script = script.replace(f"{{{name}!r}}", repr(value))
    (tmp_path / "killed.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "killed.py")], capture_output=True, text=True, timeout=300,
        env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == "killed one of 2\n", "nothing else is said on the terminal"
    monkeypatch.setattr(tasks, "PART_CHARACTERS", CHARACTERS)
    serial = scan(small, tmp_path / "serial", [text], **ASKED)
    assert len(serial.parts.numbers) > 5
    assert files(tmp_path / "ray") == files(tmp_path / "serial")
    assert len(Run(tmp_path / "ray").documents()) == DOCUMENTS


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"a scan on Ray .*qkvlab\[ray\]"):
        cluster("local", 2)


class NoCluster:
    """What is asked of Ray, where nothing answers."""

    def __init__(self, **errors: Exception) -> None:
        self.errors, self.tries = errors, 0

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.tries += 1
        raise self.errors["init"]


def test_no_cluster_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", NoCluster(init=ConnectionError("at first\nno node answers there\n")))
    job = Job(Options(), (0,), 0, "smollm2")
    with pytest.raises(SourceError, match=r"no Ray cluster at 10\.0\.0\.1:6379: no node answers there$") as caught:
        list(cluster("10.0.0.1:6379", 0)(job, iter(()), lambda characters, tokens: None))
    assert "\n" not in str(caught.value)


def test_a_node_of_our_own_that_does_not_come_up_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = NoCluster(init=Exception("The current node timed out during startup."))
    monkeypatch.setitem(sys.modules, "ray", slow)
    with pytest.raises(SourceError, match=r"no Ray cluster at local: The current node timed out during startup\.$"):
        list(cluster("local", 2)(Job(Options(), (0,), 0, "smollm2"), iter(()), lambda characters, tokens: None))
    assert slow.tries == 2
