"""The annotated tree of the project for the README, from the first docstring line of every module."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OTHERS = {
    "tests": "one file per module; parity with transformers, laws, closed forms, hostile files",
    "benchmarks": "speed beside peers, never part of the tests",
    "docs": "edits, command line, architecture, speed, decisions",
    "scripts": "what the Makefile needs; what the package ships, measured anew",
}


def first_line(module: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def drawn() -> str:
    """The tree as a fenced block."""
    lines = ["```text", "src/qkvlab/"]
    package = ROOT / "src" / "qkvlab"
    for entry in sorted(package.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if entry.suffix == ".py" and entry.name != "__init__.py":
            lines.append(f"  {entry.name:<18} {first_line(entry)}")
        elif (entry / "__init__.py").is_file():
            lines.append(f"  {entry.name + '/':<18} {first_line(entry / '__init__.py')}")
            lines += [
                f"    {module.name:<16} {first_line(module)}"
                for module in sorted(entry.glob("*.py"))
                if module.name != "__init__.py"
            ]
    lines += [f"{name + '/':<20} {what}" for name, what in OTHERS.items()]
    return "\n".join([*lines, "```", ""])
