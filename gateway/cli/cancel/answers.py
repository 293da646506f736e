"""The gateway's answers to a caller, as values: a plan, a result, a refusal, or no answer that could be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_PLAN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SKIPPED = re.compile(r'([a-z_]+)=\(((?:"(?:[^"\\]|\\.)*" ?)*)\);n=([0-9]{1,9})(?:, |$)')
_COUNT = re.compile(r"[0-9]{1,9}")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

Members = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Left:
    """Runs that the request means but that are not cancelled: their number, and some of their IDs."""

    runs: int
    sample: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """One run as a plan shows it."""

    run_id: str
    workflow_url: str
    created: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The count that was asked for, the count that policy lowered it to, and the rule that lowered it."""

    asked: int
    left: int
    by: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as the gateway shows it. `members` is all of it; `failure` is why its look-up failed, if it did."""

    plan_id: str
    state: str
    members: Members
    runs: int = 0
    oldest: str = ""
    newest: str = ""
    sample: tuple[Listed, ...] = ()
    by_workflow: Mapping[str, int] = field(default_factory=dict)
    by_label: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, Left] = field(default_factory=dict)
    rule: str = ""
    narrowed: Narrowed | None = None
    expires_in_s: int = 0
    orders_sent: int = 0
    cancelled: int = 0
    failure: str | None = None

    @property
    def looking(self) -> bool:
        """True while its runs are being looked up."""
        return self.state == "looking"


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
    """The gateway's statement that a request was not, or not wholly, carried out. `members` is the whole problem."""

    sentence: str
    code: str
    members: Members


@dataclass(frozen=True, slots=True)
class Lost:
    """The lack of a gateway's answer. `sent` is False only if certainly nothing was sent; `why` is for people."""

    sent: bool
    why: str


def plan_in(members: Members) -> Plan:
    """Read a plan from the members of an answer. Raises: ValueError if they are not a plan."""
    plan_id, state = members.get("plan"), members.get("state")
    # The ID becomes part of a path.
    if not isinstance(plan_id, str) or not _PLAN_ID.fullmatch(plan_id) or not isinstance(state, str):
        raise ValueError("no plan")
    failure = members.get("error")
    return Plan(
        plan_id,
        state,
        members,
        runs=_number(members.get("runs")),
        oldest=_text(members.get("oldest")),
        newest=_text(members.get("newest")),
        sample=tuple(_listed(run) for run in _list(members.get("sample"))),
        by_workflow={name: _number(runs) for name, runs in _object(members.get("by_workflow")).items()},
        by_label={name: _number(runs) for name, runs in _object(members.get("by_label")).items()},
        skipped={why: _left(_object(left)) for why, left in _object(members.get("skipped")).items()},
        rule=_text(members.get("rule")),
        narrowed=_narrowed(_object(members.get("narrowed"))),
        expires_in_s=_number(members.get("expires_in_s")),
        orders_sent=_number(members.get("orders_sent")),
        cancelled=_number(members.get("cancelled")),
        failure=None if failure is None else _text(failure),
    )


def done_in(members: Members, headers: Mapping[str, str]) -> Done:
    """Read a result from members and headers (lower-case names). Raises: ValueError if they are not a result."""
    cancelled = members.get("cancelled")
    if type(cancelled) is not int or cancelled < 0:
        raise ValueError("no result")
    over = headers.get("gateway-over-cancelled", "")
    skipped = skipped_in(headers.get("gateway-skipped", ""))
    return Done(cancelled, headers.get("gateway-decision", ""), skipped, int(over) if _COUNT.fullmatch(over) else 0)


def refusal_in(members: Members) -> Refusal:
    """Read a refusal from the members of an answer. Raises: ValueError if they are not a refusal."""
    sentence, code = members.get("error"), members.get("code")
    if isinstance(sentence, str) and isinstance(code, str):
        return Refusal(sentence, code, members)
    raise ValueError("no refusal")


def skipped_in(header: str) -> dict[str, Left]:
    """Parse `Gateway-Skipped`, a structured field: `young=("wfr_a" "wfr_b");n=7, finished=("wfr_c");n=1`."""
    found: dict[str, Left] = {}
    at = 0
    # Each member is matched where the one before ended. Searching instead would take quadratic time on a long header.
    while (match := _SKIPPED.match(header, at)) is not None:
        why, names, runs = match.groups()
        found[why] = Left(int(runs), tuple(json.loads(name) for name in _STRING.findall(names)))
        at = match.end()
    return found


def _narrowed(members: Members) -> Narrowed | None:
    match members:
        case {"count": [int(asked), int(left)], "by": str(by)}:
            return Narrowed(asked, left, by)
    return None


def _listed(run: object) -> Listed:
    members = _object(run)
    labels = tuple(_text(label) for label in _list(members.get("labels")))
    names = ("workflowRunId", "workflowUrl", "created")
    run_id, url, created = (_text(members.get(name)) for name in names)
    return Listed(run_id, url, created, labels)


def _left(members: Members) -> Left:
    return Left(_number(members.get("runs")), tuple(_text(run_id) for run_id in _list(members.get("sample"))))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if type(value) is int else 0


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
