"""Exported files, opened and checked: exactly what is on screen, and nothing that leads elsewhere."""

import base64
import math
import re
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import expect
from records import export, exported, use_example

from qkvlab.edits import Mute
from qkvlab.effects import prediction

SENTENCE = "In France they speak French. In Italy they speak"
HEAD = "23.4"
SVG = "{http://www.w3.org/2000/svg}"
PIXELS = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
  const counts = new Map();
  pixels.forEach((pixel) => counts.set(pixel, (counts.get(pixel) ?? 0) + 1));
  const most = Math.max(...counts.values()) / pixels.length;
  return { width: image.width, height: image.height, colours: counts.size, most };
}"""


@pytest.fixture
def muted(page: Any) -> Any:
    """The page with the one edit that turns the answer."""
    use_example(page, "A value that turns the answer", HEAD)
    row = page.locator("[data-testid=bench-row][data-key='7']")
    row.get_by_role("button", name="Change").click()
    page.get_by_test_id("mute-head").click()
    first = page.get_by_test_id("prediction").locator("button").first
    expect(first).to_have_attribute("data-token", " French")
    return page


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in svg.iter(f"{SVG}text")]


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


def test_svg_is_the_picture_and_needs_nothing_else(muted: Any) -> None:
    path = export(muted, "SVG")
    assert path.name == "qkvlab-in-france-they-speak-french-in-italy-the-23.4.svg"
    source = path.read_text(encoding="utf-8")
    svg = ElementTree.fromstring(source)
    assert svg.tag == f"{SVG}svg"
    for element in svg.iter():
        assert element.tag.startswith(SVG)
        assert element.tag.removeprefix(SVG) not in {"foreignObject", "script", "style", "use", "a"}
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name.endswith("href"):
                assert value.startswith("data:image/png;base64,"), value[:80]
    assert set(re.findall(r"url\((.)", source)) <= {"#"}
    assert SENTENCE in "".join(svg.find(f"{SVG}title").itertext())  # type: ignore[union-attr]
    drawn = texts(svg)
    assert SENTENCE.replace(" ", "") in "".join(drawn).replace(" ", "")
    figures = muted.locator("[data-testid=bench] .figure").all_inner_texts()
    answers = muted.locator("[data-testid=prediction] button b").all_inner_texts()
    assert len(figures) > 20
    for figure in [*figures, *answers]:
        assert figure.strip() in drawn, figure


def test_svg_and_png_have_the_size_of_the_instrument(muted: Any) -> None:
    svg = ElementTree.fromstring(export(muted, "SVG").read_text(encoding="utf-8"))
    box = muted.locator("main").bounding_box()
    wide, high = int(svg.attrib["width"]), int(svg.attrib["height"])
    assert (wide, high) == (math.ceil(box["width"]), math.ceil(box["height"]))
    path = export(muted, "PNG")
    assert size(path) == (2 * wide, 2 * high)
    seen = muted.evaluate(PIXELS, base64.b64encode(path.read_bytes()).decode())
    assert (seen["width"], seen["height"]) == (2 * wide, 2 * high)
    assert seen["colours"] > 200
    assert 0.3 < seen["most"] < 0.97


def test_json_holds_the_librarys_numbers(muted: Any, smollm2: Any) -> None:
    record = exported(muted)
    query = record["query"]
    assert record["state"]["text"] == SENTENCE
    before = smollm2.trace(SENTENCE)
    after = smollm2.trace(SENTENCE, edits=[Mute(where=HEAD, key=7, query=None)])
    assert record["tokens"] == list(before.tokens)
    assert query == len(before) - 1
    layer, head = map(int, HEAD.split("."))
    for name, trace in (("before", before), ("after", after)):
        numbers = record[name]
        scores = [-np.inf if score is None else score for score in numbers["scores"]]
        write = np.linalg.norm(trace.write(HEAD)[query])
        np.testing.assert_allclose(scores, trace.scores(HEAD)[query], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(numbers["weights"], trace.weights(HEAD)[query], atol=1e-5, rtol=0)
        np.testing.assert_allclose(numbers["z"], trace.z(layer)[head, query], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(numbers["write_length"], write, atol=1e-5, rtol=1e-5)
    expected = prediction(before, after, query, [])
    assert record["prediction"]["at"] == query
    for row, answer in zip(record["prediction"]["rows"], expected["rows"], strict=True):
        assert row["text"] == answer["text"]
        for when in ("before", "after"):
            np.testing.assert_allclose(row[when]["p"], answer[when]["p"], atol=1e-5, rtol=0)
            np.testing.assert_allclose(row[when]["logit"], answer[when]["logit"], atol=1e-4, rtol=1e-5)
