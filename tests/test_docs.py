"""The docs name everything there is to name: every command, option, edit, question, axis and tap."""

import dataclasses
import re
from pathlib import Path

import click
import pytest

from qkvlab import axes, edits
from qkvlab.cli import cli

ROOT = Path(__file__).resolve().parent.parent


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


COMMANDS = {name: command for name, command in cli.commands.items()}
for group in [command for command in cli.commands.values() if isinstance(command, click.Group)]:
    COMMANDS |= {f"{group.name} {name}": command for name, command in group.commands.items()}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_and_option_is_in_the_docs(command: str) -> None:
    text = page("docs/cli.md")
    assert f"## `qkvlab {command}`" in text
    for parameter in COMMANDS[command].params:
        for option in parameter.opts:
            assert option.startswith("-") is False or option in text


@pytest.mark.parametrize("kind", list(edits.KINDS))
def test_every_edit_and_its_fields_are_in_the_docs(kind: str) -> None:
    row = next(line for line in page("docs/edits.md").splitlines() if line.startswith(f"| `{kind}` |"))
    for field in dataclasses.fields(edits.KINDS[kind]):
        assert field.name == "strength" or f"`{field.name}`" in row


def test_every_axis_tap_and_question_is_in_the_docs() -> None:
    text = page("docs/library.md")
    for name in [*axes.AXES, *axes.TAPS, "ask", "find", "landings", "predict", "words"]:
        assert f"`{name}`" in text


def test_the_readme_tree_names_every_module() -> None:
    tree = page("README.md").partition("## The tree")[2]
    for module in (ROOT / "src" / "qkvlab").rglob("*.py"):
        if module.name not in ("__init__.py",):
            assert re.search(rf"^ +{re.escape(module.name)} +\S", tree, re.MULTILINE), module.name


def test_links_between_the_docs_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_picture_shows_the_measured_weight() -> None:
    assert "0.9037" in page("docs/terminal.svg")
