"""Cancels of all runs of one workflow that the gateway looks up first, beside the least time that they can take."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from urllib.parse import quote

from benchmarks.compare.account import PAGE, Account, Manner
from benchmarks.compare.report import number, table, times
from benchmarks.compare.samples import Samples
from benchmarks.growth.resolving import can_resolve, resolving_gateway
from benchmarks.harness.instance import Instance
from benchmarks.harness.machine import CannotMeasure, Cores
from benchmarks.harness.observe import cpu_s
from benchmarks.harness.requests import ask, delete

AT_ONCE = 8
"""How many pages a gateway reads at once."""

IDS_AN_ORDER = 100
_BURST = 300
_ANSWER_S = 120

MANNERS = (
    Manner(100),
    Manner(500),
    Manner(2000),
    Manner(2000, burst=_BURST),
    Manner(2128, others=3472, at_a_time=100),
    Manner(2128, others=3472, at_a_time=100, latency_s=0.04),
    Manner(2128, others=3472, at_a_time=100, burst=_BURST),
)
QUICK_MANNERS = MANNERS[:1]


def bound_s(manner: Manner) -> float:
    """The least seconds of one cancel: its pages over all places, then its orders in turn, each with the latency."""
    pages, orders = -(-manner.runs // PAGE), -(-manner.runs // IDS_AN_ORDER)
    return (pages / AT_ONCE + orders) * manner.latency_s


def name(manner: Manner) -> str:
    """What a row is called."""
    limit = f", {manner.burst} readings a second" if manner.burst else ""
    parts = f" of {manner.runs + manner.others:,}, {manner.at_a_time} at a time" if manner.at_a_time else ""
    late = f", {manner.latency_s * 1000:.0f} ms a call" if manner.latency_s != Manner(1).latency_s else ""
    return f"{manner.runs:,}{parts or ' runs'}{limit}{late}"


def measure_lookups(
    samples: Samples, *, manners: tuple[Manner, ...], rounds: int, directory: Path, cores: Cores
) -> None:
    """One cancel for each manner and round. Raises: CannotMeasure, if a run was not cancelled."""
    if not can_resolve(directory / "check"):
        return
    for manner in manners * rounds:
        _measure(samples, manner, directory / "looked-up", cores)


def _measure(samples: Samples, manner: Manner, directory: Path, cores: Cores) -> None:
    row, account = name(manner), Account(manner)
    query = f"workflowUrl={quote(manner.workflow, safe='')}&workflowUrlExactMatch=true&count={manner.runs}"
    with Instance(row, resolving_gateway, directory=directory, cores=cores, stub=account.started) as instance:
        account.calls.clear()
        before_s, began_s = cpu_s(instance.process.pid), time.perf_counter()
        requests = -(-manner.runs // manner.at_a_time) if manner.at_a_time else 1
        statuses = {ask(instance.port, delete(query), timeout_s=_ANSWER_S) for _ in range(requests)}
        took_s = time.perf_counter() - began_s
        used_s = cpu_s(instance.process.pid) - before_s
    if statuses != {200} or account.running:
        raise CannotMeasure(f"A cancel of {row} was answered with {statuses}; {account.running} runs go on.")
    samples.add(row, "lookup took_s", took_s)
    samples.add(row, "lookup bound_s", bound_s(manner))
    samples.add(row, "lookup cpu_s", used_s)
    for what in ("readings", "refused", "orders"):
        samples.add(row, f"lookup {what}", account.calls[what])
    sys.stderr.write(f"  look-up of {row}: {took_s:.2f} s\n")


def report(samples: Samples) -> str:
    """A table of the look-ups; empty where none was measured."""
    rows = []
    for row in (kind for kind in samples.kinds() if samples.values(kind, "lookup took_s")):
        shown = [number(samples.median(row, f"lookup {figure}"), 2) for figure in ("bound_s", "took_s")]
        shown.append(times(samples.ratio((row, "lookup took_s"), (row, "lookup bound_s"))))
        shown += [number(samples.median(row, f"lookup {figure}")) for figure in ("readings", "refused", "orders")]
        rows.append([row, *shown, number(samples.median(row, "lookup cpu_s"), 2)])
    if not rows:
        return ""
    titles = ["cancel of", "bound s", "took s", "÷ bound", "readings", "429", "orders", "CPU s"]
    return f"## Look-ups, {Manner(1).latency_s * 1000:.0f} ms a call\n\n{table(titles, rows)}"
