"""`python -m benchmarks.compare` (also `make bench`): exit code 0 if every run counts, else 1."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.compare.bounds import judged
from benchmarks.compare.decisions import measure_decisions
from benchmarks.compare.lookups import report as lookups
from benchmarks.compare.measure import QUICK, Comparison, Effort
from benchmarks.compare.report import bars, report
from benchmarks.compare.svg import svg
from benchmarks.harness.builds import described
from benchmarks.harness.launch import KINDS, require, versions
from benchmarks.harness.machine import CannotMeasure, facts, on_core, two_cores

DIRECTORY = Path("build/bench")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints the tables and the chart, and writes them with all values to build/bench."""
    effort = _effort(argv)
    work = (DIRECTORY / "work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    try:
        require((*effort.kinds, *effort.only_started))
        cores = two_cores()
    except CannotMeasure as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    print(f"Measured on {described()}.")
    known = facts(work) | {"versions": versions((*effort.kinds, *effort.only_started))}
    comparison = Comparison(effort, cores=cores, directory=work)
    with on_core(cores.load):
        fault = _run(comparison, effort)
    known["took_s"] = round(time.monotonic() - started_s)
    _publish(comparison, known, effort)
    if fault is not None:
        print(f"This run does not count: {fault}")
        return 1
    shutil.rmtree(work)
    print(
        f"This run counts: {len(comparison.proofs)} records verify, and say what reached upstream, no more and no less."
    )
    return 0


def _effort(argv: Sequence[str] | None) -> Effort:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of a second, the gateway and Caddy only")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds in a closed loop")
    parser.add_argument("--seconds", type=int, metavar="S", help="length of one measurement in a closed loop")
    parser.add_argument("--kinds", metavar="A,B", help=f"who is measured, of {', '.join(KINDS)}")
    arguments = parser.parse_args(argv)
    effort = QUICK if arguments.quick else Effort()
    effort = replace(effort, rounds=arguments.rounds or effort.rounds, seconds=arguments.seconds or effort.seconds)
    if arguments.kinds is None:
        return effort
    kinds = tuple(arguments.kinds.split(","))
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(KINDS)}")
    return replace(effort, kinds=kinds, only_started=())


def _run(comparison: Comparison, effort: Effort) -> str | None:
    """Measures; why the run does not count, if it does not."""
    measure_decisions(comparison.samples, rounds=effort.rounds)
    try:
        comparison.run()
    except CannotMeasure as fault:
        return str(fault)
    return None


def _publish(comparison: Comparison, known: dict[str, object], effort: Effort) -> None:
    text = (
        report(comparison.samples, judged(comparison.samples), connections=effort.connections)
        + f"\n{lookups(comparison.samples)}"
    )
    proofs = "\n".join(f"{kind}: {proof.sentence}" for kind, proof in comparison.proofs)
    text += f"\n## The record\n\n{proofs}\n\n## The machine\n\n{_facts(known)}\n"
    panels = [(f"c={count}", bars(comparison.samples, count)) for count in effort.connections]
    (DIRECTORY / "result.md").write_text(text)
    (DIRECTORY / "chart.svg").write_text(svg("Throughput, Caddy = 1.00", panels))
    result = {
        "machine": known,
        "samples": comparison.samples.wire(),
        "promises": {one.bound.name: one.verdict for one in judged(comparison.samples)},
        "proofs": [{"kind": kind, "holds": proof.holds, "says": proof.sentence} for kind, proof in comparison.proofs],
    }
    (DIRECTORY / "result.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(text)


def _facts(known: dict[str, object]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in known.items())


if __name__ == "__main__":
    sys.exit(main())
