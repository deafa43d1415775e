"""Keeps threads that work beside the event loop from holding it up."""

import sys

_SWITCH_INTERVAL_S = 0.0005


def give_way_soon() -> None:
    """Let a thread that computes hand over the interpreter after half a millisecond, not after Python's five.

    A bundle is loaded and tried in a thread: each time the loop wakes meanwhile, it waits for that long.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
