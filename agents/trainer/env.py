"""The market as a gymnasium environment: observations, actions and costs as in serving.

A decision at a quote is filled at the first quote at or after it plus the latency, at the touch and never better: buys
at the ask, sells at the bid, plus the fee; not at all where that touch shows no volume, or is beyond the limit price of
a limit order. Orders that rest (GTC, GTX) can't be played. The next decision comes `decide_every` quotes later, and not
before that quote. The reward is the change of equity, marked at the mid, in basis points of
`max_position`'s value at the start of the episode, which is also the cash that it starts with. Data ends are
truncations; nothing terminates.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from agents.trainer.config import EnvironmentConfig
from agents.trainer.market import MIN_QUOTES, Market, check_size
from bundles.actions import ActionError, ActionMapping
from bundles.features import CLIP, Floats32


class MarketEnv(gymnasium.Env[Floats32, Any]):
    """Episodes are contiguous windows of one of the markets, chosen by `self.np_random`; see the module.

    `whole=True` takes the first market from its first to its last quote instead. Raises NotEnoughTicks when a market
    has fewer than 32 usable quotes, ActionError for a mapping that contradicts itself, or whose orders may rest.
    """

    def __init__(self, markets: Sequence[Market], config: EnvironmentConfig, *, whole: bool = False) -> None:
        for market in markets:
            check_size(market)
        config.actions.check_consistent()
        if config.actions.may_rest:
            raise ActionError("rests in the book (GTC, GTX), which training can't play; use IOC or FOK")
        self._markets = list(markets)
        self._config = config
        self._whole = whole
        self._observer = config.observer()
        self.feature_spec = self._observer.spec  # an exported policy says what it has been shown
        self.observation_space = gymnasium.spaces.Box(-CLIP, CLIP, (config.features.size,), np.float32)
        self.action_space = _action_space(config.actions)
        self._begin(self._markets[0], 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, float]]:
        super().reset(seed=seed, options=options)
        if self._whole:
            self._begin(self._markets[0], 0)
        else:
            market = self._markets[int(self.np_random.integers(len(self._markets)))]
            reach = self._config.episode_decisions * self._config.actions.decide_every
            latest = max(1, len(market.mid) - max(MIN_QUOTES // 2, reach))
            self._begin(market, int(self.np_random.integers(latest)))
        return self._observe(), self._info()

    def _begin(self, market: Market, start: int) -> None:
        self._market = market
        self._at = start
        self._decisions = 0
        self._lots = 0
        self._entry = 0.0
        self._since_ns = 0
        self.capital = self._config.actions.max_position * float(market.mid[start])
        self.cash = self.capital
        self.fees = 0.0
        self.trades = 0
        self._peak = self.capital
        self._unit = market.instrument.quantity_step
        self._max_position = self._config.actions.max_position
        fee_bps = market.instrument.taker_fee_bps if self._config.fee_bps is None else self._config.fee_bps
        self._fee_rate = fee_bps * 1e-4
        self._reward_unit = 1e4 / self.capital

    def step(self, action: Any) -> tuple[Floats32, float, bool, bool, dict[str, float]]:
        market, at = self._market, self._at
        before = self.equity
        numbers = _numbers(action)
        target = self._config.actions.to_target_lots(numbers, quantity_step=self._unit, current_lots=self._lots)
        fill = int(market.fill[at])
        if target != self._lots and fill < len(market.mid) and self._is_to_be_had(target > self._lots, fill, numbers):
            if self._lots == 0 or (target > 0) != (self._lots > 0):
                self._since_ns = int(market.ts_ns[fill])
            self._trade(target, float(market.ask[fill] if target > self._lots else market.bid[fill]))
        self._at = max(at + self._config.actions.decide_every, fill)
        self._decisions += 1
        if self._at >= len(market.mid):
            self._at = len(market.mid) - 1
        reward = (self.equity - before) * self._reward_unit
        truncated = int(market.fill[self._at]) >= len(market.mid) or (
            not self._whole and self._decisions >= self._config.episode_decisions
        )
        return self._observe(), reward, False, truncated, self._info()

    def _is_to_be_had(self, is_buy: bool, fill: int, numbers: tuple[float, ...]) -> bool:
        """Return whether the quote `fill` has volume, at the limit price if there is one."""
        market, at = self._market, self._at
        if not (market.has_ask if is_buy else market.has_bid)[fill]:
            return False
        offset = self._config.actions.limit_offset(numbers)
        if offset is None:
            return True
        # Half a step is room for rounding alone: all prices are on the grid.
        reach = (0.5 - offset) * market.instrument.price_step - market.margin
        if is_buy:
            return bool(market.ask[fill] <= market.ask[at] + reach)
        return bool(market.bid[fill] >= market.bid[at] - reach)

    def _trade(self, target: int, price: float) -> None:
        change, lots = target - self._lots, self._lots
        value = change * self._unit * price
        fee = abs(value) * self._fee_rate
        self.cash -= value + fee
        self.fees += fee
        self.trades += 1
        if target == 0:
            self._entry = 0.0
        elif lots == 0 or (lots > 0) != (target > 0):
            self._entry = price
        elif abs(target) > abs(lots):
            self._entry = (self._entry * lots + price * change) / target
        self._lots = target

    @property
    def position(self) -> float:
        """The position in units."""
        return self._lots * self._unit

    @property
    def equity(self) -> float:
        """Cash plus the position's value at the present mid; `capital` at the start of an episode."""
        return self.cash + self.position * float(self._market.mid[self._at])

    def _observe(self) -> Floats32:
        out: Floats32 = self._market.observations[self._at].copy()
        if self._lots:
            change = float(self._market.mid[self._at]) / self._entry - 1.0
            unrealized = change if self._lots > 0 else -change
            held_ns = max(0, int(self._market.ts_ns[self._at]) - self._since_ns)
            self._observer.fill_account(out, self.position / self._max_position, unrealized, held_ns)
        return np.clip(out, -CLIP, CLIP, out=out)

    def _info(self) -> dict[str, float]:
        """The account in the words of agents/risk/calculators.py, and the episode's fees and trades."""
        mid, equity = float(self._market.mid[self._at]), self.equity
        self._peak = max(self._peak, equity)
        exposure = self.position * mid
        return {
            "position": self.position,
            "price": mid,
            "average_price": self._entry,
            "equity": equity,
            "peak_equity": self._peak,
            "day_start_equity": self.capital,
            "gross_exposure": abs(exposure),
            "net_exposure": exposure,
            "fees": self.fees,
            "trades": float(self.trades),
        }


def _action_space(mapping: ActionMapping) -> gymnasium.Space[Any]:
    """Return the space of a mapping's actions: Discrete, MultiDiscrete, Box, or for a hybrid (Discrete, Box)."""
    fraction = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    if mapping.kind == "hybrid":
        return gymnasium.spaces.Tuple((gymnasium.spaces.Discrete(mapping.choices[0]), fraction))
    if mapping.kind == "continuous":
        return fraction
    choices = mapping.choices
    return gymnasium.spaces.Discrete(choices[0]) if len(choices) == 1 else gymnasium.spaces.MultiDiscrete(list(choices))


def _numbers(action: Any) -> tuple[float, ...]:
    if isinstance(action, tuple):
        return tuple(number for part in action for number in _numbers(part))
    return (float(action),) if np.ndim(action) == 0 else tuple(float(number) for number in action)
