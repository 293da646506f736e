"""The composition root: configuration in, a serving process out. The only place that makes parts and joins them.

bytes -> protocol -> asgi -> authn -> read -> pipeline ( decide -> audit -> upstream -> audit ) -> problems -> bytes
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import uuid_utils

from gateway import __version__
from gateway.asgi import Edge, EdgeLimits, ErrorLog
from gateway.audit.log import AuditLog, AuditSettings
from gateway.audit.segment import load_mac_key
from gateway.authn import Authenticator
from gateway.config import AuditConfig, Config
from gateway.connections import Connections
from gateway.credential import UpstreamToken
from gateway.hardening import forbid_core_dumps, raise_descriptor_limit
from gateway.limits import Admission
from gateway.log import make_log, quiet_libraries
from gateway.pipeline import Pipeline
from gateway.policy.load import load_policies
from gateway.policy.rules import Policies
from gateway.protocol import ProtocolSettings
from gateway.proxies import TrustedProxies
from gateway.refusals import RefusalLog
from gateway.secret import read_secret
from gateway.serving import Listener, StopSignals, serve_until_stopped
from gateway.upstream import Upstream, UpstreamLimits, make_transport

MAX_CONNECTIONS = 2048
RESERVED_DESCRIPTORS = 64
"""Kept from connections for the audit log, the listener and upstream's name look-ups."""


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


@dataclass(frozen=True, slots=True)
class Ready:
    """What `/readyz` shows: audit state, policy digest, how long the token has been held."""

    audit: AuditLog
    policies: Policies
    pipeline: Pipeline
    clock: SystemClock
    token_read_s: float

    def report(self) -> tuple[bool, dict[str, object]]:
        """Ready while intents can be made durable and none of the parts is stopping."""
        state = self.audit.state
        stopping = self.pipeline.stopping
        ready = state.ready and not stopping
        members: dict[str, object] = {
            "status": "ready" if ready else "not ready",
            "reason": "shutting_down" if stopping else None if state.ready else f"audit: {state.reason}",
            "policy_digest": self.policies.digest,
            "audit": {
                "ready": state.ready,
                "notice": state.reason,
                "seq": state.seq,
                "head": state.head,
                "open_intents": state.open_intents,
                "left_out": state.left_out,
                "checkpoint": state.checkpoint,
            },
            "token_age_s": round(self.clock.monotonic_s() - self.token_read_s),
        }
        return ready, members


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway ready to serve on `listener`; nothing of it runs before `serve`."""

    config: Config
    policies: Policies
    token: UpstreamToken
    audit: AuditSettings
    listener: socket.socket
    log: ErrorLog
    stdout: int = 1

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serves until SIGTERM or SIGINT, then ends within the grace period; `ready` is called once it can serve.

        Raises:
            AuditFailure: the audit log cannot be opened.
        """
        signals = StopSignals()
        clock, config = SystemClock(), self.config
        audit = await AuditLog.open(
            self.audit,
            instance=str(uuid_utils.uuid7()),
            upstream=config.upstream.url,
            start={"version": __version__, "policy_digest": self.policies.digest},
            stdout=self.stdout,
        )
        limits = UpstreamLimits(
            config.upstream.connect_timeout_s, config.upstream.total_timeout_s, config.upstream.max_connections
        )
        upstream = Upstream(config.upstream.url, self.token, limits=limits, transport=make_transport(limits))
        pipeline = Pipeline(
            policies=self.policies, upstream=upstream, upstream_url=config.upstream.url, audit=audit, clock=clock
        )
        refusals = RefusalLog(audit, clock)
        listener = Listener(self._edge(audit, pipeline, refusals, clock), self.listener, self._protocol(refusals))
        ready()
        await serve_until_stopped(listener, signals, grace_s=config.shutdown_grace_s, stop=pipeline.stop)
        await pipeline.stop(0)
        await audit.stop({"refusals_left_out": refusals.left_out})
        await upstream.aclose()

    def _edge(self, audit: AuditLog, pipeline: Pipeline, refusals: RefusalLog, clock: SystemClock) -> Edge:
        limits = self.config.limits
        return Edge(
            authenticator=Authenticator(self.config.keys, token_digest=self.token.digest),
            admission=Admission(
                max_in_flight=limits.max_in_flight,
                principal_in_flight=limits.per_principal.in_flight,
                requests_per_minute=limits.per_principal.requests_per_minute,
            ),
            pipeline=pipeline,
            refusals=refusals,
            readiness=Ready(audit, self.policies, pipeline, clock, clock.monotonic_s()),
            proxies=TrustedProxies(self.config.trusted_proxies),
            clock=clock,
            limits=EdgeLimits(limits.max_body_bytes, limits.max_run_ids, limits.receive_timeout_s),
            log=self.log,
        )

    def _protocol(self, refusals: RefusalLog) -> ProtocolSettings:
        limits = self.config.limits
        descriptors = raise_descriptor_limit() - RESERVED_DESCRIPTORS - self.config.upstream.max_connections
        return ProtocolSettings(
            max_target_bytes=limits.max_target_bytes,
            max_header_bytes=limits.max_header_bytes,
            receive_timeout_s=limits.receive_timeout_s,
            refusals=refusals,
            connections=Connections(max(16, min(MAX_CONNECTIONS, descriptors))),
        )


def build(config: Config) -> Gateway:
    """Reads the policies and secrets, and binds the listener.

    Raises:
        InvalidConfiguration: a policy file or a secret cannot be used.
        AuditFailure: the audit key cannot be read.
        OSError: the address cannot be bound.
    """
    forbid_core_dumps()
    quiet_libraries()
    for module in IMPORTED_LATE:
        import_module(module)
    policies = load_policies(config.policies)
    token = UpstreamToken(read_secret(config.upstream.token, os.environ))
    if config.upstream.token.env is not None:
        # Children inherit the environment; the token is not theirs.
        del os.environ[config.upstream.token.env]
    audit = _audit_settings(config.audit)
    return Gateway(config, policies, token, audit, _bind(config.listen.host, config.listen.port), make_log())


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _audit_settings(audit: AuditConfig) -> AuditSettings:
    mac_key = load_mac_key(audit.mac_key) if audit.mac_key is not None else None
    return AuditSettings(directory=audit.directory, durability=audit.durability, stdout=audit.stdout, mac_key=mac_key)
