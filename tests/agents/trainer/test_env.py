"""The training environment: honest about prices, costs and time."""

from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check

from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from agents.risk.instruments import Instrument
from agents.trainer.config import EnvironmentConfig
from agents.trainer.env import MarketEnv
from agents.trainer.market import Market, NotEnoughTicks, mirrored, prepare, readable
from bundles.actions import ActionError, ActionMapping
from bundles.features import DEFAULT_FEATURES, Feature, FeatureSpec, Observer, Rows, TickRing

CONFIG = EnvironmentConfig(episode_decisions=40)
SHORT, FLAT, LONG = 0, 1, 2


def synthetic_rows(ticks: int = 4000, seed: int = 0) -> tuple[Instrument, Rows]:
    source = SyntheticSource(SyntheticConfig(seed=seed, ticks=ticks, instruments=1))
    ring = TickRing(ticks)
    for message in source:
        ring.push(message)  # type: ignore[arg-type]
    return synthetic_instruments(1)[0], ring.rows()


@pytest.fixture(scope="module")
def market() -> Market:
    instrument, rows = synthetic_rows()
    return prepare(rows, instrument, Observer(CONFIG.features), CONFIG.latency_ns)


def play(env: MarketEnv, actions: Any, seed: int = 0) -> list[tuple[bytes, float, dict[str, float]]]:
    observation, info = env.reset(seed=seed)
    steps = [(observation.tobytes(), 0.0, info)]
    for action in actions:
        observation, reward, _, truncated, info = env.step(action)
        steps.append((observation.tobytes(), reward, info))
        if truncated:
            break
    return steps


def random_actions(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 3, count).tolist()  # type: ignore[no-any-return]


def test_gymnasium_and_sb3_find_nothing_wrong(market: Market) -> None:
    gymnasium_check(MarketEnv([market], CONFIG), skip_render_check=True)
    sb3_check(MarketEnv([market], CONFIG))
    continuous = msgspec.structs.replace(CONFIG, actions=ActionMapping(kind="continuous", max_position=10.0))
    sb3_check(MarketEnv([market], continuous))


def test_staying_flat_earns_nothing(market: Market) -> None:
    steps = play(MarketEnv([market], CONFIG, whole=True), [FLAT] * 10_000)
    assert all(reward == 0.0 for _, reward, _ in steps)
    assert steps[-1][2]["trades"] == 0


def test_the_same_seed_gives_the_same_episode(market: Market) -> None:
    actions = random_actions(40)
    assert play(MarketEnv([market], CONFIG), actions, seed=7) == play(MarketEnv([market], CONFIG), actions, seed=7)


def test_nothing_of_an_episode_reaches_the_next(market: Market) -> None:
    used, fresh = MarketEnv([market], CONFIG), MarketEnv([market], CONFIG)
    play(used, [LONG] * 17, seed=1)
    assert play(used, random_actions(40), seed=5) == play(fresh, random_actions(40), seed=5)


def test_an_episode_is_truncated_after_its_decisions_and_never_terminates(market: Market) -> None:
    env = MarketEnv([market], CONFIG)
    env.reset(seed=0)
    ends = [env.step(FLAT)[2:4] for _ in range(40)]
    assert ends == [(False, False)] * 39 + [(False, True)]


def test_equity_is_cash_plus_the_position_at_the_mid_and_fees_add_up(market: Market) -> None:
    env = MarketEnv([market], CONFIG, whole=True)
    first_mid = float(market.mid[0])
    steps = play(env, random_actions(10_000))
    rewards = sum(reward for _, reward, _ in steps)
    info = steps[-1][2]
    assert env.capital == CONFIG.actions.max_position * first_mid
    assert info["equity"] == pytest.approx(env.cash + info["net_exposure"])
    assert rewards == pytest.approx((info["equity"] / env.capital - 1) * 1e4)
    assert info["fees"] > 0


