"""What a stranger may send: valid records of any type, and a family of damage around each. The same in every run.

Hypothesis draws a valid record and where to damage it, so that a failure shrinks to a small record; the forty inputs
of its family follow from that draw alone. Failures name the bytes.
"""

import random
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from messages.codec import MSGPACK_HEADER, Headers

FAMILY = 40
DEEP = 3_000
_PATTERNS = {
    "^[0-9a-f]{64}$": st.sampled_from(["0" * 64, "0123456789abcdef" * 4]),
    "^(portfolio|strategy:.+|instrument:.+)$": st.sampled_from(["portfolio", "strategy:s", "instrument:X"]),
}


class Form(NamedTuple):
    """A wire format: how plain values are written, and fragments that no well-meant writer would send."""

    name: str
    pack: Callable[[Any], bytes]
    headers: Headers
    fragments: tuple[bytes, ...]
    twice: Callable[[dict[str, Any], str, Any], bytes]


def _json_twice(fields: dict[str, Any], name: str, value: Any) -> bytes:
    return msgspec.json.encode(fields)[:-1] + b"," + msgspec.json.encode({name: value})[1:]


def _msgpack_twice(fields: dict[str, Any], name: str, value: Any) -> bytes:
    pairs = [*fields.items(), (name, value)]
    packed = b"".join(msgspec.msgpack.encode(part) for pair in pairs for part in pair)
    return b"\xde" + len(pairs).to_bytes(2, "big") + packed


