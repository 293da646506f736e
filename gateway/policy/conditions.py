"""The conditions of rules: the bounds on one field of what a request selects.

Each answers two questions about a request that carries its field. `contains`: do all runs that the request could select
lie inside? (for `allow` and `require`) `overlaps`: may one of them lie inside? (for `deny`)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from gateway.core.grammar import EARLIEST_MS, at_or_below, denied_below, host_of, in_subtree, lies_under, path_of
from gateway.core.request import HERE, RUN_IDS, Action, ByIds, Filter, Selection
from gateway.core.run import Run
from gateway.policy.window import duration

TO_DATE_LEAD_MS = 60_000
"""The furthest that a `toDate` may lie in the future under `within_last`."""

MEMBERS = {
    "label": "labels",
    "flowControlKey": "flow_control_keys",
    "callerIp": "caller_ips",
    "host": "hosts",
    "path": "paths",
    "workflowRunId": "failed_run_ids",
}
"""The fields of plain values, by wire name, each with the member of a `Filter` that holds the values asked for.

`workflowRunId` is of entries of the dead letter queue: the run that failed.
"""

RUN_MEMBERS = {
    "label": "labels",
    "flowControlKey": "flow_control_key",
    "callerIp": "caller_ip",
    "host": "host",
    "path": "path",
    "workflowRunId": "failed_run_id",
}
"""The same fields, each with the member of `Run` that holds its values: a tuple, or one text or None."""

FAILED = frozenset((Action.DELETE_DLQ, Action.RESUME_DLQ, Action.RESTART_DLQ))
"""The actions on failed runs, the entries of the dead letter queue. Their filters are a `FailedFilter`."""

ID_LISTS = (RUN_IDS, "dlqIds", "messageIds")
"""The fields, by wire name, under which a request lists runs, entries or messages by ID. In a rule one stands alone."""

PAUSED = ("flowControlKey", "queue", "schedule")
"""The fields, by wire name, that name what is paused or resumed. A request has one of them, as a rule has."""

_OF_URL = {"host": host_of, "path": path_of}


def values(run: Run, field: str) -> tuple[str, ...]:
    """Return a run's values of the field of this wire name; of one that is not of `RUN_MEMBERS` it has none."""
    member = RUN_MEMBERS.get(field)
    if member is None:
        return ()
    found: tuple[str, ...] | str | None = getattr(run, member)
    if isinstance(found, str):
        return (found,)
    return found or ()


def known(selection: Selection) -> frozenset[str]:
    """Return the fields whose values the selection shows: those it carries, and host and path of URLs named exactly."""
    return selection.carried | HERE if isinstance(selection, Filter) and selection.exact else selection.carried


def asked_values(selection: Selection, field: str) -> tuple[str, ...]:
    """Return a selection's values of a field that is `known`: its own, or else those of the exact URLs of a filter."""
    if isinstance(selection, ByIds):
        return selection.ids
    assert isinstance(selection, Filter)
    if field in selection.carried:
        asked: tuple[str, ...] = getattr(selection, MEMBERS[field])
        return asked
    return tuple(dict.fromkeys(_OF_URL[field](url) for url in selection.workflow_urls))


class Condition(Protocol):
    """The bound on one field."""

    @property
    def optional(self) -> bool:
        """Whether a request may leave the field out."""

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Return whether all runs that the selection could name lie inside; the selection must carry the field."""

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Return whether some run that the selection could name may lie inside; the selection must carry the field."""

    def words(self) -> str:
        """Return the bound in plain words, to follow the field's name."""


@dataclass(frozen=True, slots=True)
class UrlCondition:
    """The bound on `workflowUrl`: exact values, and prefixes whose boundary is the end of the value or `/`."""

    exact: frozenset[str] = frozenset()
    prefix: tuple[str, ...] = ()
    any: bool = False
    optional: bool = False

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Return whether every URL is listed or lies at or below a prefix; one sent as a prefix must end in `/`."""
        assert isinstance(selection, Filter)
        urls, exact = selection.workflow_urls, selection.exact
        if self.any or (exact and self.exact.issuperset(urls)):
            return True
        return all(self.admits(url, exact=exact) for url in urls)

    def admits(self, url: str, *, exact: bool) -> bool:
        """Return whether one URL, exact or a prefix, lies inside."""
        if exact and url in self.exact:
            return True
        # Upstream's prefix has no boundary: `…/api` would also cancel `…/api-v2`, so only `…/api/` is contained.
        return (exact or url.endswith("/")) and lies_under(url, self.prefix, at_or_below)

    def lists(self, url: str, *, exact: bool) -> bool:
        """Return whether an exact URL, or a page and all below it, lies inside, as the gateway matches."""
        return (exact and url in self.exact) or lies_under(url, self.prefix, in_subtree)

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Return whether some URL is listed or lies below a prefix or, sent as a prefix, begins something listed."""
        assert isinstance(selection, Filter)
        urls = selection.workflow_urls
        if any(lies_under(url, self.prefix, denied_below) for url in urls):
            return True
        if selection.exact:
            return not self.exact.isdisjoint(urls)
        return any(listed.startswith(urls) for listed in (*self.exact, *self.prefix))

    def words(self) -> str:
        """Return a few of the exact URLs and prefixes in words."""
        if self.any:
            return "any URL"
        exact = [f"exactly {url}" for url in sorted(self.exact)]
        below = [f"{url.rstrip('/')}/ or below" for url in self.prefix]
        return some_of(exact + below)


