"""The gate: each check, what it exempts, and that its windows recover."""

from typing import Any

import msgspec
import pytest

from agents.risk.gate import Gate, GateState, Proposal, View
from agents.risk.kill_switch import TradingState
from agents.risk.limits.file import Limits
from messages import DenialCode
from tests.agents.risk.market import INSTRUMENTS, NOW, TWICE_MID, proposal, view

MS = 1_000_000
HALTED, REDUCING = TradingState.HALTED, TradingState.REDUCING


def gate(**defaults: Any) -> Gate:
    return Gate(Limits.convert({"defaults": {"duplicate_window_ms": 0} | defaults}), INSTRUMENTS)


def code(gate: Gate, proposed: Proposal, seen: View, now_ns: int = NOW) -> DenialCode | None:
    denial = gate.check(proposed, seen, now_ns)
    return None if denial is None else denial.code


LIMIT = {"order_type": "limit"}
CASES: list[tuple[DenialCode | None, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (None, {}, {}, {}),
    (None, {}, LIMIT | {"limit_ticks": 200}, {}),
    (DenialCode.UNKNOWN_INSTRUMENT, {}, {"instrument": "DOGE"}, {}),
    (DenialCode.NOT_FINITE, {}, {"lots": float("nan")}, {}),
    (DenialCode.NOT_FINITE, {}, {"lots": float("inf")}, {}),
    (DenialCode.NOT_FINITE, {}, LIMIT | {"limit_ticks": float("nan")}, {}),
    (DenialCode.QUANTITY_STEP, {}, {"lots": 0}, {}),
    (DenialCode.QUANTITY_STEP, {}, {"lots": -5}, {}),
    (DenialCode.QUANTITY_STEP, {}, {"lots": 1.5}, {}),
    (DenialCode.QUANTITY_STEP, {}, {"lots": True}, {}),
    (DenialCode.QUANTITY_STEP, {}, {"lots": 2**53 + 1}, {}),
    (DenialCode.QUANTITY_STEP, {}, {"lots": 10**400}, {}),
    (DenialCode.MAX_ORDER_VALUE, {}, {"lots": 2**53}, {}),
    (DenialCode.QUANTITY_STEP, {}, {"side": "BUY"}, {}),
    (DenialCode.PRICE_STEP, {}, {"order_type": "stop"}, {}),
    (DenialCode.PRICE_STEP, {}, {"order_type": "stop", "limit_ticks": 200}, {}),
    (DenialCode.PRICE_STEP, {}, LIMIT | {"limit_ticks": 10**400}, {}),
    (DenialCode.NOT_FINITE, {}, {}, {"position_lots": float("nan")}),
    (DenialCode.NOT_FINITE, {}, {}, {"position_lots": float("-inf")}),
    (DenialCode.NOT_FINITE, {}, {}, {"position_lots": None}),
    (DenialCode.NOT_FINITE, {}, {}, {"position_lots": -(10**400)}),
    (DenialCode.NOT_FINITE, {}, {}, {"open_buy_lots": float("nan")}),
    (DenialCode.NOT_FINITE, {}, {}, {"open_sell_lots": -1}),
    (DenialCode.NOT_FINITE, {}, {}, {"open_orders": None}),
    (DenialCode.NOT_FINITE, {}, {}, {"other_gross_nanos": float("inf")}),
    (DenialCode.NOT_FINITE, {}, {}, {"other_gross_nanos": 10**400}),
    (DenialCode.NOT_FINITE, {}, {}, {"other_long_nanos": float("nan")}),
    (DenialCode.NOT_FINITE, {}, {}, {"other_long_nanos": 1, "other_short_nanos": 2}),
    (DenialCode.HALTED, {}, {}, {"state": "paused"}),
    (DenialCode.HALTED, {}, {"reduce_only": True, "side": "sell"}, {"state": None, "is_flattening": True}),
    (DenialCode.PRICE_STEP, {}, LIMIT, {}),
    (DenialCode.PRICE_STEP, {}, {"limit_ticks": 200}, {}),
    (DenialCode.PRICE_STEP, {}, LIMIT | {"limit_ticks": 200.5}, {}),
    (DenialCode.PRICE_STEP, {}, LIMIT | {"limit_ticks": 0}, {}),
    (DenialCode.HALTED, {}, {}, {"state": HALTED}),
    (DenialCode.HALTED, {}, {"reduce_only": True, "side": "sell"}, {"state": HALTED, "position_lots": 20}),
    (DenialCode.HALTED, {}, {"side": "sell"}, {"state": HALTED, "position_lots": 20, "is_flattening": True}),
    (
        None,
        {},
        {"reduce_only": True, "side": "sell"},
        {"state": HALTED, "position_lots": 20, "is_flattening": True},
    ),
    (DenialCode.NO_REFERENCE, {}, {}, {"bid_ticks": None}),
    (DenialCode.NO_REFERENCE, {}, {}, {"ask_ticks": 0}),
    (DenialCode.NO_REFERENCE, {}, {}, {"bid_ticks": -1}),
    (DenialCode.NO_REFERENCE, {}, {}, {"bid_ticks": 202}),
    (None, {}, {}, {"bid_ticks": 201}),
    (DenialCode.NO_REFERENCE, {}, {}, {"bid_ticks": float("nan")}),
    (DenialCode.NO_REFERENCE, {}, {}, {"ask_ticks": float("nan")}),
    (DenialCode.NO_REFERENCE, {}, {}, {"ask_ticks": float("inf")}),
    (DenialCode.NO_REFERENCE, {}, {}, {"ask_ticks": 10**400}),
    (DenialCode.NO_REFERENCE, {}, {}, {"reference_ts_ns": None}),
    (None, {"max_reference_age_ms": 10}, {}, {"reference_ts_ns": NOW - 10 * MS}),
    (DenialCode.STALE_REFERENCE, {"max_reference_age_ms": 10}, {}, {"reference_ts_ns": NOW - 10 * MS - 1}),
    (DenialCode.STALE_REFERENCE, {}, {}, {"reference_ts_ns": NOW + 1}),
    (DenialCode.STALE_REFERENCE, {}, {}, {"reference_ts_ns": float("nan")}),
    (None, {"max_reference_age_ms": 0}, {}, {}),
    (DenialCode.STALE_REFERENCE, {"max_reference_age_ms": 0}, {}, {"reference_ts_ns": NOW - 1}),
    (DenialCode.AWAITING_REPORT, {}, {}, {"awaiting_report": True}),
    (None, {}, {"side": "sell"}, {"awaiting_report": True, "position_lots": 10}),
    (DenialCode.REDUCE_ONLY, {}, {"reduce_only": True}, {}),
    (DenialCode.REDUCE_ONLY, {}, {"reduce_only": True, "side": "sell", "lots": 11}, {"position_lots": 10}),
    (None, {}, {"reduce_only": True, "side": "sell"}, {"position_lots": 10}),
    (DenialCode.MIN_ORDER_QUANTITY, {"min_order_quantity": 0.2}, {}, {}),
    (None, {"min_order_quantity": 0.1}, {}, {}),
    (DenialCode.MIN_ORDER_QUANTITY, {"min_order_quantity": 0.095}, {"lots": 9}, {}),
    (None, {"min_order_quantity": 0.095}, {}, {}),
    (DenialCode.MAX_ORDER_QUANTITY, {"max_order_quantity": 0.095}, {}, {}),
    (None, {"min_order_quantity": 0.2, "min_order_value": 1000}, {"side": "sell"}, {"position_lots": 10}),
    (DenialCode.MIN_ORDER_VALUE, {"min_order_value": 11.0}, {}, {}),
    (DenialCode.MAX_ORDER_QUANTITY, {"max_order_quantity": 0.09}, {}, {}),
    (None, {"max_order_quantity": 0.1}, {}, {}),
    (None, {"max_order_value": 10.05}, {}, {}),
    (DenialCode.MAX_ORDER_VALUE, {"max_order_value": 10.04}, {}, {}),
    (DenialCode.MAX_ORDER_VALUE, {"max_order_value": 9.9}, LIMIT | {"side": "sell", "limit_ticks": 199}, {}),
    (DenialCode.PRICE_COLLAR, {"price_collar_bps": 100}, LIMIT | {"limit_ticks": 203}, {}),
    (None, {"price_collar_bps": 100}, LIMIT | {"limit_ticks": 202}, {}),
    (DenialCode.PRICE_COLLAR, {"price_collar_bps": 10}, {}, {}),
    (None, {"max_position": 0.5}, {}, {"position_lots": 40}),
    (DenialCode.MAX_POSITION, {"max_position": 0.5}, {}, {"position_lots": 41}),
    (DenialCode.MAX_POSITION, {"max_position": 0.5}, {}, {"position_lots": 30, "open_buy_lots": 11}),
    (DenialCode.MAX_POSITION, {"max_position": 0.5}, {"side": "sell"}, {"position_lots": -30, "open_sell_lots": 11}),
    (None, {"max_position": 0.5}, {"side": "sell"}, {"position_lots": 90}),
    (DenialCode.MAX_GROSS_EXPOSURE, {"max_gross_exposure": 100}, {}, {"other_gross_nanos": 90 * 10**9}),
    (DenialCode.MAX_GROSS_EXPOSURE, {"max_gross_exposure": 100}, {}, {"open_sell_lots": 100}),
    (DenialCode.MAX_NET_EXPOSURE, {"max_net_exposure": 100}, {}, {"other_long_nanos": 90 * 10**9}),
    (None, {"max_net_exposure": 100}, {"side": "sell"}, {"other_long_nanos": 90 * 10**9}),
    (DenialCode.MAX_NET_EXPOSURE, {"max_net_exposure": 100}, {"side": "sell"}, {"other_short_nanos": -90 * 10**9}),
    (None, {"max_net_exposure": 100}, {}, {"other_short_nanos": -90 * 10**9}),
    (DenialCode.MAX_OPEN_ORDERS, {"max_open_orders": 2}, {}, {"open_orders": 2}),
    (DenialCode.BUNDLE_LIMIT, {}, {}, {"bundle_limits": {"max_order_quantity": 0.09}}),
    (DenialCode.BUNDLE_LIMIT, {}, {}, {"bundle_limits": {"max_position": 0.05}}),
    (DenialCode.BUNDLE_LIMIT, {}, {}, {"bundle_limits": {"max_fun": 1.0}}),
    (DenialCode.BUNDLE_LIMIT, {}, {}, {"bundle_limits": {"max_position": float("nan")}}),
    (None, {}, {"side": "sell"}, {"position_lots": 10, "bundle_limits": {"max_position": float("nan")}}),
    (DenialCode.BUNDLE_LIMIT, {}, {"side": "sell"}, {"position_lots": 9, "bundle_limits": {"max_fun": 1.0}}),
    (DenialCode.UNKNOWN_INSTRUMENT, {}, {"instrument": "DOGE"}, {"bundle_limits": {"max_position": 1.0}}),
    (None, {"max_position": 1}, {}, {"bundle_limits": {"max_position": 5.0}}),
    (DenialCode.MAX_POSITION, {"max_position": 0.05}, {}, {"bundle_limits": {"max_position": 5.0}}),
]


@pytest.mark.parametrize(("expected", "limits", "proposed", "seen"), CASES)
def test_each_check_denies_what_is_beyond_it_and_passes_what_is_on_it(
    expected: DenialCode | None, limits: dict[str, Any], proposed: dict[str, Any], seen: dict[str, Any]
) -> None:
    assert code(gate(**limits), proposal(**proposed), view(**seen)) is expected


REDUCING_CASES: list[tuple[bool, dict[str, Any], dict[str, Any]]] = [
    (True, {"side": "sell", "lots": 10}, {"position_lots": 10}),
    (False, {"side": "sell", "lots": 11}, {"position_lots": 10}),
    (False, {"side": "buy", "lots": 1}, {"position_lots": 10}),
    (False, {"side": "buy", "lots": 1}, {"position_lots": 0}),
    (False, {"side": "sell", "lots": 5}, {"position_lots": 10, "open_sell_lots": 6}),
    (True, {"side": "sell", "lots": 4}, {"position_lots": 10, "open_sell_lots": 6}),
    (False, {"side": "sell", "lots": 3}, {"position_lots": 10, "open_buy_lots": 5}),
    (False, {"side": "sell", "lots": 12}, {"position_lots": 10, "open_buy_lots": 5}),
    (True, {"side": "buy", "lots": 10}, {"position_lots": -10}),
    (False, {"side": "buy", "lots": 11}, {"position_lots": -10}),
]


@pytest.mark.parametrize(("passes", "proposed", "seen"), REDUCING_CASES)
def test_reducing_passes_only_what_brings_the_position_nearer_to_zero_with_everything_filled(
    passes: bool, proposed: dict[str, Any], seen: dict[str, Any]
) -> None:
    found = code(gate(), proposal(**proposed), view(state=REDUCING, **seen))
    assert found is (None if passes else DenialCode.REDUCE_ONLY)


def test_a_denial_says_limit_and_resulting_value() -> None:
    denial = gate(max_position=0.5).check(proposal(), view(position_lots=50), NOW)
    assert str(denial) == "MAX_POSITION limit=0.5 resulting=0.6"


def test_equal_content_within_the_window_is_a_duplicate_and_later_it_is_not() -> None:
    guarded = gate(duplicate_window_ms=100)
    guarded.record(proposal(), TWICE_MID, NOW)
    fresh = view()
    assert code(guarded, proposal(), fresh, NOW + 99 * MS) is DenialCode.DUPLICATE
    assert code(guarded, proposal(lots=11), fresh, NOW + 99 * MS) is None
    assert code(guarded, proposal(), fresh, NOW + 100 * MS) is None


def test_what_the_duplicate_window_has_left_behind_is_forgotten() -> None:
    guarded = gate(duplicate_window_ms=100)
    for lots, ms in ((1, 0), (2, 0), (1, 90), (3, 100), (1, 190)):
        guarded.record(proposal(lots=lots), TWICE_MID, NOW + ms * MS)
    assert [(content[3], ts - NOW) for content, ts in guarded.snapshot().contents] == [(3, 100 * MS), (1, 190 * MS)]


def test_the_message_rate_denies_beyond_the_limit_and_recovers_at_once() -> None:
    guarded = gate(max_messages_per_s=2)
    guarded.record(proposal(), TWICE_MID, NOW)
    guarded.record_cancel(NOW + 500 * MS)
    fresh = view()
    assert code(guarded, proposal(), fresh, NOW + 999 * MS) is DenialCode.MESSAGE_RATE
    assert code(guarded, proposal(), fresh, NOW + 1_000 * MS) is None


def test_repeated_execution_latches_until_a_person_releases_it_but_exits_pass() -> None:
    guarded = gate(max_repeated_executions=3, repeated_execution_window_ms=1_000)
    for turn in range(3):
        assert not guarded.is_latched("s", "BTC")
        guarded.record(proposal(), TWICE_MID, NOW + turn)
    much_later = NOW + 3_600_000 * MS
    fresh = view(reference_ts_ns=much_later)
    assert code(guarded, proposal(), fresh, much_later) is DenialCode.REPEATED_EXECUTION
    assert code(guarded, proposal(strategy="t"), fresh, much_later) is None
    assert code(guarded, proposal(side="sell"), view(reference_ts_ns=much_later, position_lots=10), much_later) is None
    guarded.release("s", "BTC")
    assert code(guarded, proposal(), fresh, much_later) is None


def test_the_collar_over_a_period_looks_at_the_mids_of_orders_within_it() -> None:
    guarded = gate(price_collar_period_bps=100, price_collar_period_ms=1_000)
    guarded.record(proposal(), TWICE_MID, NOW)
    moved = {"bid_ticks": 205, "ask_ticks": 206}
    assert code(guarded, proposal(), view(**moved), NOW + 999 * MS) is DenialCode.PRICE_COLLAR_PERIOD
    assert code(guarded, proposal(side="sell"), view(**moved, position_lots=10), NOW + 999 * MS) is None
    assert code(guarded, proposal(), view(**moved), NOW + 1_000 * MS) is None


@pytest.mark.parametrize(
    ("limit_bps", "expected"),
    [(5_000, None), (4_999, DenialCode.PRICE_COLLAR_PERIOD), (2_600, DenialCode.PRICE_COLLAR_PERIOD)],
)
def test_the_collar_over_a_period_is_a_part_of_each_of_its_mids(limit_bps: int, expected: DenialCode | None) -> None:
    guarded = gate(price_collar_period_bps=limit_bps)
    for twice_mid in (400, 800):
        guarded.record(proposal(), twice_mid, NOW)
    # 200 from both of 400 and 800 by number: 50 % of the one, 25 % of the other.
    assert code(guarded, proposal(), view(bid_ticks=300, ask_ticks=300)) is expected


def test_an_order_sent_while_no_price_was_known_counts_all_the_same() -> None:
    guarded = gate(max_messages_per_s=1, duplicate_window_ms=100)
    guarded.record(proposal(), None, NOW)
    assert code(guarded, proposal(), view()) is DenialCode.DUPLICATE
    assert code(guarded, proposal(lots=11), view()) is DenialCode.MESSAGE_RATE


def test_record_says_which_order_closes_the_throttle() -> None:
    guarded = gate(max_repeated_executions=2, repeated_execution_window_ms=1_000)
    assert [guarded.record(proposal(), TWICE_MID, NOW + turn) for turn in range(4)] == [False, True, False, False]


def test_check_changes_nothing() -> None:
    guarded = gate(duplicate_window_ms=100)
    guarded.record(proposal(), TWICE_MID, NOW)
    before = guarded.snapshot()
    guarded.check(proposal(), view(), NOW)
    guarded.check(proposal(lots=3), view(bundle_limits={"max_position": 1.0}), NOW + 5 * 10**12)
    assert guarded.snapshot() == before


def test_a_restored_gate_has_the_same_windows() -> None:
    limits = Limits.convert(
        {
            "defaults": {
                "duplicate_window_ms": 100,
                "max_repeated_executions": 3,
                "max_messages_per_s": 5,
                "price_collar_period_bps": 100,
            }
        }
    )
    guarded = Gate(limits, INSTRUMENTS)
    for turn in range(4):
        guarded.record(proposal(lots=1 + turn % 2), TWICE_MID + turn, NOW + turn * MS)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(guarded.snapshot()), type=GateState)
    restored = Gate.restore(state, limits, INSTRUMENTS)
    assert restored.snapshot() == guarded.snapshot()
    assert restored.is_latched("s", "BTC")
    for lots in (1, 2, 3):
        assert restored.check(proposal(lots=lots), view(), NOW + 5 * MS) == guarded.check(
            proposal(lots=lots), view(), NOW + 5 * MS
        )


def test_new_limits_count_at_once_and_the_windows_stay() -> None:
    guarded = gate(max_messages_per_s=1)
    guarded.record(proposal(), TWICE_MID, NOW)
    guarded.set_limits(Limits.convert({"defaults": {"max_order_quantity": 0.01, "duplicate_window_ms": 0}}))
    assert code(guarded, proposal(), view()) is DenialCode.MAX_ORDER_QUANTITY
    guarded.set_limits(Limits.convert({"defaults": {"max_messages_per_s": 1, "duplicate_window_ms": 0}}))
    assert code(guarded, proposal(), view()) is DenialCode.MESSAGE_RATE
