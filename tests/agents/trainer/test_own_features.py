"""The training environment shows a user's own feature as it is, and says so in its spec."""

import numpy as np
import pytest

from agents.feed.synthetic import synthetic_instruments
from agents.trainer import MarketEnv
from agents.trainer.config import EnvironmentConfig
from agents.trainer.market import prepare
from bundles.features import BadUserFeature, Feature, FeatureSpec
from tests.bundles.features import own
from tests.bundles.features.streams import rows_of, walk

CONFIG = EnvironmentConfig(
    features=FeatureSpec(features=(Feature(name="skew", params={"events": 4}), Feature(name="position"))),
    user_features={"skew": f"{own.__name__}:skew"},
)


def test_the_environment_shows_it_and_hands_its_source_on() -> None:
    rows = rows_of(walk(400, seed=9, oddity=0.0, trades=0.0, bars=0.0))
    market = prepare(rows, synthetic_instruments(1)[0], CONFIG.observer(), CONFIG.latency_ns)
    env = MarketEnv([market], CONFIG, whole=True)
    seen, _ = env.reset(seed=1)
    assert seen[0] == np.float32(own.skew(rows[: len(rows) - len(market.mid) + 1], 4))
    assert env.feature_spec.features[0].source is not None
    assert env.feature_spec == CONFIG.observer().spec


def test_a_function_that_cant_be_imported_is_refused() -> None:
    config = EnvironmentConfig(user_features={"skew": "no_such_module_of_mine:skew"})
    with pytest.raises(BadUserFeature, match="no_such_module_of_mine"):
        config.observer()
