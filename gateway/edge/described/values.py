"""The values in requests and answers, as JSON Schema. A later version may add members; readers ignore those."""

from __future__ import annotations

from gateway.core.forms.shown import PLANS, SAMPLE
from gateway.core.request import CANCEL_RUNS, Action
from gateway.edge.described.declare import (
    RULE,
    TIME,
    UUID,
    Schema,
    listed,
    mapping,
    number,
    or_null,
    ref,
    text,
    value,
    yes_or_no,
)
from gateway.edge.described.overview import counts, policies, records
from gateway.execution.plans.draft import State

_REQUEST = "as an object with the names of its query; names that may be repeated have lists"


def _left() -> Schema:
    members = {"runs": number("How many."), "sample": listed("Some of their IDs.", {"type": "string"}, maxItems=SAMPLE)}
    return value("Runs, or things of another action, that were meant but are left as they are.", members)


def _run() -> Schema:
    members = {
        "workflowRunId": text("The ID of the run; beside `dlqId` that of the run which has failed."),
        "dlqId": text("The ID of the entry of the dead letter queue, where the plan is about those."),
        "messageId": text("The ID of the message, where the plan is about those."),
        "created": text("When it was created.", **TIME),
        "workflowUrl": text("The URL of its workflow."),
        "labels": listed("Its labels.", {"type": "string"}),
    }
    says = "One run, entry or message. URL and labels are left out under a rule with `owner: unchecked`."
    return value(says, members, maybe=("workflowRunId", "dlqId", "messageId", "workflowUrl", "labels"))


def _narrowed() -> Schema:
    pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    members: dict[str, Schema] = {
        "count": {**pair, "description": "The count that was asked for, and what `count: {cap}` of a rule left of it."},
        "runs": {**pair, "description": "The count that was asked for, and what `runs: {cap}` of a rule left of it."},
        "by": text(f"{RULE} that did it."),
    }
    return value("What policy lowered; one of `count` and `runs`.", members, maybe=("count", "runs"))


def _settled() -> Schema:
    members = {
        "at": text("When it was learnt.", **TIME),
        "source": text("What was read."),
        "cancelled": or_null(number("How many runs were cancelled; null if that cannot be known any more.")),
    }
    return value("What was learnt later of an outcome that was not known.", members)


def _not_admitted() -> Schema:
    members = {
        "rule": text(f"{RULE} that came nearest."),
        "field": text("The field of the request, by its name there."),
        "value": or_null(text("The value that was not admitted; null if the field is missing.")),
    }
    return value("What a rule did not admit.", members)


def _owner() -> Schema:
    members = {"team": text("The team."), "contact": text("How it is reached.")}
    return value("Whom to ask about a rule.", members)


_ALWAYS = ("plan", "state", "expires_in_s", "action")


OF_A_PLAN: dict[str, Schema] = {
    "plan": text("The ID of the plan.", **UUID),
    "state": text(
        "`looking` while its runs are looked up; `ready` to be applied; `awaiting_approval` until others have approved "
        "it and it is applied; `applying` meanwhile; the others are its end.",
        enum=[state.value for state in State],
    ),
    "expires_in_s": number("How long it can still be applied, in seconds."),
    "action": text("What it is to do: `cancel_runs`, or another action, whose entries or messages `runs` counts."),
    "pages": number("While it is looking: how many pages of QStash's list were read."),
    "matched": number("While it is looking: how many runs match so far."),
    "error": text("Why its look-up failed, or why what was found is refused."),
    "not_admitted": ref("NotAdmitted"),
    "owner": ref("Owner"),
    "digest": text("The SHA-256 of its runs, as on record.", pattern="^[0-9a-f]{64}$"),
    "runs": number("How many runs it would cancel."),
    "sample": listed("Some of them.", ref("Run"), maxItems=SAMPLE),
    "oldest": or_null(text("When the oldest was created; null if there are none.", **TIME)),
    "newest": or_null(text("When the newest was created; null if there are none.", **TIME)),
    "by_workflow": mapping("How many runs each workflow's URL has.", number("Runs.")),
    "by_label": mapping("How many runs each label has.", number("Runs.")),
    "skipped": mapping("Runs that match but are left out, by the word for the reason.", ref("Left")),
    "rule": or_null(text(f"{RULE} that allows it, or that refused what was found.")),
    "count": number("The most runs that it may cancel."),
    "narrowed": or_null(ref("Narrowed")),
    "apply": text("The call that applies it.", pattern=f"^POST {PLANS}/"),
    "orders": value(
        "Its orders to QStash, of at most 100 runs each.",
        {"planned": number("How many there are."), "sent": number("How many were sent so far.")},
    ),
    "orders_sent": number("How many orders were sent so far."),
    "cancelled": number("How many runs are certainly cancelled so far."),
    "outcome": or_null(text("The word for what came of applying it; null before that.")),
    "settled": or_null(ref("Settled")),
    "more": yes_or_no("Whether further runs match: beyond the count, or because the list was not read to its end."),
    "read_to_end": yes_or_no("Whether the list was read to its end, so that all that match are in runs or skipped."),
    "as_of": or_null(text("QStash's time when the look-up began; null if it did not say.", **TIME)),
    "budget": ref("Budget"),
    "principal": text("In the list of all callers' plans, and for who is to approve it: whose it is."),
    "approvals": ref("Approvals"),
    "reason": or_null(text("For who is to approve it: why it is wanted, in the requester's words.")),
    "request": {"type": "object", "description": f"For who is to approve it: the request, {_REQUEST}."},
    "listed": listed("For who is to approve it: every run that it would cancel.", ref("Run")),
}
"""The members that a plan may have; a problem that names a plan as it is has them too."""


