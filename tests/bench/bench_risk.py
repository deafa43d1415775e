"""The speed of risk and of the paper venue in this process, each figure beside a bare form of the same work.

Parts can be named: `bench_risk.py gate figures ledger venue`; without names all are run.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.lifecycle.garbage import calm_garbage_collector
from tests.bench.measure import report
from tests.bench.risk import books, figures, gate, venue
from tests.bench.risk.sampling import Size

PARTS: dict[str, Callable[[Size], list[dict[str, Any]]]] = {
    "gate": gate.results,
    "figures": figures.results,
    "ledger": books.results,
    "venue": venue.results,
}


def main() -> None:
    """Run the parts and print one JSON object."""
    names = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        sys.exit(f"there is no part {unknown[0]!r}, only {', '.join(PARTS)}")
    calm_garbage_collector()  # as in a live agent
    report("risk", [line for name in names for line in PARTS[name](Size())])


main()
