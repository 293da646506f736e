"""The failed runs that a team may see: those that a rule with `resolve: true` lets it delete, resume or restart.

They are shown as runs are (`upstream/runs/team_runs`): an answer is built from values that were read, upstream's
cursors stay here, and no payload is shown, whatever a rule says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.core.request import Principal
from gateway.policy.choose import covers_failed, selects, showing_failed
from gateway.policy.rules import Policies
from gateway.upstream.dlq.entries import read_failed, shown_of
from gateway.upstream.dlq.log import QUEUE, DlqLog
from gateway.upstream.dlq.query import DlqQuery, parse_dlq_question
from gateway.upstream.runs.cursors import Position
from gateway.upstream.runs.pages import Page, Pairs, deadline
from gateway.upstream.runs.team_runs import DEADLINE_S, RULES_AT_ONCE, Shown, ShownPage, read_on, size_shown


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question of a team, and the policies that decide what it is shown of upstream's pages."""

    question: DlqQuery
    policies: Policies
    team: str
    log: DlqLog
    now_ms: int
    beside: bool

    @property
    def count(self) -> int:
        """How many failed runs are wanted."""
        return self.question.count

    async def page(self, pairs: Pairs) -> ShownPage:
        """Return what is shown of a page."""
        return await self.log.page(pairs, self.taken, beside=self.beside)

    def taken(self, page: Page) -> ShownPage:
        """Return what is shown of a page that was read."""
        return ShownPage(list(self._shown(page)), page.cursor)

    def _shown(self, page: Page) -> Iterator[Shown]:
        for entry in page.entries:
            run = read_failed(entry)
            if run is None or not isinstance(entry, dict) or not selects(self.question.selection, run):
                continue
            if covers_failed(self.policies, self.team, run, self.now_ms) is None:
                continue
            members = shown_of(run, entry)
            if (size := size_shown(members, self.log.is_secret)) is not None:
                yield Shown((run.run_id, run.created_ms), members, size)


async def own_entries(
    query: bytes, policies: Policies, log: DlqLog, now_ms: int, *, principal: Principal
) -> dict[str, object]:
    """Return one page of the failed runs that the principal's team may see: `{"cursor": …, "messages": […]}`.

    A page may hold fewer than asked for, even none, and still have a cursor: then there is more to look at. A cursor
    is good for the `principal` that got it. One page is read at a time for a principal.

    Raises:
        NotFound: the query does not ask for failed runs.
        MalformedRequest, LookupFailed, Throttled, Overloaded, StateUnavailable: as `own_runs`.
    """
    question = parse_dlq_question(query)
    asked_by = replace(question, cursor="")
    begin = await log.askers.found(question.cursor, principal, asked_by) if question.cursor else Position()
    rules = showing_failed(policies, principal.team, now_ms)
    if not rules:
        return {"cursor": "", "messages": []}
    asked = _Asked(question, policies, principal.team, log, now_ms, beside=len(rules) > RULES_AT_ONCE)
    with log.askers.turn(principal):
        async with deadline(DEADLINE_S, words=QUEUE.words):
            entries, end = await read_on(asked, (), begin)
    return {"cursor": "" if end is None else await log.askers.told(principal, asked_by, end), "messages": entries}
