"""Recordings: whole or refused, and enough to derive every order again anywhere."""

import json
import shutil
from pathlib import Path

import pytest

from agents.demo.plan import DemoOptions, make_plan
from agents.demo.results import HomeOccupied, conclude, prepare_home
from agents.demo.session import DemoSession
from agents.replay.record import RecordingBroken, read_recording, record_bus
from agents.report.summary import Summary
from messages import Partition, Record


def quiet(*_: object) -> None: ...


async def demo(home: Path) -> tuple[Summary, dict[str, list[Record]]]:
    prepare_home(home)
    plan = make_plan(DemoOptions(ticks=1_500, is_trained=False), home)
    run = await DemoSession(plan, home, quiet).run()
    await record_bus(run.broker.connect("recorder"), home.parent / "from-bus", plan.settings)
    summary = conclude(run, seconds=1.0, tell=quiet)
    return summary, {"market": list(run.broker.log(Partition("market", 0)).records)}


async def test_a_recording_replays_equal_after_it_was_moved_and_a_changed_one_does_not(tmp_path: Path) -> None:
    summary, kept = await demo(tmp_path / "home")
    assert summary.replay_equal
    assert summary.lost_ticks == summary.duplicate_orders == 0
    assert not (tmp_path / "home" / "keys").exists()
    shutil.move(tmp_path / "home", tmp_path / "moved")
    recording = read_recording(tmp_path / "moved")
    assert list(recording.records("market", 0)) == kept["market"]
    again = recording.replay()
    assert again.is_equal
    assert again.orders_digest == summary.orders_digest
    assert read_recording(tmp_path / "from-bus").replay().orders_digest == summary.orders_digest

    index = json.loads((tmp_path / "moved" / "recording.json").read_bytes())
    index["settings"]["execution"]["decisions"]["order_timeout_ms"] += 1  # harmless: nothing timed out
    index["settings"]["limits"]["defaults"]["max_order_quantity"] = 0.001  # nothing could have been ordered
    (tmp_path / "moved" / "recording.json").write_text(json.dumps(index))
    changed = read_recording(tmp_path / "moved").replay()
    assert not changed.is_equal
    assert changed.mismatches


async def test_a_recording_with_a_lost_file_or_lost_records_is_refused(tmp_path: Path) -> None:
    await demo(tmp_path / "home")
    index = json.loads((tmp_path / "home" / "recording.json").read_bytes())
    index["records"]["market"] += 1
    (tmp_path / "home" / "recording.json").write_text(json.dumps(index))
    with pytest.raises(RecordingBroken, match="market"):
        read_recording(tmp_path / "home")
    (tmp_path / "home" / "orders.parquet").unlink()
    with pytest.raises(RecordingBroken):
        read_recording(tmp_path / "home")
    with pytest.raises(RecordingBroken):
        read_recording(tmp_path / "nothing")


def test_the_demo_clears_its_own_directories_and_no_others(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "models").mkdir(parents=True)
    prepare_home(own)
    assert list(own.iterdir()) == []
    (own / "thesis.txt").write_text("mine")
    with pytest.raises(HomeOccupied):
        prepare_home(own)
    assert (own / "thesis.txt").exists()
