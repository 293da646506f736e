"""The reload of policies, callers and limits while serving: parse -> schema -> cases -> one swap, or no change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from gateway.audit.events.declare import Members
from gateway.audit.events.reloads import reload_members
from gateway.authoring.cases import check_cases
from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.in_force import InForce, LiveSettings
from gateway.callers.issuers import Pins, pin
from gateway.config import Config, load_config, resolve_problems, state_problems
from gateway.core.errors import InvalidConfiguration, Problem
from gateway.core.ports import NotePort, OperatorsLog
from gateway.files.watch import EVERY_S, Fingerprint, fingerprint, fingerprints
from gateway.policy.format.load import load_policies
from gateway.policy.rules import Policies
from gateway.process import Net, report

Cause = Literal["signal", "change"]
Look = tuple[Fingerprint, tuple[tuple[str, Fingerprint], ...] | None]
"""The fingerprints of the configuration file and of the files in the policy directory, taken without reading them."""

AT_START = (
    *("listen", "socket_mode", "tls", "health", "metrics", "upstream", "audit", "shutdown_grace_s", "keep_alive_s"),
    *("telemetry", "state", "notify", "console"),
)
"""The keys of the configuration that take effect only at a start."""


class TokensPort(Protocol):
    """The part of the account's token holder that is needed to authenticate callers."""

    def is_upstream_token(self, digest: bytes) -> bool:
        """Return whether the SHA-256 is that of a token of the account, current or earlier."""


@dataclass(frozen=True, slots=True)
class Files:
    """The path of the configuration file, and the fingerprints of all files before they were read."""

    path: Path
    seen: Look


def look(file: Path, directory: Path) -> Look:
    """Return the fingerprints of the files now."""
    return fingerprint(file), fingerprints(directory)


def checked_policies(directory: Path) -> Policies:
    """Load the policies of a directory and check its cases. Raises: InvalidConfiguration."""
    policies = load_policies(directory)
    check_cases(directory, policies)
    return policies


def refuse(problems: Iterable[Problem]) -> None:
    """Raise InvalidConfiguration if there is any problem."""
    if found := list(problems):
        raise InvalidConfiguration(found)


def make_live(config: Config, policies: Policies, *, token: TokensPort, before: Pins) -> InForce:
    """Return the settings that can change while serving; key sets already fetched are taken over from `before`.

    Raises: InvalidConfiguration: a caller's key is the upstream token, or an issuer's keys cannot be used.
    """
    if any(token.is_upstream_token(key.digest) for key in config.keys):
        raise InvalidConfiguration([config.upstream.token.at.problem("a caller's key is the upstream token itself")])
    pins = pin(config.issuers, before)
    authenticator = Authenticator(config.keys, is_upstream_token=token.is_upstream_token, tokens=pins.verifier())
    proxies, operators = TrustedProxies(config.trusted_proxies), frozenset(config.operators)
    return InForce(policies, authenticator, config.keys, pins, config.limits, proxies, operators)


def changes(before: Config, after: Config) -> dict[str, list[str]]:
    """Return the names of the callers and settings that differ, by kind of change (`audit.events.reloads`).

    A key or issuer counts as changed if its digest, its end, its claims or anything else differs under the same name.
    """
    found: dict[str, list[str]] = {}
    for what, old, new in (
        ("keys", _keys(before), _keys(after)),
        ("issuers", _issuers(before), _issuers(after)),
    ):
        found[f"{what}_added"] = sorted(new.keys() - old.keys())
        found[f"{what}_removed"] = sorted(old.keys() - new.keys())
        found[f"{what}_changed"] = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    settings = ("limits", "trusted_proxies", "operators")
    found["settings_changed"] = [name for name in settings if getattr(before, name) != getattr(after, name)]
    return found


def _keys(config: Config) -> dict[str, object]:
    return {f"{key.team}/{key.id}": key for key in config.keys}


def _issuers(config: Config) -> dict[str, object]:
    """Return each issuer's entries in a comparable form; their order has no meaning."""
    found: dict[str, list[str]] = {}
    for entry in config.issuers:
        plain = replace(entry, claims=dict(sorted(entry.claims.items())))
        found.setdefault(entry.issuer, []).append(repr(plain))
    return {issuer: sorted(entries) for issuer, entries in found.items()}


