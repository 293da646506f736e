"""The configuration file: its text becomes raw values with their places, and these a complete, frozen `Config`.

It never holds a secret, only the place of each. Paths are relative to the file that names them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from gateway.callers.settings import CallerKey, JwtIssuer, Limits, PerPrincipal, PerTeam, RawCallers, callers
from gateway.core.errors import InvalidConfiguration, Problem
from gateway.core.run import LookUpBounds
from gateway.files import addresses
from gateway.files.addresses import MAX_ADDRESSES, ConsoleAt, Health, Listen, MetricsAt, TlsFiles, UnixListen
from gateway.files.mappings import ListOf, Present, Several, Shape, may, need
from gateway.files.nodes import Mapping, Place
from gateway.files.source import BY_ANYONE, anyone_may_change, named, parse_document, read_anyway
from gateway.files.values import Bool, Choice, Int, Text, path_field
from gateway.notices.settings import ReceiverSettings, notify
from gateway.notices.settings import complete as complete_receiver
from gateway.policy.format.keys import team_name
from gateway.policy.rules import Policies
from gateway.state.settings import RawState, StateSettings, state
from gateway.state.settings import complete as complete_state
from gateway.upstream.settings import MAX_SECONDS, RawUpstream, UpstreamSettings, complete, upstream

Durability = Literal["fsync", "os"]
DURABILITIES: tuple[Durability, ...] = ("fsync", "os")

CLOSING_S = 3
"""The seconds of `shutdown_grace_s` kept for recording and answering after calls in flight are given up."""

_OPERATORS_NEED_STATE = (
    "operators freeze and thaw, which has to outlive the process: add 'state: {url: \"sqlite:state.db\"}'"
)

_NOTIFY_NEEDS_STATE = (
    "what is not delivered yet has to outlive the process: add 'state: {url: \"sqlite:state.db\"}' beside 'notify'"
)

_TRACING = ("opentelemetry.proto", "urllib3")
_MAX_BYTES = 16 * 1024 * 1024
_MAX_PLACES = 100_000


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """The `audit` section: where the record is kept, and how durable a write must be before it counts."""

    directory: Path
    durability: Durability
    stdout: bool
    mac_key: Path | None
    at: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """The complete configuration of `serve`. `telemetry` is the collector that traces go to, `state` the store.

    Principals of the teams in `operators` see what all teams did, and freeze and thaw. `notify` are the receivers of
    notices.
    """

    listen: tuple[Listen | UnixListen, ...]
    socket_mode: int
    tls: TlsFiles | None
    health: Health | None
    metrics: MetricsAt | None
    upstream: UpstreamSettings
    keys: tuple[CallerKey, ...]
    issuers: tuple[JwtIssuer, ...]
    policies: Path
    audit: AuditConfig
    limits: Limits
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    shutdown_grace_s: int
    keep_alive_s: int
    telemetry: str | None
    state: StateSettings | None
    operators: tuple[str, ...]
    notify: tuple[ReceiverSettings, ...]
    console: ConsoleAt | None


@dataclass(frozen=True, slots=True)
class RawAudit:
    """The `audit` section before paths are resolved."""

    directory: Path
    at: Place
    durability: Durability = "fsync"
    stdout: bool = False
    mac_key: Path | None = None


@dataclass(frozen=True, slots=True)
class RawConfig:
    """The configuration file before paths are resolved; every value has the right type."""

    version: int
    listen: tuple[tuple[Place, Listen | UnixListen], ...]
    upstream: RawUpstream
    callers: RawCallers
    policies: Path
    audit: RawAudit
    limits: Limits = Limits()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    shutdown_grace_s: int = 35
    socket_mode: int = 0o660
    tls: TlsFiles | None = None
    health: tuple[tuple[Place, Listen], ...] = ()
    metrics: MetricsAt | None = None
    keep_alive_s: int = 75
    telemetry: str | None = None
    state: RawState | None = None
    operators: tuple[str, ...] = ()
    notify: tuple[ReceiverSettings, ...] = ()
    console: ConsoleAt | None = None


def load_config(path: Path) -> Config:
    """Return the configuration that a file describes.

    Raises: InvalidConfiguration: the file has problems; the exception holds all of them.
    """
    file = read_anyway(path)
    node, problems = parse_document(str(path), file.content)
    problems += [Problem(str(path), 1, 1, BY_ANYONE)] if file.by_anyone else []
    raw, base = config_file().read(node, problems), path.absolute().parent
    if raw is not None and isinstance(node, Mapping):
        keys = {key.text: key.place for key, _ in node.members}
        listen = [
            (at if len(raw.listen) > 1 else keys["listen"], _complete_listen(one, base)) for at, one in raw.listen
        ]
        health = [(at if len(raw.health) > 1 else keys["health"], one) for at, one in raw.health]
        problems += addresses.clashes(listen, health, metrics=raw.metrics, console=raw.console, keys=keys)
        if raw.operators and raw.state is None:
            problems.append(keys["operators"].problem(_OPERATORS_NEED_STATE))
        if raw.notify and raw.state is None:
            problems.append(keys["notify"].problem(_NOTIFY_NEEDS_STATE))
    if problems or raw is None:
        raise InvalidConfiguration(problems)
    return _complete(raw, base)


def named_policies(path: Path) -> Path | None:
    """Return the policy directory that a configuration names, even if the rest of the file is wrong; else None."""
    try:
        node, _ = parse_document(str(path), read_anyway(path).content)
    except InvalidConfiguration:
        return None
    named = Shape(lambda *, policies: policies, {"policies": need(path_field())}).read(node, [])
    return None if named is None else path.absolute().parent / named


def config_file() -> Shape[RawConfig]:
    """Return the reader of the configuration file."""
    tls = {"certificate": need(path_field()), "key": need(path_field())}
    keys = {
        "version": need(Int(1, 1)),
        "listen": need(Several(Text(addresses.listen), MAX_ADDRESSES)),
        "upstream": need(upstream()),
        "callers": need(callers()),
        "policies": need(path_field()),
        "audit": need(_audit()),
        "limits": may(_limits()),
        "trusted_proxies": may(ListOf(Text(addresses.network), min_items=0)),
        "shutdown_grace_s": may(Int(1, MAX_SECONDS)),
        "socket_mode": may(Text(addresses.socket_mode, "0[0-7]{3}")),
        "tls": may(Shape(TlsFiles, tls, located=True, hidden=True)),
        "health": may(Shape(lambda listen: listen, {"listen": need(Several(Text(addresses.address), MAX_ADDRESSES))})),
        "metrics": may(_metrics()),
        "keep_alive_s": may(Int(1, MAX_SECONDS)),
        "telemetry": may(_telemetry()),
        "state": may(state()),
        "console": may(Shape(ConsoleAt, {"listen": need(Text(addresses.address)), "host": may(Text(addresses.host))})),
        "operators": may(Shape(lambda teams: teams, {"teams": need(ListOf(team_name()))})),
        "notify": may(notify()),
    }
    return Shape(RawConfig, keys)


def _telemetry() -> Shape[str]:
    url = Text(lambda text: addresses.origin(text, allow_http=True).url, hidden=True)
    return Shape(lambda otlp: otlp, {"otlp": need(url)}, check=_can_trace, hidden=True)


def _can_trace(place: Place, present: Present) -> list[Problem]:
    with suppress(ModuleNotFoundError):
        if all(find_spec(name) is not None for name in _TRACING):
            return []
    return [place.problem("traces need the extra 'otel', which is not installed: pip install 'qstash-gateway[otel]'")]


def _metrics() -> Shape[MetricsAt]:
    keys = {"on": may(Choice(("health",))), "listen": may(Text(addresses.address))}
    return Shape(lambda listen=None, **_: MetricsAt(listen), keys, one_of=("on", "listen"))


def _audit() -> Shape[RawAudit]:
    keys = {
        "directory": need(path_field()),
        "durability": may(Choice(DURABILITIES)),
        "stdout": may(Bool()),
        "mac_key": may(Shape(lambda file: file, {"file": need(path_field())}, hidden=True)),
    }
    return Shape(RawAudit, keys, located=True)


def _limits() -> Shape[Limits]:
    per_principal = {"in_flight": may(Int(0, _MAX_PLACES)), "requests_per_minute": may(Int(0, 1_000_000))}
    keys = {
        "max_target_bytes": may(Int(1, _MAX_BYTES)),
        "max_body_bytes": may(Int(1, _MAX_BYTES)),
        "max_header_bytes": may(Int(1, _MAX_BYTES)),
        "max_run_ids": may(Int(1, _MAX_PLACES)),
        "receive_timeout_s": may(Int(1, MAX_SECONDS)),
        "max_in_flight": may(Int(1, _MAX_PLACES)),
        "per_principal": may(Shape(PerPrincipal, per_principal)),
        "per_team": may(Shape(PerTeam, {"in_flight": may(Int(0, _MAX_PLACES))})),
        "lookup": may(Shape(LookUpBounds, {"runs": may(Int(1, _MAX_PLACES)), "seconds": may(Int(1, MAX_SECONDS))})),
    }
    return Shape(Limits, keys)


def _complete(raw: RawConfig, base: Path) -> Config:
    return Config(
        listen=tuple(_complete_listen(one, base) for _, one in raw.listen),
        socket_mode=raw.socket_mode,
        tls=_complete_tls(raw.tls, base) if raw.tls is not None else None,
        health=Health(tuple(one for _, one in raw.health)) if raw.health else None,
        metrics=raw.metrics,
        upstream=complete(raw.upstream, base),
        keys=raw.callers.keys,
        issuers=tuple(_complete_issuer(issuer, base) for issuer in raw.callers.jwt),
        policies=base / raw.policies,
        audit=_complete_audit(raw.audit, base),
        limits=raw.limits,
        trusted_proxies=raw.trusted_proxies,
        shutdown_grace_s=raw.shutdown_grace_s,
        keep_alive_s=raw.keep_alive_s,
        telemetry=raw.telemetry,
        state=None if raw.state is None else complete_state(raw.state, base, base / raw.audit.directory),
        operators=raw.operators,
        notify=tuple(complete_receiver(one, base) for one in raw.notify),
        console=raw.console,
    )


def _complete_listen(listen: Listen | UnixListen, base: Path) -> Listen | UnixListen:
    return UnixListen(base / listen.path) if isinstance(listen, UnixListen) else listen


def _complete_tls(tls: TlsFiles, base: Path) -> TlsFiles:
    return replace(tls, certificate=base / tls.certificate, key=base / tls.key)


def _complete_issuer(issuer: JwtIssuer, base: Path) -> JwtIssuer:
    file = issuer.jwks.file
    return issuer if file is None else replace(issuer, jwks=replace(issuer.jwks, file=base / file))


def _complete_audit(raw: RawAudit, base: Path) -> AuditConfig:
    mac_key = None if raw.mac_key is None else base / raw.mac_key
    return AuditConfig(base / raw.directory, raw.durability, raw.stdout, mac_key, raw.at)


def audit_problems(audit: AuditConfig) -> Iterator[Problem]:
    """Yield why the audit directory cannot be used, as far as can be told without writing to it."""
    directory = audit.directory
    existing = directory if directory.exists() else directory.parent
    if not existing.is_dir():
        yield audit.at.problem(f"the audit directory cannot be used: {named(existing)} is no directory; make it")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield audit.at.problem(f"the audit directory cannot be used: {existing} is not writable")
    elif existing is directory and anyone_may_change(directory):
        yield audit.at.problem(
            f"the audit directory {directory}: {BY_ANYONE}, or name a new directory inside it, which is made for "
            "the gateway alone"
        )


def state_problems(policies: Policies, *, has_state: bool) -> Iterator[Problem]:
    """Yield a problem for each rule with a budget or an approval, if the configuration names no state to keep it in."""
    for rule in policies.rules:
        kept = [("a budget", rule.budget), ("an approval", rule.approval)]
        for what in [said for said, value in kept if value is not None and not has_state]:
            place = rule.at or Place(rule.policy, 1, 1)
            yield place.problem(
                f"{rule.name} has {what}, which has to outlive the process, so the configuration needs 'state', like "
                'state: {url: "sqlite:state.db"}'
            )


def resolve_problems(policies: Policies, config: Config) -> Iterator[Problem]:
    """Yield a problem for each rule that has runs looked up, if there is no read-only token to do it with."""
    if config.upstream.read_token is not None:
        return
    for rule in policies.rules:
        if rule.resolution is not None:
            place = rule.at or Place(rule.policy, 1, 1)
            yield place.problem(
                f"{rule.name} has runs looked up ('resolve: true'), so the configuration needs "
                "upstream.read_token, the account's read-only token; the token that writes never stands in for it"
            )
