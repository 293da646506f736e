"""The refusals of cancels that are not approved, and of what people say of them, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.errors import Conflict, NotAnApprover, Throttled
from gateway.core.plan import Approval
from gateway.core.request import Principal
from gateway.execution.plans.draft import applied, rejected, stopped, void
from gateway.operations.words import Words
from gateway.policy.window import duration
from gateway.state.admissions import NeedsApproval
from gateway.state.approvals import End, Full, Voice, Waiting

AGAIN_S = 60
"""After how long, in seconds, somebody with too many plans that wait is to try again."""


def names(given: Sequence[Voice]) -> str:
    """Return who has said it."""
    return ", ".join(one.principal for one in given)


def why_needed(approval: Approval, needs: NeedsApproval, runs: int, rule: str, *, words: Words) -> str:
    """Return in a sentence why the request needs approval."""
    more = f", beside {needs.before} within the last {duration(approval.within_ms)}" if needs.before else ""
    bound = f"more than {approval.over}" if approval.over else f"any {words.thing}"
    return f"Rule {rule} asks for approval of {bound}, and this request means {words.number(runs)}{more}."


def check_approver(waiting: Waiting, principal: Principal, person: str) -> None:
    """Raise NotAnApprover unless the principal is of a team that may approve, and not the requester."""
    if principal.team not in waiting.by:
        teams = " or ".join(waiting.by)
        sentence = f"Rule {waiting.rule} asks for the approval of team {teams}, and you are of team {principal.team}."
        raise NotAnApprover("not_of_the_team", sentence)
    if principal.name == waiting.requester or person == waiting.person:
        raise same_person()


def same_person() -> NotAnApprover:
    """Return the refusal of somebody who has asked for the cancel, or has approved it already."""
    sentence = (
        "Somebody else has to say it: you have asked for it or approved it already, as far as your key or "
        "token tells who you are."
    )
    return NotAnApprover("same_person", sentence)


def check_waits(waiting: Waiting) -> None:
    """Raise Conflict unless the plan waits for approval now."""
    if waiting.end is not None or waiting.claimed or waiting.late:
        raise over(waiting, waiting.plan_id)


def over(waiting: Waiting | None, plan_id: str) -> Conflict:
    """Return the refusal of what is said of a plan that does not wait any more."""
    if waiting is None or waiting.end in (End.EXPIRED, End.VOID) or waiting.late:
        return void(plan_id)
    if waiting.claimed:
        return applied(plan_id)
    if waiting.end is End.REJECTED:
        against = waiting.rejected()
        return rejected(plan_id, None if against is None else against.principal)
    return stopped(plan_id)


def too_many(full: Full) -> Throttled:
    """Return the refusal of a plan that finds no place among those that wait."""
    whose = "of yours wait" if full.whose == "you" else "of your team wait"
    sentence = f"{full.limit} plans {whose} for approval, the most that may; nothing was sent. Stop one, or wait."
    return Throttled("approvals", sentence, limit=full.limit, retry_after_s=AGAIN_S)