def _approvals() -> Schema:
    members = {
        "needed": number("How many principals have to approve."),
        "by": listed("The teams whose principals may.", {"type": "string"}),
        "given": listed("Who has approved.", ref("Voice")),
        "rejected": or_null(ref("Voice")),
        "until": text("When it expires.", **TIME),
    }
    return value("What is known of the approvals of a plan.", members)


def _voice() -> Schema:
    members = {
        "principal": text("Who."),
        "at": text("When.", **TIME),
        "reason": or_null(text("Why, in their words.")),
    }
    return value("What somebody has said of a plan.", members)


def _to_say() -> Schema:
    members: dict[str, Schema] = {
        "digest": text("The `digest` of the plan that was looked at.", pattern="^[0-9a-f]{64}$"),
        "decision": text("What you say.", enum=["approve", "reject"]),
        "reason": or_null(text("Why, for the requester and the record.", maxLength=200)),
    }
    return {**value("What is said of a plan.", members, maybe=("reason",)), "additionalProperties": False}


def _plan() -> Schema:
    says = (
        "Runs that were looked up, to be cancelled exactly as they are. Which members it has beside `plan`, `state` "
        "and `expires_in_s` depends on its state."
    )
    return value(says, OF_A_PLAN, maybe=tuple(name for name in OF_A_PLAN if name not in _ALWAYS))


def _budget() -> Schema:
    runs, requests = number("Runs, if the budget bounds them."), number("Requests, if the budget bounds them.")
    left = value(
        "What is left of it for the caller.",
        {
            "runs": runs,
            "requests": requests,
            "resets_at": text("When all of it would be there again, if nothing more is taken.", **TIME),
        },
        maybe=("runs", "requests"),
    )
    members: dict[str, Schema] = {
        "runs": runs,
        "requests": requests,
        "per": text("The while within which they count, like `24h`."),
        "shared": text("Who share it.", enum=["rule", "team", "key"]),
        "left": {**or_null(left), "description": "What is left; null if the shared state did not say it in time."},
    }
    return value("The budget of a rule.", members, maybe=("runs", "requests"))


def _rule_offered() -> Schema:
    members: dict[str, Schema] = {
        "rule": text(f"{RULE}."),
        "words": text("What it allows, in words."),
        "example": or_null({"type": "object", "description": f"A request that it would allow now, {_REQUEST}."}),
        "request": or_null(text("The request line of the example, to send or to ask `explain` about.")),
        "owner": or_null(ref("Owner")),
        "budget": ref("Budget"),
    }
    return value("A rule that allows the caller something.", members, maybe=("budget",))


def _action_offered() -> Schema:
    members = {
        "action": text("The action.", enum=[one.value for one in Action if one is not CANCEL_RUNS]),
        "rules": listed("The rules that allow it to the team now.", ref("RuleOffered")),
        "left_out": number("How many further rules are not shown."),
    }
    return value("What the caller may do besides cancelling runs.", members)


