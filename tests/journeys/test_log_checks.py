"""The checks of the journeys are shown bad samples and must catch them."""

from typing import Any

from tests.journeys.log_checks import positions_of, wrong_bundles


def _order(offset: int, bundle: str) -> dict[str, Any]:
    return {"instrument": "A", "source": {"partition": 0, "offset": offset}, "bundle_id": bundle}


def _swap(market_from: int, bundle: str) -> dict[str, Any]:
    return {"instrument": "A", "market_from": market_from, "bundle_id": bundle}


SWAPS = [_swap(0, "old"), _swap(10, "new"), {**_swap(5, "other"), "instrument": "B"}]


def test_orders_name_the_bundle_that_was_live_at_their_record() -> None:
    assert wrong_bundles([_order(9, "old"), _order(10, "new")], SWAPS) == []


def test_an_order_of_the_old_bundle_after_the_swap_is_found() -> None:
    assert len(wrong_bundles([_order(10, "old"), _order(9, "new")], SWAPS)) == 2


def test_positions_are_the_sums_of_the_last_totals_of_each_order() -> None:
    report = {"order_id": "1", "instrument": "A", "side": "buy", "report_seq": 0, "cumulative_quantity": 0.1}
    reports = [
        {**report, "report_seq": 2, "cumulative_quantity": 0.3},
        {**report, "report_seq": 1, "cumulative_quantity": 0.2},
        {**report, "order_id": "2", "side": "sell", "cumulative_quantity": 0.1},
        {**report, "order_id": "2", "side": "sell", "cumulative_quantity": 0.1},
    ]

    assert positions_of(reports) == {"A": 0.2}
