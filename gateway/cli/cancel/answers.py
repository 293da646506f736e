"""The gateway's answers to a caller, as values: a result, a refusal, a decision, or no answer that could be read.

A plan is a `ShownPlan`, which the gateway writes with the same class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from gateway.core.errors import counted
from gateway.core.forms.shown import DECISIONS, PLAN_ID, Left, Members, ShownPlan, skipped_in

WHY = {
    "young": "younger than the rule lets be cancelled",
    "finished": "already finished",
    "restarted": "started again under the same ID since",
    "unreadable": "with a value that cannot be judged",
    "beyond_count": "beyond the count",
    "done": "that an order was about in the last minutes",
    "planned": "of the last plan not cancelled",
    "unknown": "of the last plan not known to be cancelled",
}
"""The reasons for which runs are left out, in words."""

ENDED = ("finished", "done")
"""The reasons that are no reason to look after a run again: it has ended, or an order has been about it."""

_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a plan that was carried out to its end.

    `over_cancelled` is how many runs were cancelled beyond those that were sent.
    """

    cancelled: int
    decision_id: str
    skipped: Mapping[str, Left]
    over_cancelled: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gateway's statement that a request was not, or not wholly, carried out. `members` is the whole problem.

    `status` is that of HTTP, 0 if a plan says it. `retry_after_s` is how long to wait before asking again, if said.
    """

    sentence: str
    code: str
    members: Members
    status: int = 0
    retry_after_s: int | None = None

    @property
    def passing(self) -> bool:
        """Whether certainly nothing was cancelled, and the same may be allowed or possible a little later."""
        if self.members.get("cause") in ("revoked", "denied"):
            return False
        return self.status in (429, 503) or self.code in ("plan_failed", "lookup_failed", "upstream_unreachable")

    @property
    def unclear(self) -> bool:
        """Whether it leaves open what was cancelled: the gateway does not know, or something repeated the call."""
        return self.code in ("outcome_unknown", "plan_applied")

    @property
    def cancelled(self) -> int:
        """The number of runs that were cancelled all the same, for certain: a plan may end in the middle."""
        places = (self.members, _object(self.members.get("progress")))
        return next((runs for place in places if (runs := _natural(place.get("cancelled")))), 0)

    @property
    def over_cancelled(self) -> int:
        """The number of runs that were cancelled beyond those that were sent."""
        return _natural(self.members.get("over_cancelled")) or 0

    @property
    def decision_id(self) -> str | None:
        """The ID under which the decision can be looked at; None if the answer names none in the form of one."""
        path, named = self.members.get("status_url"), self.members.get("decision_id")
        said = path.removeprefix(f"{DECISIONS}/") if isinstance(path, str) else named
        return said if isinstance(said, str) and PLAN_ID.fullmatch(said) else None


@dataclass(frozen=True, slots=True)
class Lost:
    """The lack of a gateway's answer. `sent` is False only if certainly nothing was sent; `why` is for people."""

    sent: bool
    why: str


@dataclass(frozen=True, slots=True)
class ShownDecision:
    """What became of a request, as the gateway keeps it. `cancelled` is None while that is not known.

    `settled` says that the gateway has ended looking for what was not known at first. `members` is the whole answer.
    """

    decision_id: str
    state: str
    cancelled: int | None = None
    settled: bool = False
    members: Members = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_json(cls, members: Members) -> Self:
        """Read a decision from JSON. Raises: ValueError if the members are not one."""
        match members:
            case {"decision_id": str(decision_id), "state": str(state)}:
                settled = members.get("settled")
            case _:
                raise ValueError("no decision")
        known = _natural(_object(settled).get("cancelled"))
        cancelled = _natural(members.get("cancelled")) if known is None else known
        if cancelled is None and state in _NOTHING:
            cancelled = 0
        certain = known is not None or state in _CERTAIN
        return cls(decision_id, state, cancelled if certain else None, isinstance(settled, dict), members)

    @property
    def over_cancelled(self) -> int:
        """The number of runs that were cancelled beyond those that were sent, as far as it is known."""
        return _natural(self.members.get("over_cancelled")) or 0

    @property
    def certain(self) -> bool:
        """Whether it is known how many runs were cancelled."""
        return self.cancelled is not None


_NOTHING = ("denied", "refused", "not_sent")
_CERTAIN = ("cancelled", *_NOTHING)
"""The states in which the number of cancelled runs is known without a later look."""


def done_in(members: Members, headers: Mapping[str, str]) -> Done:
    """Read a result from members and headers (lower-case names). Raises: ValueError if they are not a result."""
    cancelled = members.get("cancelled")
    if type(cancelled) is not int or cancelled < 0:
        raise ValueError("no result")
    over = headers.get("gateway-over-cancelled", "")
    skipped = skipped_in(headers.get("gateway-skipped", ""))
    return Done(cancelled, headers.get("gateway-decision", ""), skipped, int(over) if _COUNT.fullmatch(over) else 0)


def refusal_in(members: Members, *, status: int, headers: Mapping[str, str]) -> Refusal:
    """Read a refusal from an answer. Raises: ValueError if it is not one."""
    sentence, code = members.get("error"), members.get("code")
    if isinstance(sentence, str) and isinstance(code, str):
        wait = headers.get("retry-after", "")
        return Refusal(sentence, code, members, status, int(wait) if _COUNT.fullmatch(wait) else None)
    raise ValueError("no refusal")


def decisions_in(members: Members) -> list[ShownDecision]:
    """Read a list of decisions. Raises: ValueError if the members are not one."""
    return [ShownDecision.from_json(one) for one in _listed(members, "decisions")]


def approvals_in(members: Members) -> list[Members]:
    """Read the plans that wait for a team, as they are. Raises: ValueError if the members are not such a list."""
    return _listed(members, "approvals")


def plans_in(members: Members) -> list[ShownPlan]:
    """Read a list of plans. Raises: ValueError if the members are not one."""
    return [ShownPlan.from_json(one) for one in _listed(members, "plans")]


def runs_in_words(runs: int) -> str:
    """Return a number of runs in words: `1 run`, `137 runs`."""
    return counted(runs, "run")


def left_by(plan: ShownPlan) -> dict[str, int]:
    """Return how many runs a plan leaves out that may still have to be cancelled, by reason.

    A plan without runs that says that more match knows of runs ordered before, of which nobody knows what became.
    """
    open_ones = ("done",) if plan.more and not plan.runs else ()
    return {
        why: left.runs for why, left in plan.skipped.items() if left.runs and (why not in ENDED or why in open_ones)
    }


def left_in_words(left: Mapping[str, int]) -> str:
    """Return how many runs are left, by reason, in words."""
    words = {**WHY, "done": "ordered before whose fate is not known yet"}
    return ", ".join(f"{runs_in_words(runs)} {words.get(why, why)}" for why, runs in left.items())


def too_many(over: int, *, at_least: bool) -> str:
    """Return a warning if upstream cancelled so many runs beyond those sent, else an empty text."""
    if not over:
        return ""
    runs = f"at least {runs_in_words(over)}" if at_least else runs_in_words(over)
    return f"QStash cancelled {runs} more than were sent to it: tell the operators."


def _listed(members: Members, name: str) -> list[Members]:
    match members.get(name):
        case list(listed):
            return [_object(one) for one in listed]
    raise ValueError(f"no {name}")


def _natural(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _object(value: object) -> Members:
    return value if isinstance(value, dict) else {}
