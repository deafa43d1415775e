"""`create_execution_agent_stub`: a bundle behind the real loader and runtime, without a bus, for trying it out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from bundles import TorchScriptPolicy
from bundles.loader import LoadedBundle
from bundles.signing import TrustStore
from messages import Clock, SystemClock

DEFAULT_SLO_US = 100.0
_WARM_CALLS = 100


class LatencyReport(Struct, frozen=True, kw_only=True):
    """Times of single calls of the policy, in microseconds. `is_compliant`: p99 is within `slo_us`."""

    trials: int
    p50_us: float
    p99_us: float
    max_us: float
    slo_us: float
    is_compliant: bool


class BaselineReport(Struct, frozen=True, kw_only=True):
    """The median call against a baseline's, in microseconds. `speedup` above 1: this policy is faster."""

    p50_us: float
    baseline_latency_us: float
    speedup: float


class ExecutionAgentStub:
    """What Execution does with a bundle for one decision, and how long it takes."""

    def __init__(self, policy: TorchScriptPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock

    @property
    def bundle(self) -> LoadedBundle:
        """The loaded bundle."""
        return self._policy.bundle

    def predict(self, observation: Any, *, deterministic: bool = True) -> tuple[Any, dict[str, Any]]:
        """Return (action, info) as TorchScriptPolicy.predict does."""
        return self._policy.predict(observation, deterministic=deterministic)

    def validate_slo_compliance(self, num_trials: int = 1_000, *, slo_us: float = DEFAULT_SLO_US) -> LatencyReport:
        """Time `num_trials` calls of the runtime's hot path on seeded observations, after warming."""
        times_us = self._times_us(num_trials)
        p50, p99 = (float(np.percentile(times_us, share)) for share in (50, 99))
        return LatencyReport(
            trials=len(times_us),
            p50_us=p50,
            p99_us=p99,
            max_us=float(times_us.max()),
            slo_us=slo_us,
            is_compliant=p99 <= slo_us,
        )

    def benchmark_against_baseline(self, baseline_latency_us: float, *, num_trials: int = 1_000) -> BaselineReport:
        """Compare the median call with a baseline's latency. Raises ValueError unless the baseline is positive."""
        if not baseline_latency_us > 0:
            raise ValueError(f"baseline_latency_us is {baseline_latency_us}, must be positive microseconds")
        p50 = float(np.percentile(self._times_us(num_trials), 50))
        return BaselineReport(p50_us=p50, baseline_latency_us=baseline_latency_us, speedup=baseline_latency_us / p50)

    def _times_us(self, num_trials: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        if num_trials < 1:
            raise ValueError(f"num_trials is {num_trials}, must be at least 1")
        runtime = self.bundle.runtime
        observations = np.random.default_rng(0).standard_normal((64, *runtime.obs_shape)).astype(np.float32)
        runtime.warm(_WARM_CALLS)
        return np.array([_time_us(runtime.act, observations[n % 64], self._clock) for n in range(num_trials)])


def create_execution_agent_stub(
    bundle_path: str | Path,
    *,
    trust: TrustStore | str | Path | None = None,
    allow_unsigned: bool = False,
    clock: Clock | None = None,
) -> ExecutionAgentStub:
    """Return a stub over the bundle at `bundle_path`, loaded as Execution loads it.

    Raises BundleRefused as `bundles.load_bundle` does; an unsigned bundle needs `allow_unsigned=True`.
    """
    policy = TorchScriptPolicy.load_bundle(bundle_path, trust, allow_unsigned=allow_unsigned)
    return ExecutionAgentStub(policy, clock if clock is not None else SystemClock())


def _time_us(act: Callable[[Any], Any], observation: Any, clock: Clock) -> float:
    began = clock.perf_ns()
    act(observation)
    return (clock.perf_ns() - began) / 1e3
