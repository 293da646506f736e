"""The gateway's own calls, each with everything that it takes and answers: one entry for each route below /gateway/v1.

A test compares these entries with the routes of `edge/routing/table`, in both directions, and another one real answers
with them.
"""

from __future__ import annotations

from gateway.core.forms.shown import APPROVALS, COUNTS, DECISIONS, EVENTS, FREEZES, PLANS, POLICIES
from gateway.edge.described.declare import Call, Result, number, text
from gateway.edge.described.problems import (
    CANCELLING,
    DENIED,
    EVERYWHERE,
    FREEZE_UNSURE,
    FROZEN,
    LOOK_UP_FAILED,
    NO_BUDGET,
    NO_DECISION,
    NO_FREEZE,
    NO_INDEX,
    NO_PLAN,
    NO_READ_TOKEN,
    NO_STATE,
    NO_SUCH_SCOPE,
    NOT_AN_APPROVER,
    NOT_WAITING,
    OPERATORS_ONLY,
    UNRECORDED,
)

OF_A_CANCEL = (
    *("Gateway-Narrowed", "Gateway-More", "Gateway-Skipped", "Gateway-Over-Cancelled"),
    *("Gateway-Budget", "Gateway-Replayed"),
)
"""The headers that say more of a cancel. They stand on every answer that has an outcome."""

UNDER_BUDGET = ("Gateway-Budget",)
"""The header that may stand on any answer once the rule of a request is known."""
SINCE = text("How far back, like `90m`, `24h` or `7d`.", default="24h", pattern="^[1-9][0-9]{0,3}[mhd]$")

