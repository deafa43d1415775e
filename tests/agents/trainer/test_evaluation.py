"""Held-out figures: knowledge pays, chance pays the costs."""

from typing import Any

import numpy as np
import pytest

from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from agents.trainer.config import EnvironmentConfig
from agents.trainer.evaluation import evaluate
from agents.trainer.market import Market, prepare
from bundles.actions import ActionMapping
from bundles.features import Observer, TickRing

CONFIG = EnvironmentConfig()
IMBALANCE = CONFIG.features.names.index("queue_imbalance_16")


@pytest.fixture(scope="module")
def market() -> Market:
    ring = TickRing(8000)
    for message in SyntheticSource(SyntheticConfig(ticks=8000, instruments=1)):
        ring.push(message)  # type: ignore[arg-type]
    return prepare(ring.rows(), synthetic_instruments(1)[0], Observer(CONFIG.features), CONFIG.latency_ns)


def test_a_random_policy_loses_about_its_costs(market: Market) -> None:
    figures = evaluate(lambda _: np.int64(1), [market], CONFIG, seed=0).figures
    assert figures["random_pnl_bps"] < -100
    assert figures["pnl_bps"] == figures["flat_pnl_bps"] == 0.0
    assert figures["trades"] == 0


def test_following_the_signal_beats_chance(market: Market) -> None:
    def follow(observation: np.ndarray) -> int:
        return 2 if observation[IMBALANCE] > 0.3 else 0 if observation[IMBALANCE] < -0.3 else 1

    figures = evaluate(follow, [market], CONFIG, seed=0).figures
    assert figures["pnl_bps"] > figures["random_pnl_bps"] + 100


def test_evaluation_is_repeatable_and_returns_what_was_seen(market: Market) -> None:
    one, two = (evaluate(lambda _: 1, [market], CONFIG, seed=3) for _ in range(2))
    assert one.figures == two.figures
    assert one.observations.shape[1] == CONFIG.features.size
    assert np.isfinite(one.observations).all()


OFFSETS = (None, 0, 1)


@pytest.mark.parametrize(
    ("actions", "flat"),
    [
        (ActionMapping(kind="levels", max_position=1.0, limit_offsets=OFFSETS), (1, 0)),
        (ActionMapping(kind="hybrid", max_position=10.0, limit_offsets=OFFSETS), (0, [0.0])),
    ],
    ids=["levels", "hybrid"],
)
def test_a_policy_that_chooses_limit_offsets_is_evaluated(market: Market, actions: ActionMapping, flat: Any) -> None:
    config = EnvironmentConfig(actions=actions)
    figures = evaluate(lambda _: flat, [market.part(0, 500)], config, seed=0).figures
    assert (figures["pnl_bps"], figures["trades"]) == (0.0, 0.0)
    assert figures["random_pnl_bps"] < 0
