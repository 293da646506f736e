"""The content of a policy file as types: the rules made of conditions on fields, and exceptions for teams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.core.plan import Approval, Budget, Owner
from gateway.core.request import CANCEL_RUNS, MAX_COUNT, Action
from gateway.core.run import Resolution
from gateway.files.nodes import Place
from gateway.policy.conditions import ID_LISTS, Condition, CountCondition
from gateway.policy.window import Window

ONLY_RUNS = frozenset((CANCEL_RUNS,))
"""The actions of a rule that names none."""


class Effect(StrEnum):
    """The effect of a rule that matches."""

    ALLOW = "allow"
    REQUIRE = "require"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class TeamException:
    """A team that a rule does not apply to before `until_ms` (None: ever), and why."""

    team: str
    until_ms: int | None = None
    reason: str | None = None
    ticket: str | None = None
    at: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """Return the team and the ticket, as the record names a used exception."""
        return self.team if self.ticket is None else f"{self.team} (ticket {self.ticket})"

    def holds(self, now_ms: int) -> bool:
        """Return whether the exception has not ended."""
        return self.until_ms is None or now_ms < self.until_ms


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one file. `conditions` bound what the request selects; the other fields bound the request itself.

    It is about its `actions` alone. Outside its window (`during`) and from `until_ms` on, the rule is as if absent.
    With a `resolution` (`resolve: true`) the runs are looked up and cancelled by ID. `logs_full` shows steps and
    payloads of the runs that an `allow` covers; with `overrides` it admits headers that change what is resumed or
    restarted; `budget` bounds what is done under it within a while, and `approval` says who has to approve it. `owner`
    says whom to ask about the rule, as its file names them. `name` is `file/id`, unique over all files; `timeless` says
    that the rule applies at every time, to every team that it is made for. A filter may ask for up to `most_asked`
    runs, a list may name `most_named`, and a filter's count is lowered to `cap`; all are `MAX_COUNT` where neither
    `count` nor `runs.cap` says less. `id_list` is the field under which the rule bounds a list of IDs, if it does.
    """

    policy: str
    id: str
    effect: Effect
    conditions: Mapping[str, Condition]
    count: CountCondition | None = None
    selects: frozenset[str] | None = None
    exact_match: bool = False
    owner_unchecked: bool = False
    message: str | None = None
    shadow: bool = False
    teams: frozenset[str] = frozenset()
    excepted: tuple[TeamException, ...] = ()
    during: Window | None = None
    until_ms: int | None = None
    reason_required: bool = False
    resolution: Resolution | None = None
    logs_full: bool = False
    budget: Budget | None = None
    approval: Approval | None = None
    owner: Owner | None = None
    actions: frozenset[Action] = ONLY_RUNS
    overrides: bool = False
    at: Place | None = field(default=None, compare=False, repr=False)
    name: str = field(init=False, compare=False, repr=False)
    timeless: bool = field(init=False, compare=False, repr=False)
    most_asked: int = field(init=False, compare=False, repr=False)
    most_named: int = field(init=False, compare=False, repr=False)
    cap: int = field(init=False, compare=False, repr=False)
    id_list: str | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.policy}/{self.id}")
        object.__setattr__(self, "id_list", next((one for one in ID_LISTS if one in self.conditions), None))
        count = self.count or CountCondition()
        # The runs that a look-up takes are its count, so both caps lower the same number. A list is never cut.
        taken = self.resolution.cap if self.resolution is not None else None
        for name, bounds in (
            ("most_asked", (count.max,)),
            ("most_named", (count.ceiling, taken)),
            ("cap", (count.cap, taken)),
        ):
            object.__setattr__(self, name, min((one for one in bounds if one is not None), default=MAX_COUNT))
        # Every judgement asks both, and most rules have neither a time nor an exception.
        timeless = not self.excepted and self.during is None and self.until_ms is None
        object.__setattr__(self, "timeless", timeless)

    @property
    def admits_everything(self) -> bool:
        """Whether this `allow` admits a request for every run of the account; it then has the runs looked up."""
        kinds = self.selects or ()
        return not self.conditions and self.resolution is not None and "everything" in kinds

    def names(self, team: str) -> bool:
        """Return whether the rule is made for this team, exceptions aside."""
        return team in self.teams or "*" in self.teams

    def applies_to(self, team: str, now_ms: int) -> bool:
        """Return whether the rule applies to this team at this instant."""
        return self.names(team) and self.in_force(now_ms) and self.exception(team, now_ms) is None

    def never_about(self, team: str) -> bool:
        """Return whether the team is excepted for good."""
        return any(one.team == team and one.until_ms is None for one in self.excepted)

    def in_force(self, now_ms: int) -> bool:
        """Return whether the window is open and the rule has not ended."""
        if self.until_ms is not None and now_ms >= self.until_ms:
            return False
        return self.during is None or self.during.open_at(now_ms)

    def closed(self, now_ms: int) -> bool:
        """Return whether the window is closed and the rule has not ended."""
        if self.during is None:
            return False
        ended = self.until_ms is not None and now_ms >= self.until_ms
        return not ended and not self.during.open_at(now_ms)

    def exception(self, team: str, now_ms: int) -> TeamException | None:
        """Return the exception that holds for the team at this instant, if there is one."""
        if not self.excepted:
            return None
        return next((one for one in self.excepted if one.team == team and one.holds(now_ms)), None)
