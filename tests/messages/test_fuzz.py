"""Whatever bytes stand on a topic: a valid message, an unknown type, or the one typed error, in bounded memory."""

import tracemalloc
from contextlib import suppress

import msgspec
import pytest
from hypothesis import strategies as st

from messages import TOPICS, BadMessage, DeadLetter, UnknownMessage, decode, encode
from messages.codec import JSON, MSGPACK, MSGPACK_HEADER, check_finite
from messages.errors import NotFinite
from tests.fuzzing import (
    FAMILY,
    FORMS,
    MSGPACK_FORM,
    Case,
    Form,
    count_nodes,
    example,
    family,
    replaced,
    run_cases,
    valid,
)

INPUTS_A_DECODER = 8_000
DECODERS = [(topic, form) for topic in TOPICS for form in FORMS]
KEYS = (None, b"", b"X", b"\xff\xfe\x00")


def check_decode(topic: str, form: Form, value: bytes) -> None:
    """Decode one input: what comes back must be sound, and what is refused must survive as a dead letter."""
    try:
        message = decode(topic, value, form.headers)
    except (BadMessage, NotFinite) as refusal:
        check_letter(topic, form, value, str(refusal))
        return
    if type(message) is UnknownMessage:
        assert message.type not in {kind.__name__ for kind in TOPICS[topic].messages}
        return
    assert type(message) in TOPICS[topic].messages
    check_finite(message)
    again = encode(message)
    assert decode(topic, again) == message, again


def check_letter(topic: str, form: Form, value: bytes, reason: str) -> None:
    headers = (*form.headers, ("\u00e4", value[:7]), ("empty", b""))
    letter = DeadLetter(
        topic=topic,
        partition=0,
        offset=len(value),
        reason=reason,
        agent_id="x",
        ts=0,
        key=KEYS[len(value) % len(KEYS)],
        value=value,
        headers=headers,
    )
    packed = (JSON, ()) if len(value) % 2 else (MSGPACK, (MSGPACK_HEADER,))
    assert decode("dead-letters", encode(letter, packed[0]), packed[1]) == letter


@pytest.mark.parametrize(("topic", "form"), DECODERS, ids=lambda part: getattr(part, "name", part))
def test_any_bytes_on_a_topic_are_a_message_or_refused_with_the_one_error(topic: str, form: Form) -> None:
    def check(case: Case) -> int:
        inputs = list(family(form, case))
        assert type(decode(topic, inputs[0], form.headers)) in TOPICS[topic].messages  # the undamaged record
        for value in inputs:
            check_decode(topic, form, value)
        return len(inputs)

    messages = st.one_of([valid(kind) for kind in TOPICS[topic].messages])
    assert run_cases(messages, check, inputs=INPUTS_A_DECODER) >= INPUTS_A_DECODER


def test_there_are_as_many_inputs_as_promised() -> None:
    assert INPUTS_A_DECODER % FAMILY == 0
    assert INPUTS_A_DECODER >= 2_000
    assert len(DECODERS) * INPUTS_A_DECODER >= 100_000
    assert {topic for topic, _ in DECODERS} == set(TOPICS)


def peak_bytes(topic: str, values: list[bytes], form: Form) -> list[int]:
    """Return the most memory that decoding each value took, outcome aside."""
    peaks = []
    tracemalloc.start()
    try:
        for value in values:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with suppress(BadMessage, NotFinite):
                decode(topic, value, form.headers)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return peaks


HEADS = (b"\xdb", b"\xc6", b"\xdd", b"\xdf", b"\xc9")  # str, bin, array, map, ext, with 32-bit lengths
LENGTHS = (b"\xff\xff\xff\xff", b"\x0f\xff\xff\xff", b"\x00\xff\xff\xff")


@pytest.mark.parametrize("topic", TOPICS)
def test_an_announced_length_takes_no_memory(topic: str) -> None:
    bombs = [
        MSGPACK_FORM.pack(replaced(record, where, head + length))
        for record in map(example, TOPICS[topic].messages)
        for where in range(count_nodes(record))
        for head in HEADS
        for length in LENGTHS
    ]
    assert len(bombs) >= 15 * 4
    assert max(peak_bytes(topic, bombs, MSGPACK_FORM)) < 100_000


MANY = {
    "json": (b"[" + b"0," * 30_000 + b"0]", b"[" + b"{}," * 20_000 + b"{}]", b'"' + b"x" * 60_000 + b'"'),
    "msgpack": (b"\xdc\xea\x60" + b"\0" * 60_000, b"\xdc\xea\x60" + b"\x80" * 60_000, b"\xda\xea\x60" + b"x" * 60_000),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("topic", TOPICS)
def test_memory_grows_with_the_bytes_that_came_and_not_faster(topic: str, form: Form) -> None:
    """Tens of thousands of the smallest items, wherever a record can hold them."""
    values = [
        form.pack(replaced(record, where, content))
        for record in map(example, TOPICS[topic].messages)
        for where in range(count_nodes(record))
        for content in MANY[form.name]
    ]
    for value, peak in zip(values, peak_bytes(topic, values, form), strict=True):
        assert peak < 64 * len(value), value[:200]  # one byte can become a float and its place in a tuple


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("topic", TOPICS)
def test_of_duplicate_keys_the_last_counts(topic: str, form: Form) -> None:
    def check(case: Case) -> int:
        for name in set(case.fields) - {"type"}:
            kind = next(kind for kind in TOPICS[topic].messages if kind.__name__ == case.fields["type"])
            before = {**example(kind), **case.fields, name: example(kind)[name]}
            after = {**before, name: case.fields[name]}
            last = form.twice(before, name, after[name])
            assert decode(topic, last, form.headers) == decode(topic, form.pack(after), form.headers), last
        return FAMILY

    run_cases(st.one_of([valid(kind) for kind in TOPICS[topic].messages]), check, inputs=FAMILY * 25)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("topic", TOPICS)
def test_two_types_in_one_record_are_refused(topic: str, form: Form) -> None:
    """No guess which of the two was meant."""
    for kind in TOPICS[topic].messages:
        with pytest.raises(BadMessage):
            decode(topic, form.twice({**example(kind), "type": "Later"}, "type", kind.__name__), form.headers)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_integers_beyond_64_bits_never_get_in(form: Form) -> None:
    """What is read can be written again in either format, so a log entry never fails on what `control` said."""
    resume = {"type": "Resume", "scope": "portfolio", "clears": [0], "who": "x", "reason": "", "ts": 0}
    huge = {"json": (b"1" + b"0" * 40, b"9223372036854775808"), "msgpack": (b"\xcf" + b"\xff" * 8,)}[form.name]
    for number in huge:
        with pytest.raises(BadMessage):
            decode("control", form.pack({**resume, "clears": [msgspec.Raw(number)]}), form.headers)
