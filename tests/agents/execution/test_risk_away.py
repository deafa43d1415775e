"""Risk falls silent and comes back, on a whole replica: what is denied, what is told."""

from pathlib import Path

from agents.execution.alerts import RISK_BACK, RISK_MISSED
from bundles.loader import load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import Alert, DecisionBatch, DenialCode
from tests.agents.execution.one_replica import World
from tests.bundles.samples import export_sample


async def told(world: World, code: str) -> Alert:
    while (found := await world.next("risk", Alert))[1].code != code:
        pass
    return found[1]


async def test_while_risk_is_silent_entries_are_denied_by_name_and_the_alert_ends_with_its_heartbeat(
    tmp_path: Path,
) -> None:
    key = SigningKey.generate()
    good, trust = export_sample(tmp_path / "good", key), TrustStore.of([key])
    world = World(load_bundle(good, trust=trust), good.as_uri(), trust, risk_timeout_ms=300)
    await world.start()
    missed = await told(world, RISK_MISSED)
    world.show()
    codes: list[DenialCode] = []
    while not codes:
        _, batch = await world.next("decisions", DecisionBatch)
        codes = [d.denial.code for step in batch.steps for d in step.decisions if d.denial is not None]
    assert codes == [DenialCode.RISK_AWAY]
    world.beat()
    back = await told(world, RISK_BACK)
    assert (back.alert_id, back.severity) == (missed.alert_id, "info")
    await world.stop()
