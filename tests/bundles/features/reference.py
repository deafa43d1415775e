"""The library once more, from the words of docs/features.md: slow, plain, and of another hand than the kernel."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from messages import Bar, Quote, Trade
from tests.bundles.features.streams import Message

Held = Quote | Bar
QuotesAt = Callable[[int], Held | None]


def reference(ring: Sequence[Message], name: str, params: Mapping[str, int]) -> float | None:
    """The value of a market feature after the newest tick of `ring`; None: no observation."""
    now = held(ring)
    window = window_of(ring, params)
    if now is None or len(ring) < 2:
        return None
    scaled = name in {"return", "against_mean", "vwap", "microprice"}
    deviation = _deviation(ring) if scaled else 0.0
    if deviation is None:
        return None
    with_before = {"return", "against_mean", "range_position", "trend", "volatility", "spread_ratio", "depth_ratio"}
    before = held(ring[: len(ring) - window])
    if name in with_before and before is None:
        return None
    return _VALUES[name](_Seen(ring, now, before, window, deviation, params))


class _Seen:
    def __init__(
        self,
        ring: Sequence[Message],
        now: Held,
        before: Held | None,
        n: int,
        deviation: float,
        params: Mapping[str, int],
    ) -> None:
        self.ring, self.now, self.before, self.n, self.d = ring, now, before, n, deviation
        self.window = ring[len(ring) - n :]
        self.value = next(iter(params.values()), 0)
        self.path = [each for end in range(len(ring) - n, len(ring)) if (each := held(ring[: end + 1])) is not None]

    @property
    def mids(self) -> list[float]:
        return [mid(each) for each in self.path]

    @property
    def mids_from_before(self) -> list[float]:
        assert self.before is not None
        return [mid(self.before), *self.mids]

    def in_deviations(self, change: float) -> float:
        return max(-10.0, min(10.0, change / (self.d * math.sqrt(self.n)))) if self.d > 0 else 0.0

    def elapsed(self, since: Message | None) -> float:
        if since is None:
            return 1.0
        time = max(0, self.ring[-1].ts_recv - since.ts_recv)
        return time / (time + self.value * 1_000_000)


def is_valid(message: Message) -> bool:
    return isinstance(message, Quote) and 0 < message.bid <= message.ask


def held(ring: Sequence[Message]) -> Held | None:
    """The quote that holds after the newest tick, or a bar when there is none."""
    for kind in (Quote, Bar):
        for message in reversed(ring):
            if isinstance(message, kind) and (kind is Bar or is_valid(message)):
                return message
    return None


def mid(message: Held) -> float:
    return (message.bid + message.ask) / 2 if isinstance(message, Quote) else message.close


def sizes(message: Held) -> tuple[float, float]:
    return (message.bid_size, message.ask_size) if isinstance(message, Quote) else (message.volume, message.volume)


def spread(message: Held) -> float:
    return (message.ask - message.bid) / mid(message) if isinstance(message, Quote) else 0.0


def imbalance(message: Held) -> float:
    bid, ask = sizes(message)
    return (bid - ask) / (bid + ask) if bid + ask > 0 else 0.0


def window_of(ring: Sequence[Message], params: Mapping[str, int]) -> int:
    if "events" in params:
        return params["events"]
    first = next((index for index in range(len(ring)) if held(ring[: index + 1]) is not None), len(ring))
    count = 1
    while (
        count < len(ring) - 1 - first and ring[-1].ts_recv - ring[-1 - count].ts_recv < params.get("ms", 0) * 1_000_000
    ):
        count += 1
    return count


def _returns(ring: Sequence[Message], n: int) -> list[float] | None:
    path = [held(ring[: end + 1]) for end in range(len(ring) - n - 1, len(ring))]
    mids = [mid(each) for each in path if each is not None]
    return [b / a - 1 for a, b in pairwise(mids)] if path[0] is not None else None


def _deviation(ring: Sequence[Message]) -> float | None:
    returns = _returns(ring, 128)
    return None if returns is None else math.sqrt(sum(change**2 for change in returns) / 128)


def _share(part: float, other: float) -> float:
    return part / (part + other) if part + other > 0 else 0.5


def _volume(ring: Sequence[Message]) -> float:
    return sum(each.size if isinstance(each, Trade) else each.volume for each in ring if not isinstance(each, Quote))


def _vwap(seen: _Seen) -> float:
    value = sum(
        each.size * each.price if isinstance(each, Trade) else each.volume * each.close
        for each in seen.window
        if not isinstance(each, Quote)
    )
    volume = _volume(seen.window)
    return seen.in_deviations(mid(seen.now) / (value / volume) - 1) if volume > 0 else 0.0


def _range(seen: _Seen) -> float:
    low, high = min(seen.mids_from_before), max(seen.mids_from_before)
    return 2 * (mid(seen.now) - low) / (high - low) - 1 if high > low else 0.0


def _trend(seen: _Seen) -> float:
    mids = seen.mids_from_before
    travelled = sum(abs(b - a) for a, b in pairwise(mids))
    return (mids[-1] - mids[0]) / travelled if travelled > 0 else 0.0


def _volatility(seen: _Seen) -> float:
    volatility = math.sqrt(sum(change**2 for change in _returns(seen.ring, seen.n) or []))
    return volatility / (volatility + 5e-4)


def _queue(seen: _Seen) -> float:
    found = [imbalance(each) for each in seen.window if isinstance(each, Quote) and is_valid(each)]
    return sum(found) / len(found) if found else imbalance(seen.now)


def _order_flow(seen: _Seen) -> float:
    quotes = [each for each in seen.window if isinstance(each, Quote) and is_valid(each)]
    if isinstance(seen.before, Quote):
        quotes = [seen.before, *quotes]
    terms = [
        (new.bid_size if new.bid >= old.bid else 0)
        - (old.bid_size if new.bid <= old.bid else 0)
        - (new.ask_size if new.ask <= old.ask else 0)
        + (old.ask_size if new.ask >= old.ask else 0)
        for old, new in pairwise(quotes)
    ]
    total = sum(map(abs, terms))
    return sum(terms) / total if total > 0 else 0.0


def _trade_flow(seen: _Seen) -> float:
    trades = [each for each in seen.window if isinstance(each, Trade) and each.aggressor is not None]
    total = sum(each.size for each in trades)
    return sum(each.size if each.aggressor == "buy" else -each.size for each in trades) / total if total > 0 else 0.0


def _rate(seen: _Seen) -> float:
    seconds = max(0, seen.ring[-1].ts_recv - seen.ring[-1 - seen.n].ts_recv) * 1e-9
    return seen.n / (seen.n + 10 * seconds)


def _since_trade(seen: _Seen) -> float:
    return seen.elapsed(next((each for each in reversed(seen.ring) if isinstance(each, Trade)), None))


def _since_move(seen: _Seen) -> float:
    kind = type(seen.now)
    held_back = [each for each in seen.ring if type(each) is kind and (kind is Bar or is_valid(each))]
    run = []
    for each in reversed(held_back):
        assert isinstance(each, Quote | Bar)
        if mid(each) != mid(seen.now):
            break
        run.append(each)
    return seen.elapsed(run[-1])


def _wave(seen: _Seen, lead: float) -> float:
    """The true sine: the kernel's is 0.0011 off at most."""
    return math.sin(2 * math.pi * (seen.ring[-1].ts_recv / (seen.value * 1e9) % 1 + lead))


