"""Bytes of strangers: what decodes, what is unknown, what is refused."""

import json
import math
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from messages import (
    TOPICS,
    BadMessage,
    Cancel,
    DecisionBatch,
    Observation,
    Order,
    Quote,
    UnknownMessage,
    decode,
    encode,
)
from messages.codec import JSON, MAX_MESSAGE_BYTES, MSGPACK, MSGPACK_HEADER, Headers
from messages.errors import NotFinite

QUOTE = {
    "type": "Quote",
    "instrument": "BTC-USD",
    "ts_recv": 1,
    "bid": 10.5,
    "bid_size": 1.0,
    "ask": 10.6,
    "ask_size": 2.0,
}


@dataclass(frozen=True)
class Format:
    content_type: bytes
    headers: Headers

    def raw(self, value: Any) -> bytes:
        """Encode as a stranger would, without our checks."""
        return msgspec.msgpack.encode(value) if self.content_type == MSGPACK else json.dumps(value).encode()


@pytest.fixture(params=[Format(JSON, ()), Format(MSGPACK, (MSGPACK_HEADER,))], ids=["json", "msgpack"])
def fmt(request: pytest.FixtureRequest) -> Format:
    form: Format = request.param
    return form


def test_a_message_comes_back_as_it_was(fmt: Format) -> None:
    quote = Quote(instrument="BTC-USD", ts_recv=2**62, bid=0.1 + 0.2, bid_size=1, ask=1e300, ask_size=5e-324, seq=7)
    assert decode("market", encode(quote, fmt.content_type), fmt.headers) == quote


def test_json_is_readable_and_leaves_out_what_is_not_set() -> None:
    assert json.loads(encode(decode("market", json.dumps(QUOTE).encode()))) == QUOTE


def test_unknown_fields_are_ignored(fmt: Format) -> None:
    message = decode("market", fmt.raw({**QUOTE, "venue": {"deep": [1, None]}}), fmt.headers)
    assert message.instrument == "BTC-USD"


def test_an_unknown_type_is_not_an_error(fmt: Format) -> None:
    assert decode("market", fmt.raw({"type": "Auction", "x": [1]}), fmt.headers) == UnknownMessage("Auction")
    assert decode("market", fmt.raw({"type": "Order"}), fmt.headers) == UnknownMessage("Order")


@pytest.mark.parametrize("field", [name for name in QUOTE if name != "type"])
def test_a_missing_required_field_is_refused_by_name(fmt: Format, field: str) -> None:
    with pytest.raises(BadMessage, match=field):
        decode("market", fmt.raw({name: value for name, value in QUOTE.items() if name != field}), fmt.headers)


@pytest.mark.parametrize(
    "change",
    [
        {"type": None},
        {"type": 7},
        {"instrument": ""},
        {"instrument": "x" * 129},
        {"instrument": None},
        {"ts_recv": -1},
        {"ts_recv": 1.5},
        {"ts_recv": 2**63},
        {"ts_recv": "1"},
        {"bid": "10"},
        {"bid": True},
        {"bid": None},
        {"bid_size": -1},
        {"seq": -1},
    ],
    ids=str,
)
def test_wrong_values_are_refused(fmt: Format, change: dict[str, object]) -> None:
    with pytest.raises(BadMessage, match="market"):
        decode("market", fmt.raw({**QUOTE, **change}), fmt.headers)


def test_a_missing_type_is_refused(fmt: Format) -> None:
    with pytest.raises(BadMessage, match="type"):
        decode("market", fmt.raw({name: value for name, value in QUOTE.items() if name != "type"}), fmt.headers)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_never_leave(fmt: Format, bad: float) -> None:
    quote = Quote(instrument="BTC-USD", ts_recv=1, bid=bad, bid_size=1, ask=1, ask_size=1)
    with pytest.raises(NotFinite, match=r"Quote\.bid"):
        encode(quote, fmt.content_type)
    with pytest.raises(NotFinite, match=r"Observation\.values"):
        encode(Observation(instrument="BTC-USD", ts_recv=1, values=(1.0, bad)), fmt.content_type)


