"""The checks of the exactness drills find what they are for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from messages import Record
from tests.drills.exactness.checks import void_count, wrong_bundles
from tests.drills.exactness.fleet import recoveries_in
from tests.drills.exactness.latency import Window, seen
from tests.drills.load import Rhythm

LOG = """\
2026-11-21 14:00:00,100 INFO agents.execution.agent shard 1 assigned
2026-11-21 14:00:00,100 INFO agents.execution.agent shard 2 assigned
2026-11-21 14:00:00,350 INFO agents.execution.agent shard 1 live: market_from=7
2026-11-21 14:00:01,000 INFO agents.execution.agent shard 2 assigned
2026-11-21 14:00:02,500 INFO agents.execution.agent shard 2 live: market_from=0
2026-11-21 14:00:03,000 INFO agents.execution.agent shard 3 assigned
"""


def _record(offset: int, **message: Any) -> Record:
    return Record(
        topic="orders", partition=0, offset=offset, timestamp_ms=0, key=None, value=json.dumps(message).encode()
    )


def _order(offset: int, *, market: int, bundle: str, epoch: int = 0) -> Record:
    order = {"type": "Order", "seq": offset, "epoch": epoch, "instrument": "A", "bundle_id": bundle}
    return _record(offset, **order, source={"offset": market})


def _step(market_from: int, market_to: int, *activated: str) -> dict[str, Any]:
    inputs = [{"type": "BundleActivated", "instrument": "A", "bundle_id": bundle} for bundle in activated]
    return {"step": {"market_from": market_from, "market_to": market_to, "inputs": inputs}, "orders": [{}]}


@pytest.mark.parametrize(("named", "is_wrong"), [("old", True), ("new", False)])
def test_an_order_that_names_another_bundle_than_the_active_one_is_found(named: str, is_wrong: bool) -> None:
    steps = [_step(0, 2, "old"), _step(2, 2, "new"), _step(2, 5)]
    orders = [_record(0, type="Claim"), _order(1, market=1, bundle="old"), _order(2, market=4, bundle=named)]
    assert bool(wrong_bundles(orders, steps)) is is_wrong


def test_an_order_without_a_logged_step_is_found() -> None:
    assert wrong_bundles([_record(0, type="Claim"), _order(1, market=9, bundle="old")], [_step(0, 2, "old")])


def test_records_of_a_fenced_owner_are_counted() -> None:
    claims = [_record(0, type="Claim"), _order(1, market=0, bundle="b"), _record(2, type="Claim")]
    assert void_count(claims) == 0
    assert void_count([*claims, _order(3, market=1, bundle="b", epoch=0)]) == 1


def test_a_recovery_lasts_from_the_last_assignment_before_the_shard_is_live(tmp_path: Path) -> None:
    path = tmp_path / "execution-1.log"
    path.write_text(LOG)
    assert recoveries_in(path) == [0.25, 1.5]


def test_times_are_those_inside_the_windows(tmp_path: Path) -> None:
    file = tmp_path / "timings.npz"
    steps = [[10, 1_000_000, 1], [20, 9_000_000, 1], [30, 50_000_000, 0], [40, 3_000_000, 2]]
    np.savez(file, steps=np.array(steps), late=np.array([[10, 2_000_000], [20, 5_000_000]]))
    inside = seen(file, [Window(5, 15), Window(25, 45)])
    assert (inside.steps, inside.slowest_ms, inside.latest_ms) == (2, 3.0, 2.0)
    assert inside.typical_latest_ms == 1.0  # in one window two milliseconds, in the other none


def test_a_rhythm_has_its_rate_in_bursts_and_between_them() -> None:
    rhythm = Rhythm(quiet_hz=10, burst_hz=100, burst_s=0.5, every_s=2.0)
    assert [rhythm.due(seconds) for seconds in (0.25, 0.5, 1.5, 2.0, 2.5)] == [25, 50, 60, 65, 115]
