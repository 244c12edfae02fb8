"""Module 22 by keyboard alone: from the map, through every instrument and question, and back to the map."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from serving import Served

KEYS = re.compile(r"(Shift\+)?(Tab|Enter|Space|Home|End|PageDown|Arrow(Up|Down|Left|Right))")
"""All that this person has."""
FOCUS = """() => {
  const held = document.activeElement;
  const frame = held.tagName === 'IFRAME' ? held : null;
  const element = frame ? frame.contentDocument.activeElement : held;
  const page = element.ownerDocument;
  if (element === page.body) return null;
  const { left, right, top, bottom } = element.getBoundingClientRect();
  const seen = [Math.max(0, top), Math.min(page.defaultView.innerHeight, bottom)];
  const middle = page.elementFromPoint((left + right) / 2, (seen[0] + seen[1]) / 2);
  const style = page.defaultView.getComputedStyle(element);
  const labels = [...(element.labels ?? [])].map((label) => label.innerText).join(' ');
  const name = element.ariaLabel || labels || element.innerText || element.title || '';
  const questions = [...document.querySelectorAll('[data-testid=question]')];
  const [before, now] = window.before?.ownerDocument === page ? [window.before, element] : [window.held, held];
  [window.before, window.held] = [element, held];
  return {
    name: name.trim(),
    tag: element.tagName.toLowerCase(),
    type: element.type ?? '',
    href: element.getAttribute('href') ?? '',
    testid: element.dataset.testid ?? '',
    pressed: element.ariaPressed,
    instrument: held.closest('[data-instrument]')?.dataset.instrument ?? null,
    formula: held.closest('[data-testid=formula]')?.dataset.formula ?? null,
    question: questions.indexOf(held.closest('[data-testid=question]')),
    later: !before?.isConnected || !!(before.compareDocumentPosition(now) & Node.DOCUMENT_POSITION_FOLLOWING),
    ringed: (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1) || style.boxShadow !== 'none',
    inSight: middle !== null && (element.contains(middle) || middle.contains(element)),
  };
}"""
"""What has the focus, also in the playground's frame."""


