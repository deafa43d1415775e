"""Examples of every message, made from its types: the smallest, one with every optional field, and bad ones."""

import copy
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, inspect

from messages.schema import message_types

Json = Any
KINDS = message_types()
_MATCHES = {
    "^[0-9a-f]{64}$": "0123456789abcdef" * 4,
    "^(portfolio|strategy:.+|instrument:.+)$": "strategy:s",
}
_WRONG_TYPE = {"of": ["no", "field"]}


def smallest(kind: type[Struct]) -> Any:
    """Return a message with nothing but the required fields, numbers at their lower bounds."""
    return _struct(inspect.type_info(kind), is_full=False)


def fullest(kind: type[Struct]) -> Any:
    """Return a message with every field set, and one of each kind in every list."""
    return _struct(inspect.type_info(kind), is_full=True)


def bad_ones(kind: type[Struct], good: Json) -> Iterator[tuple[str, Json]]:
    """Yield (what is wrong, the object) for every required field, type and bound; `good` is the encoded fullest."""
    yield from _bad(inspect.type_info(kind), good, kind.__name__)


def _struct(info: Any, *, is_full: bool) -> Any:
    fields = [field for field in info.fields if is_full or field.required]
    return info.cls(**{field.name: _value(field.type, is_full=is_full) for field in fields})


def _value(info: Any, *, is_full: bool) -> Any:  # noqa: C901, PLR0912 - one line for each type
    match info:
        case inspect.Metadata():
            return _value(info.type, is_full=is_full)
        case inspect.UnionType():
            return _value(next(t for t in info.types if not isinstance(t, inspect.NoneType)), is_full=is_full)
        case inspect.StructType():
            return _struct(info, is_full=is_full)
        case inspect.IntType():
            return 2**31 - 1 if is_full else info.ge
        case inspect.FloatType():
            return 0.1 + 0.2 if is_full else info.ge if info.ge is not None else 5e-324 if info.gt is not None else -1.5
        case inspect.StrType():
            if info.pattern is not None:
                return _MATCHES[info.pattern]
            return "é" * (min(info.max_length or 128, 128) if is_full else info.min_length or 0)
        case inspect.BoolType():
            return is_full
        case inspect.BytesType():
            return b"\x00\xff{" if is_full else b""
        case inspect.LiteralType():
            return info.values[-1 if is_full else 0]
        case inspect.EnumType():
            return list(info.cls)[-1 if is_full else 0]
        case inspect.TupleType():
            return tuple(_value(item, is_full=is_full) for item in info.item_types)
        case inspect.VarTupleType():
            if not is_full:
                return (_value(info.item_type, is_full=False),) * (info.min_length or 0)
            return tuple(_value(item, is_full=True) for item in _alternatives(info.item_type))
        case inspect.DictType():
            return {"key": _value(info.value_type, is_full=is_full)} if is_full else {}
    raise TypeError(f"no example for {info}; teach tests/message_examples.py")


def _alternatives(info: Any) -> tuple[Any, ...]:
    return tuple(info.types) if isinstance(info, inspect.UnionType) else (info,)


def _bad(info: Any, good: Json, path: str) -> Iterator[tuple[str, Json]]:  # noqa: C901, PLR0912 - one case for each type
    while isinstance(info, inspect.Metadata):
        info = info.type
    yield f"{path} has the wrong type", _WRONG_TYPE
    match info:
        case inspect.StructType():
            yield from _bad_fields(info, good, path)
        case inspect.UnionType():
            for alternative in info.types:
                if _is_tagged(alternative, good):
                    yield from _bad(alternative, good, path)
        case inspect.IntType():
            yield from ((f"{path} is too small", bound - 1) for bound in [info.ge] if bound is not None)
            yield from ((f"{path} is too large", bound + 1) for bound in [info.le] if bound is not None)
            yield f"{path} is no integer", 0.5
        case inspect.FloatType() if info.ge is not None:
            yield f"{path} is too small", info.ge - 1e-9
        case inspect.FloatType() if info.gt is not None:
            yield f"{path} is at its bound", info.gt
        case inspect.StrType():
            yield from ((f"{path} is empty", "") for _ in range(1 if info.min_length else 0))
            yield from ((f"{path} is too long", "x" * (n + 1)) for n in [info.max_length] if n is not None)
            yield from ((f"{path} does not match", "?") for _ in range(info.pattern is not None))
        case inspect.LiteralType() | inspect.EnumType():
            yield f"{path} is none of the list", "no-such"
        case inspect.VarTupleType():
            yield from ((f"{path} is empty", []) for _ in range(1 if info.min_length else 0))
            for index, item in enumerate(good):
                for why, bad in _bad(info.item_type, item, f"{path}[{index}]"):
                    yield why, [*good[:index], bad, *good[index + 1 :]]
        case inspect.TupleType():
            yield f"{path} is too short", good[:-1]
            yield f"{path} is too long", [*good, None]
        case inspect.DictType():
            for why, bad in _bad(info.value_type, next(iter(good.values())), f"{path}[key]"):
                yield why, {"key": bad}


def _bad_fields(info: Any, good: Json, path: str) -> Iterator[tuple[str, Json]]:
    if info.tag is not None:
        yield f"{path} has no type", _without(good, "type")
        yield f"{path} has a number for its type", {**good, "type": 1}
    for field in info.fields:
        name = field.encode_name
        if field.required:
            yield f"{path}.{name} is missing", _without(good, name)
        if name in good:
            for why, bad in _bad(field.type, good[name], f"{path}.{name}"):
                yield why, {**copy.copy(good), name: bad}


def _is_tagged(info: Any, good: Json) -> bool:
    if isinstance(info, inspect.StructType) and info.tag is not None:
        return isinstance(good, dict) and good.get("type") == info.tag
    return not isinstance(info, inspect.NoneType)


def _without(good: Json, name: str) -> Json:
    return {key: value for key, value in good.items() if key != name}
