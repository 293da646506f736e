"""The problems (RFC 9457) that calls of the gateway are answered with, and the members that they have."""

from __future__ import annotations

from gateway.core.errors import (
    AuditUnavailable,
    DecisionsUnavailable,
    ExpectationFailed,
    KeyReused,
    LookupFailed,
    MalformedRequest,
    NoSuchScope,
    NotAnApprover,
    NotAnOperator,
    NotFound,
    Overloaded,
    ReceiveTimeout,
    ShuttingDown,
    StateUnavailable,
    Throttled,
    TooLarge,
    Unauthenticated,
)
from gateway.core.forms.shown import DECISIONS
from gateway.edge.described.declare import (
    RULE,
    UUID,
    Problem,
    Schema,
    mapping,
    number,
    or_null,
    ref,
    text,
    value,
    yes_or_no,
)
from gateway.edge.described.values import OF_A_PLAN

EVERYWHERE = (
    Problem.of(MalformedRequest, "The request cannot be read in exactly one way; `error` says why."),
    Problem.of(Unauthenticated, "There is no credential, or none that is accepted; every cause has the same text."),
    Problem.of(ReceiveTimeout, "The request did not arrive in time."),
    Problem.of(TooLarge, "The body is too long, or names too many runs.", status=413),
    Problem.of(TooLarge, "The path with its query is too long.", status=414),
    Problem.of(ExpectationFailed, "Send the same without the header Expect."),
    Problem.of(Throttled, "The caller or its team has reached a limit. Wait as long as Retry-After says."),
    Problem.of(TooLarge, "The headers are too long, or too many.", status=431),
    Problem.of(Overloaded, "The gateway is busy. Try again."),
    Problem.of(ShuttingDown, "The gateway is ending. Try again."),
    Problem(
        503, "internal_error", "A fault of the gateway's own; nothing was sent. Tell its operators the decision id."
    ),
)
"""The problems that every call may be answered with."""

DENIED = Problem(
    403,
    "policy_denied",
    "Policy refuses. `rule` did, or no rule allows it; `nearest` is a part that would be allowed, if there is one.",
    ("rule", "nearest", "not_admitted", "owner"),
)
FROZEN = Problem(
    403,
    "frozen",
    "The rule admits it, and a freeze stops it; nothing was sent. `freeze`, `by`, `why` and `until` say which.",
    ("rule", "freeze", "by", "why", "until"),
)
NO_BUDGET = Problem(
    403,
    "budget_exhausted",
    "Not enough is left of the rule's budget, so nothing was sent; all of it is there again at `resets_at`.",
    ("rule", "left", "resets_at"),
)
NO_STATE = Problem.of(
    StateUnavailable, "The state that gateways share is not known, and the request needs it; nothing was sent."
)
OPERATORS_ONLY = Problem.of(NotAnOperator, "Only principals of a team under `operators` may do this.")
NOT_AN_APPROVER = Problem.of(
    NotAnApprover,
    "The rule asks for principals of other teams, for somebody else than the requester, or another person.",
)
NO_SUCH_SCOPE = Problem.of(NoSuchScope, "No `allow` in force, or no team, has this name.")
FREEZE_UNSURE = Problem.of(
    StateUnavailable,
    "The state that gateways share may not have it. A new freeze holds in this gateway all the same, and is written "
    "again and again: do not repeat the call.",
    "id",
)
NO_FREEZE = Problem.of(NotFound, "No freeze in force has this ID, or this gateway has no shared state.")
UNRECORDED = Problem.of(AuditUnavailable, "The record cannot be written, so nothing was done. Try again later.")
LOOK_UP_FAILED = Problem.of(
    LookupFailed, "QStash's list of runs could not be read to the end; nothing was sent. `cause` says why.", "cause"
)
NO_READ_TOKEN = Problem.of(NotFound, "This gateway looks no runs up: it has no read-only token.")
NO_PLAN = Problem.of(NotFound, "There is no such plan of the caller, or not any more.")
NO_INDEX = Problem.of(
    DecisionsUnavailable, "Decisions that are not in memory cannot be looked up now. Nothing else depends on it."
)
NO_DECISION = Problem.of(NotFound, "There is no such decision of the caller's team on record, or not any more.")

_OF_A_PLAN = ("plan", "state")
NOT_WAITING = (
    Problem(
        409,
        "approval_void",
        "The approval does not hold: its time is up, or what it is bound to has changed, as `cause` says.",
        (*_OF_A_PLAN, "cause"),
    ),
    Problem(409, "plan_rejected", "Somebody has rejected it; `approvals` says who.", (*_OF_A_PLAN, "approvals")),
    Problem(409, "plan_applied", "The plan was applied before; nothing was sent.", _OF_A_PLAN),
    Problem(409, "plan_stopped", "The plan was stopped; nothing was sent.", _OF_A_PLAN),
)
"""The problems of what people say of a plan that does not wait for approval any more."""

