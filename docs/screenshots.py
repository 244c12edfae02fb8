"""The README's pictures: the real page on the real model, in light and dark. Run by `make docs`."""

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))
from serving import launched, serve  # noqa: E402 - the tests' own server and browser


def picture(browser: Any, address: str, theme: str) -> None:
    """The second example, with " Italy" muted in head 23.4."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=theme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("[data-testid=bench-row]")
    page.get_by_test_id("hint").get_by_role("button").last.click()
    page.get_by_role("button", name="Examples").click()
    page.get_by_text("A value that turns the answer").click()
    row = page.locator('[data-testid=bench-row][data-key="7"]')
    row.get_by_role("button", name="Change").click()
    page.get_by_test_id("mute-head").click()
    page.locator("[data-testid=prediction] li:first-child button[data-token=' French']").wait_for()
    page.mouse.move(700, 880)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # words and stamps come last
    page.screenshot(path=DOCS / f"playground-{theme}.png")
    context.close()


def main() -> None:
    server = serve()
    try:
        with launched() as browser:
            for theme in ("light", "dark"):
                picture(browser, server.playground, theme)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
