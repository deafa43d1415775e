"""Reports, ticks and corrections with absurd numbers: booked or refused, and every figure stays finite."""

from contextlib import suppress
from typing import Any

import pytest

from agents.risk.ledger import BadReport
from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.portfolio import Portfolio
from messages import Adjust, Bar, ExecutionReport, Quote, decode, encode
from messages.errors import Refused
from messages.market import Observation, Trade
from tests.builders import X
from tests.fuzzing import FORMS, Case, Form, family, run_cases, valid

KINDS = {"ExecutionReport": "reports", "Adjust": "control", "Quote": "market", "Trade": "market", "Bar": "market"}
TYPES = {kind.__name__: kind for kind in (ExecutionReport, Adjust, Quote, Trade, Bar)}


def apply(portfolio: Portfolio, message: Any) -> None:
    if isinstance(message, ExecutionReport):
        portfolio.apply_report(message)
    elif isinstance(message, Adjust):
        portfolio.apply_adjust(message)
    elif isinstance(message, Quote | Trade | Bar | Observation):
        portfolio.apply_tick(message, 1)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("kind", KINDS)
def test_the_books_stand_whatever_can_be_read(kind: str, form: Form) -> None:
    def check(case: Case) -> int:
        portfolio = Portfolio({"X": X}, PortfolioLimits(), cash=1_000.0)
        good = Quote(instrument="X", ts_recv=1, bid=100.0, bid_size=1, ask=100.5, ask_size=1)
        count = 0
        for value in family(form, case):
            count += 1
            with suppress(Refused, BadReport):
                apply(portfolio, decode(KINDS[kind], value, form.headers))
            portfolio.apply_tick(good, 2)
            portfolio.observe(3)
            portfolio.breaches(4)
            encode(portfolio.snapshot(5))
        return count

    fields = valid(TYPES[kind]).map(lambda fields: {**fields, "instrument": "X"})
    assert run_cases(fields, check, inputs=2_000) >= 2_000
