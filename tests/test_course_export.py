"""The course as a folder: names, bytes, and answers equal to the live ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from page import PARTS, Served, read_frame
from qkvlab.course import switched
from qkvlab.course.export import export_course, requests
from qkvlab.course.reachable import reachable
from qkvlab.course.recorded import canonical, file_name, pack, unpack
from qkvlab.course.tables import largest
from qkvlab.edits import Ablate
from qkvlab.errors import CourseError
from terminal import run

GOLDEN = Path(__file__).parent.parent / "web" / "tests" / "recorded.json"
OPEN = {"lane": "open", "model": "smollm2"}
VIEW = {"lane": "view", "model": "smollm2", "text": "The cat drank", "heads": ["13.8"], "parts": PARTS}
INDEX = '<meta name="qkvlab-root" content="./" /><meta name="qkvlab-desk" content="live" /><script src="./assets/a.js">'


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "course").mkdir(parents=True)
    (folder / "onefile").mkdir()
    (folder / "onefile" / "template.html").write_text("%kept%")
    (folder / "index.html").write_text(INDEX)
    (folder / "course" / "map.json").write_text('{"modules": [{"module": "22", "here": true}]}')
    return folder


def test_names_are_those_of_the_golden_file() -> None:
    """The page's tests read the same file."""
    for row in json.loads(GOLDEN.read_text(encoding="utf-8")):
        assert canonical(row["request"]) == row["canonical"]
        assert file_name(row["request"]) == row["name"]


@pytest.mark.parametrize(
    ("value", "written"),
    [(1.0, "1"), (0.5, "0.5"), (-2.5, "-2.5"), (1e-7, "1e-7"), (1.5e-7, "1.5e-7"), (1e-6, "0.000001"), (-0.0, "0"),
     (1e21, "1e+21"), (1e20, "100000000000000000000"), (123.456, "123.456"), (3, "3"), (True, "true")],
)  # fmt: skip
def test_numbers_as_javascript_writes_them(value: float, written: str) -> None:
    assert canonical({"a": [value]}) == f'{{"a":[{written}]}}'


def test_frames_come_back_in_order() -> None:
    assert pack(["é", b"ab"]) == b"\x02\0\0\0\0\xc3\xa9" + b"\x02\0\0\0\x01ab"
    assert list(unpack(pack(["é", b"ab", ""]))) == ["é", b"ab", ""]
    with pytest.raises(CourseError, match="cut short"):
        list(unpack(pack(["abc"])[:-1]))


