"""Bytes <-> messages: JSON by default, msgpack by header; decoders are made once for each topic."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import isfinite
from operator import attrgetter
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from messages.errors import BadMessage, NotFinite
from messages.topics import TOPICS, topic_named

CONTENT_TYPE = "content-type"
JSON = b"application/json"
MSGPACK = b"application/msgpack"
MSGPACK_HEADER: tuple[str, bytes] = (CONTENT_TYPE, MSGPACK)
MAX_MESSAGE_BYTES = 16 * 2**20

Headers = tuple[tuple[str, bytes], ...]

_UNREADABLE = (msgspec.DecodeError, RecursionError, ValueError, OverflowError)  # UnicodeDecodeError is a ValueError
_to_json, _to_msgpack = msgspec.json.Encoder().encode, msgspec.msgpack.Encoder().encode


class UnknownMessage(Struct, frozen=True):
    """A message whose `type` this version doesn't know: count it and go on, so that schemas can grow."""

    type: str


class _Tagged(Struct):
    type: str


def encode(message: Struct, content_type: bytes = JSON) -> bytes:
    """Return the bytes of a message. Raises NotFinite when a number in it is NaN or infinite."""
    if content_type == MSGPACK:
        check_finite(message)
        return _to_msgpack(message)
    encoded = _to_json(message)
    if b"null" in encoded:  # as NaN and infinity are written, and little else is
        check_finite(message)
    return encoded


def decode(topic: str, value: bytes | None, headers: Headers = ()) -> Any:
    """Return the message that `value` holds: one of the topic's types, or UnknownMessage.

    Of duplicate keys the last counts. Raises BadMessage for everything else that bytes can be, and NotFinite for NaN
    and infinity.
    """
    if value is None or len(value) > MAX_MESSAGE_BYTES:
        raise BadMessage(topic, "the record has no value" if value is None else _too_long(value))
    try:
        if headers and _is_msgpack(topic, headers):
            return _decode_msgpack(topic, value)
        return _from_json[topic](value)  # JSON can't write NaN or infinity, and its parser refuses what overflows
    except _UNREADABLE as error:
        return _unknown_or_raise(topic, msgspec.json.decode, value, error)
    except KeyError:
        topic_named(topic)  # says what topics there are
        raise


def _too_long(value: bytes) -> str:
    return f"{len(value)} bytes are over the limit of {MAX_MESSAGE_BYTES}"


def _is_msgpack(topic: str, headers: Headers) -> bool:
    for name, content_type in headers:
        if name == CONTENT_TYPE:
            if content_type == MSGPACK:
                return True
            if content_type != JSON:
                raise BadMessage(topic, f"content-type {content_type!r} is neither {JSON!r} nor {MSGPACK!r}")
            return False
    return False


def _decode_msgpack(topic: str, value: bytes) -> Any:
    try:
        message = _from_msgpack[topic](value)
    except _UNREADABLE as error:
        return _unknown_or_raise(topic, msgspec.msgpack.decode, value, error)
    check_finite(message)
    return message


def _unknown_or_raise(topic: str, read: Callable[..., Any], value: bytes, error: Exception) -> UnknownMessage:
    try:
        tagged: str = read(value, type=_Tagged).type
    except _UNREADABLE:
        raise BadMessage(topic, str(error) or type(error).__name__) from error
    if tagged in {message.__name__ for message in TOPICS[topic].messages}:
        raise BadMessage(topic, str(error)) from error
    return UnknownMessage(tagged)


class _Nameless(Struct, frozen=True, tag=""):
    """Stands beside a topic's only type: of a lone type msgspec would not require the tag."""


def _decoders(make: Callable[[Any], Any]) -> dict[str, Callable[[bytes], Any]]:
    """Return the `decode` of a decoder for each topic: the hot path is one look-up and one call."""
    return {name: _decoder(make, topic.messages) for name, topic in TOPICS.items()}


def _decoder(make: Callable[[Any], Any], kinds: tuple[type[Struct], ...]) -> Callable[[bytes], Any]:
    if len(kinds) > 1:
        return cast("Callable[[bytes], Any]", make(Union[kinds]).decode)  # noqa: UP007 - at run time
    read = make(Union[(*kinds, _Nameless)]).decode

    def read_lone(value: bytes) -> Any:
        message = read(value)
        return UnknownMessage("") if type(message) is _Nameless else message

    return read_lone


_from_json, _from_msgpack = _decoders(msgspec.json.Decoder), _decoders(msgspec.msgpack.Decoder)


def check_finite(message: Struct) -> None:
    """Raise NotFinite when any number in the message is NaN or infinite."""
    for check in _finite_checks(type(message)):
        check(message)


Check = Callable[[Any], None]


@cache
def _finite_checks(kind: type[Struct]) -> tuple[Check, ...]:
    hints = get_type_hints(kind)
    plain = [name for name, hint in hints.items() if hint is float]
    optional = [name for name, hint in hints.items() if hint == float | None]
    nested = [
        name for name, hint in hints.items() if name not in {*plain, *optional} and _may_hold_floats(hint, frozenset())
    ]
    return (
        *([_plain_check(kind, plain)] if plain else []),
        *(_optional_check(kind, name) for name in optional),
        *(_nested_check(kind, name) for name in nested),
    )


def _may_hold_floats(hint: Any, above: frozenset[type]) -> bool:
    for leaf in _leaves(hint):
        if leaf is float:
            return True
        if isinstance(leaf, type) and issubclass(leaf, Struct) and leaf not in above:
            hints = get_type_hints(leaf).values()
            if any(_may_hold_floats(inner, above | {leaf}) for inner in hints):
                return True
    return False


def _plain_check(kind: type[Struct], names: Sequence[str]) -> Check:
    """One sum tells whether all are finite; only where it is not (or has overflowed) each is looked at."""
    values_of = attrgetter(names[0], *names)  # a tuple even of one

    def check_plain(message: Any) -> None:
        if not isfinite(sum(values_of(message))):
            for name in names:
                if not isfinite(value := getattr(message, name)):
                    raise NotFinite(kind.__name__, name, value)

    return check_plain


def _optional_check(kind: type[Struct], name: str) -> Check:
    value_of = attrgetter(name)

    def check_optional(message: Any) -> None:
        value = value_of(message)
        if value is not None and not isfinite(value):
            raise NotFinite(kind.__name__, name, value)

    return check_optional


def _nested_check(kind: type[Struct], name: str) -> Check:
    value_of = attrgetter(name)

    def check_nested(message: Any) -> None:
        content = value_of(message)
        if content is None:
            return
        for value in _flatten(content):
            if isinstance(value, float):
                if not isfinite(value):
                    raise NotFinite(kind.__name__, name, value)
            elif isinstance(value, Struct):
                check_finite(value)

    return check_nested


def _leaves(hint: Any) -> Iterable[Any]:
    arguments = get_args(hint)
    if get_origin(hint) is None or not arguments:
        yield hint
    for argument in arguments:
        yield from _leaves(argument)


def _flatten(value: Any) -> Iterable[Any]:
    if isinstance(value, tuple | list):
        for item in value:
            yield from _flatten(item)
    elif isinstance(value, dict):
        yield from _flatten(list(value.values()))
    else:
        yield value