_NUMBERS = "-1 0 1.5 -0.0 1e308 9223372036854775807 9223372036854775808 -9223372036854775809 18446744073709551616"
JSON_FORM = Form(
    name="json",
    pack=msgspec.json.encode,
    headers=(),
    fragments=(
        *(number.encode() for number in _NUMBERS.split()),
        *(
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e999",
            b"-1e400",
            b"9" * 400,
            b"9" * 5_000,
            b"1" + b"0" * 40,
            b"1e-999",
        ),
        *(b"null", b"true", b"{}", b"[]", b'""', b'"\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b"'x'"),
        *(
            b'"' + b"x" * 20_000 + b'"',
            b'{"type":"Later"}',
            b'{"type":"Order"}',
            b'{"type":7}',
            b"[[[]]]",
            b"01",
            b"+1",
        ),
        *(b"[" * DEEP + b"]" * DEEP, b'{"x":' * DEEP + b"0" + b"}" * DEEP, b"[" * 50_000, b"[" + b"0," * 5_000 + b"0]"),
    ),
    twice=_json_twice,
)
MSGPACK_FORM = Form(
    name="msgpack",
    pack=msgspec.msgpack.encode,
    headers=(MSGPACK_HEADER,),
    fragments=(
        *(bytes.fromhex(f"cb{bits}") for bits in ("7ff8000000000000", "7ff0000000000000", "fff0000000000000")),
        *(bytes.fromhex(f"cb{bits}") for bits in ("7fefffffffffffff", "0000000000000001", "fff8000000000001")),
        *(b"\xca\x7f\xc0\x00\x00", b"\xca\x7f\x80\x00\x00", b"\xcf" + b"\xff" * 8, b"\xcf\x80" + b"\0" * 7, b"\xff"),
        *(b"\xd3\x80" + b"\0" * 7, b"\xcc\xff", b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\x80", b"\x90", b"\xa0"),
        *(b"\xa2\xff\xfe", b"\xa3\xed\xa0\x80", b"\xc4\x01\xff", b"\xd6\xff\0\0\0\1", b"\xd4\x05\x00", b"\xc7\x00\xff"),
        *(head + b"\xff\xff\xff\xff" for head in (b"\xdb", b"\xc6", b"\xdd", b"\xdf", b"\xc9")),  # length bombs
        *(head + b"\x0f\xff\xff\xff" for head in (b"\xdb", b"\xc6", b"\xdd", b"\xdf", b"\xc9")),
        *(b"\x91" * DEEP + b"\xc0", b"\x81\xa1x" * DEEP + b"\xc0", b"\x91" * 50_000, b"\xda\x4e\x20" + b"x" * 20_000),
        msgspec.msgpack.encode({"type": "Later"}),
        msgspec.msgpack.encode({"type": "Order"}),
        msgspec.msgpack.encode({"type": 7}),
    ),
    twice=_msgpack_twice,
)
FORMS = (JSON_FORM, MSGPACK_FORM)


class Case(NamedTuple):
    """A valid record, and where and how to damage it."""

    fields: Any
    where: int
    which: int
    seed: int


def run_cases(valid: st.SearchStrategy[Any], check: Callable[[Case], int], *, inputs: int) -> int:
    """Check at least `inputs` inputs in families around valid records; return how many were checked."""
    checked = 0

    @settings(
        max_examples=-(-inputs // FAMILY),
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(valid, st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 2**32))
    def run(fields: Any, where: int, which: int, seed: int) -> None:
        nonlocal checked
        checked += check(Case(fields, where, which, seed))

    run()
    return checked


def family(form: Form, case: Case) -> Iterator[bytes]:
    """Yield the record itself and damaged copies of it: forty in all."""
    dice = random.Random(case.seed)
    whole = form.pack(case.fields)
    yield whole
    for turn in range(8):
        yield form.pack(replaced(case.fields, case.where, _fragment(form, case.which + turn)))
    for turn in range(3):
        yield form.pack(replaced(case.fields, case.where + turn, None, drop=True))
    for turn in range(3):
        yield _with_a_key_twice(form, case, turn)
    for _ in range(7):
        yield whole[: dice.randrange(len(whole) + 1)]
    for _ in range(12):
        yield _flipped(whole, dice)
    for _ in range(3):
        yield _spliced(whole, dice)
    for _ in range(2):
        yield dice.randbytes(dice.randrange(64))
    yield form.pack(msgspec.Raw(_fragment(form, case.which)))


def _fragment(form: Form, which: int) -> bytes:
    return form.fragments[which % len(form.fragments)]


def _with_a_key_twice(form: Form, case: Case, turn: int) -> bytes:
    if not isinstance(case.fields, dict) or not case.fields:
        return form.pack(case.fields) + b"\xc1"
    name = list(case.fields)[(case.where + turn) % len(case.fields)]
    return form.twice(case.fields, name, msgspec.Raw(_fragment(form, case.which + 7 * turn)))


def _flipped(whole: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(whole)
    for _ in range(dice.choice((1, 1, 2, 4))):
        if damaged:
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    return bytes(damaged)


def _spliced(whole: bytes, dice: random.Random) -> bytes:
    at, size = dice.randrange(len(whole) + 1), dice.randrange(1, 40)
    if dice.random() < 0.5:
        return whole[:at] + whole[at + size :]
    return whole[:at] + whole[:size] + whole[at:]


def replaced(tree: Any, where: int, fragment: bytes | None, *, drop: bool = False) -> Any:
    """Return a copy of the tree with its `where`-th node (in order, modulo their number) replaced or left out."""
    nodes = list(_nodes(tree, ()))
    path = nodes[where % len(nodes)]
    return _rebuilt(tree, path, fragment, drop=drop)


def count_nodes(tree: Any) -> int:
    """Return how many places of the tree `replaced` can reach."""
    return sum(1 for _ in _nodes(tree, ()))


def _nodes(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _nodes(value, (*path, name))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _nodes(value, (*path, index))


def _rebuilt(tree: Any, path: tuple[Any, ...], fragment: bytes | None, *, drop: bool) -> Any:
    if not path:
        return tree if drop or fragment is None else msgspec.Raw(fragment)
    head, rest = path[0], path[1:]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    kept = {
        name: _rebuilt(value, rest, fragment, drop=drop) if name == head else value
        for name, value in items
        if not (drop and not rest and name == head)
    }
    return kept if isinstance(tree, dict) else list(kept.values())


@cache
def example(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a whole record of the type: every optional field is there, every sequence holds something."""
    first = settings(database=None, derandomize=True, phases=(Phase.generate,))
    whole: dict[str, Any] = find(valid(kind, whole=True), lambda _: True, settings=first)
    return whole


def valid(hint: Any, *, whole: bool = False) -> st.SearchStrategy[Any]:
    """Return plain values that decode as the type: dicts for Structs, with their tag; `whole`: nothing left out."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        facts = {name: fact for meta in arguments[1:] for name, fact in _facts(meta).items()}
        return _constrained(arguments[0], facts, whole=whole)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _struct(hint, whole=whole)
    if origin in {Union, UnionType}:
        kinds = [kind for kind in arguments if not (whole and kind is type(None))]
        return st.one_of([valid(kind, whole=whole) for kind in kinds])
    if origin is Literal:
        return st.sampled_from(arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from([member.value for member in hint])
    if origin in {tuple, list, dict, frozenset}:
        return _constrained(hint, {}, whole=whole)
    return _PLAIN[hint]


_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    bool: st.booleans(),
    int: st.sampled_from([0, 1, -7, 10**6]),
    float: st.sampled_from([0.0, 0.5, -1.25, 3, 1e300, 5e-324]),
    str: st.sampled_from(["", "a", "BTC-USD", "\u00e4\u6f22\U0001f600", "x" * 100]),
    bytes: st.binary(max_size=16),
    Any: st.sampled_from([None, 1, "x", [1.5], {"a": True}]),
    object: st.sampled_from([None, 1, "x"]),
}


def _facts(meta: Any) -> dict[str, Any]:
    names = ("gt", "ge", "lt", "le", "pattern", "min_length", "max_length")
    return {name: fact for name in names if (fact := getattr(meta, name, None)) is not None}


def _constrained(hint: Any, facts: dict[str, Any], *, whole: bool) -> st.SearchStrategy[Any]:
    if hint is int:
        return _integers(facts)
    if hint is float:
        return _floats(facts)
    least = facts.get("min_length", 0)
    if hint is str:
        if "pattern" in facts:
            return _PATTERNS[facts["pattern"]]
        return st.sampled_from(["X", "BTC-USD", "\u00e4", *([""] if least == 0 else [])])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is dict:
        names = st.sampled_from(["a", "defaults.x"])
        return st.dictionaries(names, valid(arguments[1], whole=whole), min_size=int(whole), max_size=2)
    if len(arguments) == 2 and arguments[1] is not Ellipsis:
        return st.tuples(*(valid(argument, whole=whole) for argument in arguments)).map(list)
    least = max(least, int(whole))
    most = max(least, min(2, facts.get("max_length", 2)))
    return st.lists(valid(arguments[0], whole=whole), min_size=least, max_size=most)


def _integers(facts: dict[str, Any]) -> st.SearchStrategy[int]:
    low = facts["gt"] + 1 if "gt" in facts else facts.get("ge", -(2**63))
    high = facts["lt"] - 1 if "lt" in facts else facts.get("le", 2**63 - 1)
    return st.sampled_from(sorted({low, high, min(max(low, 1), high), (low + high) // 2}))


def _floats(facts: dict[str, Any]) -> st.SearchStrategy[float]:
    low, high = facts.get("ge", facts.get("gt", -1e6)), facts.get("le", facts.get("lt", 1e6))
    middle = low + (high - low) / 2
    return st.sampled_from([middle, low + (middle - low) / 3, *([low] if "ge" in facts else [])])


def _struct(kind: type[msgspec.Struct], *, whole: bool) -> st.SearchStrategy[dict[str, Any]]:
    hints = get_type_hints(kind, include_extras=True)
    required: dict[Any, st.SearchStrategy[Any]] = {}
    optional: dict[Any, st.SearchStrategy[Any]] = {}
    if kind.__struct_config__.tag is not None:
        required[kind.__struct_config__.tag_field] = st.just(kind.__struct_config__.tag)
    for field in msgspec.structs.fields(kind):
        group = required if field.required or whole else optional
        group[field.encode_name] = valid(hints[field.name], whole=whole)
    return st.fixed_dictionaries(required, optional=optional)
