"""`python -m benchmarks.micro.changes RESULT [--save]`: the parts beside the committed baseline. Shows, never fails.

Both are told in multiples of the calibration loop of the same run, so that a faster machine shows as no change.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.compare.report import NONE, table

BASELINE = Path(__file__).parents[1] / "baseline.json"
CALIBRATION = "calibration"
NOTABLE = 0.25
"""Changes below this are noise on a shared machine."""

Parts = Mapping[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table of the parts and their changes, or keeps the result as the baseline; always 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.changes", description=__doc__)
    parser.add_argument("result", type=Path, help="what pytest-benchmark wrote")
    parser.add_argument("--save", action="store_true", help="make it the baseline")
    arguments = parser.parse_args(argv)
    if not arguments.result.is_file():
        print(f"{arguments.result} is not there: nothing was measured.")
        return 0
    microseconds = read(json.loads(arguments.result.read_text()))
    if arguments.save:
        relative = {part: round(value, 3) for part, value in relatives(microseconds).items()}
        BASELINE.write_text(json.dumps(relative, indent=1) + "\n")
    print(report(microseconds, json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}))
    return 0


def read(result: Mapping[str, object]) -> dict[str, float]:
    """Microseconds of the fastest round of each part: what else ran on the machine only ever adds."""
    found = result["benchmarks"]
    assert isinstance(found, list)
    return {re.sub(r"^test_", "", one["name"]): one["stats"]["min"] * 1e6 for one in found}


def relatives(microseconds: Parts) -> dict[str, float]:
    """The parts in multiples of the calibration loop."""
    unit = microseconds[CALIBRATION]
    return {part: value / unit for part, value in microseconds.items() if part != CALIBRATION}


def report(microseconds: Parts, baseline: Parts) -> str:
    """A table: each part, its multiple now and in the baseline, and what changed."""
    now = relatives(microseconds)
    rows = [
        [
            part,
            f"{microseconds[part]:,.2f}",
            f"{value:.2f}",
            _shown(baseline.get(part)),
            change(value, baseline.get(part)),
        ]
        for part, value in now.items()
    ]
    rows += [[part, NONE, NONE, _shown(value), "gone"] for part, value in baseline.items() if part not in now]
    titles = ["part", "µs, fastest round", "÷ calibration", "baseline", "change"]
    unit = f"One calibration loop: {microseconds[CALIBRATION]:.2f} µs.\n"
    return f"{table(titles, rows)}\n{unit}"


def _shown(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def change(value: float, before: float | None) -> str:
    """The change in words; `slower` and `faster` only where it is notable."""
    if before is None:
        return "new"
    share = value / before - 1
    word = "" if abs(share) < NOTABLE else " slower" if share > 0 else " faster"
    return f"{share:+.0%}{word}"


if __name__ == "__main__":
    sys.exit(main())
