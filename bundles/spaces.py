"""What actions a space has room for."""

import math
from typing import Any

import numpy as np

from bundles.errors import BundleRefused
from bundles.manifest import Space
from messages.status import RejectCode

Array = np.ndarray[Any, np.dtype[Any]]
INDEX_KINDS = frozenset({"discrete", "multi_discrete", "multi_binary"})


def bounds_of(space: Space) -> tuple[Array, Array]:
    """Return the lowest and the highest value of each number of an action, [k] each; infinite: none.

    Raises BundleRefused WRONG_SHAPE when the space's own bounds don't fit it.
    """
    count = math.prod(space.shape)
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    try:
        if space.kind in INDEX_KINDS:
            low[:], high[:] = 0, 1 if space.kind == "multi_binary" else [choices - 1 for choices in space.n]
        else:
            low[:] = -np.inf if space.low is None else [-np.inf if end is None else end for end in space.low]
            high[:] = np.inf if space.high is None else [np.inf if end is None else end for end in space.high]
    except ValueError as error:
        raise BundleRefused(RejectCode.WRONG_SHAPE, f"the bounds of action space {space} don't fit it") from error
    return low, high


def are_within(actions: Array, space: Space, bounds: tuple[Array, Array], tolerance: float) -> bool:
    """Return whether actions [B, ...] are of the space, numbers within `tolerance`, indices whole."""
    rows, (low, high) = actions.reshape(len(actions), -1), bounds
    slack = 0.0 if space.kind in INDEX_KINDS else tolerance
    if space.kind == "hybrid" and not (rows[:, : len(space.n)] == np.floor(rows[:, : len(space.n)])).all():
        return False
    return bool(((rows >= low - slack) & (rows <= high + slack)).all())
