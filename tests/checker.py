"""The independent checker: from the records of one shard's topics to a list of what is wrong with them.

It shares no code with the agents: it reads JSON, follows Claims by hand and compares. An empty list is a pass.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from messages import Record

Json = dict[str, Any]


def valid(records: Iterable[Record]) -> list[tuple[Record, Json]]:
    """Records of one partition of `orders` or `decisions` whose epoch is that of the newest Claim before them."""
    epoch, kept = None, []
    for record in records:
        message = json.loads(record.value or b"{}")
        if message["type"] == "Claim":
            epoch = message.get("epoch", record.offset)
        elif message["epoch"] == epoch:
            kept.append((record, message))
    return kept


def steps_of(decisions: Iterable[Record]) -> tuple[list[Json], list[str]]:
    """All valid steps in order of n, and what is wrong where the same n comes twice."""
    steps: dict[int, Json] = {}
    wrong = []
    for _, batch in valid(decisions):
        for step in batch["steps"]:
            n = step["step"]["n"]
            if steps.setdefault(n, step) != step:
                wrong.append(f"step {n} is logged twice, differently")
    return [steps[n] for n in sorted(steps)], wrong


def check_shard(
    *, market: Sequence[Record], orders: Sequence[Record], decisions: Sequence[Record], is_complete: bool = True
) -> list[str]:
    """Return what breaks the promises of one shard's log; nothing when they hold.

    Steps contiguous and each market offset with exactly one outcome; `seq` dense, ids unique; the orders on the topic
    equal those in the decisions, byte for byte; no order without the log that explains it.
    """
    steps, wrong = steps_of(decisions)
    wrong += _check_steps(steps, market, is_complete=is_complete)
    on_topic = valid(orders)
    wrong += _check_sequence([message for _, message in on_topic])
    logged = [order for step in steps for order in step.get("orders", ())]
    sent = [message for _, message in on_topic]
    if logged != sent[: len(logged)] or (is_complete and len(logged) != len(sent)):
        wrong.append(f"{len(sent)} orders on the topic, {len(logged)} in the decisions, and they are not the same")
    return wrong + _check_headers(on_topic)


def _check_steps(steps: Sequence[Json], market: Sequence[Record], *, is_complete: bool) -> list[str]:
    wrong: list[str] = []
    expected_from, clock = 0, 0
    outcomes: dict[int, str] = {}
    present = {record.offset for record in market}
    for n, logged in enumerate(steps):
        step = logged["step"]
        if step["n"] != n:
            return [*wrong, f"step {n} is missing: found {step['n']}"]
        if step["market_from"] != expected_from:
            wrong.append(f"step {n} begins at market offset {step['market_from']}, not {expected_from}")
        if step["clock_ns"] < clock:
            wrong.append(f"step {n}: the clock goes back")
        offsets = [o for o in range(step["market_from"], step["market_to"]) if o in present]
        found = logged.get("decisions", [])
        if len(offsets) != len(found):
            wrong.append(f"step {n} has {len(found)} outcomes for {len(offsets)} records")
        outcomes.update(zip(offsets, (decision["outcome"] for decision in found), strict=False))
        expected_from, clock = step["market_to"], step["clock_ns"]
    if is_complete and (undecided := sorted(present - outcomes.keys())):
        wrong.append(f"{len(undecided)} market offsets without outcome, first {undecided[:3]}")
    return wrong


def _check_sequence(messages: Sequence[Json]) -> list[str]:
    seqs = [message["seq"] for message in messages]
    ids = [message["order_id"] for message in messages if message["type"] == "Order"]
    wrong = [] if seqs == list(range(len(seqs))) else [f"seq is not dense: {seqs[:50]}"]
    return wrong + ([] if len(ids) == len(set(ids)) else ["an order id is there twice"])


def _check_headers(on_topic: Sequence[tuple[Record, Json]]) -> list[str]:
    explained: dict[int, Json] = {}
    wrong = []
    for record, message in on_topic:
        for name, value in record.headers:
            if name == "log":
                logged = (order for step in json.loads(value)["steps"] for order in step.get("orders", ()))
                explained |= {order["seq"]: order for order in logged}
        if explained.get(message["seq"]) != message:
            wrong.append(f"order seq {message['seq']} has no log on or before it")
    return wrong
