"""The annotated tree of the project for the README, from the first docstring or comment line of every module."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OTHERS = {
    "tests": "one file per module; parity with transformers, laws, closed forms, hostile files",
    "benchmarks": "speed beside peers, never part of the tests",
    "docs": "edits, command line, architecture, speed, decisions",
    "scripts": "what the Makefile needs; what the package ships, measured anew",
}


FOLDERS = {
    "atlas": "the atlas page: every head as a point, ranked, and its card",
    "core": "the equations, the planes, the wire: TypeScript without a DOM, held to Python by golden files",
    "course": "the map: modules and what each needs, what was completed",
    "en": "the catalogue: every English sentence of the pages; no component or script has words of its own",
    "instruments": "one Svelte file per instrument of a lesson, by its name",
    "lesson": "a lesson: its text, cues, voice, presenter, and the desk that answers its instruments",
    "parts": "what several instruments are made of",
    "shell": "what every page has at its top",
    "draw": "what a canvas shows, as functions of data and palette",
    "panels": "one Svelte file per panel or part of one",
    "sentence": "the text area, its backdrop, arcs and tokens",
    "onefile": "one head as one offline file: the panels on its own arrays",
    "snapshot": "the page on screen → SVG",
}


def first_line(module: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def first_comment(module: Path) -> str:
    """The sentence a TypeScript, Svelte or style file begins with."""
    found = re.match(r"\s*(?:/\*\*?|<!--)(.*?)(?:\*/|-->)", module.read_text(encoding="utf-8"), re.DOTALL)
    words = " ".join(re.sub(r"^\s*\*", "", line).strip() for line in found[1].splitlines()).strip() if found else ""
    return re.split(r"(?<=[.:]) (?=[A-Z`])", words)[0]


def page() -> list[str]:
    """The page's sources, folder by folder."""
    lines, source = (
        ["web/src/              the page: Svelte panels over a core that knows no browser"],
        ROOT / "web" / "src",
    )
    for folder in [source, *sorted(path for path in source.rglob("*") if path.is_dir())]:
        depth = len(folder.relative_to(source).parts)
        if folder != source:
            lines.append(f"{'  ' * depth}{folder.name + '/':<18} {FOLDERS[folder.name]}")
        for module in sorted(path for path in folder.iterdir() if path.suffix in (".ts", ".svelte", ".css")):
            indent = "  " * (depth + 1)
            lines.append(f"{indent}{module.name:<20} {first_comment(module)}".rstrip())
    return lines


def folder(package: Path, indent: str) -> list[str]:
    """A package: its modules, then the packages in it."""
    lines = [f"{indent}{package.name + '/':<18} {first_line(package / '__init__.py')}"]
    modules = sorted(module for module in package.glob("*.py") if module.name != "__init__.py")
    lines += [f"{indent}  {module.name:<16} {first_line(module)}" for module in modules]
    for inner in sorted(package.iterdir()):
        if (inner / "__init__.py").is_file():
            lines += folder(inner, indent + "  ")
    return lines


def drawn() -> str:
    """The tree as a fenced block."""
    lines = ["```text", "src/qkvlab/"]
    package = ROOT / "src" / "qkvlab"
    for entry in sorted(package.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if entry.suffix == ".py" and entry.name != "__init__.py":
            lines.append(f"  {entry.name:<18} {first_line(entry)}")
        elif (entry / "__init__.py").is_file():
            lines += folder(entry, "  ")
    lines += page()
    lines += [f"{name + '/':<20} {what}" for name, what in OTHERS.items()]
    return "\n".join([*lines, "```", ""])
