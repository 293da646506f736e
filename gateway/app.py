"""The composition root, the only place that makes parts and joins them: from a configuration to a serving process.

bytes -> protocol -> door -> route -> parse -> pipeline ( decide -> audit -> upstream -> audit ) -> answers -> bytes
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.audit.events.catalogue import Start, Stop
from gateway.audit.evidence.texts import keep
from gateway.audit.log import AuditLog, AuditSettings
from gateway.audit.refusals import RefusalLog
from gateway.audit.segment import OsDisk
from gateway.callers.in_force import InForce, LiveSettings
from gateway.callers.issuers import Pins
from gateway.config import Config, resolve_problems, state_problems
from gateway.core.forms.times import utc
from gateway.core.ports import Clock, OperatorsLog
from gateway.core.request import Action
from gateway.edge.app import Edge
from gateway.edge.health import HealthApp, HealthPages, Unrecorded
from gateway.edge.inbound import Intake
from gateway.edge.pages.calls import Pages
from gateway.edge.pages.decisions import DecisionPages
from gateway.edge.pages.questions import Questions
from gateway.edge.timing import Timed
from gateway.execution.follow_up import Settler
from gateway.execution.pipeline import Pipeline
from gateway.execution.ports import LookUps, RunLog
from gateway.files.watch import WatchedFile, watch
from gateway.fleet.joining import Around, Joining
from gateway.log import Consoles, make_log, quiet_libraries
from gateway.policy.rules import Policies
from gateway.process import forbid_core_dumps, place, start_resolver
from gateway.serving.announcing import Announcer, tampering, until_opened
from gateway.serving.certificate import ServedCertificate
from gateway.serving.clock import SteadyClock, SystemClock, record_and_clock
from gateway.serving.limits import CONSOLE, PROBES, limits_of_the_moment, most_connections
from gateway.serving.outcomes import Outcomes
from gateway.serving.readiness import Ready, Recent, of_each
from gateway.serving.reload import Files, Reloader, checked_policies, make_live, refuse
from gateway.serving.server import App, Listener, StopSignals, serve_until_stopped
from gateway.serving.sockets import Bound, bind_listeners
from gateway.telemetry.untraced import Tracing, Untraced, tracing_to
from gateway.upstream.account import WatchedTokens, read_tokens
from gateway.upstream.cancel import Upstream
from gateway.upstream.client import Exchange, Reach, UpstreamLimits
from gateway.upstream.dlq.log import failed_runs
from gateway.upstream.messages.log import MessageLog
from gateway.upstream.pool import PooledTransport
from gateway.upstream.runs.log import MAX_READINGS, UpstreamLog
from gateway.upstream.shares import Lanes

if TYPE_CHECKING:
    from gateway.metrics.page import MetricsPage


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway ready to serve on its `listeners`. Nothing runs before `serve`."""

    config: Config
    files: Files | None
    live: InForce
    account: WatchedTokens
    audit: AuditSettings
    listeners: tuple[Bound, ...]
    certificate: ServedCertificate | None
    health: tuple[Bound, ...]
    metrics: tuple[Bound, ...]
    console: tuple[Bound, ...]
    log: OperatorsLog
    clock: SteadyClock
    consoles: Consoles
    reach: Reach = field(default_factory=Reach)
    tracing: Tracing = field(default_factory=Untraced)

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT, then end within the grace period; `ready` is called once cancels are accepted.

        The health pages are answered even earlier, while the audit log is being opened.

        Raises:
            AuditFailure: the audit log cannot be opened.
            StateFailure: the store of shared state cannot be used.
            InvalidConfiguration: the URL or the secret of a receiver of notices cannot be read.
        """
        asyncio.get_running_loop().set_exception_handler(self._tell_fault)
        try:
            self.tracing.begin()
            await self._serve(ready, StopSignals())
        finally:
            for bound in (*self.listeners, *self.health, *self.metrics, *self.console):
                bound.close()
            await self.tracing.stop()

    async def _serve(self, ready: Callable[[], None], signals: StopSignals) -> None:
        clock, config, asked = self.clock, self.config, asyncio.Event()
        await start_resolver()
        state, instance = await Joining.begun(config.state, self.audit.directory, config.notify), self.audit.new_name()
        audit, most = self._audit_log(instance), most_connections(config.upstream.max_connections)
        current = self.tracing.settings(self.live, most_in_flight=most // 2)
        upstream, log = self._upstream(), self._upstream_log(current)
        scraped, reads = self._scraped(current, audit, state), self.account.tokens.reading is not None
        settler = Settler(log, audit, operators_log=self.log, reads_back=reads, share=current.share)
        refusals = RefusalLog(self.tracing.audit(audit), clock, log=self.log)
        outcomes = Outcomes(self.audit, audit, settler, self.log)
        look_ups = self._look_ups(current, log, scraped, outcomes) if reads else None
        pipeline = self._pipeline(current, audit, upstream, look_ups=look_ups, settler=settler)
        intake = Intake(current, clock, self.account.tokens.is_in, None if config.state is None else state)
        decisions = DecisionPages(intake, outcomes.decisions)
        around = Around(pipeline, settler, audit, instance, clock, self.log, current, log.askers, decisions)
        await state.join(around, self.account.tokens.is_in)
        reloader = self._reloader(current, audit, asked, state.reload_refused)
        notices = (*self._notices(current, reloader), lambda: tampering(audit), outcomes.keeper.notices, state.notices)
        health = HealthPages(self._readiness(current, audit, pipeline, reloader=reloader, notices=notices))
        pages = Pages(intake, pipeline, Questions(audit, clock), decisions, log if reads else None, *state.more(intake))
        wall, tasks = SystemClock(), lambda _: self._lifespan(current, reloader, audit, asked, state.run(around))
        edge = Edge(
            pipeline=pipeline, pages=pages, health=health, refusals=refusals, wall=wall, log=self.log, lifespan=tasks
        )
        begin = state.then(partial(outcomes.begin, pipeline.recall))
        opening = asyncio.create_task(until_opened(audit, ready, signals, begin, self.log, self.audit.directory))
        listeners = self._listeners(edge, health, refusals, scraped=scraped, current=current, most=most)
        async with edge.router.lifespan_context(edge):
            await serve_until_stopped(listeners, signals, grace_s=config.shutdown_grace_s, stop=pipeline.stop)
        pages.close()
        await pipeline.stop(0)
        await outcomes.end()
        await state.stop()
        # The log counts the open intents itself, when it writes the record.
        await audit.stop(Stop(refusals_left_out=refusals.left_out, open=0).members())
        await upstream.aclose()
        await log.aclose()
        if not opening.cancel():
            opening.result()

    def _scraped(self, current: LiveSettings, audit: AuditLog, state: Joining) -> MetricsPage | None:
        """Return the page `/metrics` and begin to take its numbers, if it is configured; else load nothing of it."""
        if self.config.metrics is None:
            return None
        from gateway.metrics.made import page

        certificate, tokens = self.certificate, self.account.tokens
        ends = None if certificate is None else lambda: certificate.ends
        states = lambda: tokens.states(self.clock.monotonic_s())  # noqa: E731 - one of the sources
        return page(audit, self.reach, current, states, ends, state.in_force, state.budgets)

    def _look_ups(
        self, current: LiveSettings, log: UpstreamLog, scraped: MetricsPage | None, outcomes: Outcomes
    ) -> LookUps:
        def seen(one: RunLog) -> RunLog:
            """Return the same look-ups, timed and traced as configured."""
            return self.tracing.runs(one if scraped is None else scraped.metrics.timed(one))

        others = failed_runs(log, seen) | {Action.CANCEL_MESSAGES: seen(MessageLog(log))}
        return LookUps(seen(log), self.log, current.lookup_bounds, outcomes.known.wait, others)

    def _pipeline(
        self, current: LiveSettings, audit: AuditLog, upstream: Upstream, *, look_ups: LookUps | None, settler: Settler
    ) -> Pipeline:
        settings = self.config.upstream
        pipeline = Pipeline(
            upstream=self.tracing.upstream(upstream),
            upstream_url=settings.url,
            audit=self.tracing.audit(audit),
            clock=self.clock,
            look_ups=look_ups,
            settler=settler,
            lanes=Lanes(settings.max_connections, current.share, wait_s=settings.connect_timeout_s),
            judging=self.tracing.judging(self.clock),
        )
        settler.learnt = pipeline.plans.settled
        return pipeline

    @asynccontextmanager
    async def _lifespan(
        self,
        current: LiveSettings,
        reloader: Reloader | None,
        audit: AuditLog,
        asked: asyncio.Event,
        joining: Coroutine[None, None, None],
    ) -> AsyncIterator[None]:
        """Run the tasks that watch, fetch and announce, for as long as requests are served."""
        current.fetches.follow(self.live.pins.fetched.values())
        tasks = [asyncio.create_task(watch(lambda: self._watched(current), self.log))]
        tasks += [asyncio.create_task(Announcer(self.clock, lambda: current.live, self.log, audit).run())]
        tasks += [asyncio.create_task(reloader.run(asked))] if reloader is not None else []
        tasks += [asyncio.create_task(joining)]
        yield
        for task in tasks:
            task.cancel()
        current.fetches.follow(())

    def _tell_fault(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Log an unawaited fault by class and place only: its text may come from a caller or hold a secret."""
        fault: BaseException | None = context.get("exception")
        error, at = (type(fault).__name__, place(fault)) if fault is not None else (None, None)
        self.log.error("fault", error=error, at=at, found=context.get("found"))

    def _watched(self, current: LiveSettings) -> list[WatchedFile]:
        certificate = [self.certificate.watched] if self.certificate is not None else []
        return [*self.account.watched, *current.live.pins.watched, *certificate]

    def _audit_log(self, instance: str) -> AuditLog:
        settings = self.config.upstream
        return AuditLog.begin(
            replace(self.audit, before_start=lambda: self._keep(self.live.policies)),
            instance=instance,
            upstream=settings.url,
            start=Start(
                version=__version__,
                policy_digest=self.live.policies.digest,
                policies="kept",
                contract=settings.contract,
                count_is_advisory=settings.contract == "2026-09",
            ).members(),
            stdout=self.consoles.out,
        )

    def _keep(self, policies: Policies) -> None:
        """Keep the text of policies beside the chain. Raises: OSError: it cannot be written."""
        keep(self.audit.directory, policies.texts, OsDisk())

    def _upstream(self) -> Upstream:
        settings = self.config.upstream
        limits = UpstreamLimits(settings.connect_timeout_s, settings.total_timeout_s)
        transport = self._transport(settings.max_connections)
        tokens = self.account.tokens
        return Upstream(
            settings.url, tokens.writing, limits=limits, transport=transport, reading=tokens.reading, reach=self.reach
        )

    def _upstream_log(self, current: LiveSettings) -> UpstreamLog:
        settings = self.config.upstream
        limits = UpstreamLimits(settings.connect_timeout_s, settings.total_timeout_s)
        # Readings have connections of their own, so they never keep a cancel waiting.
        exchange = Exchange(settings.url, limits=limits, transport=self._transport(MAX_READINGS), reach=self.reach)
        # Upstream's times are compared with the machine's clock, not with the clock that requests are judged by.
        return UpstreamLog(
            exchange,
            tokens=self.account.tokens,
            clock=SystemClock(),
            bounds=current.lookup_bounds,
            share=current.share,
        )

    def _transport(self, most: int) -> PooledTransport:
        return PooledTransport(max_connections=most, connect_timeout_s=self.config.upstream.connect_timeout_s)

    def _reloader(
        self, current: LiveSettings, audit: AuditLog, asked: asyncio.Event, refused: Callable[[str], None]
    ) -> Reloader | None:
        """Return what reads the files again, also when SIGHUP asks for it; None if nothing is read again."""
        if self.files is None:
            return None
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
        tokens = self.account.tokens
        reloader = Reloader(
            self.files, self.config, current=current, token=tokens, audit=audit, keep=self._keep, log=self.log
        )
        reloader.told = refused
        return reloader

    def _readiness(
        self,
        current: LiveSettings,
        audit: AuditLog,
        pipeline: Pipeline,
        *,
        reloader: Reloader | None,
        notices: Sequence[Callable[[], Sequence[str]]],
    ) -> Ready:
        return Ready(
            audit=audit,
            policy_digest=lambda: current.live.policies.digest,
            stopping=lambda: pipeline.stopping,
            token_age_s=lambda: round(self.clock.monotonic_s() - self.account.tokens.writing.since_s),
            upstream=self.reach.members,
            notices=notices,
            degraded=lambda: reloader is not None and reloader.degraded,
        )

    def _notices(self, current: LiveSettings, reloader: Reloader | None) -> Sequence[Callable[[], Sequence[str]]]:
        """Return the sources of notices for operators, one for each kind."""
        certificates = [self.certificate] if self.certificate is not None else []
        return (
            reloader.notices if reloader is not None else list,
            Recent(of_each(lambda: self._watched(current)), self.clock.monotonic_s),
            self.account.tokens.refusals,
            self.reach.notices,
            Recent(lambda: [*current.live.pins.notices()], self.clock.monotonic_s),
            self.clock.notices,
            of_each(lambda: certificates),
            self.consoles.notices,
            self.tracing.notices,
            lambda: current.live.endings.notices(utc(self.clock.now_ms()).date()),
        )

    def _listeners(
        self,
        edge: Edge,
        pages: HealthPages,
        refusals: RefusalLog,
        *,
        scraped: MetricsPage | None,
        current: LiveSettings,
        most: int,
    ) -> list[Listener]:
        settings = partial(limits_of_the_moment, current, self.config.keep_alive_s, edge.intake.ids_of)
        callers, probes = settings(refusals, most), settings(Unrecorded(), PROBES)
        tls = self.certificate.context if self.certificate is not None else None
        app = self.tracing.app(edge if scraped is None else Timed(edge, scraped.metrics.answered))
        probed = HealthApp(pages, None if self.metrics else scraped)
        people = settings(refusals, CONSOLE) if self.console else probes
        return [
            *(Listener(app, bound.socket, callers, None if bound.is_file else tls) for bound in self.listeners),
            *(Listener(self._console(app, edge, bound), bound.socket, people, tls) for bound in self.console),
            *(Listener(probed, bound.socket, probes, for_probes=True) for bound in self.health),
            *(Listener(HealthApp(None, scraped), bound.socket, probes, for_probes=True) for bound in self.metrics),
        ]

    def _console(self, app: App, edge: Edge, bound: Bound) -> App:
        """Return the pages for people, a client of `app`; nothing of them is loaded unless they are configured."""
        from gateway.console.app import console
        from gateway.console.guard import Served
        from gateway.console.sessions import Sessions

        at, port = self.config.console, int(bound.socket.getsockname()[1])
        assert at is not None
        served = Served.at(at, port, tls=self.certificate is not None)
        return console(app, Sessions(edge.current, edge.clock), served, edge.of_state)


