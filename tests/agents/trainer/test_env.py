"""The training environment: honest about prices, costs and time."""

from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from agents.risk.instruments import Instrument
from agents.trainer.config import EnvironmentConfig
from agents.trainer.env import MarketEnv
from agents.trainer.market import Market, NotEnoughTicks, mirrored, prepare
from bundles.actions import ActionMapping
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
