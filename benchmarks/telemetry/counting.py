"""The instructions of a cancel with each kind of telemetry, and of a scrape; a busy machine changes few of them."""

from __future__ import annotations

import http.client
import socket
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.compare.report import number, table
from benchmarks.harness.instance import Instance
from benchmarks.harness.machine import CannotMeasure, Cores
from benchmarks.harness.requests import cancel
from benchmarks.instructions.counting import WARM, Counting, send, totals
from benchmarks.telemetry.sides import METRICS, WITHOUT, Launches, page_port

SCRAPE = "scrape"
SCRAPES = 40
PER_S = 400
"""The rate of cancels at which a scrape each second is shown as a part of a cancel."""
_ANSWER_S = 120

Counts = Mapping[str, float]
"""The instructions of a cancel by side, and under `SCRAPE` those of a scrape."""


def count(launches: Launches, requests: int, *, directory: Path, cores: Cores) -> Counts:
    """Counts each side once, all at the same time. Raises: CannotMeasure.

    Of each side one gateway answers `WARM` cancels, and another `requests` more.
    """
    gateways = [
        Counting(f"{name}-{more}", partial(_cancels, number=WARM + more), launch)
        for name, launch in launches.items()
        for more in (0, requests)
    ]
    gateways.append(Counting(SCRAPE, _scrapes, launches[METRICS]))
    counted = dict(zip((one.name for one in gateways), totals(gateways, directory=directory, cores=cores), strict=True))
    found = {name: (counted[f"{name}-{requests}"] - counted[f"{name}-0"]) / requests for name in launches}
    return {**found, SCRAPE: (counted[SCRAPE] - counted[f"{METRICS}-0"]) / SCRAPES}


def _cancels(instance: Instance, *, number: int) -> None:
    with socket.create_connection(("127.0.0.1", instance.port), _ANSWER_S) as connection:
        send(connection, cancel(), number)


def _scrapes(instance: Instance) -> None:
    _cancels(instance, number=WARM)
    connection = http.client.HTTPConnection("127.0.0.1", page_port(instance.directory), timeout=_ANSWER_S)
    for _ in range(SCRAPES):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        if answer.status != 200 or not answer.read():
            raise CannotMeasure("A page of metrics was not answered.")
    connection.close()


def report(counts: Sequence[Counts]) -> str:
    """The table: medians, and those of the changes within each count, with their range."""
    names = [name for name in counts[0] if name != SCRAPE]
    rows = [
        [
            name,
            number(statistics.median(one[name] for one in counts)),
            *(_change(counts, name, base) for base in dict.fromkeys((names[0], WITHOUT))),
        ]
        for name in names
    ]
    bases = dict.fromkeys((names[0], WITHOUT))
    said = table(["instructions of a cancel", "median", *(f"beside {base}" for base in bases)], rows)
    scrape = statistics.median(one[SCRAPE] for one in counts)
    part = statistics.median(one[SCRAPE] / PER_S / one[WITHOUT] for one in counts)
    return f"{said}\nA scrape takes {number(scrape)}: one a second is {part:.1%} of each of {PER_S} cancels a second.\n"


def _change(counts: Sequence[Counts], name: str, base: str) -> str:
    found = [one[name] / one[base] - 1 for one in counts]
    return "" if name == base else f"{statistics.median(found):+.1%} ({min(found):+.1%} to {max(found):+.1%})"
