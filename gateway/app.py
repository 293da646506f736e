"""The composition root: configuration in, a serving process out. The only place that makes parts and joins them.

bytes -> protocol -> asgi -> authn -> read -> pipeline ( decide -> audit -> upstream -> audit ) -> problems -> bytes
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module

import uuid_utils

from gateway import __version__
from gateway.asgi import Edge, EdgeLimits, OperatorsLog
from gateway.audit.log import AuditLog, AuditSettings
from gateway.audit.segment import load_mac_key
from gateway.authn import Authenticator
from gateway.config import AuditConfig, Config, audit_problems
from gateway.connections import Connections
from gateway.credential import TokenHolder, UpstreamToken
from gateway.errors import AuditFailure, InvalidConfiguration
from gateway.hardening import forbid_core_dumps, raise_descriptor_limit
from gateway.health import HealthApp, HealthPages, Unrecorded
from gateway.identity.expiry import expiring
from gateway.identity.settings import JwtIssuer
from gateway.identity.sources import FetchedKeySet, key_file
from gateway.identity.tokens import KeySetPort, PinnedIssuer, TokenVerifier
from gateway.limits import Admission
from gateway.listeners import SocketFile, bind, tls_context
from gateway.log import make_log, quiet_libraries
from gateway.outbound import make_transport
from gateway.pipeline import Pipeline
from gateway.policy.load import load_policies
from gateway.policy.rules import Policies
from gateway.protocol import ProtocolSettings, RefusalPort
from gateway.proxies import TrustedProxies
from gateway.readiness import Ready
from gateway.refusals import RefusalLog
from gateway.secret import read_secret
from gateway.serving import Listener, StopSignals, serve_until_stopped
from gateway.upstream import Upstream, UpstreamLimits
from gateway.watch import WatchedFile, fingerprint, watch

MAX_CONNECTIONS = 2048
RESERVED_DESCRIPTORS = 64
"""Kept from connections for the audit log, the listeners and upstream's name look-ups."""
HEALTH_CONNECTIONS = 16


IMPORTED_LATE = ("anyio._backends._asyncio", "httpcore._backends.anyio")
"""What libraries import at the first request: without a free descriptor it would fail after the intent."""


