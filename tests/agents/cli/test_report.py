"""`tickpilot report` on a recording."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.main import app
from agents.replay.record import RecordingBroken, write_recording
from agents.settings import parse_settings
from messages import Partition
from tests.agents.report.run_log import swapped_run


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    instrument = {"instrument": "BTC", "price_step": 1.0, "quantity_step": 1.0}
    settings = parse_settings({"instruments": [instrument], "strategies": {"s": ["BTC"]}, "cash": 1_000.0})
    records = {Partition(topic, 0): found for topic, found in swapped_run().topics.items()}
    write_recording(tmp_path / "log", records, settings=settings, shards=1)
    return tmp_path / "log"


def test_a_recording_becomes_a_page_and_a_summary(recording: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(recording), "--out", str(tmp_path / "page.html"), "--json"])
    assert done.exit_code == 0, done.output
    summary = msgspec.json.decode(done.output)
    assert (summary["fills"], summary["pnl_total"], summary["max_gross_exposure"]) == (2, 17.25, 120.0)
    assert summary["denied_orders"][0]["code"] == "MAX_POSITION"
    assert "Exposure" in (tmp_path / "page.html").read_text(encoding="utf-8")
    shown = CliRunner().invoke(app, ["report", str(recording)])
    assert shown.exit_code == 0, shown.output
    assert "largest drawdown" in shown.output
    assert (recording / "report.html").exists()


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert isinstance(done.exception, RecordingBroken)