_VALUES: Mapping[str, Callable[[_Seen], float]] = {
    "return": lambda seen: seen.in_deviations(mid(seen.now) / seen.mids_from_before[0] - 1),
    "against_mean": lambda seen: seen.in_deviations(mid(seen.now) / (sum(seen.mids) / seen.n) - 1),
    "vwap": _vwap,
    "range_position": _range,
    "trend": _trend,
    "volatility": _volatility,
    "spread": lambda seen: spread(seen.now) / (spread(seen.now) + 1e-4),
    "spread_ratio": lambda seen: _share(spread(seen.now), sum(map(spread, seen.path)) / seen.n),
    "microprice": lambda seen: (
        max(-10.0, min(10.0, spread(seen.now) / 2 * imbalance(seen.now) / seen.d)) if seen.d > 0 else 0.0
    ),
    "queue_imbalance": _queue,
    "depth_ratio": lambda seen: _share(sum(sizes(seen.now)), sum(sum(sizes(each)) for each in seen.path) / seen.n),
    "order_flow": _order_flow,
    "trade_flow": _trade_flow,
    "volume_ratio": lambda seen: _share(_volume(seen.window) / seen.n, _volume(seen.ring) / len(seen.ring)),
    "rate": _rate,
    "gap": lambda seen: seen.elapsed(seen.ring[-2]),
    "since_trade": _since_trade,
    "since_move": _since_move,
    "clock_sine": lambda seen: _wave(seen, 0.0),
    "clock_cosine": lambda seen: _wave(seen, 0.25),
}