@dataclass(frozen=True, slots=True)
class RunIdCondition:
    """The bound on a field of `ID_LISTS`: at most `max` IDs, each beginning with one of `prefix` (if not empty)."""

    max: int | None = None
    prefix: tuple[str, ...] = ()
    any: bool = False
    optional: bool = False

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Return whether there are at most `max` IDs, each beginning with one of the prefixes."""
        assert isinstance(selection, ByIds)
        if self.max is not None and len(selection.ids) > self.max:
            return False
        return not self.prefix or all(run_id.startswith(self.prefix) for run_id in selection.ids)

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Return whether some ID begins with one of the prefixes."""
        assert isinstance(selection, ByIds)
        return any(run_id.startswith(self.prefix) for run_id in selection.ids)

    def words(self) -> str:
        """Return in words how many IDs there may be, and how they begin."""
        number = f"at most {self.max} IDs" if self.max is not None else "any number of IDs"
        return f"{number} beginning with {some_of(self.prefix)}" if self.prefix else number


@dataclass(frozen=True, slots=True)
class ValueCondition:
    """The bound on a field of `MEMBERS` or `PAUSED`: every value must be listed; `field` is the wire name."""

    field: str
    any_of: frozenset[str] = frozenset()
    any: bool = False
    optional: bool = False

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Return whether every value is admitted."""
        return self.any or self.any_of.issuperset(asked_values(selection, self.field))

    def takes(self, values: Iterable[str]) -> bool:
        """Return whether every one of the values is admitted."""
        return self.any or all(map(self.admits, values))

    def overlaps(self, selection: Selection, now_ms: int) -> bool:
        """Return whether some value is listed."""
        return self.meets(asked_values(selection, self.field))

    def admits(self, value: str) -> bool:
        """Return whether the value is listed."""
        return value in self.any_of

    def meets(self, values: Iterable[str]) -> bool:
        """Return whether one of the values is listed."""
        return not self.any_of.isdisjoint(values)

    def first(self) -> str:
        """Return one of the listed values, always the same."""
        return min(self.any_of)

    def words(self) -> str:
        """Return a few of the listed values in words."""
        return "any value" if self.any else some_of(sorted(self.any_of))


@dataclass(frozen=True, slots=True)
class PathCondition(ValueCondition):
    """The bound on `path`: values as listed, and prefixes, each a page and all below it."""

    prefix: tuple[str, ...] = ()

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Return whether every path is admitted."""
        return self.any or all(map(self.admits, asked_values(selection, self.field)))

    def admits(self, value: str) -> bool:
        """Return whether the path is listed, or is one of the pages or lies below it."""
        return value in self.any_of or lies_under(value, self.prefix, in_subtree)

    def meets(self, values: Iterable[str]) -> bool:
        """Return whether one of the paths is admitted."""
        return any(map(self.admits, values))

    def first(self) -> str:
        """Return one of the listed paths or pages, always the same."""
        return min(self.any_of or self.prefix)

    def words(self) -> str:
        """Return a few of the paths and pages in words."""
        if self.any:
            return "any path"
        exact = [f"exactly {path}" for path in sorted(self.any_of)]
        return some_of([*exact, *(f"{path.rstrip('/')}/ or below" for path in self.prefix)])


@dataclass(frozen=True, slots=True)
class CreatedCondition:
    """The bound on `fromDate` and `toDate`: how far back they may lie, and how far apart (milliseconds)."""

    within_last_ms: int | None = None
    max_span_ms: int | None = None
    any: bool = False
    optional: bool = False

    def contains(self, selection: Selection, now_ms: int) -> bool:
        """Return whether the dates are recent enough and close enough together; a missing date fails its bound."""
        assert isinstance(selection, Filter)
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
        """Return whether the dates may reach into `within_last`; without a `toDate` or a credible clock they may."""
        assert isinstance(selection, Filter)
        if self.within_last_ms is None or selection.to_date is None or now_ms < EARLIEST_MS:
            return True
        return selection.to_date >= now_ms - self.within_last_ms

    def words(self) -> str:
        """Return in words how recent the dates must be, and how close together."""
        parts = []
        if self.within_last_ms is not None:
            parts.append(f"fromDate within the last {duration(self.within_last_ms)}")
        if self.max_span_ms is not None:
            parts.append(f"fromDate and toDate at most {duration(self.max_span_ms)} apart")
        return " and ".join(parts) or "any dates"


@dataclass(frozen=True, slots=True)
class CountCondition:
    """The bound on `count`.

    `max` refuses a request that *asks* for more. `cap` lowers a filter's count to it, and refuses a longer list of IDs.
    """

    max: int | None = None
    cap: int | None = None
    any: bool = False

    @property
    def ceiling(self) -> int | None:
        """The most run IDs that a request may name; None if there is no bound."""
        return min((bound for bound in (self.max, self.cap) if bound is not None), default=None)


def some_of(values: Iterable[str]) -> str:
    """Return up to three values joined by *or*, and how many more there are."""
    listed = list(values)
    shown = " or ".join(listed[:3])
    return shown if len(listed) <= 3 else f"{shown} (or {len(listed) - 3} more)"