class SystemClock:
    """The real time."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


@dataclass(slots=True)
class _Credentials:
    """What callers and upstream are recognised by, and what is watched and fetched to keep it current."""

    token: TokenHolder
    issuers: list[PinnedIssuer] = field(default_factory=list)
    watched: list[WatchedFile] = field(default_factory=list)
    fetched: dict[str, FetchedKeySet] = field(default_factory=dict)

    def notices(self) -> list[str]:
        """What is wrong with any of it now."""
        found = [file.notice for file in self.watched if file.notice is not None]
        return found + [f"the keys at {url}: {one.notice}" for url, one in self.fetched.items() if one.notice]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway ready to serve on `listener`; nothing of it runs before `serve`."""

    config: Config
    policies: Policies
    credentials: _Credentials
    audit: AuditSettings
    listener: socket.socket
    socket_file: SocketFile | None
    tls: ssl.SSLContext | None
    health: socket.socket | None
    log: OperatorsLog
    stdout: int = 1

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serves until SIGTERM or SIGINT, then ends within the grace period; `ready` is called once it can serve.

        Raises:
            AuditFailure: the audit log cannot be opened.
        """
        try:
            await self._serve(ready, StopSignals())
        finally:
            if self.socket_file is not None:
                self.socket_file.remove()

    async def _serve(self, ready: Callable[[], None], signals: StopSignals) -> None:
        clock, config = SystemClock(), self.config
        audit = await AuditLog.open(
            self.audit,
            instance=str(uuid_utils.uuid7()),
            upstream=config.upstream.url,
            start={"version": __version__, "policy_digest": self.policies.digest},
            stdout=self.stdout,
        )
        upstream = self._upstream()
        pipeline = Pipeline(
            policies=self.policies, upstream=upstream, upstream_url=config.upstream.url, audit=audit, clock=clock
        )
        refusals = RefusalLog(audit, clock)
        pages = HealthPages(self._readiness(audit, pipeline, clock))
        edge = self._edge(pipeline, refusals, pages, clock)
        tasks = [asyncio.create_task(work) for work in self._background()]
        ready()
        listeners = self._listeners(edge, pages, refusals)
        await serve_until_stopped(listeners, signals, grace_s=config.shutdown_grace_s, stop=pipeline.stop)
        for task in tasks:
            task.cancel()
        await pipeline.stop(0)
        await audit.stop({"refusals_left_out": refusals.left_out})
        await upstream.aclose()

    def _upstream(self) -> Upstream:
        settings = self.config.upstream
        limits = UpstreamLimits(settings.connect_timeout_s, settings.total_timeout_s)
        transport = make_transport(max_connections=settings.max_connections)
        return Upstream(settings.url, self.credentials.token, limits=limits, transport=transport)

    def _background(self) -> list[Coroutine[None, None, None]]:
        return [watch(self.credentials.watched, self.log), *(keys.run() for keys in self.credentials.fetched.values())]

    def _readiness(self, audit: AuditLog, pipeline: Pipeline, clock: SystemClock) -> Ready:
        return Ready(
            audit=audit,
            policy_digest=lambda: pipeline.policy_digest,
            stopping=lambda: pipeline.stopping,
            token_age_s=lambda: round(clock.monotonic_s() - self.credentials.token.since_s),
            notices=lambda: [*self.credentials.notices(), *expiring(self.config.keys, datetime.now(UTC).date())],
        )

    def _edge(self, pipeline: Pipeline, refusals: RefusalLog, pages: HealthPages, clock: SystemClock) -> Edge:
        limits = self.config.limits
        return Edge(
            authenticator=Authenticator(
                self.config.keys,
                is_upstream_token=self.credentials.token.is_upstream_token,
                tokens=TokenVerifier(self.credentials.issuers),
            ),
            admission=Admission(
                max_in_flight=limits.max_in_flight,
                principal_in_flight=limits.per_principal.in_flight,
                requests_per_minute=limits.per_principal.requests_per_minute,
            ),
            pipeline=pipeline,
            refusals=refusals,
            pages=pages,
            proxies=TrustedProxies(self.config.trusted_proxies),
            clock=clock,
            limits=EdgeLimits(limits.max_body_bytes, limits.max_run_ids, limits.receive_timeout_s),
            is_secret=self.credentials.token.is_in,
            log=self.log,
        )

    def _listeners(self, edge: Edge, pages: HealthPages, refusals: RefusalLog) -> list[Listener]:
        limits = self.config.limits
        descriptors = raise_descriptor_limit() - RESERVED_DESCRIPTORS - self.config.upstream.max_connections

        def settings(refusals: RefusalPort, most: int) -> ProtocolSettings:
            return ProtocolSettings(
                max_target_bytes=limits.max_target_bytes,
                max_header_bytes=limits.max_header_bytes,
                receive_timeout_s=limits.receive_timeout_s,
                refusals=refusals,
                connections=Connections(most),
            )

        most = max(HEALTH_CONNECTIONS, min(MAX_CONNECTIONS, descriptors // 2))
        listeners = [Listener(edge, self.listener, settings(refusals, most), self.tls)]
        if self.health is not None:
            listeners.append(Listener(HealthApp(pages), self.health, settings(Unrecorded(), HEALTH_CONNECTIONS)))
        return listeners


def build(config: Config) -> Gateway:
    """Reads the policies and secrets, and binds the listeners.

    Raises:
        InvalidConfiguration: a policy file, a secret, an issuer's keys, or the listener's certificate cannot be used.
        OSError: an address cannot be bound.
    """
    forbid_core_dumps()
    quiet_libraries()
    for module in IMPORTED_LATE:
        import_module(module)
    if problems := list(audit_problems(config.audit)):
        raise InvalidConfiguration(problems)
    policies = load_policies(config.policies)
    credentials = _credentials(config)
    tls = tls_context(config.tls) if config.tls is not None else None
    audit = _audit_settings(config.audit)
    health = bind(config.health.listen, socket_mode=0) if config.health is not None else None
    # Last, so that a start that fails leaves no socket file.
    listener = bind(config.listen, socket_mode=config.socket_mode)
    return Gateway(
        config=config,
        policies=policies,
        credentials=credentials,
        audit=audit,
        listener=listener,
        socket_file=SocketFile.of(config.listen),
        tls=tls,
        health=health,
        log=make_log(),
    )


def _credentials(config: Config) -> _Credentials:
    source = config.upstream.token
    seen = fingerprint(source.file) if source.file is not None else None
    found = _Credentials(TokenHolder(UpstreamToken(read_secret(source, os.environ)), time.monotonic()))
    if any(found.token.is_upstream_token(key.digest) for key in config.keys):
        raise InvalidConfiguration([source.at.problem("a caller's key is the upstream token itself")])
    if source.file is not None:
        found.watched.append(WatchedFile(source.file, _token_reload(config, found.token), seen=seen))
    if source.env is not None:
        # Children inherit the environment; the token is not theirs.
        del os.environ[source.env]
    for issuer in config.issuers:
        found.issuers.append(PinnedIssuer(issuer, _key_set(issuer, config.issuers, found)))
    return found


def _token_reload(config: Config, holder: TokenHolder) -> Callable[[], None]:
    def reload() -> None:
        holder.replace(UpstreamToken(read_secret(config.upstream.token, os.environ)), time.monotonic())

    return reload


def _key_set(issuer: JwtIssuer, issuers: Sequence[JwtIssuer], found: _Credentials) -> KeySetPort:
    file, url = issuer.jwks.file, issuer.jwks.url
    if file is not None:
        seen = fingerprint(file)
        keys = key_file(issuer, file)
        found.watched.append(WatchedFile(file, keys.load, seen=seen))
        return keys
    assert url is not None
    if url not in found.fetched:
        # One for all entries with this address, so that it is asked once a minute and not once for each.
        algorithms = {name for other in issuers if other.jwks.url == url for name in other.algorithms}
        found.fetched[url] = FetchedKeySet(url, sorted(algorithms), make_transport(max_connections=1))
    return found.fetched[url]


def _audit_settings(audit: AuditConfig) -> AuditSettings:
    try:
        mac_key = load_mac_key(audit.mac_key) if audit.mac_key is not None else None
    except AuditFailure as exc:
        raise InvalidConfiguration([audit.at.problem(str(exc))]) from exc
    return AuditSettings(directory=audit.directory, durability=audit.durability, stdout=audit.stdout, mac_key=mac_key)
