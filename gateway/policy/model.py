"""What a policy file says, as types: conditions on fields, rules made of them, and the rules of one team.

Every condition answers two questions about a request that carries its field. `contains`: do all runs that the
request could select lie inside? (`allow` and `require`) `overlaps`: may one of them lie inside? (`deny`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.core.grammar import EARLIEST_MS, at_or_below, denied_below, lies_under
from gateway.core.plan import Owner
from gateway.core.request import ByFilter, ByRunIds, Selection
from gateway.core.run import Resolution
from gateway.files.nodes import Place
from gateway.policy.window import Window, duration

TO_DATE_LEAD_MS = 60_000
"""How far ahead of now a `toDate` may lie under `within_last`."""


class Effect(StrEnum):
    """What a matching rule does."""

    ALLOW = "allow"
    REQUIRE = "require"
    DENY = "deny"


class Condition(Protocol):
    """One field's bound."""

    @property
    def optional(self) -> bool:
        """Whether a request may leave the field out."""

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """All runs that the selection could name lie inside; asked only when it carries the field."""

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Some run that the selection could name may lie inside; asked only when it carries the field."""

    def words(self) -> str:
        """The bound in plain words, to stand behind the field's name."""


@dataclass(frozen=True, slots=True)
class UrlCondition:
    """`workflowUrl`: exact values, and prefixes whose boundary is the end of the value or `/`."""

    exact: frozenset[str] = frozenset()
    prefix: tuple[str, ...] = ()
    any: bool = False
    optional: bool = False

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Every URL is listed or lies at or below a prefix; a URL sent as a prefix only where it ends in `/`."""
        assert isinstance(selection, ByFilter)
        return self.any or all(self.admits(url, exact=selection.exact) for url in selection.workflow_urls)

    def admits(self, url: str, *, exact: bool) -> bool:
        """Whether one value, exact or a prefix, lies inside."""
        if exact and url in self.exact:
            return True
        # Upstream's prefix has no boundary: `…/api` would also cancel `…/api-v2`, so only `…/api/` is contained.
        return (exact or url.endswith("/")) and lies_under(url, self.prefix, at_or_below)

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Some URL is listed or lies below a prefix, or, sent as a prefix, begins what is."""
        assert isinstance(selection, ByFilter)
        urls = selection.workflow_urls
        if any(lies_under(url, self.prefix, denied_below) for url in urls):
            return True
        if selection.exact:
            return not self.exact.isdisjoint(urls)
        return any(listed.startswith(urls) for listed in (*self.exact, *self.prefix))

    def words(self) -> str:
        """The exact URLs and the prefixes, a few of them."""
        if self.any:
            return "any URL"
        exact = [f"exactly {url}" for url in sorted(self.exact)]
        below = [f"{url.rstrip('/')}/ or below" for url in self.prefix]
        return some_of(exact + below)


