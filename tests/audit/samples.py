"""A record of every event, in every variety: with and without each member that only some have."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from gateway.audit.chain import Members
from gateway.audit.events.approvals import asked_members, ended_members, said_members
from gateway.audit.events.catalogue import Recovery, Retired, Start, Stop
from gateway.audit.events.reloads import reload_members
from gateway.audit.events.starts import start_members
from gateway.audit.events.switches import freeze_members, thaw_members
from gateway.audit.record import (
    chunk_members,
    denied_members,
    explained_members,
    intent_members,
    joined_members,
    outcome_members,
    plan_members,
    recovered_members,
    refused_members,
    throttled_members,
    unsent_members,
    withdrawn_members,
)
from gateway.core.forms.correlation import NOT_GIVEN, Correlation
from gateway.core.outcome import Accepted, Cancelled, Closing, Made, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Barrier, Denial, Narrowing, Order, Permit, Plan, Reserved, order_of
from gateway.core.request import Action, ActionRequest, ByFilter, ByIds, Dialect, Principal
from gateway.core.run import Resolved, Run, Skip
from gateway.execution.fates import Fate, OrderedRuns, TrackedAction
from gateway.state.approvals import End, Voice, Waiting
from gateway.state.freezes import Freeze, Scope

ID, OTHER = "01890000-0000-7000-8000-000000000000", "01890000-0000-7000-8000-000000000001"
ZEROS, ONES = "0" * 64, "1" * 64
UPSTREAM = "https://u.example"
KEY = Principal("billing", "ci")
TOKEN = Principal("billing", "https://i.example#s", token_id="jti-1", claims=(("sub", "s"), ("repo", "a/b")))
LIST, FILTER_ = (
    ByIds(("wfr_1", "wfr_2")),
    ByFilter(workflow_urls=("https://b.example/x",), exact=True, labels=("nightly",)),
)
ASKED = ActionRequest(LIST, 2, reason="stuck")
FILTER = ActionRequest(FILTER_, 100, dialect=Dialect.BODY)
CAPPED = ActionRequest(FILTER_, 50, dialect=Dialect.BODY)
PERMIT = Permit(
    "billing/own",
    "permit",
    None,
    ASKED,
    exceptions=("g/exact-url: billing (ticket OPS-1)",),
    owner_unchecked=True,
)
NARROW = Permit("billing/cap", "permit", "billing/shadow", CAPPED, narrowing=Narrowing("count", "billing/cap"))
DENIAL = Denial(None, "deny", None, "no", None)
SHADOW = Denial("billing/x", "permit", "billing/s", "no", None)
SKIPPED = {Skip.YOUNG: ("wfr_8",), Skip.BEYOND_COUNT: ("wfr_9", "wfr_10")}
FOUND = Resolved(tuple(Run(f"wfr_{n}", "https://b.example/x", 1_700_000_000_000 + n) for n in (1, 2)), SKIPPED)
OUTCOMES: tuple[Outcome, ...] = (
    Cancelled(200, 3),
    Cancelled(200, 3, "act_1"),
    Cancelled(None, 0),
    Accepted(202, "act_2"),
    Refused(401, "no"),
    NotSent("dns"),
    Unknown("timeout"),
    Unknown("partial_audit", 504, Progress(3, ("wfr_1",), ("wfr_2", "wfr_3"))),
)
TRACED = Correlation("ab" * 16, "cd" * 8, sampled=True, request_id="order-4711_a.b")
CHANGED = {"keys_added": [f"billing/{n}" for n in range(101)], "settings_changed": ["limits"]}


def plan(
    permit: Permit,
    asked: ActionRequest,
    who: Principal = KEY,
    *,
    resolved: Resolved | None = None,
    plan_id: str | None = None,
    correlation: Correlation = NOT_GIVEN,
) -> Plan:
    """The plan that sends what a permit allows, as one order."""
    order = Order(permit.effective.selection, permit.effective.count)  # type: ignore[arg-type]
    remote = "10.0.0.1" if who is KEY else None
    return Plan(ID, who, asked, permit, (order,), ZEROS, remote, resolved, plan_id, correlation)


def chains() -> Iterator[tuple[str, Members]]:
    """The events of a chain itself."""
    serving = Start(version="1", policy_digest=ZEROS, contract="2026-09", count_is_advisory=True).members()
    keeping = Start(
        version="1", policy_digest=ZEROS, policies="kept", contract="2026-09", count_is_advisory=True
    ).members()
    retiring = Start(version="1", command="audit retire", by="cli:0").members()
    found = Start(
        heads={"a": {"seq": 3, "head": ZEROS}}, damaged=[{"chain": "b", "problem": "no"}], damaged_more=1
    ).members()
    suspect = Start(suspect=["x.1.jsonl"], last_good={"seq": 9, "head": ZEROS}).members()
    key_id = "ee6321d7"
    yield "start", start_members(serving, None)
    yield "start", start_members(serving, key_id, recovered=found)
    origin = {"chain": "a", "seq": 9, "head": ONES}
    yield "start", start_members(serving, key_id, origin=origin, intents=[ID]) | suspect  # type: ignore[arg-type]
    yield "start", start_members(retiring, None)
    yield "start", start_members(keeping, None)
    yield "stop", Stop(refusals_left_out=2, open=1).members()
    yield "stop", Stop(reason="size", open=0, continued_by="next").members()
    yield "stop", Stop(reason="retired", open=0).members()
    yield "recovery", Recovery(reason="restart", open=0, left_out=0, closed=1, torn_bytes=7).members()
    yield "recovery", Recovery(reason="left_out", open=2, left_out=3).members()
    yield "recovery", Recovery(reason="segment_gone", open=2, left_out=0, segment="a.1.jsonl").members()
    yield "recovery", Recovery(reason="lock_deleted", open=2, left_out=0).members()
    yield (
        "recovery",
        Recovery(
            reason="segment_suspect", open=2, left_out=0, suspect=["a.1.jsonl"], last_good={"seq": 0, "head": None}
        ).members(),
    )
    problems = ["f:1:1: no"] * 21 + ["x" * 600]
    yield "reload", reload_members("change", old_digest=ZEROS, new_digest=None, problems=problems)
    yield "reload", reload_members("signal", old_digest=ZEROS, new_digest=ONES, problems=[], changed=CHANGED)


def correlated() -> Iterator[tuple[str, Members]]:
    """The events that name a caller's ids, if it gave any."""
    yield (
        "refused",
        refused_members(ID, status=400, code="c", cause="e", remote=None, action="cancel_runs", correlation=TRACED),
    )
    yield (
        "denied",
        denied_members(
            ID,
            principal=KEY,
            asked=ASKED,
            denial=DENIAL,
            remote="10.0.0.1",
            policy_digest=ZEROS,
            upstream=UPSTREAM,
            correlation=TRACED,
        ),
    )
    yield "plan", plan_members(plan(PERMIT, ASKED, correlation=TRACED), FOUND, upstream=UPSTREAM)
    yield "intent", intent_members(plan(PERMIT, ASKED, correlation=TRACED), upstream=UPSTREAM)