CANCELLING = (
    Problem(
        409,
        "approval_required",
        "Others have to approve the runs of the plan first; nothing was sent. The answer has the members of the plan. "
        "Once they have, apply it, or send the same cancel again.",
        (*_OF_A_PLAN, "approvals", "digest"),
    ),
    *NOT_WAITING[:2],
    Problem(409, "plan_pending", "The runs are still being looked up; nothing was sent.", _OF_A_PLAN),
    Problem(409, "plan_applied", "The plan was applied before; nothing was sent.", _OF_A_PLAN),
    Problem(409, "plan_refused", "The look-up came to no plan; nothing was sent.", _OF_A_PLAN),
    Problem(409, "plan_damaged", "The shared store does not hold the plan as it was made.", _OF_A_PLAN),
    Problem(
        409,
        "plan_stopped",
        "The plan was stopped: before it was applied, or in the middle, and then with how far it came.",
        (*_OF_A_PLAN, "cancelled", "orders_sent", "unsent", "over_cancelled"),
    ),
    Problem(
        409,
        "outcome_unknown",
        "The Idempotency-Key came before, and nobody can say what came of that request: it is never sent again.",
        ("decision", "status_url", "cancelled"),
    ),
    Problem.of(KeyReused, "The Idempotency-Key came with another request of the caller before; nothing was sent."),
    Problem(409, "nothing_cancelled", "Nothing was cancelled, and runs that match are left.", ("more", "skipped")),
    Problem(
        429,
        "throttled",
        "QStash is throttling the account (Gateway-Source: upstream); the order that it refused cancelled nothing.",
        ("over_cancelled",),
    ),
    Problem(
        502,
        "upstream_refused",
        "QStash refused the gateway's call; nothing was cancelled.",
        ("upstream_status", "upstream_error", "over_cancelled"),
    ),
    Problem(502, "upstream_unreachable", "Nothing was sent; `cause` says why.", ("cause", "over_cancelled")),
    Problem(
        504,
        "outcome_unknown",
        "The cancel may have happened. Do not repeat it blindly: ask for the decision at `status_url`.",
        ("status_url", "cause", "upstream_status", "action_id", "progress", "over_cancelled"),
    ),
)
"""The problems of the calls that cancel."""

_BASE: dict[str, Schema] = {
    "error": text("One sentence for people. The official clients show it."),
    "type": text("The kind of problem: `code` as a URN.", pattern="^urn:qstash-gateway:problem:[a-z_]+$"),
    "title": text("The kind of problem, in words."),
    "status": {"type": "integer", "description": "The status of the answer."},
    "code": text("The kind of problem, for programs.", pattern="^[a-z_]+$"),
    "decision_id": text("The ID of the decision, as in the header Gateway-Decision.", **UUID),
}
"""The members that every problem has."""

_PROGRESS = value(
    "How far the orders came when one of them did not end well.",
    {"cancelled": number("How many runs are certainly cancelled."), "unsent": ref("Left"), "unknown": ref("Left")},
)
_MORE: dict[str, Schema] = {
    "rule": or_null(text(f"{RULE} that refused; null if none allows it.")),
    "nearest": {"type": "object", "description": "A part of the request that would be allowed."},
    "not_admitted": ref("NotAdmitted"),
    "owner": ref("Owner"),
    "freeze": text("The ID of the freeze.", **UUID),
    "id": text("The ID of the freeze that was to be set or ended.", **UUID),
    "by": text("Who froze."),
    "why": text("Why, in the words of whoever froze."),
    "until": or_null(text("When the freeze ends by itself; null if somebody has to end it.", format="date-time")),
    "left": number("How much is left of the budget: runs, or requests."),
    "resets_at": text("When all of the budget is there again.", format="date-time"),
    "decision": text("The ID of the decision that came with the Idempotency-Key before.", **UUID),
    "plan": text("The ID of the plan.", **UUID),
    "state": text("The state of the plan."),
    "cause": text("A fixed word for the cause."),
    "more": yes_or_no("Whether further runs match, or the list was not read to its end."),
    "skipped": mapping("Runs that match and are left, by the word for the reason.", ref("Left")),
    "cancelled": or_null(number("How many runs are certainly cancelled; null if nobody can say.")),
    "over_cancelled": number("How many runs QStash cancelled beyond those sent to it."),
    "orders_sent": number("How many orders were sent."),
    "unsent": ref("Left"),
    "upstream_status": number("The status of QStash's answer."),
    "upstream_error": text("What QStash said, as far as it may be shown."),
    "action_id": text("The bulk action that QStash goes on with."),
    "progress": _PROGRESS,
    "status_url": text("Where to ask what became of it.", pattern=f"^{DECISIONS}/"),
}


def problem_schema() -> Schema:
    """Return the schema of every problem: the members that all have, and those that only some have."""
    more = {**OF_A_PLAN, **_MORE}
    del more["error"]  # that of the problem
    return value("A problem (RFC 9457).", {**_BASE, **more}, maybe=tuple(more))
