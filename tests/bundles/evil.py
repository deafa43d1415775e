"""A TorchScript module that writes a file while it is loaded."""

# A type comment on a line would be read by TorchScript.
# mypy: disable-error-code="no-untyped-call,untyped-decorator,override,unused-ignore,misc"

import io
import warnings
from pathlib import Path
from typing import Any

import torch


class _Evil(torch.nn.Module):
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


def evil_policy(path: Path) -> bytes:
    """What torch.jit.save writes of a module that creates `path` when torch.jit.load reads it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted: Any = torch.jit.script(_Evil(str(path)))
        torch.jit.save(scripted, buffer)
    return buffer.getvalue()


def load_unchecked(policy: bytes) -> None:
    """Load without any check, to show what the checks are for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load: Any = torch.jit.load
        load(io.BytesIO(policy))
