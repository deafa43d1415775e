import hashlib
import math
import random
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter

import msgspec
import pytest

from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from messages import Quote, Trade, encode

Target = Callable[[str, Quote, int], int]  # instrument, quote, position -> position


def digest(source: SyntheticSource) -> str:
    return hashlib.sha256(b"\n".join(encode(message) for message in source)).hexdigest()


def trade_units(source: SyntheticSource, target: Target) -> tuple[dict[str, float], dict[str, float]]:
    """Return PnL after costs and the costs alone, both in bps of the unit's first price, for each instrument."""
    fees = {instrument.instrument: instrument.taker_fee_bps for instrument in synthetic_instruments()}
    position = dict.fromkeys(source.instruments, 0)
    cash = dict.fromkeys(source.instruments, 0.0)
    costs = dict.fromkeys(source.instruments, 0.0)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for message in source:
        if not isinstance(message, Quote):
            continue
        name = message.instrument
        last[name] = (message.bid + message.ask) / 2
        first.setdefault(name, last[name])
        change = target(name, message, position[name]) - position[name]
        if change:
            cost = abs(change) * ((message.ask - message.bid) / 2 + last[name] * fees[name] * 1e-4)
            cash[name] -= change * last[name] + cost
            costs[name] += cost
            position[name] += change
    return (
        {name: (cash[name] + position[name] * last[name]) / first[name] * 1e4 for name in last},
        {name: costs[name] / first[name] * 1e4 for name in last},
    )


def smoothed_imbalance() -> Target:
    state: dict[str, tuple[int, float]] = {}

    def target(name: str, quote: Quote, position: int) -> int:
        imbalance = (quote.bid_size - quote.ask_size) / (quote.bid_size + quote.ask_size)
        before, value = state.get(name, (quote.ts_recv, imbalance))
        keep = math.exp((before - quote.ts_recv) / 0.3e9)
        value = keep * value + (1 - keep) * imbalance
        state[name] = (quote.ts_recv, value)
        return position if abs(value) < 0.3 else int(math.copysign(1, value))

    return target


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_oracle_that_uses_the_imbalance_earns_after_costs_on_every_instrument(seed: int) -> None:
    pnl, costs = trade_units(SyntheticSource(SyntheticConfig(seed=seed)), smoothed_imbalance())
    assert min(pnl.values()) > 60
    assert sum(pnl.values()) > 1.5 * sum(costs.values())


def test_a_random_policy_loses_about_its_costs() -> None:
    rng = random.Random(5)

    def target(_name: str, _quote: Quote, position: int) -> int:
        return rng.randint(-1, 1) if rng.random() < 0.02 else position

    results = [trade_units(SyntheticSource(SyntheticConfig(seed=seed)), target) for seed in range(3)]
    pnl = sum(sum(pnl.values()) for pnl, _ in results)
    costs = sum(sum(costs.values()) for _, costs in results)
    assert -1.25 * costs < pnl < -0.75 * costs


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    config = SyntheticConfig(seed=3, ticks=5_000)
    assert digest(SyntheticSource(config)) == digest(SyntheticSource(config))
    assert digest(SyntheticSource(config)) != digest(SyntheticSource(SyntheticConfig(seed=4, ticks=5_000)))


def test_one_market_can_be_iterated_twice() -> None:
    source = SyntheticSource(SyntheticConfig(ticks=500))
    assert list(source) == list(source)


def test_the_default_market_is_the_one_every_machine_makes() -> None:
    assert digest(SyntheticSource(SyntheticConfig(ticks=2_000))) == (
        "51062759f010fb9594b689f5645296c199368020c8921c53d2d487adf9616394"
    )


@pytest.mark.parametrize("ticks", [1, 7, 1_000])
def test_count_is_exact(ticks: int) -> None:
    source = SyntheticSource(SyntheticConfig(ticks=ticks))
    assert source.count == ticks == len(list(source)) == source.alpha.size


def test_times_never_go_back_and_every_instrument_starts_with_a_quote() -> None:
    messages = list(SyntheticSource(SyntheticConfig(ticks=5_000)))
    assert all(a.ts_recv <= b.ts_recv for a, b in pairwise(messages))
    first = {message.instrument: message for message in reversed(messages)}
    assert set(first) == {"SYN-A", "SYN-B", "SYN-C"}
    assert all(isinstance(message, Quote) for message in first.values())


def test_every_price_and_size_is_the_grid_number_itself() -> None:
    reference = {instrument.instrument: instrument for instrument in synthetic_instruments()}
    for message in SyntheticSource(SyntheticConfig(ticks=5_000)):
        instrument = reference[message.instrument]
        assert isinstance(message, Quote | Trade)
        if isinstance(message, Quote):
            prices, sizes = [message.bid, message.ask], [message.bid_size, message.ask_size]
            assert message.bid < message.ask
        else:
            prices, sizes = [message.price], [message.size]
        for price in prices:
            ticks = instrument.ticks(price)
            assert ticks is not None
            assert instrument.price(ticks) == price
        for size in sizes:
            lots = instrument.lots(size)
            assert lots is not None
            assert lots > 0
            assert instrument.quantity(lots) == size


def test_bursts_are_several_times_as_fast_as_the_mean() -> None:
    config = SyntheticConfig()
    seconds = [(message.ts_recv - config.start_ns) // 100_000_000 for message in SyntheticSource(config)]
    counts = [0] * (seconds[-1] + 1)
    for tenth in seconds:
        counts[tenth] += 1
    assert max(counts) > 5 * sum(counts) / len(counts)


def test_trades_happen_at_the_touch_of_their_aggressor() -> None:
    book: dict[str, Quote] = {}
    for message in SyntheticSource(SyntheticConfig(ticks=3_000)):
        if isinstance(message, Quote):
            book[message.instrument] = message
        elif isinstance(message, Trade):
            quote = book[message.instrument]
            assert message.price == (quote.ask if message.aggressor == "buy" else quote.bid)


def test_generation_is_fast() -> None:
    began = perf_counter()
    count = sum(1 for _ in SyntheticSource(SyntheticConfig(ticks=150_000)))
    assert count / (perf_counter() - began) > 100_000  # 700k/s alone on a machine; others may share it


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"seed": 1, "tick": 5}, SyntheticConfig)
