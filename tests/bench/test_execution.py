"""The benchmarks of Execution in a small form, so that they don't rot: what they count must be all there is."""

from pathlib import Path

import pytest

from tests.bench import latency_picture
from tests.bench.execution import latencies, throughput
from tests.bench.execution.latencies import Latencies


@pytest.mark.kafka
async def test_every_tick_of_a_full_topic_is_counted(kafka_url: str, tmp_path: Path) -> None:
    measured = await throughput.measure(
        kafka_url, tmp_path / "world", ticks=throughput.DISTINCT, conflate=True, cores=None
    )
    assert sum(measured.outcomes.values()) == measured.ticks == throughput.DISTINCT
    assert measured.outcomes["hold"] > 0
    assert measured.ticks_per_s > 0
    assert measured.ticks_per_cpu_s > 0


async def test_steps_are_timed_hot_paced_and_under_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("WARM_UP", 300), ("HOT", 50), ("PACED", 20), ("SWAPS", 2)):
        monkeypatch.setattr(latencies, name, few)
    measured = await latencies.measure(tmp_path / "world", calm=lambda: None)
    assert len(measured.hot) > 25
    assert len(measured.paced) > 10
    assert len(measured.swapping) > 25
    assert min(measured.hot) > 0
    assert 0 < measured.warming < 1


def test_the_picture_shows_all_three() -> None:
    assert latency_picture.draw(
        Latencies(hot=[30.0, 40.0], paced=[60.0], swapping=[1.0, 9_000.0], warming=0.05)
    ).startswith(b"\x89PNG")
