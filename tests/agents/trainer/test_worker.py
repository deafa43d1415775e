"""The worker process, whole: train, evaluate, export, sign; and what happens when a part fails."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from agents.trainer.config import LearnerConfig, TrainerConfig, WorkerDone, WorkerFailed, WorkerProgress, WorkerRequest
from agents.trainer.process import run_worker
from agents.trainer.worker import run_request
from bundles import TorchScriptPolicy, load_bundle
from bundles.features import DEFAULT_FEATURES, TickRing
from bundles.manifest import decode_manifest
from bundles.signing import SigningKey, TrustStore

LEARNER = LearnerConfig(learning_starts=100, parallel_environments=4, batch_size=32)


def request_in(directory: Path, *, run_id: str = "r1", **changes: object) -> WorkerRequest:
    directory.mkdir(parents=True, exist_ok=True)
    source = SyntheticSource(SyntheticConfig(ticks=3000, instruments=2))
    rings = {name: TickRing(3000) for name in source.instruments}
    for message in source:
        rings[message.instrument].push(message)  # type: ignore[arg-type]
    np.savez(directory / "ticks.npz", **{name: ring.rows() for name, ring in rings.items()})  # type: ignore[arg-type]
    key = directory / "trainer.key"
    if not key.exists():
        SigningKey.generate().write(key)
    request = WorkerRequest(
        run_id=run_id,
        strategy="momentum",
        instruments=tuple(synthetic_instruments(2)),
        algorithm="dqn",
        timesteps=800,
        seed=3,
        sequence=2,
        created=1_767_603_600_000_000_000,
        data=str(directory / "ticks.npz"),
        config=TrainerConfig(
            models_dir=str(directory / "models"), signing_key=str(key), learner=LEARNER, progress_every=200
        ),
    )
    return msgspec.structs.replace(request, **changes)


def trust_of(request: WorkerRequest) -> TrustStore:
    return TrustStore.of([SigningKey.read(str(request.config.signing_key))])


async def test_a_worker_process_reports_progress_and_leaves_a_signed_bundle_that_serves(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("portfolio: {max_drawdown: 0.05}")
    request = request_in(tmp_path)
    watched = msgspec.structs.replace(request.config, risk_policy=str(tmp_path / "limits.yaml"))
    request = msgspec.structs.replace(request, config=watched)
    heard: list[WorkerProgress] = []

    async def listen(progress: WorkerProgress) -> None:
        heard.append(progress)

    done = await run_worker(request, tmp_path, listen)
    assert isinstance(done, WorkerDone), done
    assert [progress.timesteps_total for progress in heard] == [800] * len(heard)
    assert len(heard) >= 3
    bundle = load_bundle(Path(done.bundle), trust=trust_of(request))
    assert bundle.manifest.features == DEFAULT_FEATURES.sealed
    assert bundle.manifest.instruments == ("SYN-A", "SYN-B")
    assert bundle.manifest.created == request.created
    assert {"pnl_bps", "random_pnl_bps", "flat_pnl_bps", "trades"} <= set(done.figures)
    assert 0 < done.figures["training_worst_drawdown"] < 0.1
    assert (tmp_path / "models/r1/policy_bundle/policy.zip").is_file()
    action, _ = TorchScriptPolicy(bundle).predict(np.zeros(11, np.float32))
    assert int(action) in {0, 1, 2}


def test_the_same_request_and_data_give_the_same_bytes(tmp_path: Path) -> None:
    one = run_request(request_in(tmp_path, run_id="same"), lambda _: None)
    assert isinstance(one, WorkerDone)
    first = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(one.bundle).iterdir()}
    two = run_request(request_in(tmp_path, run_id="same"), lambda _: None)
    assert isinstance(two, WorkerDone)
    second = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(two.bundle).iterdir()}
    assert one == two
    assert {name for name in first if first[name] != second[name]} <= {"proof.json"}  # latencies are measured
    other = run_request(request_in(tmp_path, run_id="same", seed=4), lambda _: None)
    assert isinstance(other, WorkerDone)
    assert other.bundle_id != one.bundle_id


def test_a_failed_export_keeps_the_model_and_says_why(tmp_path: Path) -> None:
    request = request_in(tmp_path)
    (tmp_path / "trainer.key").write_text("no key")
    failed = run_request(request, lambda _: None)
    assert isinstance(failed, WorkerFailed)
    assert "KeyRefused" in failed.reason
    assert failed.model is not None
    assert Path(failed.model).is_file()
    assert "pnl_bps" in failed.figures
    assert failed.model == str(tmp_path / "models/r1/policy_bundle/policy.zip")
    assert not (tmp_path / "models/r1/r1_torchscript").exists()


def test_training_goes_on_from_what_a_failed_export_leaves(tmp_path: Path) -> None:
    request = request_in(tmp_path)
    (tmp_path / "trainer.key").write_text("no key")
    failed = run_request(request, lambda _: None)
    assert isinstance(failed, WorkerFailed)
    saved = tmp_path / "models/r1/policy_bundle"
    from stable_baselines3 import DQN

    model = DQN.load(saved / "policy.zip")
    model.load_replay_buffer(saved / "replay_buffer.pkl")
    assert model.replay_buffer is not None
    assert model.replay_buffer.size() > 0
    assert model.policy.optimizer.state_dict()["state"]
    assert msgspec.json.decode((saved / "metadata.json").read_bytes())["request"]["run_id"] == "r1"


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_other_algorithms_end_in_a_bundle_too(tmp_path: Path, algorithm: str) -> None:
    done = run_request(request_in(tmp_path, algorithm=algorithm, timesteps=300), lambda _: None)
    assert isinstance(done, WorkerDone), done
    manifest = decode_manifest((Path(done.bundle) / "metadata.json").read_bytes())
    assert manifest.algo == algorithm


async def test_too_few_ticks_are_a_reason_not_a_crash(tmp_path: Path) -> None:
    request = request_in(tmp_path)
    empty = np.zeros((0, 8))
    np.savez(tmp_path / "ticks.npz", **{"SYN-A": empty, "SYN-B": empty})  # type: ignore[arg-type]

    async def listen(progress: WorkerProgress) -> None: ...

    failed = await run_worker(request, tmp_path, listen)
    assert isinstance(failed, WorkerFailed)
    assert "usable quotes" in failed.reason


async def test_a_worker_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    request = request_in(tmp_path, timesteps=10_000_000)
    request = msgspec.structs.replace(request, config=msgspec.structs.replace(request.config, run_timeout_s=0.5))

    async def listen(progress: WorkerProgress) -> None: ...

    failed = await run_worker(request, tmp_path, listen)
    assert isinstance(failed, WorkerFailed)
    assert "run_timeout_s" in failed.reason
