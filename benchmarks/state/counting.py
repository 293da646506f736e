"""The instructions of a cancel where nothing is taken of a store: before there was one, without it, and with it."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.compare.report import number, table
from benchmarks.harness.instance import Instance
from benchmarks.harness.launch import gateway
from benchmarks.harness.machine import Cores
from benchmarks.harness.requests import cancel_runs
from benchmarks.instructions.counting import WARM, Counting, send, totals
from benchmarks.state.sides import STATE, STORE, Launches

_ANSWER_S = 120

Counts = Mapping[str, float]
"""The instructions of a cancel, by side."""


def count(launches: Launches, requests: int, *, directory: Path, cores: Cores) -> Counts:
    """Counts each side once, all at the same time. Raises: CannotMeasure.

    Of each side one gateway answers `WARM` cancels, and another `requests` more. The one with a store does not beat
    meanwhile.
    """
    launches = {**launches, STATE: partial(gateway, more=STORE, run_as="benchmarks.state.still")}
    gateways = [
        Counting(f"{name}-{more}", partial(_cancels, number=WARM + more), launch)
        for name, launch in launches.items()
        for more in (0, requests)
    ]
    counted = dict(zip((one.name for one in gateways), totals(gateways, directory=directory, cores=cores), strict=True))
    return {name: (counted[f"{name}-{requests}"] - counted[f"{name}-0"]) / requests for name in launches}


def _cancels(instance: Instance, *, number: int) -> None:
    with socket.create_connection(("127.0.0.1", instance.port), _ANSWER_S) as connection:
        send(connection, cancel_runs(1), number)


def report(counts: Sequence[Counts]) -> str:
    """The table: medians, and those of the changes within each count, with their range."""
    first, *others = counts[0]
    rows = [[first, number(statistics.median(one[first] for one in counts)), ""]]
    for name in others:
        found = [one[name] / one[first] - 1 for one in counts]
        change = f"{statistics.median(found):+.1%} ({min(found):+.1%} to {max(found):+.1%})"
        rows.append([name, number(statistics.median(one[name] for one in counts)), change])
    return table(["instructions of a cancel", "median", f"beside {first}"], rows)