CALLS: tuple[Call, ...] = (
    Call(
        "GET",
        "/gateway/v1/whoami",
        "whoami",
        "Who am I, and what may I do?",
        "Shows the rules of the caller's team in words, each with a request that it would allow now.",
        (Result(200, "The caller, and what it may do.", "Whoami"),),
        EVERYWHERE,
    ),
    Call(
        "POST",
        "/gateway/v1/explain",
        "explain",
        "How would a request be decided?",
        "Nothing is sent, and no runs are looked up. That it was asked is recorded.",
        (Result(200, "The decision, and each rule's part in it.", "Explanation"),),
        (*EVERYWHERE, UNRECORDED),
        body="Asked",
        body_required=True,
    ),
    Call(
        "POST",
        PLANS,
        "plan",
        "Which runs would a request cancel?",
        "Looks the runs up, or what else the action is about, and keeps them as a plan that can be applied for ten "
        "minutes. Nothing is sent. Needs a gateway that can look them up.",
        (
            Result(201, "The plan.", "Plan", UNDER_BUDGET),
            Result(202, "The look-up goes on: ask for the plan again.", "Plan", UNDER_BUDGET),
        ),
        (*EVERYWHERE, DENIED, NO_READ_TOKEN, LOOK_UP_FAILED, UNRECORDED),
        body="Asked",
        body_required=True,
        headers=dict.fromkeys((403, 404, 413, 429, 502, 503), UNDER_BUDGET),
    ),
    Call(
        "GET",
        PLANS,
        "getPlans",
        "Which plans do I have?",
        "Shows the caller's plans that are still kept, in any state.",
        (Result(200, "The plans, newest first.", "Plans"),),
        (*EVERYWHERE, OPERATORS_ONLY),
        query={
            "all": {
                **text("For operators: the plans of all callers, each with its `principal`."),
                "enum": ["true"],
            }
        },
    ),
    Call(
        "GET",
        PLANS + "/{plan}",
        "getPlan",
        "How far is a plan?",
        "Shows a plan of the caller in any state; to operators any plan; one that waits to those who may approve it.",
        (Result(200, "The plan.", "Plan", UNDER_BUDGET),),
        (*EVERYWHERE, NO_PLAN),
    ),
    Call(
        "POST",
        PLANS + "/{plan}/apply",
        "applyPlan",
        "Cancel the runs of a plan.",
        "Judges the request again, and cancels exactly those runs of the plan that still run, once. A repeat while it "
        "is under way waits for the same outcome.",
        (Result(200, "All orders were carried out.", "Cancelled", OF_A_CANCEL),),
        (*EVERYWHERE, DENIED, FROZEN, NO_BUDGET, NO_PLAN, *CANCELLING, UNRECORDED, NO_STATE),
        body="Nothing",
        headers={
            **dict.fromkeys((404, 413, 422, 503), UNDER_BUDGET),
            **dict.fromkeys((403, 409, 429, 502, 504), OF_A_CANCEL),
        },
    ),
    Call(
        "GET",
        APPROVALS,
        "getApprovals",
        "Which cancels wait for my team's approval?",
        "Shows the plans that wait for principals of the caller's team, each with whose it is and why. Reading "
        "approves nothing. Needs a gateway with shared state.",
        (Result(200, "The plans.", "AwaitingApproval"),),
        (*EVERYWHERE, NO_STATE, NO_PLAN),
    ),
    Call(
        "POST",
        PLANS + "/{plan}/approvals",
        "approvePlan",
        "Approve or reject the runs of a plan.",
        "For principals of a team that the rule names, pairwise different, none of them the requester. Whoever "
        "approves says which runs, by their digest. Said again it changes nothing; one rejection ends the plan.",
        (Result(201, "The plan, with what is known of its approvals now.", "Plan"),),
        (*EVERYWHERE, NOT_AN_APPROVER, NO_PLAN, *NOT_WAITING, UNRECORDED, NO_STATE),
        body="ToSay",
        body_required=True,
    ),
    Call(
        "DELETE",
        PLANS + "/{plan}",
        "stopPlan",
        "Stop a plan.",
        "Lets nothing more of the plan be sent. What was sent stays sent. A plan that has ended is shown as it is. "
        "Operators stop any plan.",
        (
            Result(200, "The plan, of which nothing is under way.", "Plan", UNDER_BUDGET),
            Result(202, "The plan, which ends with what is under way: its look-up, or an order.", "Plan", UNDER_BUDGET),
        ),
        (*EVERYWHERE, NO_PLAN),
        body="Nothing",
    ),
    Call(
        "GET",
        DECISIONS,
        "getDecisions",
        "What became of my team's requests?",
        "Shows a page of the decisions of the caller's team, newest first; to operators those of all teams.",
        (Result(200, "The page.", "Decisions"),),
        (*EVERYWHERE, NO_INDEX),
        query={
            "limit": {**number("How many, at the most.", default=20), "minimum": 1, "maximum": 100},
            "cursor": text("The `cursor` of the page before; the first page is without one."),
        },
    ),
    Call(
        "GET",
        DECISIONS + "/{decision}",
        "getDecision",
        "What became of a request?",
        "Shows a decision of the caller's team (to operators, of any), by the ID in the header Gateway-Decision of its "
        "answer.",
        (Result(200, "The decision.", "Decision", ("Gateway-Joined",)),),
        (*EVERYWHERE, NO_DECISION, NO_INDEX),
    ),
    Call(
        "GET",
        DECISIONS + "/{decision}/record",
        "getRecord",
        "What is on record of a decision, and does its chain verify?",
        "Shows the records of a decision of the caller's team (to operators, of any) with their places, and the part "
        "of each rule under the policies of that time. `audit verify` also compares chains with each other.",
        (Result(200, "The records.", "Records"),),
        (*EVERYWHERE, NO_DECISION, NO_INDEX),
    ),
    Call(
        "GET",
        COUNTS,
        "getCounts",
        "How many runs were cancelled, and how many requests refused, over time?",
        "Counts the decisions of the caller's team; to operators those of all teams. At most 2,000 are read.",
        (Result(200, "The numbers, the oldest first.", "Counts"),),
        (*EVERYWHERE, NO_INDEX),
        query={"since": SINCE},
    ),
    Call(
        "GET",
        EVENTS,
        "getEvents",
        "Which decisions are closed, as it happens?",
        "A stream of the decisions of the caller's team that this gateway closes; to operators of all teams. It ends "
        "when the credential is in force no more. A cancel never waits for it: what is not taken in time is left out, "
        "and an event `missed` says so.",
        (Result(200, "The stream, of events `decision`.", "Decision", stream=True),),
        EVERYWHERE,
    ),
    Call(
        "GET",
        POLICIES,
        "getPolicies",
        "Which policies are in force, and what do their rules do?",
        "Shows the files that are made for the caller's team or for every team, as written; to operators all. The "
        "counts are of at most 2,000 decisions of the caller's team, on this gateway's record.",
        (Result(200, "The policies.", "Policies"),),
        (*EVERYWHERE, NO_INDEX),
        query={"since": SINCE},
    ),
    Call(
        "GET",
        FREEZES,
        "getFreezes",
        "What is frozen?",
        "Shows the freezes in force that stop the caller's team; to operators all. Needs a gateway with shared state.",
        (Result(200, "The freezes, oldest first.", "Freezes"),),
        (*EVERYWHERE, NO_FREEZE),
    ),
    Call(
        "POST",
        FREEZES,
        "freeze",
        "Stop cancels, from now on.",
        "For operators. In this gateway it is in force at once, in every other one that reaches the shared state "
        "within a second. Previews, plans and reading go on.",
        (Result(201, "The freeze, and which gateways have it in force.", "Freeze"),),
        (*EVERYWHERE, OPERATORS_ONLY, NO_FREEZE, NO_SUCH_SCOPE, FREEZE_UNSURE),
        body="ToFreeze",
        body_required=True,
    ),
    Call(
        "DELETE",
        FREEZES + "/{freeze}",
        "thaw",
        "End a freeze.",
        "For operators.",
        (Result(200, "The freeze, and who ended it.", "Freeze"),),
        (*EVERYWHERE, OPERATORS_ONLY, NO_FREEZE, FREEZE_UNSURE),
        body="Nothing",
    ),
    Call(
        "GET",
        "/gateway/v1/openapi.json",
        "openapi",
        "What calls are there?",
        "Returns this document.",
        (Result(200, "This document.", "Document"),),
        EVERYWHERE,
    ),
)
"""The calls, in the order in which they are shown."""
