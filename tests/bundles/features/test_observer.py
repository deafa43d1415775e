"""Features: the same ticks give the same bits, whatever way they came."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from bundles.features import (
    DEFAULT_FEATURES,
    RING_TICKS,
    Feature,
    FeatureSpec,
    Observer,
    TickRing,
    UnknownFeature,
    check_spec,
)
from messages import Bar, Quote, Trade
from messages.fields import Side

EVERY_FEATURE = FeatureSpec(
    features=(
        *DEFAULT_FEATURES.features,
        Feature(name="microprice"),
        Feature(name="rate", params={"events": 16}),
        Feature(name="volatility", params={"events": 256}),
        Feature(name="held"),
    )
)
Message = Quote | Trade | Bar


def quote(ts: int, bid: float, ask: float, bid_size: float = 5, ask_size: float = 3) -> Quote:
    return Quote(instrument="X", ts_recv=ts, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size)


def walk(ticks: int, seed: int = 0) -> list[Message]:
    """Return quotes, trades and bars of a random walk, with crossed, zero and locked quotes among them."""
    rng = np.random.default_rng(seed)
    mid = 100.0
    messages: list[Message] = []
    sides: tuple[Side | None, ...] = ("buy", "sell", None)
    for n in range(ticks):
        mid += round(rng.normal(), 1) / 100
        ts, draw = n * 1_000_000, rng.random()
        size = float(rng.integers(1, 9))
        if draw < 0.2:
            messages.append(Trade(instrument="X", ts_recv=ts, price=mid, size=size, aggressor=sides[n % 3]))
        elif draw < 0.25:
            messages.append(Bar(instrument="X", ts_recv=ts, open=mid, high=mid, low=mid, close=mid, volume=size))
        else:
            half = (0.0, -0.01, 0.01, 0.01, 0.02)[n % 5]
            bid = 0.0 if n % 97 == 0 else mid - half
            messages.append(quote(ts, bid, mid + half, size, float(rng.integers(0, 9))))
    return messages


def stream(messages: Sequence[Message], spec: FeatureSpec = EVERY_FEATURE) -> np.ndarray:
    ring, observer = TickRing(), Observer(spec)
    rows = []
    for message in messages:
        ring.push(message)
        out = np.zeros(spec.size, dtype=np.float32)
        rows.append(out if observer.observe(ring, out, 0.0, 0.0, 0) else np.zeros_like(out))
    return np.array(rows)


def test_streaming_equals_batch_bit_for_bit() -> None:
    messages = walk(3 * RING_TICKS)
    log = TickRing(len(messages))
    for message in messages:
        log.push(message)
    batch, ready = Observer(EVERY_FEATURE).observe_all(log.rows())
    assert batch.tobytes() == stream(messages).tobytes()
    assert ready[RING_TICKS:].all()


def test_a_ring_refilled_from_its_last_ticks_observes_the_same() -> None:
    messages = walk(1500)
    assert stream(messages)[-1].tobytes() == stream(messages[-RING_TICKS:])[-1].tobytes()


def test_changing_the_future_changes_nothing_before_it() -> None:
    messages = walk(900)
    poisoned = messages[:700] + [quote(10**12 + n, 1e6 + n, 2e6) for n in range(200)]
    assert stream(messages)[:700].tobytes() == stream(poisoned)[:700].tobytes()


def test_compiled_kernel_agrees_with_the_definition_of_a_return() -> None:
    messages = [quote(n, 100 + n % 7, 101 + n % 7) for n in range(200)]
    mids = np.array([100.5 + n % 7 for n in range(200)])
    returns = mids[1:] / mids[:-1] - 1
    deviation = math.sqrt((returns[-128:] ** 2).sum() / 128)
    expected = (mids[-1] / mids[-9] - 1) / (deviation * math.sqrt(8))
    assert stream(messages, DEFAULT_FEATURES)[-1][1] == pytest.approx(expected, rel=1e-6)


def test_queue_imbalance_is_the_mean_over_the_quotes_of_its_window() -> None:
    spec = FeatureSpec(features=tuple(Feature(name="queue_imbalance", params={"events": n}) for n in (1, 3)))
    ticks: list[Message] = [quote(0, 100, 101, 3, 1), quote(1, 100, 101, 1, 3), quote(2, 100, 101, 4, 0)]
    ticks.append(Trade(instrument="X", ts_recv=3, price=101, size=1))
    assert stream(ticks, spec)[-1].tolist() == [1.0, 0.25]


def test_default_spec_has_eleven_values_of_order_one() -> None:
    rows = stream(walk(1500), DEFAULT_FEATURES)[DEFAULT_FEATURES.min_ticks :]
    assert rows.shape[1] == DEFAULT_FEATURES.size == 11
    assert np.abs(rows).max() <= 12
    assert np.isfinite(rows).all()


def test_nothing_is_observed_while_warming_up() -> None:
    ring, observer = TickRing(), Observer(DEFAULT_FEATURES)
    out = np.zeros(11, dtype=np.float32)
    warm = []
    for n in range(DEFAULT_FEATURES.min_ticks):
        ring.push(quote(n, 100, 101))
        warm.append(observer.observe(ring, out, 0.0, 0.0, 0))
    assert warm == [False] * 128 + [True]


def test_a_ring_without_any_price_observes_nothing() -> None:
    ring, observer = TickRing(), Observer(DEFAULT_FEATURES)
    for n in range(RING_TICKS):
        ring.push_quote(n, 101, 1, 100, 1)
        ring.push_trade(n, 100, 1, 1)
    assert not observer.observe(ring, np.zeros(11, dtype=np.float32), 0.0, 0.0, 0)


def test_an_input_that_is_not_finite_is_not_observed() -> None:
    ring, observer = TickRing(), Observer(DEFAULT_FEATURES)
    for n in range(200):
        ring.push_quote(n, 100, 1, 101, 1)
    assert not observer.observe(ring, np.zeros(11, dtype=np.float32), math.nan, 0.0, 0)


@pytest.mark.parametrize(("bid", "ask"), [(102.0, 101.0), (0.0, 101.0), (0.0, 0.0), (-1.0, 5.0)])
def test_a_bad_quote_changes_no_price(bid: float, ask: float) -> None:
    spec = FeatureSpec(features=(Feature(name="return", params={"events": 1}), Feature(name="spread")))
    good = [quote(n, 100 + n % 2, 101 + n % 2) for n in range(200)]
    after = stream([*good, quote(200, bid, ask)], spec)
    assert after[-1][0] == 0.0
    assert after[-1][1] == after[-2][1]


def test_a_locked_quote_has_its_price_and_no_spread() -> None:
    spec = FeatureSpec(features=(Feature(name="return", params={"events": 1}), Feature(name="spread")))
    rows = stream([quote(n, 100, 101) for n in range(200)] + [quote(200, 101, 101)], spec)
    assert rows[-1][0] > 0
    assert rows[-1][1] == 0.0


def test_bars_give_prices_until_a_quote_is_known() -> None:
    spec = FeatureSpec(features=(Feature(name="return", params={"events": 1}),))
    bars: list[Message] = [
        Bar(instrument="X", ts_recv=n, open=1, high=200, low=1, close=100 + n % 3, volume=1) for n in range(200)
    ]
    assert stream(bars, spec)[-1][0] != 0.0
    quoted = [*bars, quote(200, 100, 101), bars[0], bars[1]]
    assert stream(quoted, spec)[-1][0] == 0.0


def test_fill_account_gives_what_the_kernel_gives() -> None:
    ring, observer = TickRing(), Observer(EVERY_FEATURE)
    for message in walk(600):
        ring.push(message)
    whole = np.zeros(EVERY_FEATURE.size, dtype=np.float32)
    assert observer.observe(ring, whole, -0.3, 0.00123, 7_000_000_123)
    filled = np.zeros_like(whole)
    assert observer.observe(ring, filled, 0.0, 0.0, 0)
    observer.fill_account(filled, -0.3, 0.00123, 7_000_000_123)
    assert filled.tobytes() == whole.tobytes()


def test_spec_survives_json_and_its_hash_tells_specs_apart() -> None:
    again = msgspec.json.decode(msgspec.json.encode(EVERY_FEATURE), type=FeatureSpec)
    assert again.digest == EVERY_FEATURE.digest
    assert EVERY_FEATURE.digest != DEFAULT_FEATURES.digest
    assert DEFAULT_FEATURES.names[:2] == ("return_1", "return_8")


@pytest.mark.parametrize(
    "feature",
    [
        Feature(name="retrun", params={"events": 1}),
        Feature(name="return"),
        Feature(name="return", params={"events": 257}),
        Feature(name="return", params={"events": 0}),
        Feature(name="spread", params={"events": 3}),
    ],
)
def test_a_feature_that_cannot_be_computed_is_refused_by_name(feature: Feature) -> None:
    with pytest.raises(UnknownFeature, match=r"known are .*return"):
        Observer(FeatureSpec(features=(feature,)))


def test_an_empty_spec_is_refused() -> None:
    with pytest.raises(UnknownFeature):
        check_spec(FeatureSpec(features=()))
