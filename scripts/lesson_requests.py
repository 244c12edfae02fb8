"""Which requests do the lessons make? Run in a browser with every cue and every choice, and kept for the export."""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
from qkvlab.course.compile import read_lessons  # noqa: E402
from qkvlab.course.recorded import canonical  # noqa: E402
from serving import launched, serve  # noqa: E402 - the tests' own server and browser

KEPT = ROOT / "src" / "qkvlab" / "course" / "requests.json"
RADIOS, SWITCHES = "input[type=radio]", "input[type=checkbox], button[aria-pressed]"
FEW = 12
"""A list of more options than this is left to who runs the program."""
STEPS = 20
"""More steps than any lesson has: each is a stop of its own where no cue stands in it."""
QUIET = 500
"""Milliseconds without a request after which an instrument has asked all it will."""


class Heard:
    """What a page asks, each request once, in order."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: dict[str, dict[str, Any]] = {}
        page.on("websocket", lambda socket: socket.on("framesent", self._frame))

    def _frame(self, payload: str | bytes) -> None:
        request = json.loads(payload)
        request.pop("id")
        if request["lane"] != "open":  # the export opens every model that is named
            self.requests.setdefault(canonical(request), request)

    def settle(self) -> None:
        """Wait until nothing more is asked."""
        before = -1
        while before != len(self.requests):
            before = len(self.requests)
            self.page.wait_for_timeout(QUIET)


def walk(page: Any, address: str, module: str) -> list[dict[str, Any]]:
    """Every instrument of a lesson, with every choice it offers, then every cue."""
    # The playground needs the program: an export has none.
    page.route("**/playground?embedded", lambda route: route.abort())
    heard = Heard(page)
    page.goto(f"{address}/lesson/{module}")
    page.locator("h1").wait_for()
    for instrument in page.locator("[data-instrument]").all():
        instrument.scroll_into_view_if_needed()
        heard.settle()
        radios = instrument.locator(RADIOS).all()
        for radio in [*radios, *radios[:1]]:  # the first is where it began: come back to it
            radio.click()
            press_all(instrument, heard)
        if not radios:
            press_all(instrument, heard)
        for select in instrument.locator("select").all():
            values = select.locator("option:enabled").evaluate_all("(options) => options.map(({ value }) => value)")
            for value in values if len(values) <= FEW else []:
                select.select_option(value)
                heard.settle()
    page.reload()
    page.get_by_role("button", name="Present").click()
    for _ in range(len(read_lessons()[module].cues) + STEPS):
        page.keyboard.press("ArrowRight")
        heard.settle()
    return list(heard.requests.values())


def press_all(instrument: Any, heard: Heard) -> None:
    """Every switch of an instrument, as it is set: one radio button may bring others than the next."""
    heard.settle()
    for switch in instrument.locator(SWITCHES).all():
        for _ in range(2):  # a switch goes back; what is one of several stays chosen
            if switch.is_visible() and switch.is_enabled():
                switch.click()
                heard.settle()


def main() -> None:
    """Write course/requests.json anew."""
    server = serve()
    try:
        with launched() as browser:
            kept = {}
            for module in read_lessons():
                context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
                kept[module] = walk(context.new_page(), server.address, module)
                context.close()
                print(f"{module}: {len(kept[module])} requests")
    finally:
        server.stop()
    KEPT.write_text("{\n" + ",\n".join(map(_lines, kept.items())) + "\n}\n", encoding="utf-8")


def _lines(entry: tuple[str, list[dict[str, Any]]]) -> str:
    module, requests = entry
    rows = ",\n".join(f"    {json.dumps(request, ensure_ascii=False)}" for request in requests)
    return f"  {json.dumps(module)}: [\n{rows}\n  ]"


if __name__ == "__main__":
    main()
