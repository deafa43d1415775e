"""Keeps the garbage collector away from the hot path."""

import gc

_THRESHOLDS = (50_000, 50, 1_000)


def calm_garbage_collector() -> None:
    """Call once everything is loaded and warm: what lives now is never looked at again, full collections become rare.

    A full collection of a large heap takes more than 100 ms, in which no order goes out.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
