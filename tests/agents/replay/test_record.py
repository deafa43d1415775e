"""Recordings: whole or refused, and enough to derive every order again anywhere."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from agents.assembly import scope_of
from agents.demo.plan import DemoOptions, make_plan
from agents.demo.results import HomeOccupied, conclude, prepare_home
from agents.demo.session import DemoRun, DemoSession
from agents.replay.record import RecordingBroken, read_recording, record_bus
from agents.replay.replay import explained, replay
from agents.report.summary import Summary
from messages import Partition, Record


def quiet(*_: object) -> None: ...


class Recorded(Struct, frozen=True, kw_only=True):
    """A demo's log in `place`/home, as the demo writes it, and in `place`/from-bus, as `tickpilot record` does."""

    place: Path
    summary: Summary
    market: list[Record]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    place = tmp_path_factory.mktemp("demo")
    home = place / "home"
    prepare_home(home)
    plan = make_plan(DemoOptions(ticks=1_500, is_trained=False), home)

    async def run() -> DemoRun:
        run = await DemoSession(plan, home, quiet).run()
        await record_bus(run.broker.connect("recorder"), place / "from-bus", plan.settings)
        return run

    finished = asyncio.run(run())
    summary = conclude(finished, seconds=1.0, tell=quiet)
    return Recorded(place=place, summary=summary, market=list(finished.broker.log(Partition("market", 0)).records))


@pytest.fixture
def copied(demo: Recorded, tmp_path: Path) -> Path:
    """A place of its own with both recordings."""
    return Path(shutil.copytree(demo.place, tmp_path / "place"))


def test_what_decisions_do_not_hold_yet_is_derived_from_the_orders_headers_or_left_out(demo: Recorded) -> None:
    recording = read_recording(demo.place / "home")
    settings = recording.settings
    counts = []
    for missing in range(12):

        def records(topic: str, partition: int, missing: int = missing) -> Sequence[Record]:
            whole = recording.records(topic, partition)
            decisions = recording.records("decisions", partition)[: -missing or None]
            if topic == "decisions":
                return decisions
            return explained(whole, decisions) if topic == "orders" else whole

        found = replay(
            records,
            partitions=recording.index.shards,
            scope=scope_of(settings),
            config=settings.execution,
            bundles_dir=recording.directory / "bundles",
        )
        assert found.is_equal
        counts.append(found.orders)
    assert counts[0] == demo.summary.orders
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0]


def test_a_recording_replays_equal_after_it_was_moved_and_a_changed_one_does_not(demo: Recorded, copied: Path) -> None:
    summary = demo.summary
    assert summary.replay_equal
    assert summary.lost_ticks == summary.duplicate_orders == 0
    assert not (copied / "home" / "keys").exists()
    shutil.move(copied / "home", copied / "moved")
    recording = read_recording(copied / "moved")
    assert list(recording.records("market", 0)) == demo.market
    again = recording.replay()
    assert again.is_equal
    assert again.orders_digest == summary.orders_digest
    assert read_recording(copied / "from-bus").replay().orders_digest == summary.orders_digest

    index = json.loads((copied / "moved" / "recording.json").read_bytes())
    index["settings"]["execution"]["decisions"]["order_timeout_ms"] += 1  # harmless: nothing timed out
    index["settings"]["limits"]["defaults"]["max_order_value"] = 0.001  # nothing could have been ordered
    (copied / "moved" / "recording.json").write_text(json.dumps(index))
    changed = read_recording(copied / "moved").replay()
    assert not changed.is_equal
    assert changed.mismatches


def test_a_recording_with_a_lost_file_or_lost_records_is_refused(copied: Path) -> None:
    index = json.loads((copied / "home" / "recording.json").read_bytes())
    index["records"]["market"] += 1
    (copied / "home" / "recording.json").write_text(json.dumps(index))
    with pytest.raises(RecordingBroken, match="market"):
        read_recording(copied / "home")
    (copied / "home" / "orders.parquet").unlink()
    with pytest.raises(RecordingBroken):
        read_recording(copied / "home")
    with pytest.raises(RecordingBroken):
        read_recording(copied / "nothing")


def test_the_demo_clears_its_own_directories_and_no_others(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "models").mkdir(parents=True)
    prepare_home(own)
    assert list(own.iterdir()) == []
    (own / "thesis.txt").write_text("mine")
    with pytest.raises(HomeOccupied):
        prepare_home(own)
    assert (own / "thesis.txt").exists()
