"""Readers and writers of another version: Structs made from its published schema alone."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Struct

Schema = dict[str, Any]
_BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}


class Version:
    """The messages of one version; `without_optional` leaves out every field that is not required."""

    def __init__(self, schema: Schema, *, without_optional: bool = False) -> None:
        self._definitions: Schema = schema["$defs"]
        self._without_optional = without_optional
        self._made: dict[str, Any] = {}
        self.kinds = {name: self._definition(name) for name in map(_name, schema["anyOf"])}
        self.topics: dict[str, Any] = {
            name.removeprefix("topics."): _union(self.kinds[_name(part)] for part in definition["anyOf"])
            for name, definition in self._definitions.items()
            if name.startswith("topics.")
        }

    def _definition(self, name: str) -> Any:
        if name not in self._made:
            schema = self._definitions[name]
            self._made[name] = self._struct(name, schema) if "properties" in schema else self._type(schema)
        return self._made[name]

    def _struct(self, name: str, schema: Schema) -> type[Struct]:
        tag = schema["properties"].get("type", {}).get("const")
        required = set(schema["required"])
        fields: list[Any] = []
        for field, content in schema["properties"].items():
            if field in required:
                if field != "type" or tag is None:
                    fields.append((field, self._type(content)))
            elif not self._without_optional:
                fields.append((field, self._type(content), _default(content["default"])))
        return msgspec.defstruct(name, fields, kw_only=True, frozen=True, tag=tag, omit_defaults=True)

    def _type(self, schema: Schema) -> Any:
        if "$ref" in schema:
            return self._definition(_name(schema))
        if "anyOf" in schema:
            return _union(map(self._type, schema["anyOf"]))
        bounds: dict[str, Any] = {_BOUNDS[key]: value for key, value in schema.items() if key in _BOUNDS}
        if "prefixItems" in schema:
            bounds = {}
        plain = self._plain(schema)
        return Annotated[plain, Meta(**bounds)] if bounds else plain

    def _plain(self, schema: Schema) -> Any:
        if "const" in schema or "enum" in schema:
            return Literal[tuple(schema.get("enum", [schema.get("const")]))]
        match schema["type"]:
            case "string":
                return bytes if schema.get("contentEncoding") == "base64" else str
            case "array" if "prefixItems" in schema:
                return tuple[tuple(self._type(part) for part in schema["prefixItems"])]  # type: ignore[misc]
            case "array":
                return tuple[self._type(schema["items"]), ...]  # type: ignore[misc]
            case "object":
                return dict[str, self._type(schema["additionalProperties"])]  # type: ignore[misc]
            case simple:
                return {"integer": int, "number": float, "boolean": bool, "null": None}[simple]


def _union(types: Iterable[Any]) -> Any:
    return Union[tuple(types)]  # noqa: UP007 - at run time


def _default(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else msgspec.field(default_factory=dict) if value == {} else value


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]
