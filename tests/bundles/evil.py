"""TorchScript modules that do harm: while they are loaded, or when they are called."""

# A type comment on a line would be read by TorchScript.
# mypy: disable-error-code="no-untyped-call,untyped-decorator,override,unused-ignore,misc"

import io
import warnings
from pathlib import Path
from typing import Any

import torch


class _WritesWhenLoaded(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.training = False

    @torch.jit.export
    def __getstate__(self) -> str:
        return self.path

    @torch.jit.export
    def __setstate__(self, state: str) -> None:
        torch.save(torch.zeros(1), state)
        self.path = state
        self.training = False

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return obs.argmax(dim=1), obs


class _WritesWhenCalled(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        torch.save(obs, self.path)
        return obs.argmax(dim=1), obs


class _ReadsWhenCalled(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        secret = torch.from_file(self.path, False, 8, dtype=torch.uint8)
        return obs.argmax(dim=1), obs + secret.sum()


class _NeverEnds(torch.nn.Module):
    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        while bool(obs.isfinite().all()):
            obs = obs * 0.5
        return obs.argmax(dim=1), obs


def _saved(module: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted: Any = torch.jit.script(module)
        torch.jit.save(scripted, buffer)
    return buffer.getvalue()


def evil_policy(path: Path) -> bytes:
    """What torch.jit.save writes of a module that creates `path` when torch.jit.load reads it."""
    return _saved(_WritesWhenLoaded(str(path)))


def writing_policy(path: Path) -> bytes:
    """A module that creates `path` when it is called."""
    return _saved(_WritesWhenCalled(str(path)))


def reading_policy(path: Path) -> bytes:
    """A module whose outputs tell what `path` holds."""
    return _saved(_ReadsWhenCalled(str(path)))


def looping_policy() -> bytes:
    """A module whose loop never ends."""
    return _saved(_NeverEnds())


def load_unchecked(policy: bytes) -> Any:
    """Load without any check, to show what the checks are for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load: Any = torch.jit.load
        return load(io.BytesIO(policy))