@pytest.mark.usefixtures("smollm2_path")
def test_recorded_numbers_are_the_live_ones(served: Served, page: Path, tmp_path: Path) -> None:
    assert export_course(tmp_path / "out", page=page, asked=[VIEW]) == 1
    data = (tmp_path / "out" / "course" / "recorded" / file_name(VIEW)).read_bytes()
    recorded = {frame.part: frame for frame in map(read_frame, unpack(data))}
    with served.page() as asking:
        live = asking.parts(**VIEW)
    assert list(recorded) == list(live) and "overview" in live
    for part, frame in live.items():
        for name, array in frame.arrays.items():
            np.testing.assert_allclose(recorded[part].arrays[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_page_at_each_of_its_addresses(page: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_course(out, page=page, asked=[])
    for address, leads in ((".", "./"), ("course", "../"), ("playground", "../"), ("lesson/22", "../../")):
        text = (out / address / "index.html").read_text()
        assert f'content="{leads}"' in text and f'src="{leads}assets/' in text and 'desk" content="recorded"' in text
    assert json.loads((out / "course" / "static.json").read_text())["recorded"] == []
    assert (out / "onefile" / "template.html").is_file(), "what a head to drag is made of"


def test_what_is_not_replaced(page: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    for force in (False, True):
        with pytest.raises(CourseError, match="other things"):
            export_course(out, page=page, asked=[], force=force)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    export_course(out, page=page, asked=[])
    with pytest.raises(CourseError, match="--force"):
        export_course(out, page=page, asked=[])
    (out / "course" / "old.json").write_text("{}")
    export_course(out, page=page, asked=[], force=True)
    assert not (out / "course" / "old.json").exists() and (out / "index.html").is_file()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_nothing_is_left_of_an_export_that_fails(page: Path, tmp_path: Path) -> None:
    wrong = {"lane": "view", "model": "smollm2", "text": "a", "heads": ["99.0"]}
    with pytest.raises(CourseError, match=r"view request cannot be recorded: .*99"):
        export_course(tmp_path / "out", page=page, asked=[wrong])
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    with pytest.raises(CourseError, match="there is no folder"):
        export_course(tmp_path / "no" / "out", page=page, asked=[])


@pytest.mark.usefixtures("smollm2_path")
def test_heads_are_recorded_in_every_set_of_every_layer_behind_every_token() -> None:
    plain = {**VIEW, "parts": ["prediction"], "edits": [], "at": [4, 8]}
    heard = [plain, {**plain, "at": 0}, {**plain, "edits": [off("3.2")]}]
    found = reachable(heard, [])
    assert [(request["switched"], request["at"], request["edits"]) for request in found] == [
        (layer, at, []) for layer in range(30) for at in ([4, 8], 0)
    ]
    assert len({file_name(request) for request in found}) == 60
    assert reachable(heard[:2], []) == []


@pytest.mark.usefixtures("smollm2_path")
def test_a_table_has_the_live_answer_to_every_set(served: Served, page: Path, tmp_path: Path) -> None:
    """Read as web/src/lesson/switched.ts reads it."""
    text, tracked = "The cat drank", [" milk", " water"]
    view = {"lane": "view", "model": "smollm2", "text": text, "heads": ["0.0"], "parts": ["prediction"], "edits": []}
    tables = [{**view, "tracked": tracked, "at": at, "switched": layer} for layer in (27, 29) for at in ([3, 7], None)]
    assert export_course(tmp_path / "out", page=page, asked=[OPEN, *tables]) == 5
    for table in tables:
        (packed,) = unpack((tmp_path / "out" / "course" / "recorded" / file_name(table)).read_bytes())
        frame = read_frame(packed)
        ids = frame.arrays["ids"].tolist()
        assert frame.part == "switched" and frame.arrays["most"].shape == (512, 6)
        assert frame.arrays["p"].shape == frame.arrays["logit"].shape == (512, 6 + 3 + 2)
        for number in (0, 1, 0b100010010, 511):
            edits = [off(f"{table['switched']}.{head}") for head in range(9) if number >> head & 1]
            with served.page() as asking:
                live = asking.parts(**{**view, "tracked": tracked, "at": table["at"], "edits": edits})[
                    "prediction"
                ].reply
            most = frame.arrays["most"][number].tolist()
            listed = [*most, *frame.reply["earlier"], *frame.reply["tracked"]]
            assert list(dict.fromkeys(listed[:9])) == [row["id"] for row in live["rows"]]
            assert [row["id"] for row in live["tracked"]] == listed[9:]
            for row in (*live["rows"], *live["tracked"]):
                now, then = listed.index(row["id"]), ids.index(row["id"])
                after = [float(frame.arrays[name][number, now]) for name in ("p", "logit")]
                before = [float(frame.arrays[f"{name}_before"][then]) for name in ("p", "logit")]
                assert after == pytest.approx([row["after"]["p"], row["after"]["logit"]], abs=2e-4), (table, number)
                assert after[0] == pytest.approx(row["after"]["p"], abs=1e-5)
                assert before == pytest.approx([row["before"]["p"], row["before"]["logit"]], abs=1e-4)
                assert frame.reply["words"][then] == row["text"]


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gpt2"])
def test_many_sets_in_one_run_are_the_sets_one_by_one(
    tiny_model: Any, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family)
    trace = model.trace(ids=list(range(3, 12)), positions="all").run()
    sets = [[head for head in range(model.spec.n_head) if number >> head & 1] for number in range(7)]
    monkeypatch.setattr(switched, "ROWS", 3 * 9)  # three sets a run, and one left over
    for layer in range(model.spec.n_layer):
        found = np.concatenate(list(switched.logits_without(trace, layer, sets)))
        for off, logits in zip(sets, found, strict=True):
            alone = trace.with_edits([Ablate(where=f"{layer}.{head}") for head in off]).logits
            np.testing.assert_allclose(logits, alone, atol=1e-5, rtol=1e-5)
    assert np.abs(found[0] - found[6]).max() > 1e-3


@given(st.integers(1, 3), st.integers(1, 700), st.integers(1, 6), st.randoms())
def test_the_largest_are_those_of_a_sort(rows: int, columns: int, n: int, random: Any) -> None:
    logits = np.asarray([[random.uniform(-9, 9) for _ in range(columns)] for _ in range(rows)], np.float32)
    n = min(n, columns)
    found = np.take_along_axis(logits, largest(logits, n), axis=1)
    assert (found == -np.sort(-logits, axis=1)[:, :n]).all()


def off(head: str) -> dict[str, Any]:
    return {"kind": "ablate", "where": head, "to": "zero", "strength": 1}


@pytest.mark.parametrize(
    ("text", "name", "token"),
    [
        ("it is it", " it", [5, 8]),
        ("the it item", " it", [3, 6]),
        ("a b", "#1", 1),
        ("a b", " c", None),
        ("a", None, None),
    ],
)
def test_the_head_to_drag_is_asked_for_as_the_page_names_it(text: str, name: str | None, token: Any) -> None:
    settings = {"model": "smollm2", "text": text, "head": "1.2", "query": name, "key": None, "edits": []}
    (request,) = reachable([], [{"kind": "prose"}, {"kind": "instrument", "name": "playground", "settings": settings}])
    assert (request["query"], request["key"], request["heads"]) == (token, None, ["1.2"])
    assert request["parts"] == ["head", "prediction", "words"] and request["at"] is None


def test_the_list_of_requests_is_sound() -> None:
    assert len(requests()) > 1 and all(request["lane"] for request in requests())
    opened = {request["model"] for request in requests() if request["lane"] == "open"}
    assert opened == {request["model"] for request in requests()} == {"smollm2", "minilm"}


def test_mistakes_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert "is not a folder" in run("course", "export", str(tmp_path / "x")).complaint()
    assert [row["module"] for row in run("course", "list", "--json").document()["modules"] if row["here"]]
