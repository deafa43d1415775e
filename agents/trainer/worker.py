"""The process that trains: `python -m agents.trainer.worker REQUEST.json`.

Standard output carries one JSON object a line: WorkerProgress, and at the end WorkerDone or WorkerFailed. One thread
and fixed seeds: the same request and data give the same bundle.
"""

import hashlib
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agents.trainer.config import EnvironmentConfig, WorkerDone, WorkerFailed, WorkerLine, WorkerProgress, WorkerRequest
from agents.trainer.market import Market, check_size, mirrored, prepare, readable
from bundles.features import Rows
from messages.training import Algorithm

Report = Callable[[WorkerProgress], None]
CONTINUOUS: frozenset[Algorithm] = frozenset({"sac", "td3"})
_log = logging.getLogger(__name__)


def run_request(request: WorkerRequest, report: Report) -> WorkerDone | WorkerFailed:
    """Train, evaluate, save the SB3 model, export and sign. A failed export keeps the model and is a WorkerFailed.

    Raises NotEnoughTicks, and whatever SB3 raises when it can't train.
    """
    environment = request.config.environment
    if request.algorithm in CONTINUOUS:
        actions = msgspec.structs.replace(environment.actions, kind="continuous")
        environment = msgspec.structs.replace(environment, actions=actions)
    training, held_out = _markets(request, environment)
    from agents.trainer.evaluation import evaluate  # seconds of imports, not before the ticks are known to do
    from agents.trainer.learner import save_model

    model, risk_figures = _train(request, environment, training, report)

    def act(observation: Any) -> Any:
        return model.predict(observation, deterministic=True)[0]

    evaluation = evaluate(act, held_out, environment, seed=request.seed)
    figures = evaluation.figures | risk_figures
    run_dir = Path(request.config.models_dir) / request.run_id
    saved = save_model(model, run_dir, {"request": msgspec.to_builtins(request), "figures": figures})
    try:
        bundle = _export(model, request, environment, evaluation.observations, figures)
    except Exception as error:  # the model is saved: whatever went wrong is told, and nothing is lost
        reason = f"the export failed: {type(error).__name__}: {error}"
        _log.exception("run %s has no bundle, its model is %s", request.run_id, saved)
        return WorkerFailed(reason=reason, model=str(saved), figures=figures)
    return _done(bundle, figures)


def _markets(request: WorkerRequest, environment: EnvironmentConfig) -> tuple[list[Market], list[Market]]:
    observer = environment.observer()
    training: list[Market] = []
    held_out: list[Market] = []
    with np.load(request.data) as data:
        for instrument in request.instruments:
            rows: Rows = readable(data[instrument.instrument], instrument)
            whole = prepare(rows, instrument, observer, environment.latency_ns)
            count = len(whole.mid)
            cut = int(count * (1 - request.config.held_out))
            training.append(whole.part(0, cut))
            held_out.append(whole.part(cut, count))
            check_size(training[-1])
            check_size(held_out[-1])
            if request.config.mirror:
                training.append(prepare(mirrored(rows), instrument, observer, environment.latency_ns).part(0, cut))
    return training, held_out


def _train(
    request: WorkerRequest, environment: EnvironmentConfig, markets: Sequence[Market], report: Report
) -> tuple[Any, dict[str, float]]:
    import torch
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    from agents.risk import RiskAdvisor
    from agents.trainer.callbacks import ProgressCallback, RiskAwareCallback
    from agents.trainer.env import MarketEnv
    from agents.trainer.learner import build_model

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    learner = request.config.learner
    vectorised = VecMonitor(
        DummyVecEnv([lambda: MarketEnv(markets, environment) for _ in range(learner.parallel_environments)])
    )
    model = build_model(request.algorithm, vectorised, learner, request.seed)
    callbacks: list[Any] = [ProgressCallback(report, total=request.timesteps, every=request.config.progress_every)]
    risk = None
    if request.config.risk_policy is not None:
        risk = RiskAwareCallback(RiskAdvisor(request.config.risk_policy))
        callbacks.append(risk)
    model.learn(request.timesteps, callback=callbacks)
    return model, {} if risk is None else {f"training_worst_{name}": value for name, value in risk.worst.items()}


def _export(
    model: Any,
    request: WorkerRequest,
    environment: EnvironmentConfig,
    observations: Any,
    figures: dict[str, float],
) -> Path:
    from bundles import export_policy
    from bundles.signing import SigningKey

    config = request.config
    name = f"{request.run_id}_torchscript"
    out_dir = Path(config.models_dir) / request.run_id
    shutil.rmtree(out_dir / name, ignore_errors=True)
    return export_policy(
        model,
        out_dir=out_dir,
        vec_normalize=model.get_vec_normalize_env(),
        run_name=name,
        policy_id=request.run_id,
        strategy=request.strategy,
        instruments=tuple(instrument.instrument for instrument in request.instruments),
        features=environment.observer().spec,
        actions=environment.actions,
        sequence=request.sequence,
        created=request.created,
        key=SigningKey.read(config.signing_key) if config.signing_key is not None else None,
        training={
            "timesteps": request.timesteps,
            "seed": request.seed,
            "data_sha256": hashlib.sha256(Path(request.data).read_bytes()).hexdigest(),
            "environment": msgspec.to_builtins(environment),
            "learner": msgspec.to_builtins(config.learner),
        },
        evaluation=figures,
        observations=observations,
    )


def _done(bundle: Path, figures: dict[str, float]) -> WorkerDone:
    from bundles.manifest import MANIFEST_NAME, bundle_id, decode_manifest

    manifest_bytes = (bundle / MANIFEST_NAME).read_bytes()
    return WorkerDone(
        bundle=str(bundle),
        bundle_id=bundle_id(decode_manifest(manifest_bytes)),
        sha256=hashlib.sha256(manifest_bytes).hexdigest(),
        figures=figures,
    )


def _print(line: WorkerLine) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def main(arguments: Sequence[str]) -> int:
    """Carry out the request in the file named; return 0 when there is a bundle, 1 when the run failed."""
    request = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=WorkerRequest)
    try:
        result = run_request(request, _print)
    except Exception as error:  # the owner of this process reads the reason from the last line
        _print(WorkerFailed(reason=f"{type(error).__name__}: {error}"))
        raise
    _print(result)
    return 0 if isinstance(result, WorkerDone) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
