"""What the settings say reaches the agents."""

import pytest

from agents.assembly import scope_of
from agents.errors import SettingsError
from agents.settings import parse_settings
from bundles.features import BadUserFeature
from tests.bundles.features import own


def test_the_users_own_features_are_compiled_by_name() -> None:
    settings = parse_settings({"allow_unsigned": True, "features": {"allow": {"skew": f"{own.__name__}:skew"}}})
    assert list(scope_of(settings).user_features) == ["skew"]


def test_a_feature_that_cant_be_had_stops_the_start() -> None:
    settings = parse_settings({"allow_unsigned": True, "features": {"allow": {"skew": "nowhere_at_all:skew"}}})
    with pytest.raises(BadUserFeature, match="nowhere_at_all"):
        scope_of(settings)


@pytest.mark.parametrize("features", [{"allow": ["skew"]}, {"allow": {"skew": 1}}, {"deny": {}}])
def test_other_shapes_of_the_list_are_refused(features: object) -> None:
    with pytest.raises(SettingsError, match="features"):
        parse_settings({"features": features})
