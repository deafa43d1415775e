"""YAML that says what it means: no key twice, no aliases, no numbers in disguise.

Plain YAML takes the last of two equal keys, lets a few lines of aliases grow into gigabytes, reads 1e6 as text, 10:30
as 630 and an instrument called NO as false. Here a number is a decimal number, true and false are the only truths.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from agents.errors import SettingsError

MAX_BYTES = 1_048_576
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_NULL = re.compile(r"~|null|Null|NULL|")
_PLAIN = (("bool", _BOOL), ("int", _INT), ("float", _FLOAT), ("null", _NULL))


class _Refused(yaml.MarkedYAMLError):
    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {  # noqa: RUF012 - PyYAML's own
        None: [(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern.pattern})\Z")) for name, pattern in _PLAIN]
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _Refused("aliases are not taken; write the value out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _Refused("half a character (a lone surrogate) can't be written anywhere again", node.start_mark)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            text = (key.tag, getattr(key, "value", None)) if isinstance(key, yaml.ScalarNode) else None
            if text is not None and text in seen:
                raise _Refused(f"key {key.value!r} is there twice", key.start_mark)
            seen.add(text)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, *, where: str) -> Any:
    """Return the plain values in a YAML text; None for an empty one.

    Raises SettingsError with line and column. The lines themselves are not told: a password may stand in them.
    """
    if len(text) > MAX_BYTES:
        raise SettingsError(where, f"is larger than {MAX_BYTES} bytes; that is no file of settings")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        problem = getattr(error, "problem", None) or "unreadable"
        raise SettingsError(where, f"is no YAML: {problem}{place}") from None
    except (ValueError, OverflowError, RecursionError) as error:  # numbers of thousands of digits, endless nesting
        raise SettingsError(where, f"holds a value that can't be read ({type(error).__name__})") from None


def read_yaml(path: str | Path, *, where: str) -> Any:
    """Return the plain values in a file. Raises SettingsError as `parse_yaml`, and for one that can't be read."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        return parse_yaml(content.decode("utf-8"), where=where)
    except OSError as error:
        raise SettingsError(where, f"can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        if len(content) > MAX_BYTES:  # cut in the middle of a character
            raise SettingsError(where, f"is larger than {MAX_BYTES} bytes; that is no file of settings") from None
        raise SettingsError(where, f"is no UTF-8 text: {error.reason} at byte {error.start}") from error
