"""The odd quotes of docs/market-data.md, a policy that wants something, and a desk that has read them."""

import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents.execution.shard import Shard
from bundles.features import Feature, FeatureSpec, Floats32
from messages import LoggedStep, Quote
from tests.builders import (
    SECOND,
    START_NS,
    bundle,
    ready_inputs,
    record,
    shard,
    step_of,
)

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "market-data.md").read_text()
MS = 1_000_000
SPEC = FeatureSpec(
    features=(
        Feature(name="spread"),
        Feature(name="queue_imbalance", params={"events": 2}),
        Feature(name="volatility", params={"events": 2}),
        Feature(name="rate", params={"events": 2}),
        Feature(name="position"),
        Feature(name="unrealized"),
    )
)


class Case(msgspec.Struct, frozen=True):
    """A row of the page's table."""

    name: str
    quote: Quote
    is_read: bool
    is_reference: bool
    can_buy: bool
    can_sell: bool


def cases() -> list[Case]:
    table = PAGE[PAGE.index("| quote | bid |") :].split("\n\n")[0].splitlines()[2:]
    found = []
    for line in table:
        name, bid, bid_size, ask, ask_size, *flags = [cell.strip() for cell in line.strip("|").split("|")]
        assert set(flags) <= {"yes", "no"}
        odd = Quote(
            instrument="X",
            ts_recv=START_NS + SECOND,
            bid=float(bid),
            bid_size=float(bid_size),
            ask=float(ask),
            ask_size=float(ask_size),
        )
        found.append(Case(name, odd, *[flag == "yes" for flag in flags]))
    return found


CASES = cases()
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Wanting:
    """A policy that wants this level, whatever it sees; what it sees is finite."""

    def __init__(self, *levels: float) -> None:
        self._levels = itertools.cycle(levels)

    def act(self, observation: Floats32) -> tuple[float, ...]:
        assert np.isfinite(observation).all()
        return (next(self._levels),)

    def act_batch(self, observations: Any) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


LONG, FLAT, SHORT = 2.0, 1.0, 0.0


def desk_after(*messages: Any, limits: dict[str, Any] | None = None) -> tuple[Shard, LoggedStep]:
    target = shard(bundle(Wanting(LONG)), limits=limits)
    market = [record(message, offset) for offset, message in enumerate(messages)]
    return target, target.step(step_of(target, market, *ready_inputs()), market, [])
