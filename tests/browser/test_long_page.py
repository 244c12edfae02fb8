"""Articles: one that is typed at, live, and one so long that the page shows it in parts and still does not freeze."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from records import bench, close_to, eventually, go_to, heads_table

from qkvlab.model import Model

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "data" / "gum" / "gum-dev.conllu"
HEAD = "1.4"
"""Low enough that the library is quick to compute it beside the page."""
TYPED = " and then it stopped"
COUNT_FRAMES = "() => { window.frames = 0; const next = () => (window.frames++, requestAnimationFrame(next)); next(); }"

pytestmark = pytest.mark.skipif(not CORPUS.is_file(), reason=f"needs {CORPUS.name}, the articles of the GUM corpus")


def article(model: Model, tokens: int) -> str:
    """So many tokens of the corpus, from its beginning, paragraphs as they are."""
    paragraphs: list[list[str]] = []
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("# newpar"):
            paragraphs.append([])
        elif line.startswith("# text = "):
            paragraphs[-1].append(line.removeprefix("# text = "))
    text = "\n\n".join(" ".join(sentences) for sentences in paragraphs)
    end = model.tokenizer.encode(text[: 12 * tokens]).offsets[tokens - 1][1]
    return text[:end]


def expect_picture(page: Any, query: int, weights: Any) -> None:
    """Wait until the bench shows the library's weights of this query, its strongest keys and the rest in one row."""

    def check() -> None:
        assert page.get_by_test_id("bench").get_attribute("data-query") == str(query)
        shown = bench(page)
        close_to(shown, weights)
        others = page.get_by_test_id("bench-others")
        assert others.inner_text().startswith(f"+{query + 1 - len(shown)} others")
        rest = float(others.locator("[data-full]").get_attribute("data-full"))
        assert abs(rest - (1 - sum(shown.values()))) < 1e-5
        assert weights.argmax() in shown

    eventually(page, check)


def test_an_article_of_512_tokens_is_live(page: Any, smollm2: Any) -> None:
    text = article(smollm2, 512 - len(smollm2.tokenizer.encode(TYPED)))
    go_to(page, HEAD)
    area = page.get_by_test_id("text")
    area.fill(text)
    page.keyboard.press("Control+End")
    page.keyboard.type(TYPED)
    expect(area).to_have_value(text + TYPED)
    trace = smollm2.trace(text + TYPED)
    assert len(trace) == 512
    expect_picture(page, 511, trace.weights(HEAD)[511])
    tokens = page.get_by_test_id("tokens")
    tokens.focus()
    tokens.press("Home")
    tokens.press("ArrowRight")
    tokens.press("Enter")
    eventually(page, lambda: close_to(bench(page), trace.weights(HEAD)[1]))


def test_2048_tokens_open_and_the_page_does_not_freeze(page: Any, smollm2: Any) -> None:
    text = article(smollm2, 2048)
    go_to(page, HEAD)
    page.evaluate(COUNT_FRAMES)
    page.get_by_test_id("text").fill(text)
    frames = page.evaluate("() => window.frames")
    expect(page.locator("[data-testid=bench][data-query='2047']")).to_be_visible(timeout=120_000)
    assert page.evaluate("() => window.frames") > frames + 10
    trace = smollm2.trace(text)
    assert len(trace) == 2048
    expect_picture(page, 2047, trace.weights(HEAD)[2047])
    expect(page.get_by_test_id("too-long")).to_have_count(0)
    rows = heads_table(page)
    expect(rows).to_have_count(trace.spec.n_layer * trace.spec.n_head)
    page.get_by_test_id("text").focus()
    page.keyboard.type(" Still here")
    expect(page.get_by_test_id("text")).to_have_value(text + " Still here")
