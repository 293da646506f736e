"""What `/readyz` shows: whether intents can be made durable, and what will need attention soon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.audit.log import AuditState


class AuditStatePort(Protocol):
    """The audit log as far as it is asked here."""

    @property
    def state(self) -> AuditState:
        """Its state now."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The page's sources; each is asked anew for every page."""

    audit: AuditStatePort
    policy_digest: Callable[[], str]
    stopping: Callable[[], bool]
    token_age_s: Callable[[], int]
    notices: Callable[[], list[str]]

    def report(self) -> tuple[bool, dict[str, object]]:
        """Ready while intents can be made durable and the process is not ending; notices do not change that."""
        state = self.audit.state
        stopping = self.stopping()
        ready = state.ready and not stopping
        members: dict[str, object] = {
            "status": "ready" if ready else "not ready",
            "reason": "shutting_down" if stopping else None if state.ready else f"audit: {state.reason}",
            "policy_digest": self.policy_digest(),
            "audit": {
                "ready": state.ready,
                "notice": state.reason,
                "seq": state.seq,
                "head": state.head,
                "open_intents": state.open_intents,
                "left_out": state.left_out,
                "checkpoint": state.checkpoint,
            },
            "token_age_s": self.token_age_s(),
            "notices": self.notices(),
        }
        return ready, members
