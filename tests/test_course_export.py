"""The course as a folder: names, bytes, and answers equal to the live ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from page import PARTS, Served, read_frame
from qkvlab.course.export import export_course, requests
from qkvlab.course.reachable import reachable
from qkvlab.course.recorded import canonical, file_name, pack, unpack
from qkvlab.errors import CourseError
from terminal import run

GOLDEN = Path(__file__).parent.parent / "web" / "tests" / "recorded.json"
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
def test_heads_are_recorded_in_every_set_of_their_layer_and_alone_in_others() -> None:
    """Of each set of heads one request, in the order of the heads, as the page writes it."""
    plain = {**VIEW, "parts": ["prediction"], "edits": [], "at": [4, 8]}
    heard = [plain, {**plain, "at": 0}, {**plain, "edits": [off("3.2")]}]
    found = {canonical(request): request for request in reachable(heard, [])}
    sets = [(request["at"], [edit["where"] for edit in request["edits"]]) for request in found.values()]
    own = [heads for at, heads in sets if at == [4, 8] and all(head.startswith("3.") for head in heads)]
    assert len(own) == 512 and ["3.0", "3.7"] in own and ["3.7", "3.0"] not in own
    assert sum(at == [4, 8] for at, _ in sets) == 512 + 29 * 18
    assert sum(at == 0 for at, _ in sets) == 512
    assert all(edit == off(edit["where"]) for request in found.values() for edit in request["edits"])
    assert reachable(heard[:2], []) == []


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
