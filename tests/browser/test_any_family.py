"""Models of other families in the picker: what the page computes equals the library, whatever is in the scores."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from reading import open_head
from records import expect_weights

from qkvlab import open_model
from qkvlab.model import Model
from qkvlab.server.describe import describe
from serving import Served, serve
from zoo import build

KINDS = {"gpt_oss": "1.4", "gemma2": "1.4", "bloom": "1.1", "deepseek_v3": "1.3", "qwen3_next": "1.4", "t5": "1.1"}
"""Sinks; a soft cap; a bias by key; values of another width; layers without attention; a bias by distance, an encoder
beside a decoder. And the head that is looked at."""
SENTENCE = "The river flooded the bank near the old bridge"


def in_hub_cache(cache: Path, kind: str, tokenizer: Any) -> Path:
    """The model as the hub's cache would hold it, under zoo/KIND, with a tokenizer."""
    repository = cache / f"models--zoo--{kind}"
    folder = repository / "snapshots" / ("0" * 40)
    build(kind, vocab_size=tokenizer.n_vocab).save_pretrained(folder)
    tokenizer.library.save(str(folder / "tokenizer.json"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, smollm2: Model) -> Iterator[dict[str, Path]]:
    cache = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(cache))
        yield {kind: in_hub_cache(cache, kind, smollm2.tokenizer) for kind in KINDS}


@pytest.fixture(scope="module")
def zoo_served(hub: dict[str, Path], smollm2_path: Path) -> Iterator[Served]:
    server = serve()
    yield server
    server.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_the_picker_opens_it_and_every_weight_is_the_models_own(
    kind: str, hub: dict[str, Path], zoo_served: Served, new_page: Any
) -> None:
    page = new_page(zoo_served.playground)
    page.wait_for_selector("[data-testid=bench-row]")
    page.get_by_role("button", name="Model: ").click()
    page.get_by_role("menuitemradio", name=f"zoo/{kind}").click()
    expect(page.get_by_test_id("model-badge")).to_contain_text(f"zoo/{kind}", timeout=60_000)
    page.get_by_test_id("text").fill(SENTENCE)
    open_head(page, KINDS[kind])
    model = open_model(hub[kind], attention="encoder" if kind == "t5" else None)
    trace = model.trace(SENTENCE)
    expect_weights(page, trace.weights(KINDS[kind])[-1])
    expect(page.get_by_test_id("error")).to_have_count(0)
    extras, notes = describe(f"zoo/{kind}", model)["score_extras"], page.get_by_test_id("match-notes")
    if extras:
        expect(notes).to_contain_text(f"The scores of this model also have {extras}")
    expect(notes).not_to_contain_text("An edit acts outside")
