"""Where something stands in a file of the course, and YAML whose every entry knows its line."""

from dataclasses import dataclass
from typing import Any

import yaml

from ..errors import LessonError


@dataclass(frozen=True)
class Spot:
    """A line of a file, from 1."""

    file: str
    line: int

    def down(self, lines: int) -> "Spot":
        return Spot(self.file, self.line + lines)

    def error(self, message: str) -> LessonError:
        return LessonError(message, self.file, self.line)


@dataclass(frozen=True)
class Entry:
    """A value in YAML, its line, and, where it is one word or number, the characters that stand there."""

    value: Any
    spot: Spot
    written: str | None


def read_entries(text: str, spot: Spot) -> dict[str, Entry]:
    """The `key: value` lines of a YAML text that begins at this line. Raises LessonError."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise spot.error("expected lines of `key: value`")
        found: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key, here = loader.construct_object(key_node, deep=True), spot.down(key_node.start_mark.line)
            if not isinstance(key, str):
                raise here.error(f"the key {key!r} is no word")
            if key in found:
                raise here.error(f"{key} stands here twice; first in line {found[key].spot.line}")
            value = loader.construct_object(value_node, deep=True)
            written = value_node.value if isinstance(value_node, yaml.ScalarNode) and value is not None else None
            found[key] = Entry(value, here, written)
        return found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise spot.down(mark.line if mark else 0).error(f"this is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise spot.error(f"this is not YAML: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()
