"""The page of decisions: what became of the requests of the caller's team, one or a list; to operators of any team."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from gateway.audit.decisions.finding import NEWEST, Decisions, IndexBehind, Page
from gateway.audit.decisions.joined import RecordedDecision
from gateway.audit.decisions.lines import UUID, at_ms_of, id_of, key_of
from gateway.core import grammar
from gateway.core.errors import DecisionsUnavailable, MalformedRequest, NotFound, NotThereYet, StateUnavailable
from gateway.core.forms.query import Parameter, Parameters, query_values
from gateway.core.forms.strict_json import json_object
from gateway.core.request import Principal
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of, no_query
from gateway.state.port import DecisionsKept
from gateway.upstream.shares import Desk

MOST = 100
USUAL = 20
"""How many decisions a page shows at the most, and without a `limit`."""

READ_S = 2.0
"""How long reading the index and the chains may take, in seconds."""

PAUSES_S = (0.05, 0.1, 0.2, 0.4)
"""The waits for an index that is behind: just after a start, and when much was written, it catches up in a moment."""

T = TypeVar("T")
Members = Mapping[str, object]


def _limit(text: str) -> int:
    """Read how many decisions are asked for. Raises: ValueError: it is not from 1 to 100."""
    if not text.isascii() or not text.isdigit() or text.startswith("0") or len(text) > len(str(MOST)):
        raise ValueError(f"limit is a whole number from 1 to {MOST}")
    if int(text) > MOST:
        raise ValueError(f"limit is at most {MOST}")
    return int(text)


def _after(text: str) -> bytes:
    """Read the place in the list that a cursor stands for. Raises: ValueError: it was made by no gateway."""
    try:
        key = base64.b64decode(text.encode("ascii") + b"==", altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        key = b""
    if len(key) != len(NEWEST) or _cursor(key) != text:
        raise ValueError("this cursor is none of this gateway's: start again without a cursor")
    return key


def _cursor(key: bytes | None) -> str:
    return "" if key is None else base64.urlsafe_b64encode(key).rstrip(b"=").decode("ascii")


def _unknown(name: str) -> MalformedRequest:
    return MalformedRequest("unknown_parameter", grammar.unknown_name(name, _PARAMETERS.names))


_LIMIT, _CURSOR = Parameter("limit", _limit), Parameter("cursor", str)
_PARAMETERS = Parameters(_LIMIT, _CURSOR, unknown=_unknown)


class DecisionPages:
    """The calls that say what became of decisions. Each raises Refusal.

    Where a fleet shares a store, `kept` are the closed decisions of all of its gateways; it may be set later.
    """

    def __init__(self, intake: Intake, decisions: Decisions) -> None:
        self._intake = intake
        self.decisions = decisions
        self._desk = Desk("decisions", 1)
        self.kept: DecisionsKept | None = None

    async def one(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/decisions/{decision}`. For a request that joined another, `Gateway-Joined` says so.

        Such a request shares all of the decision that it joined, except its own ID.
        """
        no_query(inbound)
        caller, team = caller_of(inbound), _team(inbound)
        decision_id = str(inbound.scope["path_params"]["decision"])
        if UUID.fullmatch(decision_id) is None:
            raise _no_such_decision()
        told, away = await self._told(decision_id, team)
        if told is not None:
            return answers.status_page(200, told, inbound.decision_id)
        try:
            asked = decision = await self._found(decision_id, caller, team)
        except NotThereYet:
            if away is None:
                raise
            raise away from None
        if asked.begun is None and asked.joins is not None:
            decision = await self._found(str(asked.joins.get("joins")), caller, team)
        if decision.begun is None:
            raise _no_such_decision()
        answer = answers.status_page(200, {**decision.members(), "decision_id": decision_id}, inbound.decision_id)
        if decision is not asked:
            answer.headers.append((b"gateway-joined", decision.decision_id.encode("ascii")))
        return answer

    async def listed(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/decisions`: return a page of decisions, newest first."""
        caller, query = caller_of(inbound), inbound.scope["query_string"]
        self._intake.refuse_secrets(inbound, [query.decode("latin-1")])
        values = query_values(query, _PARAMETERS)
        try:
            most, cursor = _LIMIT.of(values), _CURSOR.of(values)
            before = NEWEST if cursor is None else _after(cursor)
        except ValueError as exc:
            raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None
        members = await self._page(caller, _team(inbound), before=before, most=most or USUAL)
        return answers.status_page(200, members, inbound.decision_id)

    def close(self) -> None:
        """Start no more work on the thread."""
        self._desk.close()

    async def _found(self, decision_id: str, caller: Principal, team: str | None) -> RecordedDecision:
        """Return a decision of the team (None: of any). Raises: NotFound: there is none, or it is another team's."""
        if UUID.fullmatch(decision_id) is None:
            raise _no_such_decision()
        for look in (self.decisions.in_memory, self.decisions.find):
            decision = await self._read(caller, partial(look, decision_id, team))
            if decision is not None:
                return decision
        raise _no_such_decision() if self.kept is None else _not_there_yet()

    async def _told(self, decision_id: str, team: str | None) -> tuple[Members | None, StateUnavailable | None]:
        """Return a decision of the team (None: of any) as the store has it, or why the store cannot say."""
        if self.kept is None:
            return None, None
        try:
            row = await self.kept.decision(decision_id)
        except StateUnavailable as away:
            return None, away
        return (None if row is None or team not in (None, row.team) else json_object(row.document)), None

    async def _page(self, caller: Principal, team: str | None, *, before: bytes, most: int) -> Members:
        """Return a page of the decisions of a team: those of the whole fleet, if a store is shared.

        Raises: DecisionsUnavailable, StateUnavailable: some of them may be missing.
        """
        page: Page = await self._read(caller, partial(self.decisions.of_team, team, before=before, most=most))
        found: dict[bytes, Members] = {key_of(one.decision_id): one.members() for one in page.decisions}
        if self.kept is None:
            return {"decisions": [*found.values()], "cursor": _cursor(page.after)}
        above = None if before == NEWEST else (at_ms_of(id_of(before)), id_of(before))
        for row in await self.kept.decisions(team, most + 1, above):
            # What was written here is newer than what the store was told.
            found.setdefault(key_of(row.decision_id), json_object(row.document))
        keys = sorted(found, reverse=True)
        more = len(keys) > most or page.after is not None
        shown = keys[:most]
        return {"decisions": [found[key] for key in shown], "cursor": _cursor(shown[-1] if more else None)}

    async def _read(self, caller: Principal, reading: Callable[[], T]) -> T:
        """Read on a thread, for a bounded time. Raises: DecisionsUnavailable."""
        try:
            async with asyncio.timeout(READ_S):
                for pause_s in PAUSES_S:
                    with contextlib.suppress(IndexBehind):
                        return await self._desk.done(caller, lambda: reading)
                    await asyncio.sleep(pause_s)
                return await self._desk.done(caller, lambda: reading)
        except IndexBehind:
            raise DecisionsUnavailable("index_behind") from None
        except TimeoutError:
            raise DecisionsUnavailable("index_slow") from None


def _team(inbound: Inbound) -> str | None:
    """Return whose decisions the caller may see; None stands for all teams'."""
    caller = caller_of(inbound)
    return None if inbound.live.is_operator(caller) else caller.team


def _not_there_yet() -> NotFound:
    sentence = (
        "There is no such decision of your team, or another gateway has not told of it yet: it does so once the "
        "decision is closed. Ask again in two seconds."
    )
    return NotThereYet("decision", sentence)


def _no_such_decision() -> NotFound:
    return NotFound("decision", "There is no such decision of your team on record, or not any more.")
