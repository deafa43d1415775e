"""What docs/bundles.md says of metadata.json, taken from the Structs themselves."""

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.inspect import (
    AnyType,
    BoolType,
    DictType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

Row = tuple[str, str, str]


def rows_of(struct: type[Struct]) -> list[Row]:
    """(key, type, default) of each field, in the order of the Struct; the default as JSON, or `required`."""
    info = type_info(struct)
    assert isinstance(info, StructType)
    return [(field.encode_name, _type(field.type), _default(field)) for field in info.fields]


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return msgspec.json.encode(value).decode()


def _type(kind: Type) -> str:  # noqa: C901 - a flat list of kinds
    match kind:
        case Metadata(type=annotated):
            return _type(annotated)
        case NoneType():
            return "null"
        case BoolType():
            return "boolean"
        case AnyType():
            return "any"
        case IntType() | FloatType():
            return _number("integer" if isinstance(kind, IntType) else "number", kind)
        case StrType(pattern=pattern) if pattern is not None:
            return f"string `{pattern}`"
        case StrType():
            return f"string{_length(kind, 'characters')}"
        case LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case UnionType(types=options):
            return ", or ".join(_type(option) for option in options)
        case VarTupleType(item_type=item) | ListType(item_type=item):
            inner = _type(item)
            return f"array{_length(kind, 'items')} of {f'({inner})' if isinstance(item, UnionType) else inner}"
        case DictType(value_type=value):
            return f"object of {_type(value)}"
        case StructType(cls=struct):
            return struct.__name__
    raise AssertionError(f"no words for {kind}")


def _number(word: str, kind: Any) -> str:
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    bounds = [f"{sign} {_bound(end)}" for name, sign in signs if (end := getattr(kind, name)) is not None]
    return " ".join([word, ", ".join(bounds)]).strip()


def _bound(value: float) -> str:
    powers = {2**power: f"2^{power}" for power in range(16, 64)} | {2**63 - 1: "2^63 - 1"}
    return powers.get(int(value), f"{value:g}") if value == int(value) else f"{value:g}"


def _length(kind: Any, what: str) -> str:
    low, high = kind.min_length or 0, kind.max_length
    if high is None:
        return f" ({low} or more {what})" if low else ""
    return f" ({low} to {high} {what})" if low != high else f" ({low} {what})"
