"""The gateways that are compared: each differs from `without` in one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness.instance import Stub
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.machine import CannotMeasure, Cores
from benchmarks.harness.requests import free_port

BEFORE, WITHOUT, METRICS, TRACES = "before", "without", "metrics", "traces"

Launches = Mapping[str, Callable[[Place], Launch]]


@contextmanager
def sides(directory: Path, cores: Cores, *, before: Path | None, traces: bool) -> Iterator[Launches]:
    """Each gateway by its name, `before` of another checkout; with `traces` a collector takes them meanwhile.

    Raises: CannotMeasure, if no traces came there.
    """
    collector = Stub(directory / "collector", cores, name="collector.conf")
    try:
        launches: dict[str, Callable[[Place], Launch]] = {} if before is None else {BEFORE: partial(_of, before)}
        launches[WITHOUT] = gateway
        launches[METRICS] = with_metrics
        if traces:
            launches[TRACES] = partial(gateway, more=f'telemetry: {{otlp: "http://127.0.0.1:{collector.port}"}}\n')
        yield launches
    finally:
        batches = collector.stop()
    if traces and not batches:
        raise CannotMeasure("No traces were sent, so nothing was measured of them.")


def with_metrics(place: Place) -> Launch:
    """The gateway with a page of metrics at a port that `page_port` reads."""
    port = free_port()
    _port_file(place.directory).write_text(str(port))
    return gateway(place, more=f'metrics: {{listen: "127.0.0.1:{port}"}}\n')


def page_port(directory: Path) -> int:
    """The port of the page of a gateway with metrics that runs in this directory."""
    return int(_port_file(directory).read_text())


def _port_file(directory: Path) -> Path:
    return directory / "metrics-port"


def _of(root: Path, place: Place) -> Launch:
    launch = gateway(place)
    return replace(launch, environment={**launch.environment, "PYTHONPATH": str(root)})
