"""The page of decisions: what became of the requests of the caller's team, one or a list; to operators of any team.

The records of one are shown with their places in the chain, and with each rule's part under the policies of that time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

from gateway.audit.decisions.finding import NEWEST, Decisions, IndexBehind, Page
from gateway.audit.decisions.joined import RecordedDecision
from gateway.audit.decisions.lines import UUID, at_ms_of, id_of, key_of
from gateway.audit.evidence import texts
from gateway.audit.evidence.places import verifies
from gateway.authoring.explain import explain
from gateway.authoring.question import Question
from gateway.core import grammar
from gateway.core.errors import (
    DecisionsUnavailable,
    InvalidConfiguration,
    MalformedRequest,
    NotFound,
    NotThereYet,
    StateUnavailable,
)
from gateway.core.forms.query import Parameter, Parameters, query_values
from gateway.core.forms.strict_json import json_object
from gateway.core.request import Principal
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of, no_query
from gateway.policy.format.load import policies_of
from gateway.policy.rules import Policies
from gateway.state.port import DecisionsKept
from gateway.upstream.shares import Desk

MOST = 100
USUAL = 20
"""How many decisions a page shows at the most, and without a `limit`."""

READ_S = 2.0
"""How long reading the index and the chains may take, in seconds."""

PAUSES_S = (0.05, 0.1, 0.2, 0.4)
"""The waits for an index that is behind: just after a start, and when much was written, it catches up in a moment."""

MOST_PARTS = 200
"""The most rules that are shown; further ones are counted in `left_out`."""

_OF_THE_LINE = ("v", "seq", "ts", "event", "instance", "prev", "mac")
_NOT_SHOWN = (*_OF_THE_LINE, "decision_id", "key_id", "remote")

T = TypeVar("T")
Members = Mapping[str, object]


class Listed(NamedTuple):
    """Some decisions as they are shown, the newest first; `after` is the key of the last if there are more."""

    decisions: list[Members]
    after: bytes | None


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
        caller, team = caller_of(inbound), team_seen(inbound)
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
        page = await self.listed_before(caller, team_seen(inbound), before=before, most=most or USUAL)
        members = {"decisions": page.decisions, "cursor": _cursor(page.after)}
        return answers.status_page(200, members, inbound.decision_id)

    async def record(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/decisions/{decision}/record`: return the records of a decision, and their places."""
        no_query(inbound)
        caller, decision_id = caller_of(inbound), str(inbound.scope["path_params"]["decision"])
        if UUID.fullmatch(decision_id) is None:
            raise _no_such_decision()
        records = await self.read(caller, partial(self.decisions.records, decision_id, team_seen(inbound)))
        if not records:
            raise _no_such_decision()
        members = await self.read(caller, lambda: recorded(records, self.decisions, inbound.live.policies))
        return answers.status_page(200, {"decision_id": decision_id, **members}, inbound.decision_id)

    def close(self) -> None:
        """Start no more work on the thread."""
        self._desk.close()

    async def _found(self, decision_id: str, caller: Principal, team: str | None) -> RecordedDecision:
        """Return a decision of the team (None: of any). Raises: NotFound: there is none, or it is another team's."""
        if UUID.fullmatch(decision_id) is None:
            raise _no_such_decision()
        for look in (self.decisions.in_memory, self.decisions.find):
            decision = await self.read(caller, partial(look, decision_id, team))
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

    async def listed_before(self, caller: Principal, team: str | None, *, before: bytes, most: int) -> Listed:
        """Return a page of the decisions of a team: those of the whole fleet, if a store is shared.

        Raises: DecisionsUnavailable, StateUnavailable: some of them may be missing.
        """
        page = await self.recorded_before(caller, team, before=before, most=most)
        found: dict[bytes, Members] = {key_of(one.decision_id): one.members() for one in page.decisions}
        if self.kept is None:
            return Listed([*found.values()], page.after)
        above = None if before == NEWEST else (at_ms_of(id_of(before)), id_of(before))
        for row in await self.kept.decisions(team, most + 1, above):
            # What was written here is newer than what the store was told.
            found.setdefault(key_of(row.decision_id), json_object(row.document))
        keys = sorted(found, reverse=True)
        more = len(keys) > most or page.after is not None
        shown = keys[:most]
        return Listed([found[key] for key in shown], shown[-1] if more else None)

    async def recorded_before(self, caller: Principal, team: str | None, *, before: bytes, most: int) -> Page:
        """Return a page of the decisions of a team that are on this gateway's record. Raises: DecisionsUnavailable."""
        return await self.read(caller, partial(self.decisions.of_team, team, before=before, most=most))

    async def read(self, caller: Principal, reading: Callable[[], T]) -> T:
        """Read on a thread, for a bounded time. Raises: DecisionsUnavailable."""
        try:
            async with asyncio.timeout(READ_S):
                for pause_s in PAUSES_S:
                    with suppress(IndexBehind):
                        return await self._desk.done(caller, lambda: reading)
                    await asyncio.sleep(pause_s)
                return await self._desk.done(caller, lambda: reading)
        except IndexBehind:
            raise DecisionsUnavailable("index_behind") from None
        except TimeoutError:
            raise DecisionsUnavailable("index_slow") from None


def team_seen(inbound: Inbound) -> str | None:
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


def recorded(records: Sequence[Members], decisions: Decisions, current: Policies) -> dict[str, object]:
    """Return the records of a decision, whether their chains verify, and the part of each rule. It may take a second.

    The rules are those of the policies under which it was decided, whose text is kept beside the chain: null where that
    text, or the request, cannot be read.
    """
    # Nothing else of a serving gateway reads requests back from the record.
    from gateway.authoring.history import JUDGED_EVENTS, question_of

    named = sorted({str(one["instance"]) for one in records})
    chains = [{"chain": name, "verifies": verifies(decisions.directory, name, decisions.keys)} for name in named]
    first = next((one for one in records if one.get("event") in JUDGED_EVENTS), None)
    question, digest = (None, "") if first is None else (question_of(first), str(first.get("policy_digest")))
    found = None if question is None else _parts(question, digest, decisions, current)
    return {
        "records": [_record(one) for one in records],
        "chains": chains,
        "rules": None if found is None else found[:MOST_PARTS],
        "left_out": 0 if found is None else max(0, len(found) - MOST_PARTS),
    }


def _record(members: Members) -> dict[str, object]:
    return {
        "chain": members["instance"],
        "seq": members["seq"],
        "at": members["ts"],
        "event": members["event"],
        "members": {name: value for name, value in members.items() if name not in _NOT_SHOWN},
    }


def _parts(question: Question, digest: str, decisions: Decisions, current: Policies) -> list[dict[str, object]] | None:
    policies = current if digest == current.digest else _kept(decisions, digest)
    if policies is None:
        return None
    parts = explain(policies, question).parts
    return [part.members() for part in sorted(parts, key=lambda part: (not part.decides, not part.reached))]


def _kept(decisions: Decisions, digest: str) -> Policies | None:
    with suppress(OSError, ValueError, RecursionError, InvalidConfiguration):
        return policies_of(texts.read(decisions.directory, digest))
    return None
