"""The course: what a lesson file may hold, where its sentences end, and where a broken one breaks."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab.course.compile import HERE, compile_course, read_lessons
from qkvlab.course.drift import sha256
from qkvlab.course.illustrate import PICTURES, THEMES
from qkvlab.course.instruments import INSTRUMENTS, SPECIALISTS
from qkvlab.course.lesson import Lesson, read_lesson
from qkvlab.course.maths import MathsError, typeset
from qkvlab.course.sentences import starts
from qkvlab.course.spoken import spoken
from qkvlab.errors import LessonError

FRONT = """---
module: "3"
title: A lesson
promise: What it promises.
minutes: 2
needs: []
narrated: false
---
"""
BODY = "# One\n## Two\nFirst. [[residual layer=5]] Second.\n\n:::instrument residual\nlayer: 1\n:::\n"


def read(body: str = BODY, front: str = FRONT, **figures: str) -> Lesson:
    return read_lesson(front + body, "3.md", figures)


def said(body: str, **figures: str) -> list[str]:
    return [sentence.text for sentence in read(f"# A\n{body}\n", **figures).sentences]


def complaint(body: str, front: str = FRONT) -> tuple[int, str]:
    with pytest.raises(LessonError) as raised:
        read(body, front)
    assert str(raised.value).startswith(f"3.md:{raised.value.line}: ") and "\n" not in str(raised.value)
    return raised.value.line, str(raised.value)


# ---- sentences


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two.", 2),
        ("It is 0.90. Then 13.8 follows.", 2),
        ("Some heads, e.g. those of layer 3, i.e. few, cf. Vaswani et al. 2017, do. Others do not.", 2),
        ('It looks at " cat". " it" is next! Is it? Yes.', 4),
        ('He asks "who?" and waits. (It ends.) So it is.', 3),
        ("Q, K and V. The same x.", 2),
        ("One… and on. Two... Three", 3),
        ("See Fig. 2. It shows", 2),
        ("After 5 ms. No. Never!", 3),
        ("A full stop.\u00a0Held together.", 1),
    ],
)
def test_where_a_sentence_ends(text: str, count: int) -> None:
    assert len(starts(text)) + 1 == count


def test_formulas_and_figures_begin_sentences() -> None:
    assert said("It is {{a}}. {{b}} is more. $q$ is a query.", a="0.90", b="zero") == [
        "It is 0.90.", "zero is more.", "q is a query.",
    ]  # fmt: skip


def test_markup_across_sentences_is_closed_and_opened_again() -> None:
    lesson = read("# A\nSo *one. Two* and **three.** [Four](https://example.org/a?b=1&c).\n")
    assert [sentence.html for sentence in lesson.sentences] == [
        "So <em>one.</em>",
        "<em>Two</em> and <strong>three.</strong>",
        '<a href="https://example.org/a?b=1&amp;c">Four</a>.',
    ]


def test_lines_are_joined_and_signs_are_escaped() -> None:
    assert read("# A\nOne\nline < two & \\$3.\n").sentences[0].html == "One line &lt; two &amp; $3."


# ---- mathematics


@pytest.mark.parametrize(
    ("source", "html", "text"),
    [
        ("W_q", "<var>W</var><sub><var>q</var></sub>", "W_q"),
        (r"q \cdot k", "<var>q</var> · <var>k</var>", "q · k"),
        (r"\sqrt{d}", "√<var>d</var>", "√d"),
        (r"\sqrt{d+1}", "√(<var>d</var> + 1)", "√(d + 1)"),
        ("-x^2 < 0.5", "−<var>x</var><sup>2</sup> &lt; 0.5", "−x^2 < 0.5"),
        (r"\frac{q k^\top}{8}", "(<var>q</var><var>k</var><sup>T</sup>)/8", "(qk^T)/8"),
        (r"\text{softmax}(s)", "softmax(<var>s</var>)", "softmax(s)"),
        ("576 \\times 64", "576 × 64", "576 × 64"),
    ],
)
def test_formulas(source: str, html: str, text: str) -> None:
    assert typeset(source) == (html, text)


@pytest.mark.parametrize("source", ["", "_q", r"\bogus", "{q", "q_", r"\text q", "q}", "a @ b"])
def test_formulas_that_are_none(source: str) -> None:
    with pytest.raises(MathsError):
        typeset(source)


# ---- cues


def test_a_cue_belongs_to_the_sentence_behind_it() -> None:
    lesson = read()
    assert [sentence.text for sentence in lesson.sentences] == ["First.", "Second."]
    assert lesson.cues == [{"sentence": 1, "instrument": "residual", "set": {"layer": 5}}]
    assert lesson.instruments["residual"]["settings"]["layer"] == 1


def test_a_cue_s_values_are_json_or_words_of_the_setting_s_kind() -> None:
    cues = '[[residual head=13.10 query=" it"]] [[toy w_q=[[1,0],[0,2.5]] tied=true]] All at once.'
    lesson = read(f"# A\n{cues}\n\n:::instrument residual\nhead: 2.10\n:::\n\n:::instrument toy\n:::\n")
    assert [cue["set"] for cue in lesson.cues] == [
        {"head": "13.10", "query": " it"}, {"w_q": [[1, 0], [0, 2.5]], "tied": True},
    ]  # fmt: skip
    assert {cue["sentence"] for cue in lesson.cues} == {0} and len(lesson.sentences) == 1
    assert lesson.instruments["residual"]["settings"]["head"] == "2.10"


# ---- what breaks, and where (the front matter has 8 lines)


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("# A\n:::instrument nothing\n:::\n", 10, "the instrument 'nothing' is not known"),
        ("# A\n:::instrument residual\ntext: x\nlayers: 3\n:::\n", 12, "the setting 'layers' is not known; did you"),
        ("# A\n:::instrument residual\nlayer: -1\n:::\n", 11, "layer: expected a whole number from 0; got -1"),
        ("# A\nOne. [[residual layer=3]]\n\n:::instrument residual\n:::\n", 10, "no sentence follows this cue"),
        ("# A\nOne [[residual]] two.\n\n:::instrument residual\n:::\n", 10, "here one is under way"),
        ("# A\n\n[[elsewhere layer=3]] One.\n", 11, "the instrument with the id 'elsewhere'"),
        ("# A\n[[residual depth=3]] One.\n\n:::instrument residual\n:::\n", 10, "the setting 'depth'"),
        ("# A\n[[residual layer=3 One.\n", 10, "is not closed"),
        ("# A\nOne\nis {{nowhere}}.\n", 11, "the figure 'nowhere' is not in figures.json"),
        ("# A\nOne.\n\n:::aside\nTwo.\n", 12, ":::aside is not closed"),
        ("# A\n:::aside\nTwo.\n:::challenge\n:::\n", 10, "is not closed before line 12"),
        ("# A\n:::\n", 10, "none is open"),
        ("# A\n## B\nOne.\n## B\n", 12, "the id 'b' stands twice in this lesson; first in line 10"),
        ("# A\n:::instrument toy\n:::\n:::instrument toy\n:::\n", 12, "the id 'toy' stands twice"),
        ("# A\n:::instrument residual\ntext: [a\n:::\n", 11, "this is not YAML"),
        ("# A\n:::instrument residual\ntext: a\ntext: b\n:::\n", 12, "text stands here twice"),
        ("# A\n- one\n", 10, "this is a bullet list"),
        ("# A\nThe `code` here.\n", 10, "code in backticks"),
        ("# A\nCosts\n$5.\n", 11, "none ends it"),
        ("# A\nBad $\\bogus$.\n", 10, "\\bogus is not known"),
        ("# A\n[x](javascript:1) [y](file.html).\n", 10, "a link leads to"),
        ("One.\n", 9, "begins with a section"),
        ("# A\n:::challenge\nDo it.\n:::\n", 10, "there is none"),
        ("# A\n:::question\nask: Who?\nanswers: [a, b]\nright: 2\nbecause: So.\n:::\n", 13, "0 to 1; got 2"),
        (
            "# A\n:::question\nask: Who?\nanswers: [a, b]\nright: 0\nwrong: [a]\nbecause: So.\n:::\n",
            14,
            "null at the place of the right one",
        ),
        ("# A\n:::formula nothing\n:::\n", 10, "the formula 'nothing'"),
        ("# A\n:::wrong\n:::\n", 10, "the block 'wrong'"),
    ],
)
def test_a_broken_lesson_says_where(body: str, line: int, words: str) -> None:
    at, message = complaint(body)
    assert words in message and at == line


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("promise: What it promises.\n", "", 1, "the front matter has no promise"),
        ('module: "3"', "module: 3", 2, "module: expected a text (in quotes); got 3"),
        ("minutes: 2", "minutes: soon", 5, "expected a whole number"),
        ("needs: []", "needs: [12]", 6, "expected a list of modules"),
        ("title: A lesson", "titel: A lesson", 3, "did you mean 'title'?"),
        ("narrated: false\n---", "narrated: [", 7, "not closed"),
        ("minutes: 2", "minutes: 2 {}: 3", 5, "this is not YAML"),
    ],
)
def test_broken_front_matter_says_where(old: str, new: str, line: int, words: str) -> None:
    at, message = complaint(BODY.replace("---", ""), FRONT.replace(old, new))
    assert words in message and (at == line or words == "not closed")


# ---- the whole course


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A copy of the course to break."""
    return Path(shutil.copytree(HERE, tmp_path / "course", ignore=shutil.ignore_patterns("__pycache__")))