def limited() -> Iterator[tuple[str, Members]]:
    """What a budget refuses, and what is sent within one, or once for its Idempotency-Key."""
    exhausted = DENIAL._replace(rule="billing/own", barrier=Barrier("budget_exhausted", "Budget exhausted", {}))
    yield (
        "denied",
        denied_members(
            ID, principal=KEY, asked=ASKED, denial=exhausted, remote=None, policy_digest=ZEROS, upstream=UPSTREAM
        ),
    )
    reserved = plan(PERMIT, ASKED)._replace(reserved=Reserved("billing/own", "team:billing", 2, 98, None, 7))
    yield "intent", intent_members(reserved, upstream=UPSTREAM)
    yield "intent", intent_members(reserved._replace(idempotency=ONES), upstream=UPSTREAM)
    yield "intent", intent_members(plan(PERMIT, ASKED)._replace(idempotency=ONES), upstream=UPSTREAM)


def refusals() -> Iterator[tuple[str, Members]]:
    """The answers without a cancel."""
    yield "refused", refused_members(ID, status=400, code="c", cause="e", remote=None)
    yield "refused", refused_members(ID, status=401, code="c", cause="e", remote="::1", principal=TOKEN, left_out=4)
    for who, asked, denial in ((KEY, ASKED, DENIAL), (TOKEN, FILTER, SHADOW)):
        remote = "10.0.0.1" if who is KEY else None
        yield (
            "denied",
            denied_members(
                ID, principal=who, asked=asked, denial=denial, remote=remote, policy_digest=ZEROS, upstream=UPSTREAM
            ),
        )
    yield "throttled", throttled_members(ID, principal=KEY, remote=None, cause="joins", limit=16, retry_after_s=1)
    yield (
        "throttled",
        throttled_members(ID, principal=TOKEN, remote="::1", cause="team", limit=16, retry_after_s=1, left_out=5),
    )


