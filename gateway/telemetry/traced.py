"""Traces as they are turned on: each part of the gateway in its traced form, and the queue that their spans go to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol

from gateway.callers.in_force import InForce, LiveSettings
from gateway.core.forms.correlation import trace_id_of
from gateway.core.ports import Clock
from gateway.edge.head import sends
from gateway.edge.inbound import INBOUND, Inbound
from gateway.execution.judging import Judging
from gateway.execution.ports import AuditPort, OrderPort, RunLog
from gateway.process import Net, report
from gateway.telemetry.parts import TracedAudit, TracedJudging, TracedRuns, TracedSettings, TracedUpstream
from gateway.telemetry.steps import CURRENT, Attributes, Ids, Trace, TracedStep
from gateway.telemetry.untraced import App

CLOSE_S = 1.0
"""How long, in seconds, the end of the process waits for the collector."""


class TracePort(Protocol):
    """The port that spans are given to. None of it raises."""

    def begin(self) -> None:
        """Begin to send."""

    def put(self, spans: Sequence[TracedStep]) -> None:
        """Take spans, and never wait."""

    def notices(self) -> Sequence[str]:
        """Return a notice while spans are lost."""

    def close(self, wait_s: float) -> None:
        """Send what waits, for at most `wait_s` seconds."""


class Traced:
    """The parts of the gateway with their steps traced."""

    def __init__(self, steps: TracePort) -> None:
        self._steps = steps

    def begin(self) -> None:
        """Begin to send."""
        self._steps.begin()

    def app(self, app: App) -> App:
        """Trace each cancel."""
        return TracedApp(app, self._steps.put)

    def settings(self, live: InForce, *, most_in_flight: int) -> LiveSettings:
        """Trace `authenticate`."""
        return TracedSettings(live, most_in_flight=most_in_flight)

    def judging(self, clock: Clock) -> Judging:
        """Trace `decide`."""
        return TracedJudging(clock)

    def runs(self, log: RunLog) -> RunLog:
        """Trace `lookup`."""
        return TracedRuns(log)

    def audit(self, audit: AuditPort) -> AuditPort:
        """Trace `audit.intent`."""
        return TracedAudit(audit)

    def upstream(self, upstream: OrderPort) -> OrderPort:
        """Trace `upstream`."""
        return TracedUpstream(upstream)

    def notices(self) -> Sequence[str]:
        """Return a notice while spans are lost."""
        return self._steps.notices()

    async def stop(self) -> None:
        """Send what waits, without keeping the loop from its work; where there is no thread for that, it is lost."""
        with Net():
            await asyncio.get_running_loop().run_in_executor(None, self._steps.close, CLOSE_S)


class TracedApp:
    """The application, each cancel of which is a trace. Other calls are passed on as they are."""

    def __init__(self, app: App, put: Callable[[Sequence[TracedStep]], None]) -> None:
        self._app = app
        self._put = put

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[..., Awaitable[Any]],
        send: Callable[..., Awaitable[Any]],
    ) -> None:
        """Answer one request, and tell what it took."""
        if scope["type"] != "http" or not sends(scope["method"], scope["raw_path"]):
            await self._app(scope, receive, send)
            return
        trace = Trace(self._put)
        before = CURRENT.set(trace)
        try:
            await self._app(scope, receive, send)
        finally:
            CURRENT.reset(before)
            with Net() as net:
                inbound = scope.get("state", {}).get(INBOUND)
                if inbound is not None:
                    trace.end(_ids(inbound))
            if net.fault is not None:
                report(net.fault, "a trace is lost")


def _ids(inbound: Inbound) -> Ids:
    """Return the ids of a request: those of its caller, else the trace that its decision names."""
    given, principal = inbound.correlation, inbound.principal
    common: Attributes = {"gateway.decision_id": inbound.decision_id}
    if principal is not None:
        common["gateway.team"] = principal.team
    parent_id = None if given.parent_id is None else int(given.parent_id, 16)
    return Ids(int(given.trace_id or trace_id_of(inbound.decision_id), 16), parent_id, given.sampled, common)
