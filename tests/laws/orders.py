"""What an order of another action may do, and what it would do to an account under each reading of upstream's."""

from __future__ import annotations

from gateway.core.plan import Order
from gateway.core.request import Action, ActionRequest, ByIds
from gateway.operations.table import OPERATIONS
from tests.laws.calls import PATHS, Account, Deed, Reading
from tests.laws.models import MODELS
from tests.laws.reference import Run

NOW_MS = 1_790_000_000_000
READINGS = tuple(Reading(path, model) for path in PATHS for model in MODELS)
SWITCHES = {"flowControlKey": "flowControl", "queue": "queues", "schedule": "schedules"}
KINDS = {
    Action.CANCEL_MESSAGES: ("messages",),
    Action.DELETE_MESSAGE_DLQ: ("failed", "dead"),
    Action.RETRY_MESSAGE_DLQ: ("failed", "dead"),
    Action.DELETE_DLQ: ("failed",),
    Action.RESUME_DLQ: ("failed",),
    Action.RESTART_DLQ: ("failed",),
}


def thing(name: str, label: str = "theirs") -> Run:
    """Something that upstream has, in the form of a run."""
    return Run(name, "https://a.example/api", label, "k", "10.0.0.1", NOW_MS)


def deeds(order: Order, account: Account, reading: Reading) -> set[Deed]:
    """What such a server does for an order."""
    return reading.deeds(*OPERATIONS[order.action].target(order), account)


def wanted(asked: ActionRequest) -> set[Deed]:
    """What may be done for a request by IDs."""
    assert isinstance(asked.selection, ByIds)
    kinds = KINDS.get(asked.action) or (SWITCHES[asked.selection.name],)
    return {Deed(asked.action.value, kind, one) for kind in kinds for one in asked.selection.ids}