def cancels() -> Iterator[tuple[str, Members]]:
    """A cancel from its plan to what was learnt later."""
    yield "plan", plan_members(plan(NARROW, FILTER, TOKEN), FOUND, upstream=UPSTREAM)
    yield "plan", plan_members(plan(PERMIT, ASKED), Resolved((), {}), upstream=UPSTREAM)
    yield "intent", intent_members(plan(PERMIT, ASKED), upstream=UPSTREAM)
    yield "intent", intent_members(plan(NARROW, FILTER, TOKEN), upstream=UPSTREAM)
    yield "intent", intent_members(plan(NARROW, FILTER, resolved=FOUND), upstream=UPSTREAM)
    yield "intent", intent_members(plan(PERMIT, ASKED, TOKEN, resolved=FOUND, plan_id=OTHER), upstream=UPSTREAM)
    for number, outcome in enumerate(OUTCOMES):
        skipped = SKIPPED if number % 2 else {}
        order = Order(LIST, 2)
        yield "chunk", chunk_members(ID, number=number, orders=9, order=order, outcome=outcome, skipped=skipped)
    slow = Refused(429, "slow")
    for attempt in (1, 2):
        yield (
            "chunk",
            chunk_members(ID, number=1, orders=9, order=Order(LIST, 2), outcome=slow, skipped={}, attempt=attempt),
        )
    yield "joined", joined_members(ID, joins=OTHER, principal=TOKEN, remote=None)
    yield "joined", joined_members(ID, joins=OTHER, principal=KEY, remote="::1")
    yield "withdrawn", withdrawn_members(ID, plan=OTHER, principal=KEY, remote=None)
    yield "withdrawn", withdrawn_members(ID, plan=OTHER, principal=TOKEN, remote="::1")
    for number, outcome in enumerate(OUTCOMES):
        closing = Closing(
            outcome,
            over_cancelled=number,
            duration_ms=number,
            caller_gone=bool(number % 2),
            skipped=SKIPPED if number % 3 == 0 else {},
            joins_left_out=7 * (number % 2),
        )
        yield "outcome", outcome_members(ID, closing)
    stopped = Closing(Cancelled(200, 2), over_cancelled=0, duration_ms=7, caller_gone=False, stopped_by=KEY.name)
    yield "outcome", outcome_members(ID, stopped)
    yield "outcome", recovered_members(ID)
    yield "outcome", recovered_members(ID, Progress(2, (), ("wfr_3",)))
    yield "outcome", unsent_members(ID, "not_durable")


