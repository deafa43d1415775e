"""Bytes <-> messages: JSON by default, msgpack by header; decoders are made once for each topic."""

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from messages.errors import BadMessage, NotFinite
from messages.topics import topic_named

CONTENT_TYPE = "content-type"
JSON = b"application/json"
MSGPACK = b"application/msgpack"
MSGPACK_HEADER: tuple[str, bytes] = (CONTENT_TYPE, MSGPACK)
MAX_MESSAGE_BYTES = 16 * 2**20

Headers = tuple[tuple[str, bytes], ...]

_json_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()


class UnknownMessage(Struct, frozen=True):
    """A message whose `type` this version doesn't know: count it and go on, so that schemas can grow."""

    type: str


class _Tagged(Struct):
    type: str


def encode(message: Struct, content_type: bytes = JSON) -> bytes:
    """Return the bytes of a message. Raises NotFinite when a number in it is NaN or infinite."""
    check_finite(message)
    return _msgpack_encoder.encode(message) if content_type == MSGPACK else _json_encoder.encode(message)


def decode(topic: str, value: bytes | None, headers: Headers = ()) -> Any:
    """Return the message that `value` holds: one of the topic's types, or UnknownMessage.

    Raises BadMessage for everything else that bytes can be, and NotFinite for NaN and infinity.
    """
    if value is None:
        raise BadMessage(topic, "the record has no value")
    if len(value) > MAX_MESSAGE_BYTES:
        raise BadMessage(topic, f"{len(value)} bytes are over the limit of {MAX_MESSAGE_BYTES}")
    json_decoder, msgpack_decoder = _decoders(topic)
    decoder: Any = json_decoder
    if headers:
        content_type = next((header for name, header in headers if name == CONTENT_TYPE), JSON)
        if content_type == MSGPACK:
            decoder = msgpack_decoder
        elif content_type != JSON:
            raise BadMessage(topic, f"content-type {content_type!r} is neither {JSON!r} nor {MSGPACK!r}")
    try:
        message = decoder.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError, OverflowError) as error:
        return _unknown_or_raise(topic, decoder, value, error)
    if decoder is msgpack_decoder:  # JSON can't write NaN or infinity, and its parser refuses what overflows
        check_finite(message)
    return message


def _unknown_or_raise(topic: str, decoder: Any, value: bytes, error: Exception) -> UnknownMessage:
    try:
        tagged: str = (
            (msgspec.msgpack if isinstance(decoder, msgspec.msgpack.Decoder) else msgspec.json)
            .decode(value, type=_Tagged)
            .type
        )
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError, OverflowError):
        raise BadMessage(topic, str(error) or type(error).__name__) from error
    if tagged in {message.__name__ for message in topic_named(topic).messages}:
        raise BadMessage(topic, str(error)) from error
    return UnknownMessage(tagged)


@cache
def _decoders(topic: str) -> tuple[msgspec.json.Decoder[Any], msgspec.msgpack.Decoder[Any]]:
    union: Any = Union[topic_named(topic).messages]  # noqa: UP007 - built at run time
    return msgspec.json.Decoder(union), msgspec.msgpack.Decoder(union)


def check_finite(message: Struct) -> None:
    """Raise NotFinite when any number in the message is NaN or infinite."""
    for check in _finite_checks(type(message)):
        check(message)


Check = Callable[[Any], None]


@cache
def _finite_checks(kind: type[Struct]) -> tuple[Check, ...]:
    hints = get_type_hints(kind)
    return tuple(check for name, hint in hints.items() if (check := _field_check(kind, name, hint)) is not None)


def _field_check(kind: type[Struct], name: str, hint: Any) -> Check | None:
    leaves = set(_leaves(hint))
    if hint is float:

        def check_float(message: Any) -> None:
            if not math.isfinite(getattr(message, name)):
                raise NotFinite(kind.__name__, name, getattr(message, name))

        return check_float
    if not any(leaf is float or (isinstance(leaf, type) and issubclass(leaf, Struct)) for leaf in leaves):
        return None

    def check_nested(message: Any) -> None:
        for value in _flatten(getattr(message, name)):
            if isinstance(value, float):
                if not math.isfinite(value):
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
