"""The values that a caller is shown of a plan and of runs left out: the gateway writes them, `cancel` reads them back.

Reading is lenient where a member is missing or of another type, because it is for a person to look at; only the ID,
which becomes part of a path, has to be in its form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from gateway.core.forms.budgets import ShownBudget
from gateway.core.forms.times import run_time
from gateway.core.request import CANCEL_RUNS
from gateway.core.run import Run, Skipped

PLANS = "/gateway/v1/plans"
"""The path of plans; each is below it under its ID, and is applied with `POST` to `/apply` below that."""

DECISIONS = "/gateway/v1/decisions"
"""The path of decisions; each is below it under its ID."""

FREEZES = "/gateway/v1/freezes"
"""The path of freezes; each is below it under its ID."""

APPROVALS = "/gateway/v1/approvals"
"""The path of the plans that wait for approval; what is said of one is posted to `/approvals` below the plan."""

POLICIES = "/gateway/v1/policies"
"""The path of the policies in force, as far as a caller may see them."""

COUNTS = "/gateway/v1/counts"
"""The path of the numbers of decisions over time."""

EVENTS = "/gateway/v1/events"
"""The path of the stream of decisions as they are closed."""

PLAN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOOKING = "looking"
"""The state of a plan whose runs are being looked up."""

SAMPLE = 10
"""The most runs, or run IDs of one list, that are shown by name."""

RUN = "workflowRunId"
_OTHER_THINGS = ("dlqId", "messageId")
"""The members under which the IDs of runs, and of other things, are shown."""

_SKIPPED = re.compile(r'([a-z_]+)=\(((?:"(?:[^"\\]|\\.)*" ?)*)\);n=([0-9]{1,9})(?:, |$)')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

Members = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Left:
    """Runs that were meant but are not cancelled: their number, and some of their IDs."""

    runs: int
    sample: tuple[str, ...] = ()

    @classmethod
    def of(cls, run_ids: Sequence[str]) -> Self:
        """Return the number of these runs, and the first IDs."""
        return cls(len(run_ids), tuple(run_ids[:SAMPLE]))

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read the value from JSON."""
        members = _object(value)
        return cls(_number(members.get("runs")), tuple(_text(run_id) for run_id in _list(members.get("sample"))))

    def to_json(self) -> dict[str, object]:
        """Return the value as JSON."""
        return {"runs": self.runs, "sample": list(self.sample)}


def left_out(skipped: Skipped) -> dict[str, Left]:
    """Return the runs that were skipped, by the word for the reason."""
    return {why.value: Left.of(run_ids) for why, run_ids in skipped.items()}


def skipped_field(left: Mapping[str, Left]) -> str:
    """Return `Gateway-Skipped`, a structured field (RFC 9651): for each reason some run IDs, and `n`, how many."""
    lists = (f"{why}=({' '.join(json.dumps(one) for one in runs.sample)});n={runs.runs}" for why, runs in left.items())
    return ", ".join(lists)


def budget_field(runs: int | None, requests: int | None, resets_ms: int) -> str:
    """Return `Gateway-Budget`: how much is left, and the Unix second from which all of it would be there again.

    `left` counts runs; where the budget bounds only requests, those. Where it bounds both, `requests` follows.
    """
    left = requests if runs is None else runs
    more = "" if runs is None or requests is None else f";requests={requests}"
    return f"left={left};reset={-(-resets_ms // 1000)}{more}"


def skipped_in(header: str) -> dict[str, Left]:
    """Parse `Gateway-Skipped`, like `young=("wfr_a" "wfr_b");n=7, finished=("wfr_c");n=1`."""
    found: dict[str, Left] = {}
    at = 0
    # Each member is matched where the one before ended. Searching instead would take quadratic time on a long header.
    while (match := _SKIPPED.match(header, at)) is not None:
        why, names, runs = match.groups()
        found[why] = Left(int(runs), tuple(json.loads(name) for name in _STRING.findall(names)))
        at = match.end()
    return found