def afterwards() -> Iterator[tuple[str, Members]]:
    """What was learnt, asked about or taken away."""
    order, pair = Order(FILTER_, 100), {"wfr_1": None, "wfr_2": None}
    yield "settled", TrackedAction(ID, order, "act_1", total=120, finished=True, wider=False).members(None)
    yield "settled", TrackedAction(ID, order, "act_1").members("not_found")
    yield "settled", OrderedRuns(ID, pair, {"wfr_1": Fate.CANCELLED}).members("deadline")
    yield "settled", OrderedRuns(ID, pair, {"wfr_1": Fate.CANCELLED, "wfr_2": Fate.GONE}).members(None)
    yield (
        "explained",
        explained_members(ID, principal=KEY, asked=ASKED, decision=DENIAL, remote=None, policy_digest=ZEROS),
    )
    yield (
        "explained",
        explained_members(ID, principal=TOKEN, asked=FILTER, decision=NARROW, remote="::1", policy_digest=ZEROS),
    )
    for to in (None, "/archive"):
        head, files = {"seq": 4, "head": ZEROS}, {"old.1.jsonl": ONES}
        yield "retired", Retired(retired="old", at=head, files=files, to=to).members()  # type: ignore[arg-type]


def frozen() -> Iterator[tuple[str, Members]]:
    """Freezes: with a scope and without, thawed, and what they stop."""
    at_ms = 1_700_000_000_000
    whole = Freeze(ID, Scope("billing", "billing/own"), "at night", "platform/ops", at_ms, at_ms + 3_600_000)
    yield "freeze", freeze_members(whole)
    yield "freeze", freeze_members(Freeze(OTHER, Scope(), "all", "cli:0", at_ms))
    yield "thaw", thaw_members(replace(whole, thawed_ms=at_ms + 1, thawed_by="platform/ops"))
    stopped = DENIAL._replace(rule="billing/own", barrier=Barrier("frozen", "Cancels are frozen", {}))
    yield (
        "denied",
        denied_members(
            ID, principal=KEY, asked=ASKED, denial=stopped, remote=None, policy_digest=ZEROS, upstream=UPSTREAM
        ),
    )


def approving() -> Iterator[tuple[str, Members]]:
    """A plan that waits for approval, what people say of it, its ends, and what is sent because it was approved."""
    until_ms = 1_700_000_000_000
    waiting = Waiting(
        plan_id=ID,
        instance="i",
        team="billing",
        requester=KEY.name,
        person="key:ci",
        request_sha256=ONES,
        rule="billing/own",
        by=("platform", "sre"),
        needed=2,
        plan_digest=ZEROS,
        policy_digest=ONES,
        within_ms=1_800_000,
        until_ms=until_ms,
    )
    rob, sue = Principal("platform", "rob"), replace(TOKEN, team="sre")
    yes = Voice(OTHER, ID, rob.name, "key:rob", "key 1", "approve", None, ZEROS, ONES)
    no = replace(yes, principal=sue.name, word="reject", reason="not now")
    yield "approval", asked_members(waiting, KEY, remote="10.0.0.1", reason="stuck")
    yield "approval", asked_members(waiting, TOKEN, remote=None, reason=None)
    yield "approval", said_members(waiting, yes, rob, remote="::1")
    yield "approval", said_members(waiting, no, sue, remote=None)
    yield "approval", ended_members(waiting, End.EXPIRED)
    yield "approval", ended_members(waiting, End.VOID, "policy")
    approved = plan(PERMIT, ASKED, resolved=FOUND, plan_id=OTHER)._replace(approved_by=(rob.name, sue.name))
    yield "intent", intent_members(approved, upstream=UPSTREAM)


