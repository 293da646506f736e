"""The parts of the gateway as they are, where no traces are asked for. This module loads nothing of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol

from gateway import __version__
from gateway.callers.in_force import InForce, LiveSettings
from gateway.core.ports import Clock
from gateway.execution.judging import Judging
from gateway.execution.ports import AuditPort, OrderPort, RunLog

Asgi = Callable[..., Awaitable[Any]]
App = Callable[[MutableMapping[str, Any], Asgi, Asgi], Awaitable[None]]
"""An ASGI application."""


class Tracing(Protocol):
    """The port at which the parts of the gateway are traced: each method returns the part that takes the place of one.

    So the flow itself has no line for traces, and costs nothing where there are none.
    """

    def begin(self) -> None:
        """Begin to send."""

    def app(self, app: App) -> App:
        """Trace each cancel, from its head to its answer."""

    def settings(self, live: InForce, *, most_in_flight: int) -> LiveSettings:
        """Return the settings in force, with `authenticate` traced."""

    def judging(self, clock: Clock) -> Judging:
        """Return the judgement, with `decide` traced."""

    def runs(self, log: RunLog) -> RunLog:
        """Trace each `lookup`."""

    def audit(self, audit: AuditPort) -> AuditPort:
        """Trace `audit.intent`, and take from the other records what became of the cancel."""

    def upstream(self, upstream: OrderPort) -> OrderPort:
        """Trace each order, `upstream`."""

    def notices(self) -> Sequence[str]:
        """Return a notice for operators while traces are lost."""

    async def stop(self) -> None:
        """Send what waits, for a bounded time."""


def tracing_to(otlp: str | None) -> Tracing:
    """Return the tracing that sends to a collector, `scheme://host[:port]`; without one there are no traces."""
    if otlp is None:
        return Untraced()
    from gateway.telemetry.otlp import TraceQueue  # loads OpenTelemetry
    from gateway.telemetry.traced import Traced

    return Traced(TraceQueue(otlp, version=__version__))


class Untraced:
    """No traces: every part stays as it is."""

    def begin(self) -> None:
        """Do nothing."""

    def app(self, app: App) -> App:
        """Return the application."""
        return app

    def settings(self, live: InForce, *, most_in_flight: int) -> LiveSettings:
        """Return the settings in force."""
        return LiveSettings(live, most_in_flight=most_in_flight)

    def judging(self, clock: Clock) -> Judging:
        """Return the judgement."""
        return Judging(clock)

    def runs(self, log: RunLog) -> RunLog:
        """Return the log of runs."""
        return log

    def audit(self, audit: AuditPort) -> AuditPort:
        """Return the audit log."""
        return audit

    def upstream(self, upstream: OrderPort) -> OrderPort:
        """Return the upstream."""
        return upstream

    def notices(self) -> Sequence[str]:
        """Return none."""
        return ()

    async def stop(self) -> None:
        """Do nothing."""