def test_a_round_trip_costs_the_spread_and_the_fees() -> None:
    ring = TickRing(1000)
    for n in range(400):
        ring.push_quote(n * 10**9, 99.0, 5, 101.0, 5)
    instrument = Instrument(instrument="X", price_step=0.01, quantity_step=0.5, taker_fee_bps=10)
    env = MarketEnv([prepare(ring.rows(), instrument, Observer(CONFIG.features), 0)], CONFIG, whole=True)
    steps = play(env, [LONG, FLAT])
    assert steps[-1][2]["equity"] - 100.0 == pytest.approx(99.0 - 101.0 - (99.0 + 101.0) * 1e-3)
    assert steps[-1][2]["trades"] == 2


def test_fills_come_at_the_touch_of_the_first_quote_after_the_latency() -> None:
    ring = TickRing(1000)
    for n in range(400):
        ring.push_quote(n * 1000, 100.0 + n, 5, 100.5 + n, 5)
    instrument = Instrument(instrument="X", price_step=0.01, quantity_step=1.0)
    config = msgspec.structs.replace(
        CONFIG, actions=msgspec.structs.replace(CONFIG.actions, decide_every=1), latency_ns=2500
    )
    env = MarketEnv([prepare(ring.rows(), instrument, Observer(config.features), 2500)], config, whole=True)
    env.reset(seed=0)
    seen_bid = 100.0 + config.features.min_ticks - 1
    env.step(LONG)
    assert env.cash - env.capital == -(seen_bid + 3 + 0.5)


def test_with_no_latency_a_fill_is_still_on_a_later_quote(market: Market) -> None:
    instrument, rows = synthetic_rows()
    instant = prepare(rows, instrument, Observer(CONFIG.features), 0)
    assert (instant.fill == np.arange(len(instant.mid)) + 1).all()
    assert (market.fill >= instant.fill).all()


def test_poisoning_the_future_changes_no_observation_and_no_reward() -> None:
    instrument, rows = synthetic_rows()
    observer = Observer(CONFIG.features)
    poisoned = rows.copy()
    poisoned[3000:, 2:6] *= 3
    clean, dirty = (prepare(part, instrument, observer, CONFIG.latency_ns) for part in (rows, poisoned))
    actions = random_actions(200)
    one = play(MarketEnv([clean], CONFIG, whole=True), actions)
    two = play(MarketEnv([dirty], CONFIG, whole=True), actions)
    assert one == two


def test_account_features_show_the_position_and_its_return(market: Market) -> None:
    spec = FeatureSpec(features=(Feature(name="position"), Feature(name="unrealized"), Feature(name="held")))
    instrument, rows = synthetic_rows()
    config = msgspec.structs.replace(CONFIG, features=spec)
    env = MarketEnv([prepare(rows, instrument, Observer(spec), config.latency_ns)], config, whole=True)
    env.reset(seed=0)
    observation = env.step(SHORT)[0]
    assert observation[0] == -1.0
    assert observation[1] < 0  # the spread is paid
    assert observation[2] > 0
    assert env.step(FLAT)[0].tolist() == [0.0, 0.0, 0.0]


def test_the_mirrored_market_moves_the_other_way() -> None:
    instrument, rows = synthetic_rows()
    observer = Observer(CONFIG.features)
    up, down = (prepare(part, instrument, observer, CONFIG.latency_ns) for part in (rows, mirrored(rows)))
    assert (down.bid <= down.ask).all()
    returns = [np.diff(np.log(market.mid)) for market in (up, down)]
    assert np.allclose(returns[0], -returns[1], atol=1e-7)
    imbalance = CONFIG.features.names.index("queue_imbalance_1")
    assert np.allclose(up.observations[:, imbalance], -down.observations[:, imbalance])


def test_too_few_quotes_are_refused(market: Market) -> None:
    with pytest.raises(NotEnoughTicks, match=r"10 usable quotes"):
        MarketEnv([market.part(0, 10)], CONFIG)


