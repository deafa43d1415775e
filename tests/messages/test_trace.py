"""Trace context: what has the W3C form goes on, everything else stays behind."""

import pytest

from messages.trace import is_traceparent, trace_of

GOOD = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("value", [GOOD, GOOD[:-2] + b"00", b"cc" + GOOD[2:], b"cc" + GOOD[2:] + b"-what=comes"])
def test_the_w3c_form_is_carried(value: bytes) -> None:
    assert is_traceparent(value)
    headers = (("a", b"1"), ("traceparent", value), ("tracestate", b"x=y"))
    assert trace_of(headers) == (("traceparent", value),)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        GOOD[:-1],
        GOOD + b"0",
        GOOD + b"-more",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.upper(),
        b"ff" + GOOD[2:],
        GOOD.replace(b"4bf92f3577b34da6a3ce929d0e0e4736", b"0" * 32),
        GOOD.replace(b"00f067aa0ba902b7", b"0" * 16),
        b"cc" + GOOD[2:] + b"x",
        b"cc" + GOOD[2:] + b"-" + b"x" * 300,
        b"\xff" * 55,
    ],
)
def test_what_is_malformed_is_not_carried(value: bytes) -> None:
    assert not is_traceparent(value)
    assert trace_of((("traceparent", value),)) == ()


def test_none_and_several_are_not_carried() -> None:
    assert trace_of(()) == ()
    assert trace_of((("content-type", b"application/json"),)) == ()
    assert trace_of((("traceparent", GOOD), ("traceparent", GOOD))) == ()
