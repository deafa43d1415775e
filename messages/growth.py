"""How schemas may grow: a reader of yesterday reads today's records, and today's reader those of yesterday.

Allowed are new messages, new topics and new optional fields. All else breaks somebody: who writes by the old schema and
is refused by today's readers, or who reads by the old schema and can't take what is written today.
"""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from messages.schema import Schema, topic_definition

Breaks = Literal["readers", "writers"]
_WHOM: dict[Breaks | None, str] = {
    "writers": "breaks writers of yesterday because",
    "readers": "breaks readers of yesterday because",
    None: "allowed:",
}
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_FIXED = ("pattern", "contentEncoding")


class Change(Struct, frozen=True, kw_only=True):
    """One difference between two schemas. `breaks` is None for what is allowed."""

    where: str
    what: str
    breaks: Breaks | None
    why: str

    def __str__(self) -> str:
        """Return e.g. `Quote.venue: is required now: breaks writers of yesterday because their records lack it`."""
        return f"{self.where}: {self.what}: {_WHOM[self.breaks]} {self.why}"


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return what in `new` breaks readers or writers of `old`, as sentences; nothing when it may be published.

    Both are documents of `json_schema`.
    """
    return [str(change) for change in changes(old, new) if change.breaks is not None]


def changes(old: Schema, new: Schema) -> list[Change]:
    """Return all that differs on the wire, each once; titles and descriptions may say what they like."""
    found = [*_topics(old, new), *_messages(old, new)]
    return list(dict.fromkeys(found))


def _topics(old: Schema, new: Schema) -> Iterator[Change]:
    for name, kinds in _kinds_of_topics(old).items():
        left = _kinds_of_topics(new).get(name)
        if left is None:
            yield _change(f"topic {name}", "is gone", "readers", "they wait for its records")
            continue
        for kind in kinds - left:
            yield _change(f"topic {name}", f"no longer holds {kind}", "writers", "today's readers ignore it")
        for kind in left - kinds:
            yield _change(f"topic {name}", f"also holds {kind}", None, "who doesn't know it ignores it")
    for name in _kinds_of_topics(new).keys() - _kinds_of_topics(old).keys():
        yield _change(f"topic {name}", "is new", None, "nobody reads it yet")


def _kinds_of_topics(schema: Schema) -> dict[str, set[str]]:
    prefix = topic_definition("")
    return {
        name.removeprefix(prefix): {_name(node) for node in definition["anyOf"]}
        for name, definition in sorted(schema["$defs"].items())
        if name.startswith(prefix)
    }


def _messages(old: Schema, new: Schema) -> Iterator[Change]:
    before, after = {_name(node) for node in old["anyOf"]}, {_name(node) for node in new["anyOf"]}
    for kind in sorted(before - after):
        yield _change(kind, "is gone", "readers", "it never comes again, under no other name that they know")
    for kind in sorted(after - before):
        yield _change(kind, "is new", None, "who doesn't know it ignores it")
    compare = _Comparison(old, new)
    for kind in sorted(before & after):
        yield from compare.objects(old["$defs"][kind], new["$defs"][kind], kind)


class _Comparison:
    """Walks two documents side by side."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old["$defs"], new["$defs"]

    def objects(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        if old.get("additionalProperties", True) is True and new.get("additionalProperties") is False:
            yield _change(
                path, "refuses unknown fields", "writers", "those that may stand in their records are refused"
            )
        needed, needed_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in [*before, *(name for name in after if name not in before)]:
            where = f"{path}.{name}"
            if name not in after:
                why = "they refuse records without it" if name in needed else "what it told them is lost"
                yield _change(where, "is gone", "readers", why)
                continue
            if name in needed_now - needed:
                yield _change(where, "is required now", "writers", "their records may lack it and are refused")
            elif name not in before:
                yield _change(where, "is new and optional", None, "who doesn't know it ignores it")
            elif name in needed - needed_now:
                yield _change(where, "is optional now", "readers", "they refuse records without it")
            if name in before:
                yield from self.values(before[name], after[name], where)

    def values(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        """Yield the differences of two fields or parts of one."""
        if "default" in old and "default" in new and old["default"] != new["default"]:
            text = f"its default was {old['default']!r} and is {new['default']!r}"
            yield _change(path, text, "readers", "records that leave it out now mean something else")
        before, after = self._alternatives(old, self._old), self._alternatives(new, self._new)
        for key in [key for key in before if key not in after]:
            yield _change(path, f"no longer takes {key}", "writers", "their records are refused")
        for key in [key for key in after if key not in before]:
            yield _change(path, f"also takes {key}", "readers", "they refuse the whole record")
        for key in [key for key in before if key in after]:
            yield from self._parts(before[key], after[key], path)

    def _alternatives(self, node: Schema, definitions: Schema) -> dict[str, Schema]:
        """Return what a field takes, by JSON type, or by tag where there is one."""
        found: dict[str, Schema] = {}
        for part in node.get("anyOf", [node]):
            schema = definitions[_name(part)] if "$ref" in part else part
            tag = schema.get("properties", {}).get("type", {}).get("const")
            found[tag or schema.get("type") or "a fixed list of values"] = schema
        return found

    def _parts(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        yield from _of_lists(old, new, path)
        yield from _of_bounds(old, new, path)
        if "properties" in old or "properties" in new:
            yield from self.objects(old, new, path)
        for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                yield from self.values(old[key], new[key], path + suffix)
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before) != len(after):
            yield _change(path, f"has {len(after)} places instead of {len(before)}", "readers", "they count them")
        for index, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.values(one, other, f"{path}[{index}]")


def _of_lists(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = _listed(old), _listed(new)
    for value in [value for value in before if value not in after]:
        yield _change(path, f"no longer takes {value!r}", "writers", "their records are refused")
    for value in [value for value in after if value not in before]:
        yield _change(path, f"also takes {value!r}", "readers", "they refuse the whole record")


def _listed(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _of_bounds(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for key in (*_LOWER, *_UPPER):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        is_narrower = before is None or (after is not None and (after > before) is (key in _LOWER))
        text = f"{key} was {before} and is {after}"
        if is_narrower:
            yield _change(path, text, "writers", "what is beyond it is refused now")
        else:
            yield _change(path, text, "readers", "they refuse what is beyond the old one")
    for key in _FIXED:
        if old.get(key) != new.get(key):
            text = f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
            yield _change(path, text, "writers", "what fitted the old one may be refused now")


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _change(where: str, what: str, breaks: Breaks | None, why: str) -> Change:
    return Change(where=where, what=what, breaks=breaks, why=why)