def build(
    config: Config,
    files: Files | None = None,
    consoles: Consoles | None = None,
    *,
    before_binding: Callable[[], None] = lambda: None,
) -> Gateway:
    """Read the policies and secrets, and bind the listeners; without `files` nothing is reloaded while serving.

    Without `consoles`, those of the process are made. `before_binding` is called last, before anybody can connect.

    Raises:
        InvalidConfiguration: a policy, its case, a secret, an issuer's keys or the certificate cannot be used.
        OSError: an address cannot be bound.
    """
    forbid_core_dumps()
    quiet_libraries()
    audit, clock = record_and_clock(config.audit, wall := SystemClock())
    account = read_tokens(config.upstream, os.environ, time.monotonic)
    live = make_live(config, _policies(config), token=account.tokens, before=Pins())
    certificate = _certificate(config, wall)
    before_binding()
    bound = bind_listeners(config)
    consoles = consoles or Consoles.of()
    return Gateway(
        config=config,
        files=files,
        live=live,
        account=account,
        audit=audit,
        listeners=bound.callers,
        certificate=certificate,
        health=bound.health,
        metrics=bound.metrics,
        console=bound.console,
        log=make_log(consoles.err),
        clock=clock,
        consoles=consoles,
        tracing=tracing_to(config.telemetry),
    )


def _policies(config: Config) -> Policies:
    policies = checked_policies(config.policies)
    refuse([*resolve_problems(policies, config), *state_problems(policies, has_state=config.state is not None)])
    return policies


def _certificate(config: Config, wall: Clock) -> ServedCertificate | None:
    # Clients check the certificate by their own clocks, so the clock that requests are judged by does not matter here.
    return ServedCertificate(config.tls, lambda: utc(wall.now_ms())) if config.tls is not None else None
