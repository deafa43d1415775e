"""`tickpilot demo` and `tickpilot replay` as a stranger runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders import data_dir

COMMAND = [sys.executable, "-m", "agents"]
KEYS = {
    "ticks", "decisions", "orders", "fills", "denials", "lost_ticks", "duplicate_orders", "swaps", "swap_us",
    "staging_ms", "pnl", "decision_us", "orders_digest", "report",
}  # fmt: skip


def tickpilot(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


def test_the_demo_prints_its_summary_and_its_log_replays_to_the_same_digest(tmp_path: Path) -> None:
    done = tickpilot("demo", "--ticks", "3000", "--no-train", "--json", "summary.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ticks lost" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary.keys() >= KEYS
    assert (summary["ticks"], summary["lost_ticks"], summary["duplicate_orders"]) == (3000, 0, 0)
    assert summary["orders"] > 0
    page = Path(summary["report"]).read_text()
    assert page.count("data:image/") >= 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    replayed = tickpilot("replay", "demo-out", "--json", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["orders_digest"] == summary["orders_digest"]


@pytest.mark.alone
def test_ctrl_c_ends_the_demo_within_five_seconds_with_its_report(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([*COMMAND, "demo"], cwd=tmp_path, env=environment, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + 60
            # The trainer writes its ticks when a third of the market has been traded: the middle of the run.
            while not list(tmp_path.glob("demo-out/models/*/ticks.npz")):
                assert time.monotonic() < deadline, (tmp_path / "out").read_text()
                assert process.poll() is None, (tmp_path / "out").read_text()
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            asked = time.monotonic()
            assert process.wait(timeout=30) == 0, (tmp_path / "out").read_text()
            took_s = time.monotonic() - asked
        finally:
            process.kill()
            process.wait()
    assert took_s < 5.0
    assert "stopped early" in (tmp_path / "out").read_text()
    assert (tmp_path / "demo-out" / "report.html").exists()


def test_real_quotes_and_trades_run_through_the_demo(tmp_path: Path) -> None:
    files = sorted(data_dir().glob("binance_spot_*.csv.gz"))
    if len(files) != 2:
        pytest.skip(f"no market data in {data_dir()}; set TICKPILOT_DATA")
    data = [argument for file in files for argument in ("--data", str(file))]
    done = tickpilot("demo", *data, "--ticks", "4000", "--no-train", "--json", "s.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["ticks"], summary["lost_ticks"], summary["dead_letters"]) == (4000, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("demo", "--data", "missing.csv"), "missing.csv"),
        (("replay", "nowhere"), "recording.json"),
        (("run", "nobody"), "nobody"),
        (("topics", "create", "-s", "none.yaml"), "none.yaml"),
        (("bundle", "verify", "nowhere", "--trust", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_status_1(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = tickpilot(*arguments, cwd=tmp_path)
    assert done.returncode in {1, 2}
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
