"""Draw docs/terminal.svg: what `qkvlab ask` prints for the example, as a picture that needs no font from elsewhere."""

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

import qkvlab
from qkvlab import show

COMMAND = 'qkvlab ask "The cat drank because it was thirsty" --token " it" --head 13.8'
PAPER = TerminalTheme(
    (252, 250, 246), (30, 30, 34), [(30, 30, 34), (180, 40, 40), (0, 130, 90), (160, 120, 0), (0, 100, 170),
    (150, 50, 130), (0, 130, 140), (120, 120, 120)],
)  # fmt: skip


def main() -> None:
    text = "The cat drank because it was thirsty"
    trace = qkvlab.open_model("smollm2").trace(text)
    answer = qkvlab.ask(trace, " it", "13.8")
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(f"[dim]$[/dim] {COMMAND}\n", highlight=False)
    console.print(show.answer(answer, show.context(text, trace, answer.token.index), None, 5), highlight=False)
    picture = console.export_svg(title="qkvlab ask", theme=PAPER)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    Path(__file__).with_name("terminal.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