@dataclass(frozen=True, slots=True)
class Listed:
    """One run of a plan. Who may name any ID is not shown its URL (None) and labels.

    Of an entry or a message `name` says under which member its ID stands, and `about` is the run that an entry is of.
    """

    run_id: str
    created: str
    workflow_url: str | None = None
    labels: tuple[str, ...] = ()
    name: str = RUN
    about: str | None = None

    @classmethod
    def of(cls, run: Run, *, unchecked: bool, name: str = RUN) -> Self:
        """Return the run as it is shown; `unchecked` says that nobody checked whose it is."""
        created = run_time(run.created_ms)
        if unchecked:
            return cls(run.run_id, created, name=name)
        return cls(run.run_id, created, run.workflow_url, run.labels, name, run.failed_run_id)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read the run from JSON."""
        members = _object(value)
        url = members.get("workflowUrl")
        labels = tuple(_text(label) for label in _list(members.get("labels")))
        name = next((one for one in _OTHER_THINGS if one in members), RUN)
        run_id, created = _text(members.get(name)), _text(members.get("created"))
        about = _text(members.get(RUN)) or None if name != RUN else None
        return cls(run_id, created, None if url is None else _text(url), labels, name, about)

    def to_json(self) -> dict[str, object]:
        """Return the run as JSON."""
        members: dict[str, object] = {self.name: self.run_id, "created": self.created}
        if self.about is not None:
            members[RUN] = self.about
        if self.workflow_url is None:
            return members
        return members | {"workflowUrl": self.workflow_url, "labels": list(self.labels)}


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The count that was asked for, what policy lowered it to, the rule that did it, and with which key of it."""

    asked: int
    left: int
    by: str
    key: str = "count"

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """Read the value from JSON; None if nothing was lowered."""
        match value:
            case {"count": [int(asked), int(left)], "by": str(by)}:
                return cls(asked, left, by)
            case {"runs": [int(asked), int(left)], "by": str(by)}:
                return cls(asked, left, by, "runs")
        return None

    def to_json(self) -> dict[str, object]:
        """Return the value as JSON."""
        return {self.key: [self.asked, self.left], "by": self.by}


@dataclass(frozen=True, slots=True)
class Found:
    """What the follow-up of an outcome has found: when, by reading what, and how many runs are cancelled, if known."""

    at: str
    source: str
    cancelled: int | None

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """Read the value from JSON; None if nothing was found yet."""
        members = _object(value)
        if not members:
            return None
        cancelled = members.get("cancelled")
        return cls(
            _text(members.get("at")), _text(members.get("source")), None if cancelled is None else _number(cancelled)
        )

    def to_json(self) -> dict[str, object]:
        """Return the value as JSON."""
        return {"at": self.at, "source": self.source, "cancelled": self.cancelled}