@dataclass(frozen=True, slots=True)
class RunIdCondition:
    """`workflowRunIds`: at most `max` of them, each beginning with one of `prefix` (any, where that is empty)."""

    max: int | None = None
    prefix: tuple[str, ...] = ()
    any: bool = False
    optional: bool = False

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """At most `max` IDs, each with one of the prefixes."""
        assert isinstance(selection, ByRunIds)
        if self.max is not None and len(selection.run_ids) > self.max:
            return False
        return not self.prefix or all(run_id.startswith(self.prefix) for run_id in selection.run_ids)

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Some ID has one of the prefixes."""
        assert isinstance(selection, ByRunIds)
        return any(run_id.startswith(self.prefix) for run_id in selection.run_ids)

    def words(self) -> str:
        """How many IDs, and how they begin."""
        number = f"at most {self.max} IDs" if self.max is not None else "any number of IDs"
        return f"{number} beginning with {some_of(self.prefix)}" if self.prefix else number


@dataclass(frozen=True, slots=True)
class ValueCondition:
    """`label`, `flowControlKey` or `callerIp`: every value in the list; `field` is the wire name."""

    field: str
    any_of: frozenset[str] = frozenset()
    any: bool = False
    optional: bool = False

    def values(self, selection: Selection) -> Iterable[str]:
        """What the selection carries of this field."""
        assert isinstance(selection, ByFilter)
        match self.field:
            case "label":
                return selection.labels
            case "flowControlKey":
                return selection.flow_control_keys
            case _:
                return selection.caller_ips

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Every value is listed."""
        return self.any or self.any_of.issuperset(self.values(selection))

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Some value is listed."""
        return not self.any_of.isdisjoint(self.values(selection))

    def words(self) -> str:
        """The listed values, a few of them."""
        return "any value" if self.any else some_of(sorted(self.any_of))


@dataclass(frozen=True, slots=True)
class CreatedCondition:
    """`fromDate` and `toDate`: created within the last while, in a window of at most some length (milliseconds)."""

    within_last_ms: int | None = None
    max_span_ms: int | None = None
    any: bool = False
    optional: bool = False

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """The dates lie within the last while and close enough together; a bound fails where its date is left out."""
        assert isinstance(selection, ByFilter)
        start, end = selection.from_date, selection.to_date
        if self.within_last_ms is not None:
            if now_ms < EARLIEST_MS or start is None or start < now_ms - self.within_last_ms:
                return False
            if end is not None and end > now_ms + TO_DATE_LEAD_MS:
                return False
        if self.max_span_ms is None:
            return True
        return start is not None and end is not None and end - start <= self.max_span_ms

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """The dates may reach into the last while; without a `toDate` they do."""
        assert isinstance(selection, ByFilter)
        if self.within_last_ms is None or selection.to_date is None or now_ms < EARLIEST_MS:
            return True
        return selection.to_date >= now_ms - self.within_last_ms

    def words(self) -> str:
        """How recent, and how far apart."""
        parts = []
        if self.within_last_ms is not None:
            parts.append(f"fromDate within the last {duration(self.within_last_ms)}")
        if self.max_span_ms is not None:
            parts.append(f"fromDate and toDate at most {duration(self.max_span_ms)} apart")
        return " and ".join(parts) or "any dates"


@dataclass(frozen=True, slots=True)
class CountCondition:
    """`count`: `max` refuses when more is *asked*; `cap` lowers a filter's count to it and refuses longer ID lists."""

    max: int | None = None
    cap: int | None = None
    any: bool = False

    @property
    def ceiling(self) -> int | None:
        """The most runs that may be asked for by ID."""
        return min((bound for bound in (self.max, self.cap) if bound is not None), default=None)


@dataclass(frozen=True, slots=True)
class TeamException:
    """A team that a rule does not speak about, until before `until_ms` (for good, where that is None), and why."""

    team: str
    until_ms: int | None = None
    reason: str | None = None
    ticket: str | None = None
    at: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """The team and the ticket, as the record names a used exception."""
        return self.team if self.ticket is None else f"{self.team} (ticket {self.ticket})"

    def holds(self, now_ms: int) -> bool:
        """Whether it has not ended."""
        return self.until_ms is None or now_ms < self.until_ms


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one file. `conditions` bound what the request selects; the others bound the request itself.

    Outside its window (`during`) and from `until_ms` on the rule is as if absent. With a `resolution` (`resolve: true`)
    the runs are looked up and cancelled by ID. `logs_full` shows steps and payloads of the runs that an `allow` covers.
    `owner` is whom its file names to be asked.
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
    owner: Owner | None = None
    at: Place | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """`file/id`, unique over all files."""
        return f"{self.policy}/{self.id}"

    @property
    def admits_everything(self) -> bool:
        """Whether this `allow` is about every run of the account: only where the runs are looked up."""
        kinds = self.selects or frozenset()
        return self.resolution is not None and "everything" in kinds and not self.conditions

    def names(self, team: str) -> bool:
        """Whether the rule is made for this team, exceptions aside."""
        return team in self.teams or "*" in self.teams

    def applies_to(self, team: str, now_ms: int) -> bool:
        """Whether the rule speaks about this team at this instant."""
        return self.names(team) and self.in_force(now_ms) and self.exception(team, now_ms) is None

    def never_about(self, team: str) -> bool:
        """Whether the team is excepted for good."""
        return any(one.team == team and one.until_ms is None for one in self.excepted)

    def in_force(self, now_ms: int) -> bool:
        """Whether its window is open and its end not reached."""
        if self.until_ms is not None and now_ms >= self.until_ms:
            return False
        return self.during is None or self.during.open_at(now_ms)

    def closed(self, now_ms: int) -> bool:
        """Whether it has not ended, and its window is closed."""
        ended = self.until_ms is not None and now_ms >= self.until_ms
        return not ended and self.during is not None and not self.during.open_at(now_ms)

    def exception(self, team: str, now_ms: int) -> TeamException | None:
        """What excepts the team at this instant."""
        # Most rules except nobody, and every judgement asks.
        if not self.excepted:
            return None
        return next((one for one in self.excepted if one.team == team and one.holds(now_ms)), None)


def some_of(values: Iterable[str]) -> str:
    """Up to three values joined by *or*, and how many more there are."""
    listed = list(values)
    shown = " or ".join(listed[:3])
    return shown if len(listed) <= 3 else f"{shown} (or {len(listed) - 3} more)"
