"""A scan on disk: the same counts however it is cut, spread, interrupted or gone on with."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from qkvlab import cli_atlas
from qkvlab.atlas import scan as scanning
from qkvlab.atlas import store, tasks
from qkvlab.atlas.count import count_document, count_random
from qkvlab.atlas.run import Run, begin
from qkvlab.atlas.scan import scan
from qkvlab.atlas.store import SCHEMA, UNFINISHED
from qkvlab.atlas.tables import InMemory
from qkvlab.errors import QkvLabError, SourceError, TextError, UnsupportedError
from qkvlab.model import open_model
from terminal import WORDS, readable, run

PLAIN = [word for word in WORDS if word.isalpha()]
TABLES = [name for name in SCHEMA if name != "examples"]
DOCUMENTS, RANDOM_TEXTS = 16, 3
SCRIPT = """
import sys
from qkvlab.atlas import scan as scanning
from qkvlab.atlas import tasks
tasks.PART_CHARACTERS, scanning.RANDOM_TEXTS = 300, 3
model, out, text, resume, ray = sys.argv[1:6]
more = {"resume": resume == "resume", "ray": ray or None, "workers": int(sys.argv[6])}
scanning.scan(model, out, [text], window=16, causal=False, **more)
"""


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Finished atlases are kept for the page: in a cache of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("QKVLAB_CACHE", str(place))
        patch.setattr(scanning, "RANDOM_TEXTS", RANDOM_TEXTS)
        yield place


@pytest.fixture(scope="module")
def small(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny grouped model that can read."""
    return readable(tiny("llama")[1], tmp_path_factory.mktemp("readable"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in the words that it knows, as JSONL."""
    path = tmp_path_factory.mktemp("text") / "words.jsonl"
    random = np.random.default_rng(11)
    lines = [json.dumps({"text": " ".join(random.choice(PLAIN, 13 + 7 * (at % 5)))}) for at in range(DOCUMENTS)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, so that there are several."""
    monkeypatch.setattr(tasks, "PART_CHARACTERS", 300)


@pytest.fixture(scope="module")
def whole(small: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed scan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "PART_CHARACTERS", 300)
        return scan(small, tmp_path_factory.mktemp("whole") / "run", [text], window=16, causal=False)


def contents(run: Run) -> dict[str, Any]:
    """Every table of the parts and of the twin, sorted, so that two runs can be compared to the last bit."""
    found: dict[str, Any] = {}
    for name, parts in (("scan", run.parts), ("twin", run.twin_parts)):
        for table in TABLES:
            rows = parts.read(table).to_pylist()
            found[f"{name} {table}"] = sorted(json.dumps(row, sort_keys=True) for row in rows)
    return found


def test_counts_are_those_of_each_document_by_itself(whole: Run, small: Path, text: Path) -> None:
    model = open_model(small)
    corpus = scanning.open_corpus([text], [])
    options = tasks.Options(window=16)
    random = [count_random(model, 0, number, options) for number in range(RANDOM_TEXTS)]
    expected = InMemory([*(count_document(model, each, options) for each in corpus.documents()), *random])
    assert len(whole.parts.numbers) > 5
    assert whole.documents() == expected.documents()
    assert whole.measures() == expected.measures()
    for measure in whole.measures():
        ours, theirs = whole.table(measure), expected.table(measure)
        for name in ("n", "hits", "mass"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert ours.baselines.keys() == theirs.baselines.keys()
        for name, hits in ours.baselines.items():
            np.testing.assert_array_equal(hits, theirs.baselines[name])
    assert whole.sums().keys() == expected.sums().keys()
    for name, moments in whole.sums().items():
        for mine, other in zip(moments, expected.sums()[name], strict=True):
            np.testing.assert_array_equal(mine.sum(axis=0), other.sum(axis=0))
    some = whole.documents()[:7]
    np.testing.assert_allclose(whole.mean_z(some), expected.mean_z(some), rtol=1e-12)


def test_the_tables_read_as_they_are(whole: Run) -> None:
    import duckdb
    import pandas

    pattern = str(whole.folder / "parts" / "*" / "counts.parquet")
    query = f"select sum(hits), count(distinct document) from read_parquet('{pattern}') where measure = 'position:self'"
    ((hits, documents),) = duckdb.sql(query).fetchall()
    table = whole.table("position:self")
    np.testing.assert_allclose(hits, table.hits.sum(), rtol=1e-12)
    assert documents == DOCUMENTS
    heads = pandas.read_parquet(whole.folder / "heads.parquet")
    own = heads[(heads.measure == "position:self") & (heads.layer == 1) & (heads["head"] == 2)]
    value = table.hits[:, 1, 2].sum() / table.n.sum()
    np.testing.assert_allclose(own.whole.item(), value, rtol=1e-12)
    for name in SCHEMA:
        path = next((whole.folder / "parts").glob(f"0*/{name}.parquet"))
        assert list(pandas.read_parquet(path).columns) == list(SCHEMA[name])


def test_the_page_finds_it_in_the_cache(whole: Run, _own_cache: Path) -> None:
    (kept,) = (_own_cache / "atlas").iterdir()
    for name in ("atlas.json", "examples.json"):
        assert (kept / name).read_bytes() == (whole.folder / name).read_bytes()


@pytest.mark.parametrize("characters", [1, 900, 10**9])
def test_any_cut_gives_the_same(
    whole: Run, small: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, characters: int
) -> None:
    monkeypatch.setattr(tasks, "PART_CHARACTERS", characters)
    other = scan(small, tmp_path / "run", [text], window=16, causal=False)
    assert contents(other) == contents(whole)
    assert other.atlas == whole.atlas
    assert (other.folder / "examples.json").read_text() == (whole.folder / "examples.json").read_text()


def test_a_run_that_counted_nothing_is_begun_anew(tmp_path: Path) -> None:
    """A cluster that was not there, say: what is left of it is in nobody's way."""
    out, ours = tmp_path / "run", {"model": "a"}
    begin(out, ours, False)
    begin(out, {"model": "b"}, False)
    assert json.loads((out / "run.json").read_text()) == {"model": "b"}
    (out / "parts" / "0").mkdir(parents=True)
    (out / "parts" / "0" / "counts.parquet").write_bytes(b"")
    with pytest.raises(SourceError, match="holds a run already"):
        begin(out, ours, False)
    assert json.loads((out / "run.json").read_text()) == {"model": "b"}


def started(small: Path, out: Path, text: Path, *, resume: bool = False, ray: str = "", workers: int = 0) -> Any:
    arguments = [str(small), str(out), str(text), "resume" if resume else "", ray, str(workers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def test_killed_at_random_moments_and_gone_on_with(whole: Run, small: Path, text: Path, tmp_path: Path) -> None:
    out, random, killed = tmp_path / "run", np.random.default_rng(3), 0
    for _ in range(3):
        before = len(list(out.glob("**/counts.parquet")))
        process = started(small, out, text, resume=out.exists())
        while process.poll() is None and len(list(out.glob("**/counts.parquet"))) <= before:
            time.sleep(0.002)
        time.sleep(float(random.uniform(0, 0.03)))
        if process.poll() is None:
            killed += 1
        process.kill()
        process.communicate()
    assert killed == 3
    process = started(small, out, text, resume=True)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert contents(Run(out)) == contents(whole)
    assert Run(out).atlas == whole.atlas
    assert not list(out.glob(f"**/{UNFINISHED}*"))


def test_a_full_disk_is_one_line_and_what_is_done_is_kept(
    whole: Run, small: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: None
) -> None:
    out, written, real = tmp_path / "run", 0, store.os.fsync

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(SourceError, match="No space left on device; what is done so far is kept"):
        scan(small, out, [text], window=16, causal=False)
    monkeypatch.setattr(store.os, "fsync", real)
    assert Run(out).parts.numbers
    assert not list(out.glob(f"**/{UNFINISHED}*"))
    with pytest.raises(SourceError, match="holds a run already; go on with it by --resume"):
        scan(small, out, [text], window=16, causal=False)
    assert contents(scan(small, out, [text], window=16, causal=False, resume=True)) == contents(whole)


def test_processes_count_the_same(whole: Run, small: Path, text: Path, tmp_path: Path, cut: None) -> None:
    other = scan(small, tmp_path / "run", [text], window=16, causal=False, workers=2)
    assert contents(other) == contents(whole)


def test_a_process_that_dies_is_one_line(small: Path, text: Path, tmp_path: Path, cut: None) -> None:
    def kill(stage: str, done: int, of: int, tokens: int) -> None:
        if done:
            own = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
            for number in own:
                try:
                    status = (Path("/proc") / str(number) / "stat").read_text().rpartition(")")[2].split()
                    command = (Path("/proc") / str(number) / "cmdline").read_bytes()
                except OSError:
                    continue
                if int(status[1]) == os.getpid() and b"spawn_main" in command:
                    os.kill(number, signal.SIGKILL)

    with pytest.raises(SourceError, match=r"ended unasked .*--resume"):
        scan(small, tmp_path / "run", [text], window=16, causal=False, workers=2, progress=kill)
    assert Run(tmp_path / "run").parts.numbers


def test_an_interrupt_says_how_to_go_on(small: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["atlas", "scan", str(small), "--text", str(text), "-o", str(out), "--window", "16"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "qkvlab", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    while process.poll() is None and not (out / "run.json").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    answer, said = process.communicate()
    assert process.returncode == 2, said
    assert answer == ""
    assert said.count("\n") == 1
    assert f"interrupted; what is done so far is in {out}: the same line with --resume goes on" in said


def test_where_no_bar_can_be_drawn_there_are_lines(
    small: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_atlas, "LINE_EVERY", 0)
    arguments = ["scan", str(small), "--text", str(text), "-o", str(tmp_path / "run"), "--window", "16", "--no-twin"]
    said = CliRunner().invoke(cli_atlas.atlas, arguments).stderr
    assert re.search(r"^scanning: 100%, [\d,]+ tokens/s", said, re.MULTILINE), said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 17}, "begun with other options: window was 16, is 17"),
        ({"seed": 5}, "begun with other options: seed was 0, is 5"),
        ({"measures": ("position",)}, "begun with other options: measures was"),
        ({"treebank": ["hand_made.conllu"]}, "begun with other files"),
    ],
)
def test_another_run_is_not_gone_on_with(
    whole: Run, small: Path, text: Path, change: dict[str, Any], message: str, cut: None
) -> None:
    options: dict[str, Any] = {"window": 16, "causal": False} | change
    if "treebank" in options:
        options["treebank"] = [Path(__file__).parent / name for name in options["treebank"]]
    before = (whole.folder / "run.json").read_bytes()
    with pytest.raises(SourceError, match=message):
        scan(small, whole.folder, [text], resume=True, **options)
    assert (whole.folder / "run.json").read_bytes() == before


def test_another_model_or_changed_files_are_not_gone_on_with(
    whole: Run, tiny: Any, small: Path, text: Path, tmp_path: Path, cut: None
) -> None:
    with pytest.raises(SourceError, match="begun with another model, or other weights"):
        other = readable(tiny("llama-biases")[1], tmp_path / "other")
        scan(other, whole.folder, [text], window=16, causal=False, resume=True)
    changed = tmp_path / text.name
    changed.write_text(text.read_text().replace("cat", "dog", 1))
    with pytest.raises(SourceError, match="begun with other files, or changed ones"):
        scan(small, whole.folder, [changed], window=16, causal=False, resume=True)


def test_places_that_are_no_runs(small: Path, text: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").write_text("keep me")
    with pytest.raises(SourceError, match="is there and is no atlas run"):
        scan(small, taken, [text], window=16)
    assert [path.name for path in taken.iterdir()] == ["letter.txt"]
    with pytest.raises(SourceError, match=r"is no atlas run: there is no run\.json"):
        Run(taken)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text('{"format": 99, "model": {"n_layer": 1, "n_head": 1}}')
    with pytest.raises(SourceError, match="has format 99; this version reads 1"):
        Run(tmp_path / "old")
    (tmp_path / "old" / "run.json").write_text("{")
    with pytest.raises(SourceError, match=r"run\.json cannot be read"):
        Run(tmp_path / "old")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 4}, UnsupportedError, "a window of 4 tokens"),
        ({"window": 4096}, UnsupportedError, "takes from 8 to 128"),
        ({"measures": ("positron",)}, UnsupportedError, "did you mean 'position'"),
        ({"layers": (7,)}, QkvLabError, "layer 7 has no heads"),
    ],
)
def test_mistakes_begin_nothing(
    small: Path, text: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        scan(small, tmp_path / "run", [text], **{"window": 16, **options})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("spread", [{"workers": 2}, {"ray": "local"}, {"ray": "10.0.0.1:6379"}])
def test_a_model_in_memory_only_is_not_spread(small: Path, text: Path, tmp_path: Path, spread: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="by its name or folder; this one is in memory only"):
        scan(open_model(small), tmp_path / "run", [text], window=16, **spread)
    assert not (tmp_path / "run").exists()


def test_nothing_to_scan(small: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(TextError, match=r"no document to scan in empty\.txt"):
        scan(small, tmp_path / "run", [empty], window=16)


def test_memory_holds_a_part_and_no_more(
    small: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: None
) -> None:
    alive, most = [0], [0]
    real: Callable[..., Any] = tasks.count_document

    def counting(*given: Any) -> Any:
        counts = real(*given)
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return counts

    def written(*given: Any) -> Any:
        alive[0] = 0
        return store.tables(*given)

    monkeypatch.setattr(tasks, "count_document", counting)
    monkeypatch.setattr(tasks, "tables", written)
    scan(small, tmp_path / "run", [text], window=16, causal=False, twin=False)
    assert 1 <= most[0] <= 4


def test_on_the_command_line(small: Path, text: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "run", tmp_path / "other.txt"
    other.write_bytes(b"the cat saw a dog and ran\n\xff\n")
    done = run(
        "atlas", "scan", str(small), "--text", str(text), str(other), "-o", str(out), "--window", "16", "--no-causal"
    )
    assert done.status == 0, done.err
    assert "position" in done.out or "looks" in done.out
    assert done.err.startswith("other.txt:2: byte 1 of the line is not UTF-8; passed over\n")
    assert "1 problem in the files" in " ".join(done.out.split()) and "Broken in the files, and left out: 1" in done.out
    shown = json.loads(run("atlas", "show", str(out), "--role", "position:self", "--json").out)
    assert list(shown) == ["model", "role", "heads"]
    assert [list(row) for row in shown["heads"][:1]] == [
        ["head", "n", "value", "low", "high", "selection", "whole", "baselines", "twin", "ablation"]
    ]
    wholes = [row["whole"] for row in shown["heads"]]
    assert len(wholes) == 18
    assert wholes == sorted(wholes, reverse=True)
    wrong = run("atlas", "show", str(out), "--role", "position:selv", "--json")
    assert (wrong.status, wrong.out) == (2, "")
    assert "the nearest are position:self" in wrong.err