def test_a_market_of_bars_alone_is_traded_a_step_beside_each_close() -> None:
    ring = TickRing(2_000)
    for index in range(600):
        ring.push_bar(index * 60_000_000_000, 100.0 + index % 3)
    instrument = Instrument(instrument="B", price_step=0.5, quantity_step=1.0)
    market = prepare(ring.rows(), instrument, Observer(DEFAULT_FEATURES), 1_000_000)
    assert len(market.mid) > 400
    assert set(market.ask - market.bid) == {1.0}
    assert set(market.mid) == {100.0, 101.0, 102.0}


Quoted = tuple[float, float, float]


def of_quotes(quotes: list[Quoted], times_ns: list[int] | None = None, latency_ns: int = 0) -> Market:
    """The market of (bid, ask, size of both) a second apart, price step 1, quantity step 1, after a long calm."""
    ring = TickRing(1000)
    calm = DEFAULT_FEATURES.min_ticks - 1
    for n in range(calm):
        ring.push_quote(n * 10**9, 99.0, 5, 101.0, 5)
    for n, (bid, ask, size) in enumerate(quotes):
        ring.push_quote(times_ns[n] if times_ns else (calm + n) * 10**9, bid, size, ask, size)
    instrument = Instrument(instrument="X", price_step=1.0, quantity_step=1.0)
    return prepare(ring.rows(), instrument, Observer(DEFAULT_FEATURES), latency_ns)


def playing(market: Market, **actions: Any) -> MarketEnv:
    defaults: dict[str, Any] = {"kind": "levels", "max_position": 1.0}
    mapping = ActionMapping(**(defaults | actions))
    env = MarketEnv([market], msgspec.structs.replace(CONFIG, actions=mapping), whole=True)
    env.reset(seed=0)
    return env


TOUCH = (99.0, 101.0, 5.0)
RISING = [TOUCH, (100.0, 102.0, 5.0), *[(100.0, 102.0, 5.0)] * 40]
FALLING = [TOUCH, (97.0, 99.0, 5.0), *[(97.0, 99.0, 5.0)] * 40]


@pytest.mark.parametrize(
    ("quotes", "offset_ticks", "paid"),
    [(RISING, 0, None), (RISING, -1, 102.0), (FALLING, 0, 99.0), (FALLING, 2, 99.0), (FALLING, 3, None)],
)
def test_a_limit_order_is_filled_where_the_touch_comes_to_its_price(
    quotes: list[Quoted], offset_ticks: int, paid: float | None
) -> None:
    env = playing(of_quotes(quotes), order_type="limit", limit_offset_ticks=offset_ticks)
    env.step(LONG)
    assert env.trades == (paid is not None)
    assert env.cash - env.capital == -(paid or 0.0)


def test_the_policy_chooses_the_limit_offset() -> None:
    for offset, trades in ((0, 1), (1, 0), (2, 1)):
        env = playing(of_quotes(RISING), limit_offsets=(None, 0, -1))
        env.step(np.array([LONG, offset]))
        assert env.trades == trades
    hybrid = playing(of_quotes(RISING), kind="hybrid", max_position=10.0, limit_offsets=(None, 0))
    assert hybrid.step((np.int64(0), np.array([-0.4], np.float32)))[4]["position"] == -4.0


def test_an_order_finds_nothing_where_the_quote_shows_nothing() -> None:
    env = playing(of_quotes([TOUCH, (99.0, 101.0, 0.0), *[TOUCH] * 40]))
    env.step(LONG)
    assert env.trades == 0
    env.step(LONG)
    assert env.trades == 1


def test_a_limit_order_at_a_bars_close_finds_nothing_until_the_price_comes_to_it() -> None:
    ring = TickRing(1000)
    for n in range(300):
        ring.push_bar(n * 10**9, 100.0 if n < 200 else 90.0)
    instrument = Instrument(instrument="X", price_step=1.0, quantity_step=1.0)
    env = playing(prepare(ring.rows(), instrument, Observer(DEFAULT_FEATURES), 0), order_type="limit")
    for _ in range(100):
        env.step(LONG)
    assert (env.trades, env.cash - env.capital) == (1, -91.0)


