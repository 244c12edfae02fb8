"""Twenty people typing on one server: errors, answers a second, waits, and the memory of its process.

python -m benchmarks.clients [seconds] [people]
"""

import subprocess
import sys
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from rich.console import Console
from rich.table import Table

from page import TYPED, Served, Typist

PACE = 0.15
"""Seconds between two characters: about 80 words a minute."""


def measured(seconds: float, people: int) -> tuple[list[Typist], int]:
    """Everybody's answers, and the largest resident size of the server's process in bytes."""
    command = [sys.executable, "-m", "qkvlab", "play", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[4].rstrip("/").rpartition(":")[2])
        served = Served(None, port)  # type: ignore[arg-type]  # the rooms are in the other process
        typists = [Typist(TYPED[n % len(TYPED)][n:]) for n in range(people)]

        def work(typist: Typist) -> None:
            with served.page() as page:
                typist.type_for(page, seconds, PACE)

        threads = [Thread(target=work, args=(typist,)) for typist in typists]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        process.terminate()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return typists, peak


def main(seconds: int = 60, people: int = 20) -> None:
    typists, peak = measured(seconds, people)
    done = sum(typist.ends["done"] for typist in typists)
    waited = sorted(second for typist in typists for second in typist.waited)
    errors = [error for typist in typists for error in typist.errors]
    table = Table(title=f"{people} people typing for {seconds} s, a character every {PACE * 1000:.0f} ms")
    fewest = min(typist.ends["done"] for typist in typists)
    sent = sum(typist.bytes for typist in typists)
    figures = {
        "answers": done,
        "errors": len(errors),
        "a second": f"{done / seconds:.1f}",
        "fewest of one": fewest,
        "median wait (s)": f"{waited[len(waited) // 2]:.2f}",
        "longest (s)": f"{waited[-1]:.2f}",
        "KiB an answer": f"{sent / max(done, 1) / 1024:.0f}",
        "peak MiB": f"{peak / 2**20:,.0f}",
    }
    for name in figures:
        table.add_column(name, justify="right")
    table.add_row(*map(str, figures.values()))
    Console().print(table)
    for error in sorted(set(errors)):
        print(error)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