class Reader:
    """Somebody with a keyboard. Whatever takes the focus must have a name and a ring, and be in sight."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.at: dict[str, Any] = {}
        self.met: list[str] = []
        """The instruments whose controls had the focus, in order."""

    def press(self, key: str, times: int = 1) -> None:
        assert KEYS.fullmatch(key)
        for _ in range(times):
            self.page.keyboard.press(key)

    def look(self) -> None:
        """See what has the focus."""
        at = self.page.evaluate(FOCUS)
        assert at is not None, f"after {self.at} the focus is nowhere"
        assert at["name"], at
        assert at["ringed"], at
        assert at["inSight"], at
        self.at = at
        if at["instrument"] and at["instrument"] not in self.met:
            self.met.append(at["instrument"])

    def tab(self, back: bool = False) -> None:
        """One stop on. Tab always leads onward in the page: nothing holds it, nothing sends it back."""
        self.press("Shift+Tab" if back else "Tab")
        self.look()
        assert self.at["later"] is not back, self.at

    def to(self, stop: Callable[[dict[str, Any]], bool], what: str, most: int = 400) -> None:
        """Tab on until such a thing has the focus."""
        for _ in range(most):
            self.tab()
            if stop(self.at):
                return
        raise AssertionError(f"Tab does not reach {what}")

    def to_named(self, instrument: str, name: str, **more: Any) -> None:
        """Tab on to a control of an instrument."""

        def stop(at: dict[str, Any]) -> bool:
            return (
                at["instrument"] == instrument
                and re.search(name, at["name"]) is not None
                and all(at[key] == value for key, value in more.items())
            )

        self.to(stop, f"{name} of {instrument}")


@pytest.fixture
def reader(new_page: Callable[..., Any], served: Served) -> Reader:
    page = new_page(f"{served.address}/")
    expect(page.get_by_test_id("featured")).to_be_visible()
    return Reader(page)


def test_the_whole_module_by_keyboard_alone(reader: Reader) -> None:
    page = reader.page
    reader.to(lambda at: at["testid"] == "featured", "the card of the lesson")
    reader.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Q, K, V: the projections")).to_be_focused()
    read_to_the_end(page, reader)
    for operate in (residual, later, hats, catalogue, flow, toy, tie, symmetry, sums, heads, specialists, sharing):
        operate(page, reader)
    formulas(page, reader)
    playground(page, reader)
    questions(page, reader)
    assert reader.met == page.locator("[data-instrument]").evaluate_all(
        "(all) => all.map((one) => one.dataset.instrument)"
    )
    expect(page.get_by_test_id("challenge").filter(has_text="not yet passed")).to_have_count(0)
    expect(page.locator("[data-testid=question]:not([data-state=right])")).to_have_count(0)
    expect(page.locator("[data-instrument] [role=alert]")).to_have_count(0)

    reader.to(lambda at: at["testid"] == "complete", "the mark of completion")
    reader.press("Enter")
    expect(page.get_by_test_id("complete")).to_have_attribute("aria-pressed", "true")
    for name in ("To the course map", "Play", "Sentence before", "Next sentence", "Position", "Speed"):
        reader.tab()
        assert name in reader.at["name"]
    for _ in range(5):
        reader.tab(back=True)
    reader.press("Enter")
    expect(page.get_by_role("heading", level=1, name="The Transformer")).to_be_focused()
    done = page.locator("[data-module='22']").get_by_test_id("done")
    expect(done).to_be_visible()
    page.reload()
    expect(done).to_be_visible()


def test_the_skip_link_leads_past_the_bar_and_the_outline(new_page: Callable[..., Any], served: Served) -> None:
    page = new_page(f"{served.address}/lesson/22")
    expect(page.locator("[data-instrument=residual] h4")).to_be_visible()
    reader = Reader(page)
    reader.tab()
    assert reader.at["name"] == "Skip to the lesson"
    reader.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    reader.tab()
    assert reader.at["name"] == "12 Attention modalities"


def read_to_the_end(page: Any, reader: Reader) -> None:
    """Down the page as one reads: every instrument comes when it is near. Then up again."""
    for _ in range(60):
        reader.press("PageDown")
        page.wait_for_timeout(80)
        if page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 2"):
            break
    instruments = page.locator("[data-instrument]")
    expect(instruments.locator("h4")).to_have_count(instruments.count())
    expect(page.get_by_text("The model is at work …")).to_have_count(0, timeout=30_000)
    expect(page.get_by_test_id("shared")).to_be_visible(timeout=60_000)
    reader.press("Home")
    page.wait_for_function("() => scrollY === 0")


# ---- the instruments, in the order of the page: one control of each, and its figure changes


def residual(page: Any, reader: Reader) -> None:
    reader.to_named("residual", "cat")
    reader.press("Enter")
    says = page.locator("[data-instrument=residual]").get_by_test_id("at")
    expect(says).to_contain_text('" cat" as it enters layer 0')
    cosine = says.get_attribute("data-cosine")
    reader.to_named("residual", "layer")
    reader.press("End")
    expect(says).to_contain_text('" cat" after the last layer')
    assert says.get_attribute("data-cosine") != cosine


def later(page: Any, reader: Reader) -> None:
    shown = page.locator("[data-instrument=later]")
    for n, name in enumerate(("was cold today", "had just slept", ", the dog, ran"), 1):
        reader.to_named("later", name)
        reader.press("Enter")
        expect(shown.get_by_test_id("verdict")).to_have_attribute("data-difference", "0")
        expect(shown).to_contain_text(f"tried: {n} of 3")
    expect(page.get_by_test_id("challenge").first).to_contain_text("✓ tried three times")


def hats(page: Any, reader: Reader) -> None:
    out = page.locator("[data-instrument=hats]").get_by_test_id("out")
    expect(out).to_contain_text("q = x")
    reader.to_named("hats", "^K")
    reader.press("Space")
    expect(out).to_contain_text("k = x")


def catalogue(page: Any, reader: Reader) -> None:
    verdict = page.locator("[data-instrument=catalogue]").get_by_test_id("verdict")
    reader.to_named("catalogue", "^The$")
    reader.press("Enter")
    expect(verdict).to_contain_text('You said "The"')
    reader.look()
    assert reader.at["name"] == "Predict again"
    reader.press("Enter")
    expect(verdict).to_contain_text("Which card")
    reader.look()
    assert reader.at["name"] == "The"
    reader.to_named("catalogue", "^cat$")
    reader.press("Enter")
    expect(verdict).to_contain_text('Right: " cat"')


def flow(page: Any, reader: Reader) -> None:
    answer = page.locator("[data-instrument=flow]").get_by_test_id("answer")
    reader.to_named("flow", "as it is")
    for change in ("mute", "swap", "aim"):
        reader.press("ArrowDown")
        reader.look()
        expect(answer).to_have_attribute("data-change", change)
        expect(answer).to_contain_text('turns from " Italian"')


def toy(page: Any, reader: Reader) -> None:
    verdict = page.get_by_test_id("toy-verdict")
    expect(verdict).to_have_attribute("data-passed", "false")
    reader.to_named("toy", "W_q, row 2")
    reader.press("Shift+ArrowRight", 6)
    reader.look()
    expect(verdict).to_have_attribute("data-passed", "true")
    expect(page.get_by_test_id("challenge").nth(1)).to_contain_text("✓ passed")


def tie(page: Any, reader: Reader) -> None:
    reader.to_named("tie", "Tie: use the queries as keys")
    reader.press("Space")
    expect(page.locator("[data-instrument=tie]").get_by_test_id("verdict")).to_contain_text("Tied, it looks most at")


def symmetry(page: Any, reader: Reader) -> None:
    says = page.get_by_test_id("symmetry-says")
    head = says.get_attribute("data-head")
    reader.to(lambda at: at["testid"] == "symmetry-dots", "the dots")
    reader.press("ArrowLeft")
    expect(says).not_to_have_attribute("data-head", str(head))


def sums(page: Any, reader: Reader) -> None:
    shown = page.locator("[data-instrument=sum]")
    expect(shown.locator("caption")).to_contain_text('writes for " it"')
    whole = shown.get_by_test_id("so").inner_text()
    reader.to_named("sum", "^cat$")
    reader.press("Enter")
    expect(shown.locator("caption")).to_contain_text('writes for " cat"')
    expect(shown.get_by_test_id("so")).not_to_have_text(whole)
    reader.to_named("sum", "Start again")
    reader.press("Enter")
    expect(shown.get_by_test_id("so")).to_contain_text("0 of 9 heads added")
    reader.look()  # a button that has nothing left to do keeps the focus


def heads(page: Any, reader: Reader) -> None:
    shown = page.locator("[data-instrument=heads]")
    reader.to_named("heads", "^speak$")
    assert reader.at["pressed"] == "false"
    reader.press("Enter")
    expect(shown.locator("caption")).to_contain_text('after " speak"')
    expect(shown.get_by_test_id("off")).to_have_attribute("data-fresh", "true")
    expect(shown.get_by_role("group").get_by_role("button", pressed=True)).to_have_count(1)
    before = shown.locator("tbody b").all_inner_texts()
    reader.to_named("heads", r"^23\.4$")
    reader.press("Space")
    expect(shown.get_by_test_id("off")).to_contain_text("1 of 9 heads of this layer are off")
    expect(shown.get_by_test_id("off")).to_have_attribute("data-fresh", "true")
    assert shown.locator("tbody b").all_inner_texts() != before


def specialists(page: Any, reader: Reader) -> None:
    says = page.get_by_test_id("specialist-says")
    reader.to_named("specialists", "^position$")
    reader.press("ArrowDown")
    reader.look()
    expect(says).to_contain_text("At head 13.8")
    said = says.inner_text()
    reader.to_named("specialists", "Choose .* as the query", pressed="false")
    reader.press("Enter")
    expect(says).not_to_have_text(said)


def sharing(page: Any, reader: Reader) -> None:
    shared = page.get_by_test_id("shared")
    reader.to_named("sharing", "cheapest first")
    reader.press("Home")
    expect(shared).to_have_attribute("data-layers", "0")
    loss = shared.get_attribute("data-loss")
    reader.press("End")
    expect(shared).to_have_attribute("data-layers", "30")
    assert shared.get_attribute("data-loss") != loss


def playground(page: Any, reader: Reader) -> None:
    """Into the frame, where another head is opened, and through it."""
    reader.to_named("playground", "Open in the playground")
    lab = page.frame_locator("iframe").locator("main")
    head = lab.get_attribute("data-head")
    reader.to_named("playground", r"^\d+\.\d+\s+0\.\d+", pressed="false")
    reader.press("Enter")
    expect(lab).not_to_have_attribute("data-head", str(head))
    reader.look()


# ---- formulas and questions


def formulas(page: Any, reader: Reader) -> None:
    """Each formula's first link is followed: the next stop is in the instrument it names. Then on again."""
    for name in ("projection", "scores", "blend"):
        reader.to(lambda at, name=name: at["formula"] == name, f"the formula {name}")  # type: ignore[misc]
        href = reader.at["href"]
        reader.press("Enter")
        expect(page.locator(href)).to_be_in_viewport()
        reader.press("Tab")
        reader.look()
        assert f"#instrument-{reader.at['instrument']}" == href


def questions(page: Any, reader: Reader) -> None:
    """Every question: first a wrong answer, then the right one."""
    asked = page.get_by_test_id("question")
    for n in range(asked.count()):
        reader.to(lambda at, n=n: at["question"] == n, f"question {n}")  # type: ignore[misc]
        if reader.at["tag"] == "a":
            expect(asked.nth(n)).to_have_attribute("data-state", "right")
            continue
        reader.press("Space")
        choose(page, reader, n, "wrong")
        reader.tab(back=True)
        for _ in range(3):
            if asked.nth(n).get_attribute("data-state") == "right":
                break
            reader.press("ArrowDown")
            choose(page, reader, n, None)
            if asked.nth(n).get_attribute("data-state") != "right":
                reader.tab(back=True)
        expect(asked.nth(n)).to_have_attribute("data-state", "right")


def choose(page: Any, reader: Reader, n: int, state: str | None) -> None:
    """From the chosen answer to the button that checks it."""
    reader.tab()
    assert reader.at["name"] == "Check"
    reader.press("Enter")
    reader.look()
    if state:
        expect(page.get_by_test_id("question").nth(n)).to_have_attribute("data-state", state)
