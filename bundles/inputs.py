"""Policies of several named inputs: an observation is one row, the inputs flat, one after the other.

So everything that holds, proves and checks observations knows rows alone; only here they are taken apart.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from bundles.errors import PolicyError
from bundles.manifest import Input
from bundles.runtimes.protocol import Floats, PolicyRuntime
from messages.status import RejectCode

Array = np.ndarray[Any, np.dtype[Any]]


def row_shape(inputs: Sequence[Input]) -> tuple[int, ...]:
    """Return the shape of an observation: that of the only input, or (how many numbers all of them have,)."""
    return inputs[0].shape if len(inputs) == 1 else (sum(math.prod(item.shape) for item in inputs),)


def parts_of(rows: Any, inputs: Sequence[Input]) -> Iterator[tuple[str, Any]]:
    """Yield (name, [B, *shape]) of each input out of rows [B, *row_shape], arrays or tensors, without a copy."""
    start, flat = 0, rows.reshape((len(rows), -1))
    for item in inputs:
        end = start + math.prod(item.shape)
        yield item.name, flat[:, start:end].reshape((len(rows), *item.shape))
        start = end


def rows_of(observations: Mapping[str, Any], inputs: Sequence[Input]) -> tuple[Floats, bool]:
    """Return (float32 [B, *row_shape], whether it was a single observation) of arrays [*shape] or [B, *shape] by name.

    Raises PolicyError WRONG_SHAPE for other names, shapes and types.
    """
    if set(observations) != {item.name for item in inputs}:
        raise PolicyError(
            RejectCode.WRONG_SHAPE,
            f"inputs are {', '.join(sorted(map(str, observations)))}, "
            f"the policy has {', '.join(item.name for item in inputs)}",
        )
    arrays = {item.name: numbers(observations[item.name]) for item in inputs}
    is_single = all(arrays[item.name].shape == item.shape for item in inputs)
    batches = {name: array[None] if is_single else array for name, array in arrays.items()}
    counts = {array.shape[:1] for array in batches.values()}
    if len(counts) != 1 or any(batches[item.name].shape[1:] != item.shape for item in inputs):
        raise PolicyError(
            RejectCode.WRONG_SHAPE,
            f"inputs have shapes {', '.join(str(array.shape) for array in arrays.values())}, "
            f"not (or batches of) {', '.join(str(item.shape) for item in inputs)}",
        )
    rows = [batches[item.name].reshape(len(batches[item.name]), -1) for item in inputs]
    return np.concatenate(rows, axis=1).reshape(-1, *row_shape(inputs)), is_single


def numbers(observation: Any) -> Floats:
    """Return an array, a list or a number as float32. Raises PolicyError WRONG_SHAPE for what holds no real numbers."""
    try:
        array = np.asarray(observation)
    except ValueError as error:  # rows of different lengths
        raise PolicyError(RejectCode.WRONG_SHAPE, f"the observation is no array ({error})") from error
    if array.dtype.kind not in "fiub":
        raise PolicyError(RejectCode.WRONG_SHAPE, f"the observation is {array.dtype}, not float32")
    with np.errstate(over="ignore"):  # what float32 can't hold is infinity there, and refused as such
        return array.astype(np.float32, copy=False)


class RowGraph:
    """A graph of several inputs that is called with rows."""

    def __init__(self, graph: Any, inputs: Sequence[Input]) -> None:
        self._forward, self._inputs = graph.forward, tuple(inputs)

    def forward(self, rows: Any) -> Any:
        """Return what the graph answers to its inputs."""
        return self._forward(*[part for _, part in parts_of(rows, self._inputs)])


def load_rows_runtime(policy: bytes, inputs: Sequence[Input]) -> PolicyRuntime:
    """Return the runtime of a policy.pt of several inputs, over rows, not yet warm.

    Only for bytes that scan.check_archive has accepted. Raises BundleRefused LOAD_FAILED.
    """
    from bundles.runtimes.torchscript import TorchScriptRuntime, load_graph

    return cast("PolicyRuntime", TorchScriptRuntime(RowGraph(load_graph(policy), inputs), row_shape(inputs)))