def test_what_looks_like_nan_in_json_leaves(fmt: Format) -> None:
    observation = Observation(instrument="null", ts_recv=1, values=(1.0,))
    assert decode("market", encode(observation, fmt.content_type), fmt.headers) == observation


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_never_enter(fmt: Format, bad: float) -> None:
    with pytest.raises((BadMessage, NotFinite)):
        decode("market", fmt.raw({**QUOTE, "bid": bad}), fmt.headers)
    observation = {"type": "Observation", "instrument": "BTC-USD", "ts_recv": 1, "values": [0.5, bad]}
    with pytest.raises((BadMessage, NotFinite)):
        decode("market", fmt.raw(observation), fmt.headers)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises((BadMessage, NotFinite)):
        decode("market", json.dumps(QUOTE).replace("10.5", "1e999").encode())


@pytest.mark.parametrize("number", ["1e999", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 400, "9" * 310 + ".5"])
def test_json_holds_no_number_that_is_not_finite(number: str) -> None:
    quote = f'{{"type":"Quote","instrument":"X","ts_recv":1,"bid":{number},"bid_size":1,"ask":2,"ask_size":1}}'
    with pytest.raises(BadMessage):
        decode("market", quote.encode())


def test_the_header_decides_the_format() -> None:
    packed = encode(decode("market", json.dumps(QUOTE).encode()), MSGPACK)
    assert decode("market", packed, (("traceparent", b"00-1"), MSGPACK_HEADER)).bid == 10.5
    with pytest.raises(BadMessage):
        decode("market", packed)
    with pytest.raises(BadMessage):
        decode("market", json.dumps(QUOTE).encode(), (MSGPACK_HEADER,))
    with pytest.raises(BadMessage, match="content-type"):
        decode("market", packed, (("content-type", b"text/xml"),))
    assert decode("market", json.dumps(QUOTE).encode(), (("content-type", JSON),)).bid == 10.5


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"null", b"[]", b"{", b"7", b'"Quote"', b"\xff\xfe", b"{}x"])
def test_what_is_no_message_is_refused(value: bytes | None) -> None:
    with pytest.raises(BadMessage, match="market"):
        decode("market", value)


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    depth = 100_000
    for value, headers in (
        (b"[" * depth, ()),
        (b'{"type":' * depth, ()),
        (json.dumps(QUOTE).encode()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}", ()),
        (b"\x81\xa1x" * depth + b"\xc0", (MSGPACK_HEADER,)),
        (b"\x82\xa1x" + b"\x91" * depth + b"\xc0", (MSGPACK_HEADER,)),
    ):
        with pytest.raises(BadMessage):
            decode("market", value, headers)


def test_a_huge_value_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(BadMessage, match="over the limit"):
        decode("market", b" " * (MAX_MESSAGE_BYTES + 1))


def test_of_duplicate_keys_the_last_counts() -> None:
    assert decode("market", json.dumps(QUOTE)[:-1].encode() + b', "bid": 9.5}').bid == 9.5


def test_random_damage_ends_in_a_message_or_in_the_one_kind_of_error(fmt: Format) -> None:
    dice = random.Random(7)
    whole = fmt.raw(QUOTE)
    for _ in range(5_000):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        cut = bytes(damaged[: dice.randint(1, len(damaged))]) if dice.random() < 0.3 else bytes(damaged)
        topic = dice.choice(sorted(TOPICS))
        with suppress(BadMessage, NotFinite):
            decode(topic, cut, fmt.headers)


def test_every_registered_type_is_told_apart_by_its_name() -> None:
    for name, topic in TOPICS.items():
        for message in topic.messages:
            with pytest.raises(BadMessage, match=name):  # known, and its fields are missing
                decode(name, json.dumps({"type": message.__name__}).encode())


def test_a_nested_number_that_is_not_finite_is_found() -> None:
    order = Order(
        order_id="o",
        seq=0,
        epoch=0,
        instrument="BTC-USD",
        side="buy",
        quantity=1,
        order_type="limit",
        time_in_force="IOC",
        strategy="s",
        bundle_id="b",
        source={"topic": "market", "partition": 0, "offset": 0},  # type: ignore[arg-type]
        ts_decided=1,
        limit_price=math.nan,
    )
    with pytest.raises(NotFinite, match=r"Order\.limit_price"):
        encode(order)
    assert {Cancel, Order} <= set(TOPICS["orders"].messages)
    assert DecisionBatch in TOPICS["decisions"].messages
