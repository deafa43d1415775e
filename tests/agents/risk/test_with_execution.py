"""Risk beside a whole replica of Execution: a fill of an order that nobody sent."""

import asyncio
from pathlib import Path

from agents.execution.alerts import DISPUTED
from agents.risk.agent import RiskAgent
from agents.risk.config import RiskConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from bundles.loader import load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import Alert, Halt, NewRecord, RiskSnapshot, SystemClock, encode
from messages.reports import OrderPosition
from tests.agents.execution.one_replica import World
from tests.agents.risk.market import report
from tests.bundles.samples import export_sample


async def test_a_fill_of_an_order_that_was_never_sent_is_disputed_by_one_and_halted_by_the_other(
    tmp_path: Path,
) -> None:
    key = SigningKey.generate()
    good, trust = export_sample(tmp_path / "good", key), TrustStore.of([key])
    world = World(load_bundle(good, trust=trust), good.as_uri(), trust)
    await world.start()
    risk = RiskAgent(
        config=RiskConfig(snapshot_interval_ms=20),
        bus=world.bus("risk"),
        clock=SystemClock(),
        instruments={"AAA": Instrument(instrument="AAA", price_step=0.5, quantity_step=1.0)},
        limits=Limits(),
        cash=1e6,
    )
    await risk.start()
    running = asyncio.create_task(risk.run())
    await world.trade()
    while not (await world.next("risk", RiskSnapshot))[1].positions:
        pass
    strange = report(instrument="AAA", order_id="NEVERSENT", order=OrderPosition(partition=0, offset=99))
    producer = await world.bus("venue").producer()
    await producer.publish("reports", NewRecord(key=b"AAA", value=encode(strange)))
    world.show()  # the next step takes the report in
    while (await world.next("risk", Alert))[1].code != DISPUTED:
        pass
    _, halt = await world.next("control", Halt)
    assert (halt.scope, halt.level, halt.writer) == ("instrument:AAA", "reducing", "risk-1")
    assert "POSITION_DISAGREEMENT" in halt.reason
    await risk.stop()
    await running
    await world.stop()
