"""The runs that a team may see: those that its rules cover, read with the read-only token.

An answer is built from the values that were read. Of upstream's members only known ones are shown, and steps and
payloads only if a rule says so. Upstream is asked for nothing that no rule can cover. Its cursors, which name runs of
any team, stay here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Protocol, TypeVar

import orjson

from gateway.core.errors import LookupFailed
from gateway.core.request import Principal
from gateway.core.run import Run
from gateway.policy.choose import covers, may_show, showing
from gateway.policy.rules import TeamRules
from gateway.upstream.runs.cursors import Askers, Position
from gateway.upstream.runs.entries import read_entry
from gateway.upstream.runs.narrowing import narrowing_of_team
from gateway.upstream.runs.pages import (
    LEADS_BACK,
    MAX_PAGE_BYTES,
    MAX_TRIMMED_BYTES,
    TRIMMED,
    UNREADABLE,
    Page,
    Pairs,
    deadline,
)
from gateway.upstream.runs.query import RunQuery, parse_question

MAX_PAGES = 20
"""The most pages of upstream's that are read for one of ours."""
DEADLINE_S = 30.0
RULES_AT_ONCE = 200
"""A team with more rules than this has even a short page compared with them on a thread."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""The most bytes of one page of ours, unless a single run is longer. A page is written in one step."""

_PAYLOADS = ("trimBody", "false")

_FULL: dict[str, type] = {
    "steps": list,
    "failureFunction": dict,
    "workflowRunResponse": str,
    "invoker": dict,
    "dlqId": str,
}
"""Members that may hold payloads or headers, or speak of other runs."""


_Taken = TypeVar("_Taken")


class PagePort(Protocol):
    """The part of upstream's log that is needed here."""

    @property
    def askers(self) -> Askers:
        """The callers that read pages now, and the cursors handed out."""

    async def page(
        self, pairs: Pairs, take: Callable[[Page], _Taken], *, max_bytes: int = MAX_PAGE_BYTES, beside: bool = False
    ) -> _Taken:
        """Return what `take` makes of one page of at most `max_bytes`; on a thread if it is long or `beside` is set.

        Raises: LookupFailed: the page cannot be read.
        """

    def is_secret(self, text: str | bytes) -> bool:
        """Return whether the text holds a token of the account, or a gateway's key."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A run as it is shown: `which` run, by ID and creation time, its members, and how many bytes these take."""

    which: tuple[str, int]
    members: dict[str, object]
    size: int


@dataclass(frozen=True, slots=True)
class ShownPage:
    """The part of one of upstream's pages that is shown, and the cursor of the next page."""

    found: Sequence[Shown]
    cursor: str


class Asking(Protocol):
    """One question of a team: how many things it wants, and what it is shown of one of upstream's pages."""

    @property
    def count(self) -> int:
        """How many are wanted."""

    async def page(self, pairs: Pairs) -> ShownPage:
        """Return what is shown of a page. Raises: LookupFailed: it cannot be read."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question of a team, with the rules that decide what it is shown of upstream's pages."""

    question: RunQuery
    rules: TeamRules
    log: PagePort
    now_ms: int

    @property
    def count(self) -> int:
        """How many runs are wanted."""
        return self.question.count

    async def page(self, pairs: Pairs) -> ShownPage:
        """Return what is shown of a page.

        A page that is too long or cannot be read is read again without payloads, so that one run's payload hides no
        other run.
        """
        # Each run is compared with every rule that may cover it.
        beside = len(self.rules.allows) > RULES_AT_ONCE
        if _PAYLOADS in pairs:
            try:
                return await self.log.page(pairs, partial(self.taken, payloads=True), beside=beside)
            except LookupFailed as failed:
                if failed.cause != UNREADABLE:
                    raise
        trimmed = [pair if pair != _PAYLOADS else TRIMMED for pair in pairs]
        take = partial(self.taken, payloads=False)
        return await self.log.page(trimmed, take, max_bytes=MAX_TRIMMED_BYTES, beside=beside)

    def taken(self, page: Page, *, payloads: bool) -> ShownPage:
        """Return what is shown of a page that was read with payloads, or without."""
        return ShownPage(list(self._shown(page, payloads=payloads)), page.cursor)

    def _shown(self, page: Page, *, payloads: bool) -> Iterator[Shown]:
        for entry in page.entries:
            run = read_entry(entry)
            rule = covers(self.rules, run, self.now_ms) if run is not None and self.question.means(run) else None
            if run is None or rule is None or not isinstance(entry, dict):
                continue
            known = _known(run, entry)
            with_payloads = payloads and rule.logs_full and not self.question.trimmed
            full = {**known, **_full(entry)} if with_payloads else known
            # If a payload holds a secret, the run is shown without payloads; if another member does, it is not shown.
            # The same goes for members that cannot be serialised.
            for members in (full, known):
                if (size := size_shown(members, self.log.is_secret)) is not None:
                    yield Shown((run.run_id, run.created_ms), members, size)
                    break


