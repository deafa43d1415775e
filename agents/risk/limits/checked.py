"""Plain values into a Struct of numbers, with errors that name the key, the value, what is wrong and what was meant."""

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from agents.errors import SettingsError

_SomeStruct = TypeVar("_SomeStruct", bound=Struct)
_UNITS = (
    ("_bps", "basis points: 1 % is 100"),
    ("_ms", "whole milliseconds: 1 s is 1000"),
    ("_us", "microseconds"),
    ("_s", "seconds"),
    ("_drawdown", "a fraction: 10 % is 0.1"),
    ("_ratio", "a fraction: 10 % is 0.1"),
    ("_quantity", "units of the instrument"),
    ("_position", "units of the instrument"),
    ("_value", "the account's currency"),
    ("_exposure", "the account's currency"),
    ("_loss", "the account's currency"),
)
_MOST_SHOWN = 40


def checked(raw: object, kind: type[_SomeStruct], *, where: str, path: str = "") -> _SomeStruct:
    """Return a Struct of numbers. `path`: where in the file it stands, for errors. Raises SettingsError."""
    types, found = _types(kind), dict[str, Any]()
    for key, value in mapping(raw, where=where, path=path).items():
        name = f"{path}.{key}" if path else str(key)
        if key not in types:
            raise SettingsError(where, f"{name} is no known key{meant(str(key), types)}")
        found[key] = _number(value, types[key], where=where, name=name)
    return kind(**found)


def mapping(raw: object, *, where: str, path: str = "") -> Mapping[str, object]:
    """Return keys and values. Raises SettingsError for anything else, and for keys that are no text."""
    if not isinstance(raw, Mapping):
        raise SettingsError(where, f"{path or 'it'} must hold keys and values, not {_shown(raw)}")
    for key in raw:
        if not isinstance(key, str):
            raise SettingsError(where, f"{path or 'it'} has the key {_shown(key)}, which is no text; put it in quotes")
    return raw


def meant(name: str, known: Collection[str]) -> str:
    """Return a hint at what an unknown name was meant to be."""
    near = get_close_matches(name, known, n=2)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; there are {', '.join(sorted(known)[:_MOST_SHOWN])}" if known else "; there are none"


def _number(value: object, kind: Any, *, where: str, name: str) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        why = "must be finite"
    else:
        try:
            return msgspec.convert(value, kind)
        except (msgspec.ValidationError, OverflowError) as error:
            why = str(error)
    hint = "; a number stands without quotes and without its unit" if isinstance(value, str) else ""
    unit = next((f" ({unit})" for suffix, unit in _UNITS if name.endswith(suffix)), "")
    raise SettingsError(where, f"{name} is {_shown(value)}: {why}{unit}{hint}")


def _shown(value: object) -> str:
    text = "a number of thousands of digits" if isinstance(value, int) and abs(value) > 10**30 else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


@cache
def _types(kind: type[Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}
