"""`python -m benchmarks.soak --requests 1000000` (also `make soak`): exit code 0 if every law holds, else 1."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.compare.report import table
from benchmarks.harness.machine import CannotMeasure, facts, on_core, two_cores
from benchmarks.soak.run import MAX_UPSTREAM, Plan, Soaked, soak
from benchmarks.soak.verdict import TITLES, Law, Sample, judge, rows

DIRECTORY = Path("build/soak")
LEAST, MOST = 1000, 10_000_000
KIB_A_REQUEST = 1.5
"""What the record takes on disk for a request and its outcome."""


def main(argv: Sequence[str] | None = None) -> int:
    """Sends the requests, prints the samples and the verdict, and writes both to build/soak."""
    arguments = _arguments(argv)
    work = (DIRECTORY / "work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    try:
        _check_room(work, arguments.requests)
        cores = two_cores()
        with on_core(cores.load):
            plan = Plan(arguments.requests, connections=arguments.connections)
            soaked = soak(plan, directory=work, cores=cores, progress=_progress)
    except CannotMeasure as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    laws = judge(soaked.samples, max_upstream=MAX_UPSTREAM)
    _publish(soaked, laws, facts(work) | {"took_s": round(time.monotonic() - started_s)})
    if not (soaked.proof.holds and all(law.holds for law in laws)):
        return 1
    shutil.rmtree(work)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N", help=f"{LEAST} to {MOST}")
    parser.add_argument("--connections", type=int, default=32, metavar="N", help="callers at once")
    arguments = parser.parse_args(argv)
    if not LEAST <= arguments.requests <= MOST or not 1 <= arguments.connections <= 512:
        parser.error(f"--requests is {LEAST} to {MOST}, --connections 1 to 512")
    return arguments


def _check_room(directory: Path, requests: int) -> None:
    """Raises: CannotMeasure, if the record would not fit."""
    needed, free = requests * KIB_A_REQUEST * 1024, shutil.disk_usage(directory).free
    if free < 1.2 * needed:
        raise CannotMeasure(f"The record needs {needed / 2**30:.1f} GiB; {free / 2**30:.1f} are free in {directory}.")


def _progress(sample: Sample) -> None:
    sys.stderr.write(f"  {sample.requests:,} requests, {sample.rss_mib:.1f} MiB\n")


def _publish(soaked: Soaked, laws: Sequence[Law], known: dict[str, object]) -> None:
    answers = ", ".join(f"{count:,} of {status}" for status, count in soaked.answers.items())
    verdicts = table(["law", "holds", "found"], [[law.name, "yes" if law.holds else "NO", law.found] for law in laws])
    text = (
        f"{table(TITLES, rows(soaked.samples))}\n{verdicts}\n"
        f"Answers: {answers}; {soaked.hung_up:,} callers hung up.\nThe record {soaked.proof.sentence}\n"
        "\n" + "".join(f"- {name}: {value}\n" for name, value in known.items())
    )
    (DIRECTORY / "result.md").write_text(text)
    result = {"machine": known, "samples": [asdict(sample) for sample in soaked.samples],
              "laws": [asdict(law) for law in laws], "proof": asdict(soaked.proof)}  # fmt: skip
    (DIRECTORY / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