def _whoami() -> Schema:
    members = {
        "team": text("The caller's team."),
        "principal": text("The caller, as on record."),
        "expires": or_null(text("When the credential ends; null if it does not.", **TIME)),
        "claims": mapping("The claims of the token that the gateway's operators pinned.", {"type": "string"}),
        "operator": yes_or_no("Whether the team is one of the gateway's operators."),
        "rules": listed("The rules that allow the team to cancel runs now.", ref("RuleOffered")),
        "left_out": number("How many further rules are not shown."),
        "actions": listed("The other actions that a rule allows the team now.", ref("ActionOffered")),
    }
    return value("Who the caller is, and what it may do.", members)


def _rule_explained() -> Schema:
    pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    members: dict[str, Schema] = {
        "rule": text(f"{RULE}."),
        "effect": text("Its kind.", enum=["deny", "require", "allow"]),
        "mode": text("Whether it is enforced.", enum=["enforce", "shadow"]),
        "result": text("What it said, like `matched`, `held`, `admitted` or `set aside`."),
        "words": or_null(text("Why, where there is something to say.")),
        "count": {**pair, "description": "The count before and after it."},
        "decides": yes_or_no("Whether the decision names it."),
        "left_to_runs": yes_or_no("Whether it is judged again on the runs that are found."),
    }
    return value("One rule's part in a decision.", members)


def _explanation() -> Schema:
    verdict = ["permit", "deny"]
    bounds = {
        "max": number("More runs than that are refused."),
        "cap": number("At most so many are taken."),
        "older_than": text("Younger runs are left out, like `5m`."),
    }
    resolve = value("The bounds on the runs that are looked up.", bounds, maybe=tuple(bounds))
    members: dict[str, Schema] = {
        "action": text("What the request in question asks for.", enum=[one.value for one in Action]),
        "decision": text("The decision, with rules in shadow mode counted.", enum=verdict),
        "enforced": text("The decision that holds.", enum=verdict),
        "rule": or_null(text(f"{RULE} that decides; null if none allows it.")),
        "shadow": or_null(text("The rule in shadow mode that makes a difference.")),
        "exceptions": listed(
            "The exceptions that the team has from rules that would have counted.", {"type": "string"}
        ),
        "asked": {"type": "object", "description": f"The request in question, {_REQUEST}."},
        "effective": or_null({"type": "object", "description": f"What is allowed of it, {_REQUEST}; null if nothing."}),
        "resolve": or_null(resolve),
        "reason": or_null(text("Why it is refused, for people.")),
        "nearest": or_null({"type": "object", "description": f"A part of it that would be allowed, {_REQUEST}."}),
        "not_admitted": or_null(ref("NotAdmitted")),
        "owner": or_null(ref("Owner")),
        "rules": listed("The part of each rule made for the team.", ref("RuleExplained")),
        "left_out": number("How many further rules are not shown."),
        "policy_digest": text("The SHA-256 of the policies.", pattern="^[0-9a-f]{64}$"),
        "budget": ref("Budget"),
    }
    return value("How a request would be decided now, and why.", members, maybe=("budget",))


STATES = ("denied", "in_flight", "cancelled", "accepted", "refused", "not_sent", "unknown")


def _decision() -> Schema:
    members: dict[str, Schema] = {
        "decision_id": text("The ID of the decision, from the header Gateway-Decision.", **UUID),
        "at": text("When it was made.", **TIME),
        "team": text("The team that made it."),
        "principal": text("Who made it, as on record."),
        "action": text("What was asked for, like `cancel_runs`."),
        "request": {"type": "object", "description": f"The request, {_REQUEST}."},
        "rule": or_null(text(f"{RULE} that decided; null if none allowed it.")),
        "decision": text("What policy said.", enum=["permit", "deny"]),
        "state": text(
            "What became of it. `unknown`: it may have been carried out, and must not be repeated blindly.",
            enum=list(STATES),
        ),
        "cancelled": or_null(
            number("To how many things it was certainly done, as runs cancelled or entries deleted; null: unknown.")
        ),
        "over_cancelled": number("To how many things QStash did it beyond those sent to it."),
        "orders": value(
            "The orders to QStash.",
            {"planned": number("How many there are."), "sent": number("How many were sent, or may have been.")},
        ),
        "upstream_status": or_null(number("The status of QStash's answer; null if there was none.")),
        "settled": or_null(ref("Settled")),
        "reason": or_null(text("Why it was asked for, in the caller's words.")),
        "policy_digest": text("The SHA-256 of the policies that it was judged by."),
    }
    return value("What became of one request.", members)


