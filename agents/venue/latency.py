"""How long an order or a cancel is under way: the same for the same id, whenever it is asked."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from agents.errors import SettingsError
from agents.venue.config import MAX_LATENCY_NS, VenueConfig

_BITS = 64
_MASK = (1 << _BITS) - 1
_MAX_FILE_BYTES = 32 * 2**20


class Latency:
    """A distribution, in ns: `samples`, each as likely as the others; with `is_smooth` they are quantiles from the
    smallest to the largest, with all values between them possible.

    A draw is a function of the seed and the id alone.
    """

    def __init__(self, samples: Sequence[int], *, seed: int = 0, is_smooth: bool = False) -> None:
        if not samples:
            raise SettingsError("venue.latency", "a distribution needs at least one sample")
        self._samples, self._seed, self._is_smooth = tuple(samples), seed, is_smooth

    def of(self, name: str) -> int:
        """Return the latency (ns) of the order or cancel of that id."""
        samples = self._samples
        if len(samples) == 1:
            return samples[0]
        digest = hashlib.blake2b(f"{self._seed}/{name}".encode(), digest_size=_BITS // 8).digest()
        drawn = int.from_bytes(digest)
        if not self._is_smooth:
            return samples[drawn * len(samples) >> _BITS]
        place = drawn * (len(samples) - 1)
        index = place >> _BITS
        low, high = samples[index], samples[index + 1]
        return low + ((high - low) * (place & _MASK) >> _BITS)


def latency_of(config: VenueConfig) -> Latency:
    """Return what the settings describe; reads the file they name. Raises SettingsError when it holds anything else."""
    if config.latency_file and config.latency_quantiles_ns:
        raise SettingsError("venue.latency_file", "there are latency_quantiles_ns, too: one of the two describes it")
    if config.latency_file:
        return Latency(read_latencies(Path(config.latency_file)), seed=config.latency_seed)
    if quantiles := config.latency_quantiles_ns:
        if list(quantiles) != sorted(quantiles):
            raise SettingsError("venue.latency_quantiles_ns", "they go from the smallest to the largest")
        return Latency(quantiles, seed=config.latency_seed, is_smooth=True)
    return Latency((config.latency_ns,))


def read_latencies(path: Path) -> tuple[int, ...]:
    """Return a recorded distribution: a file with one latency (whole ns) a line, empty lines and # comments aside.

    Raises SettingsError, with the line, for anything else, and for a file without any or over 32 MiB.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise SettingsError("venue.latency_file", f"{path} has {size} bytes, over {_MAX_FILE_BYTES}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("venue.latency_file", f"can't read {path}: {error}") from error
    samples = []
    for number, line in enumerate(lines, 1):
        if not (text := line.partition("#")[0].strip()):
            continue
        if not text.isdecimal() or int(text) > MAX_LATENCY_NS:
            raise SettingsError("venue.latency_file", f"{path}:{number}: {text!r} is not 0 to {MAX_LATENCY_NS} ns")
        samples.append(int(text))
    if not samples:
        raise SettingsError("venue.latency_file", f"{path} holds no latency")
    return tuple(samples)
