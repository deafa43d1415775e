"""How long the drills of risk are, and the figures that they leave."""

from typing import Any

from msgspec import Struct

from tests.bench.measure import percentile, result

KILL_MS = 100.0


class Form(Struct, frozen=True, kw_only=True):
    """`rate_hz`: quotes a second over all instruments. `kill_ms`: what is asked of the 99th percentile of kills."""

    name: str
    rate_hz: float
    kills: int
    kill_ms: float
    outages: int


# In CI anything may run beside it: there the short form judges what happens, the full one how fast, too.
SHORT = Form(name="short", rate_hz=150, kills=10, kill_ms=2_000, outages=1)
FULL = Form(name="full", rate_hz=500, kills=200, kill_ms=KILL_MS, outages=5)


class Findings:
    """Collects figures and problems of one drill: `problems` must be empty in the end."""

    def __init__(self, name: str, form: Form) -> None:
        self.name, self.form = name, form
        self.problems: list[str] = []
        self.results: list[dict[str, Any]] = []

    def note(self, figure: str, value: float, unit: str, *, most: float | None = None) -> None:
        """Keep a figure; with `most` it is judged, and a problem when it is beyond."""
        target, passed = ("", None) if most is None else (f"<= {most:g}", value <= most)
        self.results.append(result(f"{self.name}/{figure}", value, unit, target=target, passed=passed))
        if passed is False:
            self.problems.append(f"{figure}: {value:g} {unit}, at most {most:g} are allowed")

    def note_spread(self, figure: str, samples: list[float], unit: str, *, most_p99: float | None = None) -> None:
        """Keep median, 99th percentile and maximum."""
        self.note(f"{figure}, p50", percentile(samples, 50), unit)
        self.note(f"{figure}, p99", percentile(samples, 99), unit, most=most_p99)
        self.note(f"{figure}, max", max(samples), unit)

    def forbid(self, what: str, found: list[str]) -> None:
        """Count what must not be."""
        self.note(what, len(found), "", most=0)
        self.problems += found[:5]
