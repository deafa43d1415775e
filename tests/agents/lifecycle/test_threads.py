"""A thread that computes lets the event loop have the interpreter soon."""

import sys
from collections.abc import Iterator

import pytest

from agents.lifecycle.threads import give_way_soon


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_a_computing_thread_gives_way_within_half_a_millisecond() -> None:
    give_way_soon()
    assert sys.getswitchinterval() == pytest.approx(0.0005)
