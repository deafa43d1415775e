"""Compiles the functions of a kernel module with numba, in place."""

import platform
from collections.abc import Mapping
from typing import Any


def compile_in_place(namespace: dict[str, Any], signatures: Mapping[str, str]) -> None:
    """Replace each function of `namespace` by what numba makes of it, callees first; cached where it can be.

    Takes about two seconds the first time, 0.3 s with a cache.
    """
    import numba

    _prefer_narrow_vectors()
    for name, signature in signatures.items():
        function = namespace[name]
        try:
            namespace[name] = numba.njit(signature, cache=True)(function)
        except RuntimeError:  # numba found no directory that it may cache in
            namespace[name] = numba.njit(signature)(function)


def _prefer_narrow_vectors() -> None:
    """Compile for vectors of 128 bits unless the user chose features (NUMBA_CPU_FEATURES). The results are the same.

    An x86 server processor clocks down for a while after wider ones: our loops gain 0.4 us by them, and the Python
    around them, a hundred times as much code, loses 3 to 10 us a decision.
    """
    from numba.core import config
    from numba.core.codegen import get_host_cpu_features

    if config.CPU_FEATURES is None and platform.machine() in ("x86_64", "AMD64"):
        config.CPU_FEATURES = f"{get_host_cpu_features()},+prefer-128-bit"
