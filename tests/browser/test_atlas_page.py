"""The atlas page as a person uses it: what it shows is the file's, and every way leads where it says."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from records import eventually, expect_weights
from test_access import AXE, findings

from qkvlab.atlas.html import write_report
from qkvlab.atlas.reading import ranking
from serving import Served, serve
from some_atlas import plant, some_atlas, some_examples

ATLAS = some_atlas(30, 9, 3, badge="SmolLM2-135M-Instruct, Q4_1", name="SmolLM2-135M-Instruct, Q4_1")
EXAMPLES = some_examples(ATLAS)
OTHER = some_atlas(6, 12, 12, seed=11, badge="all-MiniLM-L6-v2, F32", name="all-MiniLM-L6-v2, F32", causal=False)
INDEX = 9 + 2
"""Of head 1.2, which finds antecedents."""
ROWS = """(rows) => rows.map((row) => [row.dataset.head,
  ...['value', 'whole', 'selection', 'twin', 'ablation'].map((name) => {
    const full = row.querySelector(`[data-col=${name}]`)?.dataset.full;
    return full ? Number(full) : null;
  })])"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("atlas"), ATLAS, EXAMPLES)


@pytest.fixture(scope="module")
def here(run: Path, tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Iterator[Served]:
    server = serve(0, "--atlas", str(run), "--atlas", str(plant(tmp_path_factory.mktemp("other"), OTHER)))
    yield server
    server.stop()


@pytest.fixture
def atlas(new_page: Callable[..., Any], here: Served) -> Any:
    page = new_page(f"{here.address}/atlas")
    page.get_by_test_id("ranking").wait_for()
    return page


def table(page: Any) -> list[list[Any]]:
    rows: list[list[Any]] = page.locator("[data-testid=ranking] tbody tr").evaluate_all(ROWS)
    return rows


def expected(measure: str, count: int = 40, atlas: dict[str, Any] = ATLAS) -> list[list[Any]]:
    return [
        [
            row["head"],
            *(row[name] for name in ("value", "whole", "selection", "twin")),
            (row["ablation"] or {}).get("at"),
        ]
        for row in ranking(atlas, measure)[:count]
    ]


def in_fragment(page: Any) -> dict[str, str]:
    return dict(pair.split("=") for pair in page.url.partition("#")[2].split("&"))


def test_the_table_is_the_file_and_the_card_is_of_the_best(atlas: Any) -> None:
    assert table(atlas) == expected("coreference")
    atlas.get_by_test_id("all-rows").click()
    assert table(atlas) == expected("coreference", 270)
    expect(atlas.get_by_test_id("card")).to_have_attribute("data-head", "1.2")
    expect(atlas.get_by_test_id("baselines")).to_contain_text("nearest candidate 0.350 (0.340 to 0.370)")
    expect(atlas.get_by_test_id("findings")).to_contain_text("No head <knows> more.")
    expect(atlas.get_by_test_id("run")).to_contain_text("sample.conllu · 7 documents, 1,113 tokens")
    expect(atlas.get_by_test_id("run")).to_contain_text("12 × words that share a token")


def test_sorting_turns_the_table_round(atlas: Any) -> None:
    atlas.get_by_test_id("sort-value").click()
    by_value = sorted(expected("coreference", 270), key=lambda row: -row[1])
    assert [row[1] for row in table(atlas)] == [row[1] for row in by_value[:40]]
    atlas.get_by_test_id("sort-value").click()
    assert [row[1] for row in table(atlas)] == [row[1] for row in by_value[::-1][:40]]
    head = atlas.locator("[data-testid=ranking] th[aria-sort=ascending]")
    expect(head).to_contain_text("value")


def test_axes_are_chosen_and_stay_in_the_address(atlas: Any, new_page: Callable[..., Any]) -> None:
    atlas.get_by_test_id("axis-x").select_option("layer")
    atlas.get_by_test_id("axis-y").select_option("sum:entropy")
    atlas.get_by_test_id("axis-order").select_option("repeats:induction")
    assert table(atlas) == expected("repeats:induction")
    name = atlas.get_by_test_id("point-name")
    entropy = ATLAS["sums"]["entropy"]["mean"][INDEX]
    expect(name).to_have_text(f"1.2 · layer 1 · entropy of the weights {float(f'{entropy:.3g}'):g}")
    assert in_fragment(atlas) | {"atlas": ""} == {
        "atlas": "", "head": "1.2", "x": "layer", "y": "sum:entropy", "colour": "layer", "order": "repeats:induction",
    }  # fmt: skip
    again = new_page(atlas.url)
    expect(again.get_by_test_id("axis-y")).to_have_value("sum:entropy")
    assert table(again) == expected("repeats:induction")


def test_a_role_marks_its_heads_and_ranks_by_it(atlas: Any) -> None:
    chip = atlas.locator("[data-role='syntax:nsubj:head'][data-testid=role]")
    expect(chip).to_have_text("finds a word’s subject (1)")
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    assert table(atlas) == expected("syntax:nsubj:head")
    expect(atlas.get_by_test_id("card")).to_have_attribute("data-head", "1.3")
    expect(atlas.get_by_test_id("axis-y")).to_have_value("syntax:nsubj:head")


def test_a_point_is_found_by_hovering_and_chosen_by_clicking(atlas: Any) -> None:
    box = atlas.locator("canvas.points").bounding_box()
    seen = set()
    for step in range(0, int(box["width"]), 6):
        atlas.mouse.move(box["x"] + step, box["y"] + box["height"] * 0.72)
        seen.add(atlas.get_by_test_id("point-name").text_content())
    assert len(seen) > 5
    hovered = atlas.get_by_test_id("point-name").text_content().split(" · ")[0]
    heads = {text.split(" · ")[0] for text in seen} - {hovered}
    for step in range(0, int(box["width"]), 6):
        atlas.mouse.move(box["x"] + step, box["y"] + box["height"] * 0.72)
        head = atlas.get_by_test_id("point-name").text_content().split(" · ")[0]
        if head in heads and head != "1.2":
            atlas.mouse.click(box["x"] + step, box["y"] + box["height"] * 0.72)
            return expect(atlas.get_by_test_id("card")).to_have_attribute("data-head", head)
    raise AssertionError("no point to click on")


def test_the_card_has_measures_losses_and_places_in_context(atlas: Any) -> None:
    row = atlas.locator("[data-testid=card-measures] [data-measure=coreference]")
    expect(row.locator("td[data-full]")).to_have_attribute("data-full", "0.75")
    expect(row).to_contain_text("#1 of 261")
    losses = atlas.locator("[data-testid=ablation] tbody td[data-full]")
    assert losses.evaluate_all("(cells) => cells.map((cell) => +cell.dataset.full)") == [0.123, -0.004, 0.011]
    best = atlas.locator("[data-testid=example][data-side=best]")
    expect(best).to_contain_text("The cat drank because it was thirsty.")
    assert best.locator("mark").all_text_contents() == ["cat", "it"]
    worst = atlas.locator("[data-testid=example][data-side=worst]")
    assert worst.locator("mark").all_text_contents() == ["Anna", "left", "she"]
    assert worst.locator("mark.query").text_content() == "she"
    expect(worst).to_contain_text("<people>")


def test_an_example_opens_in_the_playground(atlas: Any, smollm2: Any) -> None:
    atlas.locator("[data-testid=example][data-side=best]").get_by_test_id("open-example").click()
    atlas.locator("[data-testid=bench][data-head='1.2']").wait_for()
    text = "The cat drank because it was thirsty."
    assert atlas.get_by_test_id("text").input_value() == text
    trace = smollm2.trace(text)
    expect_weights(atlas, trace.weights("1.2")[trace.tokens.index(" it")])
    interest = atlas.locator("[data-testid=bench-row].interest")
    expect(interest).to_have_attribute("data-key", str(trace.tokens.index(" cat")))


def test_the_bench_names_roles_and_leads_to_the_card(here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(here.playground)
    page.get_by_test_id("head-address").fill("1.2")
    page.get_by_test_id("head-address").press("Enter")
    link = page.get_by_test_id("atlas-roles")
    expect(link).to_have_text("finds a pronoun’s antecedent · named by the atlas")
    link.click()
    expect(page.get_by_test_id("card")).to_have_attribute("data-head", "1.2")
    assert table(page) == expected("coreference")


def test_the_head_map_is_coloured_by_the_atlas(here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(here.playground)
    page.get_by_test_id("colour-atlas").click()
    page.get_by_test_id("axis-heads").select_option("repeats:induction")
    expect(page.get_by_test_id("atlas-legend")).to_contain_text(re.compile(r"^0\s+0\.8$"))
    page.get_by_text("All heads as a table").click()
    read = "(rows) => rows.map((row) => row.lastElementChild.dataset.full).map((full) => full ? +full : null)"

    def check() -> None:
        shown = page.locator("[data-testid=heads-table] tbody tr").evaluate_all(read)
        assert shown == ATLAS["measures"]["repeats:induction"]["value"]

    eventually(page, check)
    page.get_by_test_id("head-address").fill("1.2")
    page.get_by_test_id("head-address").press("Enter")
    value = ATLAS["measures"]["repeats:induction"]["value"][INDEX]
    expect(page.get_by_test_id("head-name")).to_have_text(
        f"1.2 {value:.3f} · looks at what followed this token last time"
    )


def test_a_model_without_an_atlas_has_no_colour_for_it(here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(here.playground)
    page.route("**/atlases.json", lambda route: route.fulfill(json=[]))
    page.reload()
    page.wait_for_selector("[data-testid=bench-row]")
    expect(page.get_by_test_id("colour-atlas")).to_have_count(0)
    expect(page.get_by_role("navigation")).not_to_contain_text("Atlas")


def test_the_picker_has_the_models_that_have_one(atlas: Any) -> None:
    picker = atlas.get_by_test_id("atlas-picker")
    assert [label.split(" · ")[0] for label in picker.locator("option").all_text_contents()][:2] == [
        "SmolLM2-135M-Instruct, Q4_1",
        "all-MiniLM-L6-v2, F32",
    ]
    picker.select_option(index=1)
    eventually(atlas, lambda: _same(table(atlas), expected("coreference", 40, OTHER)))
    expect(atlas.get_by_test_id("card")).to_contain_text("all-MiniLM-L6-v2, F32")
    expect(atlas.get_by_text("No example of this head was kept.")).to_be_visible()


def _same(shown: Any, wanted: Any) -> None:
    assert shown == wanted


def test_the_keyboard_alone_reaches_everything(atlas: Any) -> None:
    points = atlas.get_by_test_id("points")
    points.focus()
    before = atlas.get_by_test_id("card").get_attribute("data-head")
    points.press("ArrowDown")
    after = atlas.get_by_test_id("card").get_attribute("data-head")
    values = ATLAS["measures"]["coreference"]["value"]
    assert after != before and values[_index(after)] < values[_index(before)]
    first = atlas.locator("[data-testid=ranking] tbody button").first
    first.focus()
    first.press("ArrowDown")
    atlas.keyboard.press("Enter")
    second = ranking(ATLAS, "coreference")[1]["head"]
    expect(atlas.get_by_test_id("card")).to_have_attribute("data-head", second)
    address = atlas.get_by_test_id("card-address")
    address.fill("L7H3")
    address.press("Enter")
    expect(atlas.get_by_test_id("card")).to_have_attribute("data-head", "7.3")
    address.fill("99.1")
    address.press("Enter")
    expect(atlas.get_by_role("alert")).to_contain_text("No head 99.1: layers go from 0 to 29")


def _index(head: str) -> int:
    layer, at = head.split(".")
    return int(layer) * 9 + int(at)


def test_without_an_atlas_the_page_says_how_to_make_one(here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(here.playground)
    page.route("**/atlases.json", lambda route: route.fulfill(json=[]))
    page.goto(f"{here.address}/atlas")
    expect(page.get_by_test_id("no-atlas")).to_contain_text("qkvlab atlas scan smollm2 -o")
    expect(page.get_by_test_id("ranking")).to_have_count(0)


def test_an_atlas_that_broke_meanwhile_says_so(
    smollm2_path: Path, tmp_path: Path, new_page: Callable[..., Any]
) -> None:
    run = plant(tmp_path / "run", ATLAS, EXAMPLES)
    server = serve(0, "--atlas", str(run))
    try:
        page = new_page(f"{server.address}/atlas")
        page.get_by_test_id("ranking").wait_for()
        listed = page.evaluate("() => fetch('atlases.json').then((answer) => answer.json())")
        (run / "atlas.json").write_text(json.dumps(ATLAS)[:500])
        page.route("**/atlases.json", lambda route: route.fulfill(json=listed[:1]))
        page.reload()
        expect(page.get_by_test_id("atlas-error")).to_contain_text("The atlas could not be loaded")
    finally:
        server.stop()


def test_a_link_of_a_stranger_does_no_harm(here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(f"{here.address}/atlas#atlas=nothing&head=77.7&x=toString&y=<b>&role=flying&order=%zz")
    page.get_by_test_id("ranking").wait_for()
    assert table(page) == expected("coreference")
    expect(page.get_by_test_id("card")).to_have_attribute("data-head", "1.2")


@pytest.mark.parametrize("width", [390, 360])
def test_a_telephone_shows_all_of_it(width: int, here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(f"{here.address}/atlas", viewport={"width": width, "height": 780}, has_touch=True)
    page.get_by_test_id("ranking").wait_for()
    page.get_by_test_id("example").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_test_id("role").first.tap()
    expect(page.get_by_test_id("role").first).to_have_attribute("aria-pressed", "true")
    assert page.get_by_test_id("card").bounding_box()["y"] > page.get_by_test_id("points").bounding_box()["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(f"{here.address}/atlas", color_scheme=scheme)
    page.get_by_test_id("example").first.wait_for()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert findings(page) == []
    page.get_by_test_id("role").first.click()
    page.get_by_text("Quantities", exact=True).click()
    assert findings(page) == []


def test_the_lesson_leads_to_the_atlas(here: Served, new_page: Callable[..., Any]) -> None:
    page = new_page(f"{here.address}/lesson/22")
    page.get_by_text("Do heads specialise?").first.scroll_into_view_if_needed()
    page.get_by_test_id("to-atlas").click()
    expect(page.get_by_test_id("card")).to_have_attribute("data-head", "1.2")


@pytest.mark.parametrize("width", [1440, 390])
def test_a_report_opens_offline_and_fits(width: int, new_page: Callable[..., Any], tmp_path: Path) -> None:
    named = {**ATLAS, "model": {**ATLAS["model"], "sha256": "0123456789abcdef" * 4}}
    write_report(named, EXAMPLES, tmp_path / "report.html")
    page = new_page((tmp_path / "report.html").as_uri())
    page.set_viewport_size({"width": width, "height": 900})
    expect(page.get_by_role("heading", name="How it was measured")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