@dataclass(frozen=True, slots=True)
class ShownPlan:
    """A plan as its caller sees it.

    While its runs are being looked up, `pages` were read and `matched` runs found so far. With `more` others match as
    well: they are beyond the count, or the list was not read to its end. With `read_to_end` it was, and all that match
    are counted: they are among the `runs` or `skipped`. `as_of` is upstream's time when the look-up began, None if it
    did not say. `failure` says why its look-up failed or what it found is refused.

    `action` is what is to be done to them, which are entries or messages where it is not to cancel runs.

    `orders` is how many orders it has, `outcome` the word for what came of applying it, and `settled` what was learnt
    later. `budget` is that of its rule, as long as it may take of it.

    `refused` holds the further members of a refusal: the rule, whom to ask, what was not admitted. `members` is all
    that an answer held, as it was read.
    """

    plan_id: str
    state: str
    expires_in_s: int = 0
    action: str = CANCEL_RUNS.value
    digest: str = ""
    runs: int = 0
    sample: tuple[Listed, ...] = ()
    oldest: str | None = None
    newest: str | None = None
    by_workflow: Mapping[str, int] = field(default_factory=dict)
    by_label: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, Left] = field(default_factory=dict)
    rule: str | None = None
    count: int = 0
    narrowed: Narrowed | None = None
    orders: int = 0
    orders_sent: int = 0
    cancelled: int = 0
    outcome: str | None = None
    settled: Found | None = None
    more: bool = False
    read_to_end: bool = False
    as_of: str | None = None
    pages: int = 0
    matched: int = 0
    failure: str | None = None
    budget: ShownBudget | None = None
    refused: Members = field(default_factory=dict)
    members: Members = field(default_factory=dict, compare=False, repr=False)

    @property
    def cancels_runs(self) -> bool:
        """Whether it is a plan to cancel runs."""
        return self.action == CANCEL_RUNS

    @property
    def looking(self) -> bool:
        """True while its runs are being looked up."""
        return self.state == LOOKING

    @classmethod
    def from_json(cls, members: Members) -> Self:
        """Read a plan from the members of an answer. Raises: ValueError if they are not a plan."""
        plan_id, state = members.get("plan"), members.get("state")
        if not isinstance(plan_id, str) or not PLAN_ID.fullmatch(plan_id) or not isinstance(state, str):
            raise ValueError("no plan")
        failure, oldest, newest, rule, outcome, as_of = (
            members.get(name) for name in ("error", "oldest", "newest", "rule", "outcome", "as_of")
        )
        return cls(
            plan_id,
            state,
            expires_in_s=_number(members.get("expires_in_s")),
            action=_text(members.get("action")) or CANCEL_RUNS.value,
            digest=_text(members.get("digest")),
            runs=_number(members.get("runs")),
            sample=tuple(Listed.from_json(run) for run in _list(members.get("sample"))),
            oldest=None if oldest is None else _text(oldest),
            newest=None if newest is None else _text(newest),
            by_workflow={name: _number(runs) for name, runs in _object(members.get("by_workflow")).items()},
            by_label={name: _number(runs) for name, runs in _object(members.get("by_label")).items()},
            skipped={why: Left.from_json(left) for why, left in _object(members.get("skipped")).items()},
            rule=None if rule is None else _text(rule),
            count=_number(members.get("count")),
            narrowed=Narrowed.from_json(members.get("narrowed")),
            orders=_number(_object(members.get("orders")).get("planned")),
            orders_sent=_number(members.get("orders_sent")),
            cancelled=_number(members.get("cancelled")),
            outcome=None if outcome is None else _text(outcome),
            settled=Found.from_json(members.get("settled")),
            more=members.get("more") is True,
            read_to_end=members.get("read_to_end") is True,
            as_of=None if as_of is None else _text(as_of),
            pages=_number(members.get("pages")),
            matched=_number(members.get("matched")),
            failure=None if failure is None else _text(failure),
            budget=ShownBudget.from_json(members.get("budget")),
            refused={name: members[name] for name in _OF_A_REFUSAL if failure is not None and name in members},
            members=members,
        )

    def to_json(self) -> dict[str, object]:
        """Return the plan as JSON.

        Before its end it also says how far its look-up has come. Where it has no runs to show, or its look-up failed,
        it is only its state.
        """
        members: dict[str, object] = {"plan": self.plan_id, "state": self.state, "expires_in_s": self.expires_in_s}
        members["action"] = self.action
        members |= {} if self.budget is None else {"budget": self.budget.to_json()}
        if self.failure is not None:
            return members | {"error": self.failure, **self.refused}
        if self.looking:
            return members | {"pages": self.pages, "matched": self.matched}
        if self.state in _WITHOUT_RUNS and not self.digest:
            return members
        return members | {
            "digest": self.digest,
            "runs": self.runs,
            "sample": [run.to_json() for run in self.sample],
            "oldest": self.oldest,
            "newest": self.newest,
            "by_workflow": self.by_workflow,
            "by_label": self.by_label,
            "skipped": {why: left.to_json() for why, left in self.skipped.items()},
            "rule": self.rule,
            "count": self.count,
            "narrowed": None if self.narrowed is None else self.narrowed.to_json(),
            "apply": f"POST {PLANS}/{self.plan_id}/apply",
            "orders": {"planned": self.orders, "sent": self.orders_sent},
            "orders_sent": self.orders_sent,
            "cancelled": self.cancelled,
            "outcome": self.outcome,
            "settled": None if self.settled is None else self.settled.to_json(),
            "more": self.more,
            "read_to_end": self.read_to_end,
            "as_of": self.as_of,
        }


_WITHOUT_RUNS = frozenset(("stopped", "expired", "rejected"))
"""The states in which a plan may have no runs to show: they were never found, or are not kept any more."""

_OF_A_REFUSAL = ("rule", "not_admitted", "owner")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    # The bound is that of the numbers QStash may send; a longer one could not even be written out.
    return value if type(value) is int and abs(value) < 2**63 else 0


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _object(value: object) -> Members:
    return value if isinstance(value, dict) else {}
