"""The proofs: the same ticks give the same bits, whatever way they came, and those bits are what the docs say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles.features import RING_TICKS, Feature, FeatureSpec, Observer, TickRing
from bundles.features.library import KINDS
from messages import Bar, Trade
from tests.bundles.features.reference import reference
from tests.bundles.features.streams import (
    ACCOUNT,
    CAPACITY,
    EVERY_FEATURE,
    Message,
    Stream,
    observed,
    quote,
    rows_of,
    streams,
    walk,
)

OBSERVER = Observer(EVERY_FEATURE)
LIGHT = Observer(  # is ready after two ticks
    FeatureSpec(
        features=tuple(
            one for one in EVERY_FEATURE.features if KINDS[one.name].least <= 2 and (one.params.get("events", 1) == 1)
        )
    )
)
PROOF = settings(max_examples=12, deadline=None)


@PROOF
@given(streams())
def test_streaming_equals_batch_bit_for_bit(stream: Stream) -> None:
    messages = stream.messages
    for observer in (OBSERVER, LIGHT):
        batch, _ = observer.observe_all(rows_of(messages), CAPACITY)
        assert batch.tobytes() == observed(messages, observer).tobytes()


@PROOF
@given(streams(), streams(20, 100), st.floats(0, 1))
def test_poisoning_the_future_changes_nothing(stream: Stream, poison: Stream, where: float) -> None:
    messages = stream.messages
    now = int(where * len(messages))
    for observer in (OBSERVER, LIGHT):
        clean, _ = observer.observe_all(rows_of(messages), CAPACITY)
        poisoned, _ = observer.observe_all(rows_of(messages[:now] + poison.messages), CAPACITY)
        assert clean[:now].tobytes() == poisoned[:now].tobytes()


@PROOF
@given(streams(), st.floats(0, 1))
def test_a_ring_refilled_in_the_middle_goes_on_the_same(stream: Stream, where: float) -> None:
    messages = stream.messages
    now = int(where * len(messages))
    for observer in (OBSERVER, LIGHT):
        whole = observed(messages, observer)
        refilled = observed(messages[max(0, now - CAPACITY) :], observer)
        assert whole[now:].tobytes() == refilled[len(refilled) - len(whole) + now :].tobytes()


ANY = st.floats(allow_nan=False)
SIZE = st.floats(0, allow_nan=False)
TIME = st.integers(0, 2**63 - 1)
ANYTHING = st.one_of(
    st.builds(quote, TIME, ANY, ANY, SIZE, SIZE),
    st.builds(lambda ts, mid, size: quote(ts, mid, mid, size, size), TIME, ANY, SIZE),
    st.builds(Trade, instrument=st.just("X"), ts_recv=TIME, price=ANY, size=SIZE, aggressor=st.just("sell")),
    st.builds(lambda ts, at, size: Bar(instrument="X", ts_recv=ts, open=at, high=at, low=at, close=at, volume=size),
              TIME, ANY, SIZE),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(ANYTHING, max_size=40))
def test_numbers_of_any_size_are_observed_or_not_and_never_raise(messages: list[Message]) -> None:
    batch, _ = LIGHT.observe_all(rows_of(messages), 20)
    assert np.isfinite(batch).all()
    assert batch.tobytes() == observed(messages, LIGHT, 20).tobytes()


@PROOF
@given(streams())
def test_every_value_is_in_its_range(stream: Stream) -> None:
    messages = stream.messages
    values, ready = OBSERVER.observe_all(rows_of(messages), CAPACITY)
    for index, feature in enumerate(EVERY_FEATURE.features):
        kind, seen = KINDS[feature.name], values[ready, index]
        assert ((seen >= kind.lowest) & (seen <= kind.highest)).all(), feature.label


@pytest.mark.parametrize("bars", [0.05, 1.0])
def test_the_kernel_computes_what_the_words_say(bars: float) -> None:
    messages = walk(310, seed=3, bars=bars)
    values, ready = OBSERVER.observe_all(rows_of(messages), CAPACITY)
    ends = [258, 300, 301]
    assert ready[ends].all()
    for end in ends:
        ring = messages[max(0, end + 1 - CAPACITY) : end + 1]
        for index, feature in enumerate(EVERY_FEATURE.features):
            if feature.name in ACCOUNT:
                continue
            wanted = reference(ring, feature.name, feature.params)
            tolerance = 0.0012 if feature.name.startswith("clock") else 1e-6
            assert wanted is not None
            assert values[end, index] == pytest.approx(wanted, abs=tolerance, rel=1e-5), (feature.label, end)


@PROOF
@given(streams(2, 40))
def test_the_first_ticks_are_ready_when_the_words_say_so(stream: Stream) -> None:
    messages = stream.messages
    for feature in LIGHT.spec.features:
        if feature.name in ACCOUNT:
            continue
        values, ready = Observer(FeatureSpec(features=(feature,))).observe_all(rows_of(messages))
        for end in range(KINDS[feature.name].least, len(messages)):
            wanted = reference(messages[: end + 1], feature.name, feature.params)
            assert ready[end] == (wanted is not None), (feature.label, end)
            tolerance = 0.0012 if feature.name.startswith("clock") else 1e-6
            assert wanted is None or values[end, 0] == pytest.approx(wanted, abs=tolerance, rel=1e-5), feature.label


def test_the_ring_holds_as_many_ticks_as_the_batch_looks_back() -> None:
    observer = Observer(FeatureSpec(features=(Feature(name="return", params={"ms": 86_400_000}),)))
    messages = walk(RING_TICKS + 200, seed=5)
    ring = TickRing()
    out = np.zeros(1, dtype=np.float32)
    for message in messages:
        ring.push(message)
    assert observer.observe(ring, out, 0.0, 0.0, 0)
    assert observer.observe_all(rows_of(messages))[0][-1].tobytes() == out.tobytes()
    assert observer.observe_all(rows_of(messages), RING_TICKS + 100)[0][-1].tobytes() != out.tobytes()
