"""What `/readyz` shows: whether intents can be made durable, and what will need attention soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.audit.log import AuditState

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
"""How many notices of one kind the page shows."""
MOST_CHARS = 1000
"""How much of one notice the page shows."""
RECENT_S = 0.1


class AuditStatePort(Protocol):
    """The audit log as far as it is asked here."""

    @property
    def state(self) -> AuditState:
        """Its state now."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The page's sources; each is asked anew for every page. `notices` are sentences for operators, kind by kind."""

    audit: AuditStatePort
    policy_digest: Callable[[], str]
    stopping: Callable[[], bool]
    token_age_s: Callable[[], int]
    notices: Sequence[Callable[[], Sequence[str]]]
    degraded: Callable[[], bool]

    def report(self) -> tuple[bool, dict[str, object]]:
        """Ready while intents can be made durable and the process is not ending; notices do not change that.

        `degraded` is ready as well: what was refused at a reload is not served, the last good one is.
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
            "token_age_s": self.token_age_s(),
            "notices": [line for kind in self.notices for line in bounded(kind())],
        }
        return ready, members


class Recent:
    """Notices that take a look at each of many things: looked for ten times a second at most, however often asked."""

    def __init__(self, kind: Callable[[], Sequence[str]], monotonic_s: Callable[[], float]) -> None:
        self._kind = kind
        self._monotonic_s = monotonic_s
        self._found: Sequence[str] = ()
        self._until_s = 0.0

    def __call__(self) -> Sequence[str]:
        """Returns them as they were found a tenth of a second ago at the earliest."""
        now_s = self._monotonic_s()
        if now_s >= self._until_s:
            self._found, self._until_s = self._kind(), now_s + RECENT_S
        return self._found


def bounded(found: Sequence[str]) -> Iterator[str]:
    """Shortens what there may be any number of: ten notices of one kind, and how many more there are."""
    for notice in found[:MOST_NOTICES]:
        yield notice if len(notice) <= MOST_CHARS else f"{notice[:MOST_CHARS]}…"
    if len(found) > MOST_NOTICES:
        yield f"and {len(found) - MOST_NOTICES} more"


def _audit_words(state: AuditState) -> str:
    """What is wrong with the audit log, and what to do, behind the log's own word for it."""
    if state.progress is not None:
        return f"recovering: {state.progress}"
    cause = str(state.reason)
    return f"audit {cause}: {_AUDIT_ADVICE.get(cause, 'see the audit section of the operations page')}"