def others() -> Iterator[tuple[str, Members]]:
    """Other actions than a cancel of runs: what is asked, ordered and refused, and the runs that came into being."""
    entries = ByIds(("dlq_1", "dlq_2"), "dlqIds")
    asked = ActionRequest(entries, 2, action=Action.RESTART_DLQ, overrides=(("Upstash-Retries", "3"),))
    permit = permitted(asked)
    order = Order(entries, 2, Action.RESTART_DLQ, asked.overrides)
    restarted = Plan(ID, KEY, asked, permit, (order,), ZEROS, "10.0.0.1", FOUND, None)
    yield "plan", plan_members(restarted, FOUND, upstream=UPSTREAM)
    yield "intent", intent_members(restarted, upstream=UPSTREAM)
    made = Cancelled(200, 2, made=(Made("wfr_3", 1_700_000_000_003), Made("wfr_4")))
    yield "chunk", chunk_members(ID, number=1, orders=1, order=order, outcome=made, skipped={})
    yield "outcome", outcome_members(ID, Closing(made, 0, 7, caller_gone=False))
    paused = ActionRequest(ByIds(("gpu",), "flowControlKey"), 1, action=Action.PAUSE, in_path=True)
    stop = Plan(ID, KEY, paused, permitted(paused), (order_of(paused),), ZEROS, None)
    yield "intent", intent_members(stop, upstream=UPSTREAM)
    yield (
        "denied",
        denied_members(
            ID, principal=KEY, asked=paused, denial=DENIAL, remote=None, policy_digest=ZEROS, upstream=UPSTREAM
        ),
    )


def ending() -> Iterator[tuple[str, Members]]:
    """A resume by the gateway itself, once its time had come: as it was sent, and as policy refused it."""
    resume = ActionRequest(ByIds(("nightly",), "queue"), 1, action=Action.RESUME, in_path=True)
    sent = Plan(ID, KEY, resume, permitted(resume), (order_of(resume),), ZEROS, None, ends=OTHER)
    yield "intent", intent_members(sent, upstream=UPSTREAM)
    denial = Denial(None, "deny", None, "No rule allows this.", None)
    yield (
        "denied",
        denied_members(
            ID,
            principal=KEY,
            asked=resume,
            denial=denial,
            remote=None,
            policy_digest=ZEROS,
            upstream=UPSTREAM,
            ends=OTHER,
        ),
    )


def permitted(asked: ActionRequest) -> Permit:
    """The permit of a request as it is."""
    return Permit("billing/own", "permit", None, asked)


SAMPLES = [
    *(*chains(), *refusals(), *cancels(), *afterwards(), *correlated(), *limited(), *frozen(), *approving()),
    *others(),
    *ending(),
]
"""Each event's name with its members."""

LATER = {
    **dict.fromkeys(("intent", "denied", "refused", "plan"), ("action", "trace_id", "request_id")),
    "explained": ("action",),
}
"""The members that every record of an event has now and earlier ones lack, in the order in which they came."""

KEPT = Path(__file__).parent / "every_event.jsonl"
"""The lines of all samples without their seal: as version 0.1 wrote them, then those that have grown since."""


def former(event: str, members: Members) -> Members:
    """What a record was before its event had grown."""
    return {name: value for name, value in members.items() if name not in LATER.get(event, ())}


def written(samples: Sequence[tuple[str, Members]]) -> list[bytes]:
    """The line of each sample as it was at first, then as it is where that differs."""
    first = [(event, former(event, members)) for event, members in samples]
    now = [(event, members) for event, members in samples if event in LATER]
    return [orjson.dumps({"event": event, **members}) for event, members in (*first, *now)]


def main() -> int:
    """`python -m tests.audit.samples`: adds the lines of samples that have none; 1 if a line that is kept would go."""
    lines, kept = written(SAMPLES), KEPT.read_bytes().splitlines()
    if gone := [line for line in kept if line not in lines]:
        sys.stderr.write(f"{KEPT.name} keeps what is written no more, so nothing was added: {gone[0].decode()}\n")
        return 1
    KEPT.write_bytes(b"".join(line + b"\n" for line in lines))
    sys.stdout.write(f"{len(lines) - len(kept)} lines were added to {KEPT.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
