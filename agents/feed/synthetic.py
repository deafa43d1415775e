"""A seeded synthetic market with bursts and a weak signal that a policy can learn.

Every instrument has a hidden alpha z(t), an Ornstein-Uhlenbeck process with standard deviation 1 and time constant
`alpha_tau_s`. It is what a policy can learn, and it shows and acts so:

- mid:       d log(price) = 1e-4 x (alpha_bps x z dt + noise_bps x v x dW), v = `burst_volatility` in bursts, else 1
- queues:    (bid_size - ask_size) / (bid_size + ask_size) = tanh(0.9 z + 0.3 u + 0.1 e), u another
             Ornstein-Uhlenbeck process (1 s), e independent for each quote
- trades:    P(aggressor buys) = (1 + tanh(0.6 z)) / 2; a buy trades at the ask, a sell at the bid
- activity:  Poisson with `quiet_rate` messages a second and instrument; the whole market bursts together, ten times as
             fast, for 0.5 s every 15 s on average. One message in five is a trade.

Expected future move given z: alpha_bps x alpha_tau_s x z = 3.2 z basis points at the defaults, against 1.3 bps of
spread and fees for a round trip. Holding one unit long or short by the sign of the imbalance smoothed over 0.3 s
(changing sides beyond +-0.3) earns 80 to 195 bps of the unit's value in each default market and instrument after all
costs (mean 130, five minutes); acting on the raw imbalance earns half of that; random positions lose about their costs.
"""

from collections.abc import Iterator
from itertools import accumulate, chain
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from agents.feed.grid import on_grid
from agents.risk.instruments import Instrument
from messages.market import MarketMessage, Quote, Trade

Floats = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

_GRID_S = 0.05  # the hidden processes are made on this grid and interpolated
_NOISE_TAU_S = 1.0
_BURST_S, _QUIET_S = 0.5, 15.0
_TRADE_SHARE = 0.2
_CHUNK = 8192

Rate = Annotated[float, Meta(gt=0)]


class SyntheticConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size and character of the market. The same config gives the same messages."""

    seed: Annotated[int, Meta(ge=0)] = 0
    ticks: Annotated[int, Meta(ge=1)] = 60_000  # quotes and trades of all instruments
    instruments: Annotated[int, Meta(ge=1, le=26)] = 3  # SYN-A, SYN-B, ...
    start_ns: Annotated[int, Meta(ge=0)] = 1_767_603_600_000_000_000  # 2026-01-05 09:00 UTC
    quiet_rate: Rate = 50.0  # messages a second and instrument
    burst_factor: Annotated[float, Meta(ge=1)] = 10.0  # times quiet_rate in a burst
    burst_volatility: Rate = 2.0  # times noise_bps in a burst
    alpha_bps: Annotated[float, Meta(ge=0)] = 0.8  # drift at z = 1, basis points a second
    alpha_tau_s: Rate = 4.0
    noise_bps: Annotated[float, Meta(ge=0)] = 1.2  # basis points by square root of a second


class _Kind(NamedTuple):
    price_step: float
    quantity_step: float
    multiplier: float
    start_price: float
    spread_steps: int
    depth_lots: int


# Contracts of different prices and steps, one unit of each worth about 10,000: one position size suits them all.
_KINDS = (
    _Kind(price_step=0.01, quantity_step=1.0, multiplier=100.0, start_price=100.0, spread_steps=1, depth_lots=40),
    _Kind(price_step=0.1, quantity_step=0.01, multiplier=4.0, start_price=2_500.0, spread_steps=2, depth_lots=4_000),
    _Kind(
        price_step=1.0, quantity_step=0.001, multiplier=0.25, start_price=40_000.0, spread_steps=3, depth_lots=40_000
    ),
)


def synthetic_instruments(count: int = 3) -> list[Instrument]:
    """Return the reference data of SYN-A, SYN-B, ...: taker fee 0.15 bps, makers are paid 0.05 bps."""
    return [
        Instrument(
            instrument=f"SYN-{chr(ord('A') + index)}",
            price_step=_KINDS[index % len(_KINDS)].price_step,
            quantity_step=_KINDS[index % len(_KINDS)].quantity_step,
            multiplier=_KINDS[index % len(_KINDS)].multiplier,
            taker_fee_bps=0.15,
            maker_fee_bps=-0.05,
        )
        for index in range(count)
    ]


class _Path(NamedTuple):
    """One instrument's events: times in seconds from the start, book in steps, and for trades the side."""

    seconds: Floats
    bid: Steps
    ask: Steps
    bid_lots: Steps
    ask_lots: Steps
    trade_lots: Steps  # 0: a quote
    is_buy: npt.NDArray[np.bool_]
    alpha: Floats


