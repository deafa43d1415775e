"""The limits in force: one rule for what `control` changes, and each shard's part of the portfolio's limits."""

import pytest

from agents.errors import SettingsError
from agents.risk.limits.file import Limits, OrderLimits
from agents.risk.limits.in_force import LimitsInForce

FILE = Limits.convert(
    {
        "defaults": {"max_gross_exposure": 900.0, "max_net_exposure": 100.0},
        "instruments": {"BTC": {"max_gross_exposure": 5_000.0}},
        "strategies": {"s": {"max_net_exposure": 700.0}},
        "portfolio": {"max_gross_exposure": 2_000.0, "max_net_exposure": 1_000.0},
    }
)


def exposures(limits: OrderLimits) -> tuple[float, float]:
    return limits.max_gross_exposure, limits.max_net_exposure


def test_a_shard_has_its_share_and_what_is_stricter_than_it() -> None:
    of_shard = LimitsInForce(FILE, partitions=4).of_shard(1)
    assert exposures(of_shard.for_pair("t", "ETH")) == (500.0, 100.0)
    assert exposures(of_shard.for_pair("s", "BTC")) == (500.0, 250.0)


def test_one_shard_has_the_whole() -> None:
    of_shard = LimitsInForce(FILE, partitions=1).of_shard(0)
    assert exposures(of_shard.for_pair("s", "BTC")) == (2_000.0, 700.0)


def test_a_lower_portfolio_limit_lowers_all_shares_and_a_moved_share_stays_moved() -> None:
    in_force = LimitsInForce(FILE, partitions=2)
    assert in_force.apply({"shares.0.gross": 0.9, "shares.1.gross": 0.1}) is None
    assert in_force.apply({"portfolio.max_gross_exposure": 1_000.0}) is None
    assert [in_force.share(number).gross for number in (0, 1)] == [900.0, 100.0]


def test_an_impossible_change_is_void_as_a_whole() -> None:
    in_force = LimitsInForce(FILE, partitions=2)
    for changes in (
        {"defaults.max_position": 2.0, "defaults.nonsense": 1.0},
        {"defaults.max_position": 2.0, "shares.0.gross": 0.6},
        {"defaults.max_position": 2.0, "shares.2.gross": 0.1},
        {"defaults.max_position": float("inf")},
    ):
        assert isinstance(in_force.apply(changes), SettingsError)
    assert in_force.limits == FILE
    assert in_force.changes == {}


def test_what_was_changed_is_the_same_after_a_checkpoint() -> None:
    in_force = LimitsInForce(FILE, partitions=2)
    in_force.apply({"defaults.max_position": 2.0})
    in_force.apply({"shares.0.net": 0.25, "instruments.ETH.max_open_orders": 3.0})
    again = LimitsInForce(FILE, partitions=2, changes=in_force.changes)
    assert (again.limits, again.shares) == (in_force.limits, in_force.shares)
    with pytest.raises(SettingsError, match="partition 1"):
        LimitsInForce(FILE, partitions=1, changes={"shares.1.net": 0.25})


def test_a_file_that_contradicts_what_was_changed_is_refused_and_not_half_applied() -> None:
    changes = {"defaults.min_order_quantity": 2.0}
    other = Limits.convert({"defaults": {"max_position": 1.0}})
    with pytest.raises(SettingsError, match=r"the file does not go together with .* above max_position 1"):
        LimitsInForce(other, partitions=2, changes=changes)


def test_a_share_of_nothing_allows_nothing() -> None:
    in_force = LimitsInForce(FILE, partitions=2)
    in_force.apply({"shares.0.gross": 0.0})
    assert in_force.of_shard(0).for_pair("t", "ETH").max_gross_exposure == 0.0