def test_where_the_clock_steps_back_a_fill_is_not_from_before_the_order() -> None:
    start = DEFAULT_FEATURES.min_ticks * 10**9
    times = [start + at * 10**9 for at in (0, 10, 5, 4, 6, *range(11, 50))]
    market = of_quotes([TOUCH] * len(times), times, latency_ns=10**9)
    usable = len(market.ts_ns) - len(times)
    assert (market.fill[usable : usable + 4] - usable).tolist() == [1, 5, 4, 4]


def test_crossed_and_zero_quotes_are_no_occasion_to_trade() -> None:
    odd = [(102.0, 101.0, 5.0), (0.0, 101.0, 5.0), (99.0, 0.0, 5.0), (0.0, 0.0, 0.0), (-3.0, -1.0, 5.0)]
    assert len(of_quotes([TOUCH, *odd, TOUCH] * 40).mid) == len(of_quotes([TOUCH, TOUCH] * 40).mid)
    assert len(of_quotes([TOUCH, (100.0, 100.0, 5.0)] * 40).mid) == len(of_quotes([TOUCH, TOUCH] * 40).mid)


def test_what_execution_refuses_is_not_trained_on() -> None:
    ring = TickRing(100)
    for bid in (99.0, 99.5, 1e17, 98.0, -4.0):
        ring.push_quote(0, bid, 5, bid + 2.0, 5)
    ring.push_trade(1, 99.5, 1.0, 1)
    ring.push_trade(2, 99.0, 1e17, 1)
    ring.push_trade(3, 99.0, 1.0, -1)
    instrument = Instrument(instrument="X", price_step=1.0, quantity_step=1.0)
    assert readable(ring.rows(), instrument)[:, [2, 6]].tolist() == [[99.0, 0.0], [98.0, 0.0], [-4.0, 0.0], [0.0, 99.0]]
    fine = Instrument(instrument="Y", price_step=0.1, quantity_step=1.0)
    every = TickRing(1000)
    for tick in range(1, 1000):
        every.push_quote(0, tick * 0.1, 5, tick / 10 + 0.1, 5)
    assert len(readable(every.rows(), fine)) == 999


def test_spaces_follow_the_mapping(market: Market) -> None:
    offsets = (None, 0, 2)
    multi = msgspec.structs.replace(
        CONFIG, actions=ActionMapping(kind="levels", max_position=1.0, limit_offsets=offsets)
    )
    sb3_check(MarketEnv([market], multi))
    assert MarketEnv([market], multi).action_space == gymnasium.spaces.MultiDiscrete([3, 3])
    hybrid = ActionMapping(kind="hybrid", max_position=1.0, limit_offsets=offsets)
    gymnasium_check(MarketEnv([market], msgspec.structs.replace(CONFIG, actions=hybrid)), skip_render_check=True)


@pytest.mark.parametrize(
    "actions",
    [
        ActionMapping(kind="levels", max_position=1.0, order_type="limit", time_in_force="GTC"),
        ActionMapping(kind="hybrid", max_position=1.0, limit_offsets=(None, 0), time_in_force="GTX"),
        ActionMapping(kind="hybrid", max_position=1.0),
    ],
)
def test_what_can_not_be_played_is_refused(market: Market, actions: ActionMapping) -> None:
    with pytest.raises(ActionError):
        MarketEnv([market], msgspec.structs.replace(CONFIG, actions=actions))


def test_a_policy_that_chooses_limit_offsets_is_trained(market: Market) -> None:
    mapping = ActionMapping(kind="levels", max_position=1.0, limit_offsets=(None, 0, 1))
    env = MarketEnv([market], msgspec.structs.replace(CONFIG, actions=mapping))
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu")
    model.learn(32)
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    assert env.action_space.contains(action)
    env.step(action)
