"""What is added to a policy's graph, so that every backend has it: bounds of its actions, and doubt."""

from typing import Any

import msgspec
import numpy as np

from bundles.actions import ActionMapping
from bundles.errors import ExportFailed
from bundles.manifest import Space


def hesitant(module: Any, choices: int, min_confidence: float) -> Any:
    """Return the module with one choice more, `choices`: to be taken when in doubt.

    The confidence of an answer is how far the probability (softmax of the outputs) of the action is above the next
    one's. Raises ExportFailed for a threshold that is no share.
    """
    import torch

    if not 0.0 < min_confidence < 1.0:
        raise ExportFailed(f"min_confidence is {min_confidence}", "use a number between 0 and 1")

    class Hesitant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decided = module
            self.register_buffer("indices", torch.arange(choices).unsqueeze(0))
            self.register_buffer("doubt", torch.tensor(choices))

        def forward(self, *obs: Any) -> Any:
            actions, outputs = self.decided(*obs)
            shares = torch.softmax(outputs, 1)
            indices: Any = self.indices
            doubt: Any = self.doubt
            is_best = torch.eq(indices, actions.unsqueeze(1))
            next_best, _ = torch.max(shares.masked_fill(is_best, -1.0), 1)
            best, _ = torch.max(shares, 1)
            return torch.where(torch.lt(best - next_best, min_confidence), doubt, actions), outputs

    return Hesitant().eval()


def clamped(module: Any, space: Space) -> Any:
    """Return the module with its actions, float32 [B, k], clamped to the bounds of the space, all finite."""
    import torch

    class Clamped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.free = module
            self.register_buffer("low", torch.tensor(space.low, dtype=torch.float32))
            self.register_buffer("high", torch.tensor(space.high, dtype=torch.float32))

        def forward(self, *obs: Any) -> Any:
            actions, outputs = self.free(*obs)
            return torch.minimum(torch.maximum(actions, self.low), self.high), outputs  # type: ignore[arg-type]

    return Clamped().eval()


def with_doubt(actions: ActionMapping | None) -> ActionMapping:
    """Return the mapping with a level more: keep the position. Raises ExportFailed where actions are no levels."""
    if actions is None or actions.kind != "levels" or actions.limit_offsets:
        raise ExportFailed("min_confidence needs actions that are levels alone", "leave it out")
    return msgspec.structs.replace(actions, levels=(*actions.levels, None))


def decided_or(doubt: int, decided: Any, hesitating: Any) -> Any:
    """Return `decided` where `hesitating` is not in doubt: what a model answers is compared where it is asked."""
    return np.where(hesitating == doubt, doubt, decided)