def broken(course: Path, file: str, old: str, new: str) -> str:
    path = course / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(LessonError) as raised:
        compile_course(course)
    return str(raised.value)


def test_the_course_compiles() -> None:
    files = compile_course()
    modules = json.loads(files["map.json"])["modules"]
    here = [row["module"] for row in modules if row["here"]]
    assert here == ["12", "12a", "22"]
    known = {row["module"] for row in modules}
    assert all(set(row["needs"]) <= known for row in modules)
    for module in here:
        lesson = json.loads(files[f"{module}.json"])
        steps = [step for section in lesson["sections"] for step in section["steps"]]
        blocks = [block for step in steps for block in step["blocks"]]
        numbers = [row["n"] for block in blocks if block["kind"] == "prose" for row in block["sentences"]]
        assert numbers == list(range(len(numbers))) and lesson["badges"]
        for block in blocks:
            if block["kind"] == "instrument":
                assert block["settings"].keys() == INSTRUMENTS[block["name"]].settings.keys()
    badges = json.loads(files["12.json"])["badges"]
    assert len(badges) == 2 and "SmolLM2" in badges[1], "what only a cue brings is named, too"


def test_every_default_is_of_its_kind() -> None:
    for name, instrument in INSTRUMENTS.items():
        for key, setting in instrument.settings.items():
            assert setting.complaint(setting.default) is None, f"{name}.{key}"


