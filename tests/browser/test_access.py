"""For everyone: axe finds nothing serious, the keyboard reaches and works everything, and focus is always in sight."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from records import bench, eventually, exported, go_to, use_example

from serving import Served

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FINDINGS = """async (within) => {
  const { violations } = await axe.run(within, { resultTypes: ['violations'] });
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`));
}"""
REACHABLE = """() => {
  const all = document.querySelectorAll('a[href], button, input, select, textarea, summary, pre, [tabindex]');
  const reaches = (element) => element.tabIndex >= 0 && !element.disabled && element.checkVisibility();
  const reachable = [...all].filter(reaches);
  reachable.forEach((element, place) => (element.dataset.place = place));
  return reachable.length;
}"""
FOCUSED = """() => {
  const element = document.activeElement;
  if (element === document.body) return null;
  const { left, right, top, bottom } = element.getBoundingClientRect();
  const middle = document.elementFromPoint((left + right) / 2, (Math.max(0, top) + Math.min(innerHeight, bottom)) / 2);
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const said = element.ariaLabel || element.textContent || element.id;
  return {
    place: Number(element.dataset.place),
    name: `${element.tagName} ${said.trim().slice(0, 40)}`,
    outlined: outlineStyle !== 'none' && parseFloat(outlineWidth) > 0,
    inSight: middle !== null && (element.contains(middle) || middle.contains(element)),
    panel: element.closest('main > section')?.ariaLabel ?? (element.closest('.notices') ? 'notices' : 'header'),
  };
}"""
PANELS = ["header", "notices", "Sentence", "Heads", "Bench", "Planes and prediction", "Edits and K/V cache"]
OPENED = "[role=menu], [role=dialog], dialog[open], form.popover"
OPEN_ALL = "(summaries) => summaries.forEach((summary) => (summary.parentElement.open = true))"


def findings(page: Any, within: str = "html") -> list[str]:
    """What axe calls serious or critical, in the whole page or in a part of it."""
    found: list[str] = page.evaluate(FINDINGS, within)
    return found


@pytest.fixture(params=["light", "dark"])
def axed(request: Any, new_page: Callable[..., Any], served: Served) -> Any:
    """The page in one of the themes, axe within it."""
    page = new_page(served.playground, color_scheme=request.param)
    expect(page.get_by_test_id("prediction").locator("button").first).to_be_visible()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.locator("html").get_attribute("data-theme") == request.param
    return page


def test_axe_finds_nothing_serious_on_the_page(axed: Any) -> None:
    assert findings(axed) == []
    use_example(axed, "A value that turns the answer", "23.4")
    axed.locator("summary").evaluate_all(OPEN_ALL)
    axed.get_by_test_id("pin").click()
    go_to(axed, "23.3")
    axed.get_by_test_id("key-handle").press("ArrowLeft")
    axed.get_by_test_id("tokens").press("m")
    expect(axed.get_by_test_id("chip")).to_have_count(2)
    axed.get_by_test_id("colour-effect").click()
    axed.get_by_test_id("chip").first.locator(".text").click()
    expect(axed.get_by_test_id("strongest-effects")).to_be_visible()
    assert findings(axed) == []


def test_axe_finds_nothing_serious_in_what_opens(axed: Any) -> None:
    for name in ("Export", "Examples", "Model: ", "Keys and colours", "copy as Python", "add an edit"):
        axed.get_by_role("button", name=name).click()
        assert findings(axed, OPENED) == [], name
        axed.keyboard.press("Escape")
    for name in ("change-head", "cache-line"):
        axed.get_by_test_id(name).click()
        assert findings(axed, OPENED) == [], name
        axed.keyboard.press("Escape")


def test_axe_finds_nothing_serious_for_an_encoder(axed: Any) -> None:
    axed.get_by_role("button", name="Model: ").click()
    axed.get_by_role("menuitemradio", name="MiniLM").click()
    expect(axed.get_by_test_id("bench-badge")).to_contain_text("MiniLM")
    assert findings(axed) == []


def test_the_tables_beside_the_drawings_reach_a_screen_reader(page: Any) -> None:
    """As the browser itself tells it, with their cells: what is not laid out can be left out without a word."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    told = {node["nodeId"]: node for node in nodes if not node["ignored"]}
    tables = [node for node in told.values() if node["role"]["value"] == "table"]

    def size(node: Any) -> int:
        return 1 + sum(size(told[child]) for child in node["childIds"] if child in told)

    sizes = {node["name"]["value"].split(":")[0]: size(node) for node in tables}
    for name in ("Match plane", "Blend plane", "Weights of the query and what finds it", 'Head 13.8 for " it"'):
        assert sizes.get(name, 0) > 10, (name, sizes)


def test_tab_reaches_every_control_in_order_and_in_sight(page: Any) -> None:
    page.get_by_test_id("key-handle").press("ArrowLeft")
    expect(page.get_by_test_id("chip")).to_have_count(1)
    eventually(page, lambda: walk(page))
    last = page.evaluate(REACHABLE) - 1
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(FOCUSED)["place"] == last


def walk(page: Any) -> None:
    """Tab from the beginning to the end. An answer that arrives on the way may renew controls: then walk again."""
    page.evaluate("() => scrollTo(0, 0)")
    page.mouse.click(640, 20)
    reachable = page.evaluate(REACHABLE)
    walked = []
    for _ in range(reachable + 1):
        page.keyboard.press("Tab")
        if (at := page.evaluate(FOCUSED)) is None:
            break
        assert at["outlined"], at
        assert at["inSight"], at
        walked.append(at)
    assert [at["place"] for at in walked] == list(range(reachable))
    assert [panel for panel, _ in groupby(at["panel"] for at in walked)] == PANELS


def test_tokens_by_keyboard(page: Any) -> None:
    tokens = page.get_by_test_id("tokens")
    tokens.press("Home")
    for _ in range(5):
        tokens.press("ArrowRight")
    tokens.press("Enter")
    expect(page.get_by_test_id("bench")).to_have_attribute("data-query", "5")
    tokens.press("ArrowLeft")
    tokens.press("k")
    expect(page.locator("[data-testid=bench-row].interest")).to_have_attribute("data-key", "4")
    tokens.press("m")
    expect(page.locator("[data-testid=chip][data-kind=mute]")).to_have_count(1)
    eventually(page, lambda: _is_muted(page, 4))
    tokens.press("Escape")
    expect(page.get_by_test_id("bench")).to_have_attribute("data-query", "6")


def _is_muted(page: Any, key: int) -> None:
    assert bench(page)[key] == 0


def test_heads_by_keyboard(page: Any) -> None:
    grid = page.get_by_test_id("heads-grid")
    for key, head in (("ArrowDown", "14.8"), ("ArrowLeft", "14.7"), ("ArrowUp", "13.7"), ("ArrowRight", "13.8")):
        grid.press(key)
        expect(page.get_by_test_id("bench")).to_have_attribute("data-head", head)
    grid.press("p")
    grid.press("ArrowUp")
    expect(page.get_by_role("table", name="Pinned head 13.8")).to_be_visible()


def test_bench_rows_by_keyboard(page: Any) -> None:
    interest = page.locator("[data-testid=bench-row].interest")
    interest.get_by_role("button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(interest).to_have_attribute("data-key", "2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert float(copied) == bench(page)[2]
    menu = interest.get_by_role("button", name="Change")
    menu.press("Enter")
    popup = page.get_by_role("dialog", name="Change")
    expect(popup).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    menu.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("[data-testid=chip][data-kind=mute]")).to_have_count(1)
    expect(popup).to_have_count(0)


def test_planes_and_chips_by_keyboard(page: Any) -> None:
    key = page.get_by_test_id("key-handle")
    key.press("PageDown")
    expect(page.locator("[data-testid=bench-row].interest")).to_have_attribute("data-key", "2")
    key.press("a")
    chip = page.locator("[data-testid=chip][data-kind=aim-query]")
    strength = chip.get_by_role("slider")
    strength.press("ArrowLeft")
    expect(strength).to_have_value("99")
    chip.get_by_role("switch").press("Space")
    expect(chip.get_by_role("switch")).not_to_be_checked()
    assert exported(page)["state"]["edits"][0]["on"] is False
    chip.get_by_role("button", name="Remove").press("Enter")
    expect(chip).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(chip).to_have_count(1)


def test_arrows_walk_the_menus_and_escape_gives_the_focus_back(page: Any) -> None:
    export = page.get_by_role("button", name="Export")
    export.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="JSON")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Send one file")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(export).to_be_focused()
    for name, closing in (("Change head", "change-head"), ("K/V cache", "cache-line")):
        opener = page.get_by_test_id(closing)
        opener.press("Enter")
        expect(page.get_by_role("dialog")).to_have_count(1)
        page.keyboard.press("Tab")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(opener, name).to_be_focused()


def test_the_help_opens_with_a_question_mark_and_closes_with_escape(page: Any) -> None:
    grid = page.get_by_test_id("heads-grid")
    grid.press("?")
    expect(page.get_by_role("dialog", name="Keys and colours")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(grid).to_be_focused()
    page.get_by_test_id("text").press("End")
    page.keyboard.type("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_test_id("text")).to_have_value("The cat drank because it was thirsty?")
