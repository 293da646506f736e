"""The bugs: what somebody might write who has not read the contract, and the part of the suite that should see it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.reliability.controls.copy import Bug
from tests.reliability.controls.in_actions import IN_ACTIONS
from tests.reliability.controls.in_approvals import IN_APPROVALS
from tests.reliability.controls.in_console import IN_CONSOLE
from tests.reliability.controls.in_decisions import IN_DECISIONS
from tests.reliability.controls.in_evidence import IN_EVIDENCE
from tests.reliability.controls.in_limits import IN_LIMITS
from tests.reliability.controls.in_notices import IN_NOTICES
from tests.reliability.controls.in_order import IN_ORDER
from tests.reliability.controls.in_pausing import IN_PAUSING
from tests.reliability.controls.in_reading import IN_READING
from tests.reliability.controls.in_resolving import IN_RESOLVING
from tests.reliability.controls.in_sending import IN_SENDING
from tests.reliability.controls.in_showing import IN_SHOWING
from tests.reliability.controls.in_stopping import IN_STOPPING

KINDS: Mapping[str, tuple[Bug, ...]] = MappingProxyType(
    {
        "reading and judging": IN_READING,
        "sending": IN_SENDING,
        "the other actions": IN_ACTIONS,
        "the record and its order": IN_ORDER,
        "looking runs up": IN_RESOLVING,
        "stopping and sending again": IN_STOPPING,
        "showing": IN_SHOWING,
        "decisions": IN_DECISIONS,
        "limits": IN_LIMITS,
        "the console": IN_CONSOLE,
        "what is told of cancels": IN_EVIDENCE,
        "notices": IN_NOTICES,
        "approvals": IN_APPROVALS,
        "pauses": IN_PAUSING,
    }
)
BUGS: tuple[Bug, ...] = tuple(bug for bugs in KINDS.values() for bug in bugs)
