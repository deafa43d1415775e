"""The whole loop in one process: feed, Execution, venue, Risk, Trainer, Orchestrator on the in-memory bus."""

from pathlib import Path

from agents.assembly import scope_of
from agents.demo.plan import DemoOptions, make_plan
from agents.demo.session import DemoRun, DemoSession
from agents.replay.replay import Replayed, logged_steps, replay
from agents.settings import Settings, parse_settings
from messages import Order, Partition, Record, Swapped, decode
from tests.checker import check_shard


def quiet(_phase: str, _done: int, _total: int) -> None: ...


async def run_demo(home: Path, base: Settings | None = None, **options: object) -> DemoRun:
    plan = make_plan(DemoOptions(**options), home, base)  # type: ignore[arg-type]
    return await DemoSession(plan, home, quiet).run()


def records(run: DemoRun, topic: str, number: int) -> list[Record]:
    return list(run.broker.log(Partition(topic, number)).records)


def wrong_in(run: DemoRun, number: int) -> list[str]:
    return check_shard(
        market=records(run, "market", number),
        orders=records(run, "orders", number),
        decisions=records(run, "decisions", number),
    )


def rederived(run: DemoRun) -> Replayed:
    settings = run.plan.settings
    return replay(
        lambda topic, number: records(run, topic, number),
        partitions=settings.shards,
        scope=scope_of(settings),
        config=settings.execution,
        bundles_dir=run.home / "bundles",
    )


async def test_every_tick_is_decided_once_and_the_log_replays_to_the_same_orders(tmp_path: Path) -> None:
    run = await run_demo(tmp_path, ticks=4_000, is_trained=False)
    decided = 0
    for number in range(run.plan.settings.shards):
        assert wrong_in(run, number) == []
        decided += sum(len(step.decisions) for step in logged_steps(records(run, "decisions", number)))
    assert decided == 4_000
    result = rederived(run)
    assert result.is_equal
    assert result.orders > 20


async def test_the_same_seed_gives_the_same_orders_and_another_seed_others(tmp_path: Path) -> None:
    digests = [
        rederived(await run_demo(tmp_path / name, ticks=2_500, seed=seed, is_trained=False)).orders_digest
        for name, seed in (("one", 3), ("two", 3), ("three", 4))
    ]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


async def test_either_backend_sends_the_same_orders(tmp_path: Path) -> None:
    compiled = parse_settings({"execution": {"decisions": {"runtime": "mlp"}}})
    runs = [
        await run_demo(tmp_path / "torchscript", ticks=2_500, is_trained=False),
        await run_demo(tmp_path / "mlp", compiled, ticks=2_500, is_trained=False),
    ]
    results = [rederived(run) for run in runs]
    assert all(result.is_equal for result in results)
    assert results[0].orders_digest == results[1].orders_digest


async def test_a_trained_bundle_is_rolled_out_live_and_orders_name_the_bundle_of_their_time(tmp_path: Path) -> None:
    run = await run_demo(tmp_path, ticks=9_000, timesteps=1_500)
    assert run.training_failed is None
    swaps = [m for r in records(run, "status", 0) if isinstance(m := decode("status", r.value), Swapped)]
    bundles = list(dict.fromkeys(swap.bundle_id for swap in swaps))
    assert len(bundles) == 2
    assert run.staging_ms is not None
    for swap in [swap for swap in swaps if swap.bundle_id == bundles[1]]:
        orders = [
            m for r in records(run, "orders", swap.partition) if isinstance(m := decode("orders", r.value), Order)
        ]
        for order in [order for order in orders if order.instrument == swap.instrument]:
            is_after = order.source.offset >= swap.market_from
            assert order.bundle_id == bundles[1 if is_after else 0]
    assert rederived(run).is_equal


async def test_a_stop_in_the_middle_ends_cleanly_with_what_was_done(tmp_path: Path) -> None:
    plan = make_plan(DemoOptions(ticks=20_000, is_trained=False), tmp_path)
    session: DemoSession

    def stop_soon(phase: str, done: int, _total: int) -> None:
        if phase == "trading" and done >= 1_000:
            session.request_stop()

    session = DemoSession(plan, tmp_path, stop_soon)
    run = await session.run()
    assert run.was_stopped
    market = sum(len(records(run, "market", number)) for number in range(plan.settings.shards))
    assert 1_000 <= market < 20_000
    for number in range(plan.settings.shards):
        assert wrong_in(run, number) == []
