"""Load: in a closed loop (the next request when the last is answered), and at a fixed rate of arrival."""

from __future__ import annotations

import gc
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.harness.launch import CONF
from benchmarks.harness.machine import CannotMeasure, Cores, on_core, program
from benchmarks.harness.observe import cpu_s, settle
from benchmarks.harness.requests import Request, exchange
from benchmarks.harness.steady import steadily

_SCRIPT = CONF / "cancel.lua"
_LEAD_S = 0.2
_STILL_S = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement in a closed loop; times in microseconds, `cpu_us` the gateway's own per request."""

    requests: int
    took_s: float
    p50_us: float
    p99_us: float
    cpu_us: float

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.requests / self.took_s


@dataclass(frozen=True, slots=True)
class Closed:
    """A load in a closed loop: so many connections for so many whole seconds."""

    request: Request
    connections: int
    seconds: int


def closed_loop(port: int, pid: int, load: Closed, *, cores: Cores) -> Measured:
    """Loads one gateway whose process is `pid`. Raises: CannotMeasure, if an answer is not the one expected."""
    (measured,) = closed_loops([(port, pid)], load, cores=cores)
    return measured


def closed_loops(gateways: Sequence[tuple[int, int]], load: Closed, *, cores: Cores) -> list[Measured]:
    """Loads several gateways (port, pid) at once, each with the whole load."""
    return steadily(lambda: _closed_loops(gateways, load, cores))


def _closed_loops(gateways: Sequence[tuple[int, int]], load: Closed, cores: Cores) -> list[Measured]:
    before = [cpu_s(pid) for _, pid in gateways]
    running = [_start(port, load, cores) for port, _ in gateways]
    outputs = [process.communicate(timeout=load.seconds + 60)[0] for process in running]
    used = [cpu_s(pid) - start for (_, pid), start in zip(gateways, before, strict=True)]
    for _, pid in gateways:
        # wrk leaves with requests in flight: they may not disturb the next measurement.
        settle(partial(cpu_s, pid), still_s=_STILL_S, at_most_s=5)
    return [_measured(output, load, cpu) for output, cpu in zip(outputs, used, strict=True)]


def _start(port: int, load: Closed, cores: Cores) -> subprocess.Popen[str]:
    command = [program("wrk"), "--threads", "1", "--latency"]
    command += ["--connections", str(load.connections), "--duration", f"{load.seconds}s", "--timeout", "10s"]
    environment = {**os.environ, "BENCH_HEAD": load.request.head, "BENCH_TAIL": load.request.tail}
    with on_core(cores.load):
        return subprocess.Popen(
            [*command, "--script", str(_SCRIPT), f"http://127.0.0.1:{port}/"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _measured(output: str, load: Closed, cpu: float) -> Measured:
    found = re.search(r"^MEASURED (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise CannotMeasure(f"wrk measured nothing:\n{output}")
    counts = json.loads(found[1])
    answered, refused = counts["requests"], counts["refused"]
    if not answered or counts["broken"] or refused != (answered if load.request.status >= 400 else 0):
        raise CannotMeasure(f"A measurement with wrong answers is none; {load.request.status} was expected: {counts}.")
    return Measured(answered, counts["took_s"], counts["p50_us"], counts["p99_us"], cpu_us=cpu / answered * 1e6)


@dataclass(frozen=True, slots=True)
class Opened:
    """A load at a fixed rate of arrival over some connections; the seconds may be a part of one."""

    request: Request
    per_s: int
    connections: int
    seconds: float

    def due_s(self, connection: int) -> list[float]:
        """When the requests of one connection arrive, from the start."""
        total = int(self.per_s * self.seconds)
        return [number / self.per_s for number in range(connection, total, self.connections)]


@dataclass(slots=True)
class _Answers:
    """What one connection saw: how long after its arrival each request was answered, and every wrong status."""

    took_us: list[float] = field(default_factory=list)
    wrong: list[int | str] = field(default_factory=list)


def open_loop(port: int, load: Opened) -> list[float]:
    """Microseconds from the planned arrival of each request to its answer, sorted. Raises: CannotMeasure.

    Counted from the plan, so that a slow answer also counts against the requests that had to wait behind it.
    """
    return steadily(lambda: _open_loop(port, load))


def _open_loop(port: int, load: Opened) -> list[float]:
    seen = [_Answers() for _ in range(load.connections)]
    start_s = time.perf_counter() + _LEAD_S
    threads = [
        threading.Thread(target=_connection, args=(port, load, number), kwargs={"start_s": start_s, "seen": answers})
        for number, answers in enumerate(seen)
    ]
    gc.collect()
    gc.disable()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.enable()
    if wrong := [status for answers in seen for status in answers.wrong]:
        raise CannotMeasure(f"A measurement with wrong answers is none: {wrong[:3]}.")
    return sorted(took_us for answers in seen for took_us in answers.took_us)


def _connection(port: int, load: Opened, number: int, *, start_s: float, seen: _Answers) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for turn, due_s in enumerate(load.due_s(number)):
                time.sleep(max(0.0, start_s + due_s - time.perf_counter()))
                status = exchange(connection, load.request.numbered(turn * load.connections + number))
                seen.took_us.append((time.perf_counter() - start_s - due_s) * 1e6)
                if status != load.request.status:
                    seen.wrong.append(status)
    except OSError as error:
        seen.wrong.append(str(error))


def at_share(sorted_values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies (nearest rank)."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]
