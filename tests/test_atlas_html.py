"""The report: one file that asks nobody, with every number in it and nobody's markup."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from qkvlab.atlas.html import head_map, marked, report, write_report
from qkvlab.errors import AtlasError
from some_atlas import TEXTS, some_atlas, some_examples

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page, and fails where a tag is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    assert page.open == []
    return page


def test_the_report_has_what_was_found_and_how() -> None:
    atlas = some_atlas()
    page = read(report(atlas, some_examples(atlas)))
    for said in (
        "Atlas of Tiny-5, F32", "No head <knows> more.", "finds a pronoun's antecedent", "0.670–0.830", "+0.123 nats",
        "nearest candidate 0.350 (0.340–0.370)", "What was not found", "finds what the possessor belongs to",
        "7 documents, 1,113 tokens, windows of 128", "12 × words that share a token",
        "1.2, worst, 0.04 on the right word; <people>",
   
    ):  # fmt: skip
        assert said in page.text, said
    maps = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(maps) == len(atlas["roles"]) and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in maps)


def test_it_asks_nobody_and_runs_nothing() -> None:
    atlas = some_atlas(badge='<script>alert(1)</script>"')
    atlas["run"]["files"] = [{"name": "<img src=x>"}]
    text = report(atlas, some_examples(atlas))
    page = read(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "link", "iframe", "b")]
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", text)
    assert "<script>alert(1)</script>" in page.text and "prefers-color-scheme: dark" in text


def test_a_head_map_is_as_dark_as_the_values() -> None:
    atlas = some_atlas()
    page = read(head_map(atlas, "coreference"))
    heads = [attrs for tag, attrs in page.tags if tag == "rect" and attrs["class"] == "head"]
    values = [value for value in atlas["measures"]["coreference"]["value"] if value is not None]
    assert [float(attrs["fill-opacity"]) for attrs in heads] == pytest.approx(
        [value / max(values) for value in values], abs=1e-3
    )
    assert len([attrs for tag, attrs in page.tags if attrs.get("class") == "named"]) == 1
    assert "best 1.2" in page.tags[0][1]["aria-label"] and "framed: 1.2" in page.tags[0][1]["aria-label"]


def test_a_place_is_marked_and_the_rest_is_escaped() -> None:
    row = {"query": [45, 48], "right": [2, 6], "looked": [31, 35]}
    text = marked(TEXTS[1], row)
    assert '<mark class="query">she</mark>' in text and '<mark class="right">Anna</mark>' in text
    assert "&lt;b&gt;she&lt;/b&gt;" in text and read(text).text == TEXTS[1]
    assert (
        marked("ab", {"query": [0, 1], "right": [0, 1], "looked": [0, 1]})
        == '<mark class="query right looked">a</mark>b'
    )


def test_a_run_without_roles_or_examples(tmp_path: Path) -> None:
    assert "No head is named" in read(report({**some_atlas(), "roles": []})).text
    write_report(some_atlas(), None, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report(some_atlas())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="cannot write"):
        write_report(some_atlas(), None, tmp_path / "none" / "report.html")
