"""The baseline policy: follow the trade flow, slowly. Built, signed and stored like any other bundle."""

from pathlib import Path

from agents.trainer.config import EnvironmentConfig
from bundles.export import export_module
from bundles.registry import Registry, read_files
from bundles.signing import SigningKey

_ENTER, _KEEP = 0.9, 0.8


def make_baseline(
    home: Path,
    *,
    strategy: str,
    instruments: tuple[str, ...],
    environment: EnvironmentConfig,
    created: int,
    key: SigningKey,
) -> Path:
    """Write the baseline bundle below `home` and return its directory.

    Scores of short, flat and long: -(f + k p), c, f + k p, with f the trade flow, p the position, c = 0.9, k = 0.8:
    it goes with a one-sided flow and keeps the position until the flow has turned. Raises ExportFailed.
    """
    import torch

    class Baseline(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weights = torch.zeros(3, environment.features.size)
            for name, weight in (("trade_flow", 1.0), ("position", _KEEP)):
                index = environment.features.position_of(name)
                if index is not None:
                    weights[0, index], weights[2, index] = -weight, weight
            self.register_buffer("weights", weights)
            self.register_buffer("bias", torch.tensor([0.0, _ENTER, 0.0]))

        def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = torch.nn.functional.linear(observations, self.weights, self.bias)  # type: ignore[arg-type]
            return scores.argmax(dim=1), scores

    return export_module(
        Baseline(),
        out_dir=home / "models",
        obs_shape=(environment.features.size,),
        algo="baseline",
        strategy=strategy,
        instruments=instruments,
        features=environment.observer().spec,
        actions=environment.actions,
        sequence=1,
        created=created,
        key=key,
        run_name="baseline",
    )


def store_bundle(directory: Path, registry_uri: str) -> str:
    """Put a bundle's files into the registry and return its URI."""
    return Registry(registry_uri).put(read_files(str(directory)))