class SyntheticSource:
    """The market of a config, as a Source. Made whole at construction; deterministic on any machine.

    Prices and sizes lie on the instruments' grids, which absorb last-bit differences between maths libraries.
    """

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self._instruments = synthetic_instruments(config.instruments)
        activity = _Activity(config)
        paths = [_path(config, activity, index) for index in range(config.instruments)]
        seconds = np.concatenate([path.seconds for path in paths])
        self._order = np.argsort(seconds, kind="stable")[: config.ticks]
        self._which = np.repeat(np.arange(len(paths)), [path.seconds.size for path in paths])
        self._ts = config.start_ns + np.round(seconds * 1e9).astype(np.int64)
        self._paths = paths

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(instrument.instrument for instrument in self._instruments)

    @property
    def count(self) -> int:
        return int(self._order.size)

    @property
    def alpha(self) -> Floats:
        """The hidden z of each message's instrument at its time: for tests and studies, unknown to policies."""
        return np.concatenate([path.alpha for path in self._paths])[self._order]

    def __iter__(self) -> Iterator[MarketMessage]:
        columns = self._columns()
        rows = (zip(*(column[part].tolist() for column in columns), strict=True) for part in self._parts())
        names = self.instruments
        trade_ids = [0] * len(names)
        for which, ts, bid, ask, bid_size, ask_size, size, is_buy in chain.from_iterable(rows):
            if not size:
                yield Quote(instrument=names[which], ts_recv=ts, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size)
                continue
            trade_ids[which] += 1
            yield Trade(
                instrument=names[which],
                ts_recv=ts,
                price=ask if is_buy else bid,
                size=size,
                aggressor="buy" if is_buy else "sell",
                trade_id=str(trade_ids[which]),
            )

    def _parts(self) -> Iterator[npt.NDArray[np.int64]]:
        return (self._order[low : low + _CHUNK] for low in range(0, self._order.size, _CHUNK))

    def _columns(self) -> tuple[npt.NDArray[Any], ...]:
        pairs = list(zip(self._paths, self._instruments, strict=True))

        def joined(field: str, step: str) -> Floats:
            return np.concatenate([on_grid(getattr(path, field), getattr(ref, step)) for path, ref in pairs])

        return (
            self._which,
            self._ts,
            joined("bid", "price_step"),
            joined("ask", "price_step"),
            joined("bid_lots", "quantity_step"),
            joined("ask_lots", "quantity_step"),
            joined("trade_lots", "quantity_step"),
            np.concatenate([path.is_buy for path in self._paths]),
        )


class _Activity:
    """The market-wide intensity: quiet and burst stretches, as a piecewise linear cumulative rate."""

    def __init__(self, config: SyntheticConfig) -> None:
        rng = _generator(config.seed, 0)
        mean = config.ticks / config.instruments
        self.events = int(mean + 8 * mean**0.5 + 64)  # enough that every instrument lasts until the cut
        lengths: list[float] = []
        covered = 0.0
        while covered < self.events + 8 * self.events**0.5 + 64:
            quiet, burst = rng.exponential(_QUIET_S), rng.exponential(_BURST_S)
            lengths += [quiet, burst]
            covered += config.quiet_rate * (quiet + burst * config.burst_factor)
        rates = np.tile([config.quiet_rate, config.quiet_rate * config.burst_factor], len(lengths) // 2)
        self.times = np.concatenate([[0.0], np.cumsum(lengths)])
        self.cumulative = np.concatenate([[0.0], np.cumsum(rates * np.asarray(lengths))])

    def times_of(self, units: Floats) -> Floats:
        """Return when the cumulative rate reaches `units`: unit-rate arrivals become bursty ones."""
        return np.asarray(np.interp(units, self.cumulative, self.times))

    def is_burst(self, seconds: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray((np.searchsorted(self.times, seconds, side="right") - 1) % 2 == 1)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))


def _ornstein_uhlenbeck(rng: np.random.Generator, seconds: Floats, tau_s: float) -> Floats:
    """Return a standard Ornstein-Uhlenbeck process at `seconds`."""
    keep = float(np.exp(-_GRID_S / tau_s))
    noise = rng.standard_normal(int(seconds[-1] / _GRID_S) + 2)
    noise[1:] *= (1 - keep * keep) ** 0.5
    values = np.fromiter(accumulate(noise.tolist(), lambda last, new: last * keep + new), np.float64, noise.size)
    return np.asarray(np.interp(seconds, np.arange(noise.size) * _GRID_S, values))


def _path(config: SyntheticConfig, activity: _Activity, index: int) -> _Path:
    rng = _generator(config.seed, index + 1)
    kind = _KINDS[index % len(_KINDS)]
    count = activity.events
    seconds = activity.times_of(np.cumsum(rng.standard_exponential(count)))
    alpha = _ornstein_uhlenbeck(rng, seconds, config.alpha_tau_s)

    gap_s = np.diff(seconds, prepend=0.0)
    noise = rng.standard_normal(count) * np.sqrt(gap_s)
    noise[activity.is_burst(seconds)] *= config.burst_volatility
    log_move = np.cumsum(config.alpha_bps * np.concatenate([[0.0], alpha[:-1]]) * gap_s + config.noise_bps * noise)
    middle = kind.start_price / kind.price_step * np.exp(log_move * 1e-4)

    is_trade = rng.random(count) < _TRADE_SHARE
    is_trade[0] = False
    last_quote = np.maximum.accumulate(np.where(is_trade, 0, np.arange(count)))
    bid = np.maximum(1, np.round(middle - kind.spread_steps / 2)).astype(np.int64)[last_quote]

    lean = 0.9 * alpha + 0.3 * _ornstein_uhlenbeck(rng, seconds, _NOISE_TAU_S) + 0.1 * rng.standard_normal(count)
    depth = kind.depth_lots * np.exp(0.3 * rng.standard_normal(count))
    share = (1 + np.tanh(lean)) / 2
    trade_lots = np.maximum(1, np.round(0.05 * kind.depth_lots * rng.standard_exponential(count))).astype(np.int64)
    return _Path(
        seconds=seconds,
        bid=bid,
        ask=bid + kind.spread_steps,
        bid_lots=np.maximum(1, np.round(depth * share)).astype(np.int64),
        ask_lots=np.maximum(1, np.round(depth * (1 - share))).astype(np.int64),
        trade_lots=np.where(is_trade, trade_lots, 0),
        is_buy=rng.random(count) < (1 + np.tanh(0.6 * alpha)) / 2,
        alpha=alpha,
    )
