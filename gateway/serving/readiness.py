"""The content of `/readyz`: whether intents can be made durable, and what will need attention soon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from gateway.audit.log import AuditState
from gateway.core.errors import counted
from gateway.core.ports import OperatorsLog

_AUDIT_ADVICE = {
    "full": "the disk is full, make room",
    "failed": "a write failed, check the disk and the mount of the audit directory",
    "unclosed": "a closing record is not on disk yet, make room or check the disk and the mount",
    "slow": "the disk takes longer than 2 s for a write",
    "starved": "the writer gets no time on the processor, give the container more CPU",
    "queue": "more records wait than the disk takes",
    "stopped": "the log is closed",
}


MOST_NOTICES = 10
"""The most notices of one kind that the page shows."""
MOST_CHARS = 1000
"""The most characters of one notice that the page shows."""
RECENT_S = 0.1
DAMAGED = "chain_damaged"
"""The event in the operators' log that names an old chain that could not be continued, and why."""
MOST_DAMAGED = 10
"""The most such chains that the operators' log names; the `start` record names a hundred."""


class Noticed(Protocol):
    """Something that operators may have to know of."""

    @property
    def notice(self) -> str | None:
        """The sentence for operators, None if there is nothing to say."""


def of_each(things: Callable[[], Iterable[Noticed]]) -> Callable[[], list[str]]:
    """Return the source of the notices of these things."""
    return lambda: [notice for one in things() if (notice := one.notice) is not None]


class AuditStatePort(Protocol):
    """The part of the audit log that readiness reads."""

    @property
    def state(self) -> AuditState:
        """The state of the log now."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The page's sources, each read again for every page. `notices` give sentences for operators, kind by kind."""

    audit: AuditStatePort
    policy_digest: Callable[[], str]
    stopping: Callable[[], bool]
    token_age_s: Callable[[], int]
    upstream: Callable[[], Mapping[str, object]]
    notices: Sequence[Callable[[], Sequence[str]]]
    degraded: Callable[[], bool]

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return whether the gateway is ready, and the members of the page.

        It is ready while intents can be made durable and the process is not ending. Notices do not change that, nor
        does an upstream that is away: no other gateway would be nearer to it.
        `degraded` counts as ready: a reload was refused, and the last good configuration is served.
        """
        state = self.audit.state
        stopping = self.stopping()
        ready = state.ready and not stopping
        members: dict[str, object] = {
            "state": ("degraded" if self.degraded() else "ready") if ready else "not ready",
            "reason": "shutting_down" if stopping else None if state.ready else _audit_words(state),
            "policy_digest": self.policy_digest(),
            "audit": {
                "ready": state.ready,
                "notice": state.reason,
                "seq": state.seq,
                "head": state.head,
                "open_intents": state.open_intents,
                "left_out": state.left_out,
                "copies_dropped": state.copies_dropped,
                "checkpoint": state.checkpoint,
            },
            "upstream": self.upstream(),
            "token_age_s": self.token_age_s(),
            "notices": [*_damaged(state), *(line for kind in self.notices for line in bounded(kind()))],
        }
        return ready, members


class Recent:
    """Notices that are costly to find, looked for at most ten times a second however often they are requested."""

    def __init__(self, kind: Callable[[], Sequence[str]], monotonic_s: Callable[[], float]) -> None:
        self._kind = kind
        self._monotonic_s = monotonic_s
        self._found: Sequence[str] = ()
        self._until_s = 0.0

    def __call__(self) -> Sequence[str]:
        """Return the notices as found at most a tenth of a second ago."""
        now_s = self._monotonic_s()
        if now_s >= self._until_s:
            self._found, self._until_s = self._kind(), now_s + RECENT_S
        return self._found


def bounded(found: Sequence[str]) -> Iterator[str]:
    """Yield at most ten notices of one kind, each shortened, then how many more there are."""
    for notice in found[:MOST_NOTICES]:
        yield notice if len(notice) <= MOST_CHARS else f"{notice[:MOST_CHARS]}…"
    if len(found) > MOST_NOTICES:
        yield f"and {len(found) - MOST_NOTICES} more"


def tell_damaged(damaged: Mapping[str, str], log: OperatorsLog) -> None:
    """Log the chains that could not be continued, and why: a line for each of the first ten, then how many more."""
    for chain, why in islice(damaged.items(), MOST_DAMAGED):
        log.error(DAMAGED, chain=chain, problem=why)
    if len(damaged) > MOST_DAMAGED:
        log.error(DAMAGED, more=len(damaged) - MOST_DAMAGED)


def _damaged(state: AuditState) -> Iterator[str]:
    """Yield the notice of old chains that could not be continued. It counts them: the page needs no key."""
    if state.damaged:
        chains = counted(len(state.damaged), "audit chain")
        yield f"{chains} could not be continued, and may hold open intents: see {DAMAGED} in the operators' log"


def _audit_words(state: AuditState) -> str:
    """Return what is wrong with the audit log and what to do, after the log's own word for it."""
    if state.progress is not None:
        return f"recovering: {state.progress}"
    cause = str(state.reason)
    return f"audit {cause}: {_AUDIT_ADVICE.get(cause, 'see the audit section of the operations page')}"