def size_shown(members: Mapping[str, object], is_secret: Callable[[bytes], bool]) -> int | None:
    """Return how many bytes the members take in an answer; None if they hold a secret or cannot be serialised.

    A number above 64 bits, half of a surrogate pair, or too deep a nesting cannot be.
    """
    try:
        written = orjson.dumps({"runs": [members]})
    except orjson.JSONEncodeError:
        return None
    return None if is_secret(written) else len(written)


async def own_runs(
    query: bytes, rules: TeamRules, log: PagePort, now_ms: int, *, events: bool, principal: Principal
) -> dict[str, object]:
    """Return one page of the runs that the rules cover, as upstream's log would show it: `{"cursor": …, "runs": […]}`.

    A page may hold fewer runs than asked for, even none, and still have a cursor: then there is more to look at. A
    cursor is good for the `principal` that got it. One page is read at a time for a principal.

    Raises:
        MalformedRequest: the query cannot be read in exactly one way, or its cursor is unknown.
        LookupFailed: upstream cannot be read.
        Throttled, Overloaded: another page is being read for the principal, or as many as may be.
        StateUnavailable: another gateway told the cursor, and the store cannot be asked.
    """
    question = parse_question(query, events=events)
    asked_by = replace(question, cursor="")
    begin = await log.askers.found(question.cursor, principal, asked_by) if question.cursor else Position()
    fixed = _fixed(_Asked(question, rules, log, now_ms))
    if fixed is None:
        return {"cursor": "", "runs": []}
    with log.askers.turn(principal):
        async with deadline(DEADLINE_S):
            runs, end = await read_on(_Asked(question, rules, log, now_ms), fixed, begin)
    return {"cursor": "" if end is None else await log.askers.told(principal, asked_by, end), "runs": runs}


async def read_on(asked: Asking, fixed: Pairs, begin: Position) -> tuple[list[dict[str, object]], Position | None]:
    """Read on until enough is found or no page is left. Return what is shown, and where to go on if there is more."""
    runs: list[dict[str, object]] = []
    at, before, seen, room = begin.cursor, begin.shown, {begin.cursor}, MAX_ANSWER_BYTES
    for _ in range(MAX_PAGES):
        page = await asked.page([*fixed, ("cursor", at)] if at else fixed)
        found = [one for one in page.found if one.which not in before]
        fitting = _fitting(found, most=asked.count - len(runs), room=room, first=not runs)
        runs += [one.members for one in fitting]
        room -= sum(one.size for one in fitting)
        if len(found) > len(fitting):
            of_this_page = before if at == begin.cursor else frozenset()
            return runs, Position(at, of_this_page.union(one.which for one in fitting))
        if not page.cursor:
            return runs, None
        if page.cursor in seen:
            raise LookupFailed("cursor", LEADS_BACK)
        at = page.cursor
        seen.add(at)
        if len(runs) == asked.count:
            break
    return runs, Position(at)


def _fitting(found: Sequence[Shown], *, most: int, room: int, first: bool) -> Sequence[Shown]:
    """Return the runs that fit into the answer beside what it holds. The first run of an answer always fits."""
    sizes = accumulate(one.size for one in found)
    return [
        one
        for number, (one, size) in enumerate(zip(found, sizes, strict=True))
        if number < most and (size <= room or (first and number == 0))
    ]


def _fixed(asked: _Asked) -> Pairs | None:
    """Return what is asked of upstream with every page; None if no run can be shown."""
    question, allows = asked.question, showing(asked.rules, asked.now_ms)
    pairs = narrowing_of_team(question.selection, allows, lambda url: may_show(asked.rules, url, asked.now_ms))
    if pairs is None:
        return None
    pairs += [("state", question.state)] if question.state is not None else []
    pairs += [("workflowRunId", question.run_id)] if question.run_id is not None else []
    full = any(allow.logs_full for allow in allows) and not question.trimmed
    # Ask for ten, however few are wanted: upstream's own pages are as long.
    return [*pairs, _PAYLOADS if full else TRIMMED, ("count", "10")]


def _known(run: Run, entry: Mapping[str, object]) -> dict[str, object]:
    ended_ms = entry.get("workflowRunCompletedAt")
    return {
        "workflowRunId": run.run_id,
        "workflowUrl": run.workflow_url,
        "workflowState": run.state,
        "workflowRunCreatedAt": run.created_ms,
        **({"workflowRunCompletedAt": ended_ms} if type(ended_ms) is int else {}),
        **({"workflowRunCallerIp": run.caller_ip} if run.caller_ip is not None else {}),
        **({"flowControlKey": run.flow_control_key} if run.flow_control_key is not None else {}),
        **({"label": run.labels[0]} if run.labels else {}),
        "labels": list(run.labels),
        "steps": [],
    }


def _full(entry: Mapping[str, object]) -> dict[str, object]:
    return {name: entry[name] for name, kind in _FULL.items() if isinstance(entry.get(name), kind)}