def _asked() -> Schema:
    members: dict[str, Schema] = {
        "request": text(
            "A request line, like `DELETE /v2/workflows/runs/wfr_1`, or only a query, like `label=nightly`."
        ),
        "action": text("What a query alone asks for; without it a cancel of runs.", enum=[one.value for one in Action]),
        "body": {
            "type": ["object", "string", "null"],
            "description": "The body of that request, if it has one.",
        },
        "headers": mapping("The headers that say more of it, like `Upstash-Retries`, by name.", {"type": "string"}),
        "reason": or_null(text("Why, for the record; where the call itself would have the header Gateway-Reason.")),
    }
    said = value("A request that is asked about.", members, maybe=("action", "body", "headers", "reason"))
    return {**said, "additionalProperties": False}


_OF_A_FREEZE: dict[str, Schema] = {
    "team": or_null(text("The team whose calls it stops; null for all teams.")),
    "rule": or_null(text("The `allow`, as `file/id`, under which it stops calls; null for all rules.")),
    "reason": text("Why, for callers and the record.", maxLength=200),
    "until": or_null(text("When it ends by itself; null if somebody has to end it.", **TIME)),
}


def _freeze() -> Schema:
    instances: Schema = {"type": "string"}
    members: dict[str, Schema] = {
        "id": text("The ID of the freeze.", **UUID),
        **_OF_A_FREEZE,
        "by": text("Who froze: a caller, `cli:<uid>` for the command line, or `gateway` itself."),
        "at": text("When.", **TIME),
        "in_force": listed("On the answer to a new one: the gateways that have it in force.", instances),
        "silent": listed("There too: the gateways of which nobody knows.", instances),
        "thawed_at": text("When somebody ended it.", **TIME),
        "thawed_by": text("Who did."),
    }
    maybe = ("in_force", "silent", "thawed_at", "thawed_by")
    return value("A switch that stops calls that are sent to QStash.", members, maybe=maybe)


def _to_freeze() -> Schema:
    says = "What to freeze: with neither team nor rule, everything."
    return {**value(says, _OF_A_FREEZE, maybe=("team", "rule", "until")), "additionalProperties": False}


VALUES: dict[str, Schema] = {
    "Approvals": _approvals(),
    "Asked": _asked(),
    "Budget": _budget(),
    "AwaitingApproval": value(
        "The plans that wait for the caller's team.", {"approvals": listed("The plans, newest first.", ref("Plan"))}
    ),
    "Cancelled": value(
        "What was cancelled. The plan of another action is answered as the call of that action is.",
        {
            "cancelled": number("How many runs, or messages."),
            "deleted": number("How many entries were deleted."),
            "cursor": text("Empty: nothing is left of the plan."),
            "workflowRuns": listed("The runs that were started.", {"type": "object"}),
            "responses": listed("The messages that were sent.", {"type": "object"}),
        },
        maybe=("cancelled", "deleted", "cursor", "workflowRuns", "responses"),
    ),
    "Counts": counts(),
    "Decision": _decision(),
    "Decisions": value(
        "A page of decisions.",
        {
            "decisions": listed("The decisions, newest first.", ref("Decision")),
            "cursor": text("The `cursor` of the next page; empty on the last one."),
        },
    ),
    "Document": {"type": "object", "description": "This document."},
    "Explanation": _explanation(),
    "Freeze": _freeze(),
    "Freezes": value("The freezes in force.", {"freezes": listed("The freezes, oldest first.", ref("Freeze"))}),
    "Left": _left(),
    "Narrowed": _narrowed(),
    "Nothing": {"type": "object", "description": "Nothing: an empty object, or no body.", "maxProperties": 0},
    "NotAdmitted": _not_admitted(),
    "Owner": _owner(),
    "Plan": _plan(),
    "Plans": value("The plans of the caller.", {"plans": listed("The plans, newest first.", ref("Plan"))}),
    "Policies": policies(),
    "Records": records(),
    "RuleExplained": _rule_explained(),
    "ActionOffered": _action_offered(),
    "RuleOffered": _rule_offered(),
    "Run": _run(),
    "Settled": _settled(),
    "ToFreeze": _to_freeze(),
    "ToSay": _to_say(),
    "Voice": _voice(),
    "Whoami": _whoami(),
}
"""Every value that a call takes or returns, by name."""