@dataclass(frozen=True, slots=True)
class _Read:
    """The result of reading everything again: new settings to serve, or the problems found at `stage`.

    `digest` is that of the policies, None if they could not be read.
    """

    digest: str | None
    stage: str
    problems: tuple[Problem, ...] = ()
    config: Config | None = None
    live: InForce | None = None
    changed: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Reloader:
    """The part that reads everything again on SIGHUP or a changed file. If that fails, the last good state stays.

    `keep` keeps the text of policies durably, and may raise OSError. `told` is called with the sentence for operators
    when files are refused; whoever wants to know sets it. It raises nothing.
    """

    def __init__(
        self,
        files: Files,
        config: Config,
        *,
        current: LiveSettings,
        token: TokensPort,
        audit: NotePort,
        keep: Callable[[Policies], None],
        log: OperatorsLog,
    ) -> None:
        self._file = files.path
        self._started = self._in_force = config
        self._directory = config.policies
        self._seen: Look | None = files.seen
        self._last: Look | None = None
        self._pending: Cause | None = None
        self._refused: str | None = None
        self._at_start_changed: tuple[str, ...] = ()
        self._current = current
        self._token = token
        self._audit = audit
        self._keep = keep
        self._log = log
        self.told: Callable[[str], None] = lambda _: None

    @property
    def degraded(self) -> bool:
        """Whether the files were refused, so that what is served differs from them."""
        return self._refused is not None

    def notices(self) -> list[str]:
        """Return the notices for operators: a refused reload, and changes that need a restart."""
        found = [self._refused] if self._refused is not None else []
        if self._at_start_changed:
            found.append(
                f"changed in {self._file} and in use only after a restart: {', '.join(self._at_start_changed)}"
            )
        return found

    async def run(self, asked: asyncio.Event) -> None:
        """Look every second, and at once when `asked` is set; run until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await asked.wait()
            signal = asked.is_set()
            asked.clear()
            with Net() as net:
                await self._look_again(signal=signal)
            if net.fault is not None:
                # For example no thread could be started. The next look tries again, also on behalf of a signal.
                report(net.fault, "the files were not looked at")
                if signal:
                    self._seen, self._pending = None, "signal"

    async def _look_again(self, *, signal: bool) -> None:
        seen = await asyncio.to_thread(self._look)
        # Only two equal looks count, so that somebody who writes several files, or one slowly, can finish.
        stable, self._last = seen == self._last, seen
        if signal:
            await self._reload("signal", seen)
        elif stable and seen != self._seen:
            await self._reload(self._pending or "change", seen)

    def _look(self) -> Look:
        return look(self._file, self._directory)

    async def _reload(self, cause: Cause, seen: Look) -> None:
        read = await asyncio.to_thread(self._read)
        if await asyncio.to_thread(self._look) != seen:
            # Half of one state and half of the next may have been read; read again once the files stop changing.
            self._seen, self._pending = None, cause
            return
        self._seen, self._pending = seen, None
        old_digest = self._current.live.policies.digest
        if read.live is not None and read.config is not None:
            self._swap(read.live, read.config)
        else:
            self._refused = _sentence(read)
            self.told(self._refused)
        problems = [str(problem) for problem in read.problems]
        members = reload_members(
            cause, old_digest=old_digest, new_digest=read.digest, problems=problems, changed=read.changed
        )
        await self._audit.note("reload", members)
        self._tell(members)

    def _read(self) -> _Read:
        digest, stage = None, "the configuration"
        with Net() as net:
            config = load_config(self._file)
            self._directory, stage = config.policies, "the policies"
            policies = load_policies(config.policies)
            # A record may name only policies whose text is kept.
            stage = "the record of the policies"
            self._keep(policies)
            digest, stage = policies.digest, "the policies' cases"
            check_cases(config.policies, policies)
            # A read-only token takes effect only at a start, like all of `upstream`.
            state = self._started.state is not None
            refuse([*resolve_problems(policies, self._started), *state_problems(policies, has_state=state)])
            stage = "the callers"
            live = make_live(config, policies, token=self._token, before=self._current.live.pins)
            return _Read(digest, stage, config=config, live=live, changed=changes(self._in_force, config))
        # Whatever is wrong, the last good state stays.
        if isinstance(net.fault, InvalidConfiguration):
            return _Read(digest, stage, tuple(sorted(net.fault.problems)))
        unforeseen = Problem(str(self._file), 1, 1, f"{stage} cannot be used: {type(net.fault).__name__}")
        return _Read(digest, stage, (unforeseen,))

    def _swap(self, live: InForce, config: Config) -> None:
        self._current.swap(live)
        self._in_force = config
        self._refused = None
        self._at_start_changed = tuple(
            name for name in AT_START if getattr(config, name) != getattr(self._started, name)
        )

    def _tell(self, members: Members) -> None:
        if members["outcome"] == "applied":
            self._log.info("reload_applied", **members, restart_needed=list(self._at_start_changed))
        else:
            self._log.error("reload_refused", **members)


def _sentence(read: _Read) -> str:
    """Return what was refused and where to look. The page needs no key, so no text of a rule is shown."""
    first, more = read.problems[0], len(read.problems) - 1
    place = f"{first.file}:{first.line}:{first.column}" + (f" and {more} more" if more else "")
    return f"a reload was refused for {read.stage} ({place}), the last good one stays; the log says why: reload_refused"