def test_the_map_s_mistakes(course: Path) -> None:
    message = broken(course, "lessons/22.md", 'needs: ["12"]', 'needs: ["99"]')
    assert "22.md:6: module '22' needs module '99'" in message


def test_modules_in_a_circle(course: Path) -> None:
    assert "in a circle: 12, 12a" in broken(course, "lessons/12.md", 'needs: ["9", "10"]', 'needs: ["12a"]')


def test_a_lesson_in_another_s_file(course: Path) -> None:
    assert "22.md:2: module '23'" in broken(course, "lessons/22.md", 'module: "22"', 'module: "23"')


def test_a_link_to_no_lesson(course: Path) -> None:
    assert "the lesson '99' is not known" in broken(course, "lessons/12.md", "a mask.", "[a mask](lesson:99).")


def test_a_picture_that_is_missing(course: Path) -> None:
    assert "22.md:8: course/art has no picture" in broken(course, "lessons/22.md", "hero: hero", "hero: none")


def narrate(course: Path) -> None:
    """Narrate module 12 of a copy, with every sentence's own hash."""
    path = course / "lessons" / "12.md"
    path.write_text(path.read_text(encoding="utf-8").replace("narrated: false", "narrated: true"), encoding="utf-8")
    sentences = read_lessons(course)["12"].sentences
    said = [spoken(sentence.text) for sentence in sentences]
    rows = [{"start": n, "end": n + 0.5, "spoken": words, "sha256": sha256(words)} for n, words in enumerate(said)]
    (course / "narration").mkdir(exist_ok=True)
    voice = {"audio": "12.mp3", "seconds": 9.0, "voice": "none", "sentences": rows}
    (course / "narration" / "12.json").write_text(json.dumps(voice), encoding="utf-8")
    (course / "narration" / "12.mp3").write_bytes(b"sound")


def test_the_voice_says_what_the_lesson_says(course: Path) -> None:
    narrate(course)
    files = compile_course(course)
    assert json.loads(files["12.json"])["narration"]["sentences"][1] == [1, 1.5] and files["12.mp3"] == b"sound"
    assert "12.md:14: sentence 0 is to be said as" in broken(course, "lessons/12.md", "Attention lets", "Attention let")


def test_a_voice_that_is_missing(course: Path) -> None:
    assert "12.md:7: narrated, but never spoken" in broken(course, "lessons/12.md", "narrated: false", "narrated: true")


def test_the_pictures_are_of_the_model_as_it_is(smollm2: Any) -> None:
    for name, (text, draw, _) in PICTURES.items():
        trace = smollm2.trace(text)
        for theme, colours in THEMES.items():
            kept = (HERE / "art" / f"{name}-{theme}.svg").read_text(encoding="utf-8")
            drawn = draw(trace, colours)
            assert re.sub(r"[\d.]+", "0", kept) == re.sub(r"[\d.]+", "0", drawn)
            np.testing.assert_allclose(_numbers(kept), _numbers(drawn), atol=0.2)


def _numbers(picture: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", picture)]


def test_measured_figures_are_shipped_as_values() -> None:
    shipped = json.loads(compile_course()["figures.json"])
    assert shipped["spec_pronoun_head"]["value"] == "16.5" and shipped["spec_documents"]["shown"] == "12"
    measured = json.loads((HERE / "figures.json").read_text(encoding="utf-8"))
    assert shipped.keys() == {name for name in measured if name.startswith("spec_")}
    heads = {name.removesuffix("_head") for name in shipped if name.endswith("_head")}
    assert heads == {f"spec_{name}" for name in SPECIALISTS}
