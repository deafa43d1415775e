from pathlib import Path

import numpy as np
import pytest

from agents.execution.stub import create_execution_agent_stub
from bundles.errors import BundleRefused
from bundles.signing import SigningKey, TrustStore
from messages import SystemClock
from tests.bundles.samples import export_sample


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    return export_sample(tmp_path_factory.mktemp("bundles"), key)


def test_it_predicts_with_the_real_policy(bundle: Path, key: SigningKey) -> None:
    agent = create_execution_agent_stub(bundle, trust=TrustStore.of([key]))
    action, info = agent.predict(np.zeros(4))
    assert action == int(np.argmax(info["outputs"]))
    assert info["bundle_id"] == agent.bundle.bundle_id


def test_it_times_the_real_runtime(bundle: Path, key: SigningKey) -> None:
    agent = create_execution_agent_stub(bundle, trust=TrustStore.of([key]))
    report = agent.validate_slo_compliance(50, slo_us=1e9)
    assert report.trials == 50
    assert 0 < report.p50_us <= report.p99_us <= report.max_us
    assert report.is_compliant
    assert not agent.validate_slo_compliance(50, slo_us=1e-3).is_compliant
    baseline = agent.benchmark_against_baseline(1e6, num_trials=50)
    assert baseline.speedup == pytest.approx(1e6 / baseline.p50_us)


def test_a_batch_gets_an_action_for_each_row_and_sampling_is_refused(bundle: Path, key: SigningKey) -> None:
    agent = create_execution_agent_stub(bundle, trust=TrustStore.of([key]))
    actions, info = agent.predict(np.zeros((5, 4)))
    assert (actions.shape, info["outputs"].shape) == ((5,), (5, 3))
    with pytest.raises(ValueError, match="greedy"):
        agent.predict(np.zeros(4), deterministic=False)


def test_a_loaded_bundle_will_do_and_so_will_another_runtime(bundle: Path, key: SigningKey) -> None:
    loaded = create_execution_agent_stub(bundle, trust=TrustStore.of([key]), runtime="mlp").bundle
    agent = create_execution_agent_stub(loaded)
    assert agent.bundle is loaded
    assert agent.validate_slo_compliance(10).trials == 10


def test_its_figures_come_from_the_clock_that_it_is_given(bundle: Path, key: SigningKey) -> None:
    class Ticking(SystemClock):
        now = 0

        def perf_ns(self) -> int:
            self.now += 2_000
            return self.now

    report = create_execution_agent_stub(bundle, trust=TrustStore.of([key]), clock=Ticking()).validate_slo_compliance(7)
    assert (report.mean_us, report.p50_us, report.p99_us, report.p999_us, report.max_us) == (2.0,) * 5
    assert (report.slo_us, report.is_compliant) == (100.0, True)


def test_nonsense_is_refused(bundle: Path, key: SigningKey) -> None:
    agent = create_execution_agent_stub(bundle, trust=TrustStore.of([key]))
    with pytest.raises(ValueError, match="num_trials"):
        agent.validate_slo_compliance(0)
    with pytest.raises(ValueError, match="baseline_latency_us"):
        agent.benchmark_against_baseline(0.0)


def test_an_untrusted_bundle_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleRefused):
        create_execution_agent_stub(bundle)
