"""`python -m benchmarks.instructions` (also `make instructions`): exit code 1 if a request takes 10 % more of them.

A build of Python without a baseline is shown, and does not fail; without valgrind nothing is counted, and that is said.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.builds import described
from benchmarks.harness.instance import Proofs
from benchmarks.harness.machine import CannotMeasure, missing_programs, on_core, two_cores
from benchmarks.instructions.baseline import BASELINE, Figures, grown, report
from benchmarks.instructions.counting import instructions
from benchmarks.instructions.tracing import PER_S, switches, system_calls

DIRECTORY = Path("build/instructions")
AGAIN = 2
"""How often it is measured again before it counts as a failure."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints the table, and judges it by the baseline or makes it the baseline."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--save", action="store_true", help="make it the baseline of this build of Python")
    parser.add_argument("--quick", action="store_true", help="fewer requests where that changes little")
    arguments = parser.parse_args(argv)
    if missing := missing_programs(("valgrind", "strace", "nginx")):
        print("\n".join(["Instructions are not counted here.", *missing]))
        return 0
    work = (DIRECTORY / "work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    try:
        figures = least(work, quick=arguments.quick, baseline=kept(BASELINE))
    except CannotMeasure as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    shutil.rmtree(work)
    return judge(figures, save=arguments.save)


def measure(work: Path, *, quick: bool) -> dict[str, float]:
    """Measures every figure by its name. Raises: CannotMeasure."""
    cores, proofs = two_cores(), Proofs()
    with on_core(cores.load):
        counted = instructions(150 if quick else 300, directory=work, cores=cores)
        called = system_calls(320, directory=work, cores=cores, proofs=proofs)
        slept = switches(2 if quick else 5, directory=work, cores=cores, proofs=proofs)
    figures = {f"instructions, {name}": value for name, value in counted.items()}
    figures |= {f"system calls, {name}": value for name, value in called.items()}
    return figures | {f"voluntary switches, {name} at {PER_S}/s": value for name, value in slept.items()}


def least(work: Path, *, quick: bool, baseline: Figures) -> dict[str, float]:
    """Measures; again, up to twice, while a figure is above its baseline, and returns the least of each.

    The gateway has threads that work behind the requests: they may do so in one count and not in the one that is taken
    away from it. Raises: CannotMeasure.
    """
    figures = measure(work, quick=quick)
    for _ in range(AGAIN):
        if not grown(figures, baseline):
            break
        again = measure(work, quick=quick)
        figures = {name: min(value, again[name]) for name, value in figures.items()}
    return figures


def kept(path: Path) -> dict[str, float]:
    """Returns the baseline of this build of Python, empty where there is none."""
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    return found.get(described(), {})


def judge(figures: Figures, *, save: bool, path: Path = BASELINE) -> int:
    """Prints the figures beside their baseline, made of them first with `save`; 1 if a judged one has grown."""
    build = described()
    kept: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    if save:
        kept[build] = kept.get(build, {}) | {name: round(value, 1) for name, value in figures.items()}
        path.write_text(json.dumps(kept, indent=1) + "\n")
    baseline = kept.get(build, {})
    print(f"{build}\n\n{report(figures, baseline)}")
    if not baseline:
        print("This build of Python has no baseline: --save makes one.")
    failed = grown(figures, baseline)
    for sentence in failed:
        print(sentence)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
