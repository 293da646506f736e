"""One run: an observed gateway, an upstream that counts, callers of every kind, and samples in between."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness.instance import Instance
from benchmarks.harness.launch import gateway
from benchmarks.harness.machine import CannotMeasure, Cores
from benchmarks.harness.observe import cpu_s, settle
from benchmarks.harness.proof import Proof
from benchmarks.soak.callers import Traffic, send
from benchmarks.soak.observed import HOLDINGS
from benchmarks.soak.upstream import PythonStub
from benchmarks.soak.verdict import Sample

MAX_UPSTREAM = 64
"""The default of `upstream.max_connections`, with which the run is made."""

_HOLDINGS_S = 20


@dataclass(frozen=True, slots=True)
class Soaked:
    """What a run gave: the samples, the answers by status, and what the record proves."""

    samples: tuple[Sample, ...]
    answers: dict[int, int]
    hung_up: int
    proof: Proof


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is made: in how many parts, over how many connections, and which module is the observed gateway."""

    requests: int
    parts: int = 40
    connections: int = 32
    run_as: str = "benchmarks.soak.observed"

    def after(self, part: int) -> int:
        """How many requests have been sent after so many parts."""
        return self.requests * part // self.parts


def soak(plan: Plan, *, directory: Path, cores: Cores, progress: Callable[[Sample], None] = lambda _: None) -> Soaked:
    """Sends the requests in parts, and takes a sample after each. Raises: CannotMeasure."""
    launch = partial(gateway, run_as=plan.run_as)
    traffic, samples = Traffic(), []
    with Instance("gateway", launch, directory=directory, cores=cores, stub=PythonStub) as instance:
        for part in range(1, plan.parts + 1):
            share = plan.after(part) - plan.after(part - 1)
            asyncio.run(send(traffic, share, port=instance.port, connections=plan.connections))
            samples.append(_sample(instance, plan.after(part)))
            progress(samples[-1])
        proof = instance.stop()
    assert proof is not None
    return Soaked(tuple(samples), dict(sorted(traffic.answers.items())), traffic.hung_up, proof)


def _sample(instance: Instance, requests: int) -> Sample:
    settle(partial(cpu_s, instance.process.pid), still_s=0.2, at_most_s=5)
    lines = instance.directory / HOLDINGS
    before = len(lines.read_bytes().splitlines()) if lines.exists() else 0
    instance.process.signal(signal.SIGUSR1)
    deadline_s = time.monotonic() + _HOLDINGS_S
    while time.monotonic() < deadline_s:
        written = lines.read_bytes() if lines.exists() else b""
        if written.endswith(b"\n") and len(found := written.splitlines()) > before:
            return Sample.of(requests, json.loads(found[-1]), port=instance.port, upstream_port=instance.upstream_port)
        time.sleep(0.01)
    raise CannotMeasure(f"The gateway did not say what it holds: {instance.process.said()}")
