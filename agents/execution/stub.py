"""`create_execution_agent_stub`: a bundle behind the real loader and runtime, without a bus, for trying it out."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bundles import TorchScriptPolicy, load_bundle
from bundles.latency import SLO_US, Samples, sample_observations, time_calls, times_of
from bundles.loader import LoadedBundle
from bundles.runtimes.choice import DEFAULT_RUNTIME, RuntimeName
from bundles.runtimes.protocol import warm
from bundles.signing import TrustStore
from messages import Clock, SystemClock

_WARM_CALLS = 100


class LatencyReport(Struct, frozen=True, kw_only=True):
    """Times of single calls of the policy, in microseconds. `is_compliant`: p99 is within `slo_us`."""

    trials: int
    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    p999_us: float
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

    def validate_slo_compliance(self, num_trials: int = 1_000, *, slo_us: float = SLO_US) -> LatencyReport:
        """Time `num_trials` calls of the runtime's `act` on seeded observations, after warming.

        These are hot calls, one after the other; `tickpilot bundle bench` also measures a sparse feed.
        Raises ValueError for less than one trial.
        """
        times = times_of(self._samples_us(num_trials))
        return LatencyReport(**msgspec.structs.asdict(times), slo_us=slo_us, is_compliant=times.p99_us <= slo_us)

    def benchmark_against_baseline(self, baseline_latency_us: float, *, num_trials: int = 1_000) -> BaselineReport:
        """Compare the median call with a baseline's latency. Raises ValueError unless the baseline is positive."""
        if not baseline_latency_us > 0:
            raise ValueError(f"baseline_latency_us is {baseline_latency_us}, must be positive microseconds")
        p50 = times_of(self._samples_us(num_trials)).p50_us
        return BaselineReport(p50_us=p50, baseline_latency_us=baseline_latency_us, speedup=baseline_latency_us / p50)

    def _samples_us(self, num_trials: int) -> Samples:
        runtime = self.bundle.runtime
        warm(runtime, _WARM_CALLS)
        return time_calls(runtime.act, sample_observations(runtime.obs_shape), self._clock, num_trials)


def create_execution_agent_stub(
    bundle: str | Path | LoadedBundle,
    *,
    trust: TrustStore | str | Path | None = None,
    allow_unsigned: bool = False,
    runtime: RuntimeName = DEFAULT_RUNTIME,
    clock: Clock | None = None,
) -> ExecutionAgentStub:
    """Return a stub over a bundle: its directory or address, loaded as Execution loads it, or one that is loaded.

    Raises BundleRefused as `bundles.load_bundle` does; an unsigned bundle needs `allow_unsigned=True`.
    """
    if not isinstance(bundle, LoadedBundle):
        bundle = load_bundle(bundle, trust=trust, allow_unsigned=allow_unsigned, runtime=runtime)
    return ExecutionAgentStub(TorchScriptPolicy(bundle), clock if clock is not None else SystemClock())
