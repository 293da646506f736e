"""What the calls on failed runs, the entries of the workflow's dead letter queue, have in common.

A request names entries by ID, or by a filter that the gateway matches itself; what is ordered is always a list of IDs.
How an entry's URL is matched, and whether a started one leaves the queue, is not known of QStash
(docs/upstream-contract.md#7-the-calls-that-destroy-other-things), so neither is relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

from gateway.core import grammar
from gateway.core.errors import MalformedRequest, TooLarge
from gateway.core.forms.query import (
    CALLER_IPS,
    COUNT,
    FAILED_RUN_IDS,
    FLOW_KEYS,
    FROM_DATE,
    LABELS,
    TO_DATE,
    URLS,
    Parameters,
    Repeatable,
    Values,
    failed_filter_in,
    query_values,
)
from gateway.core.outcome import Accepted, Cancelled, Made
from gateway.core.parse import json_members
from gateway.core.plan import Order
from gateway.core.request import (
    DEFAULT_COUNT,
    Action,
    ActionRequest,
    ByIds,
    Dialect,
    Everything,
    FailedFilter,
    Selection,
    wires_of,
)
from gateway.operations.operation import NO_ID, Asked, CallForm, Operation, Said

DLQ = "/v2/workflows/dlq"
"""The path of the entries; what is done with them stands behind it."""

DLQ_IDS = "dlqIds"
FILTERS = frozenset(wire.field for wire in wires_of(FailedFilter).values())
"""The fields of a filter of failed runs, by wire name."""

MOST_DELETED = 100
MOST_STARTED = 50
"""The most entries of one order, and so of one list: QStash deletes at most 100 in a call and restarts at most 50."""

_IDS = Repeatable(DLQ_IDS)

_WIDER = "QStash would ignore a name that it does not know, and take every failed run of the account."
_BODY = 'A body is {"dlqIds": ["…"]}, not empty, and nothing else; a query takes every filter.'
_NONE = f"'{NO_ID}' is what a client writes for an ID that it was not given: name the entries that you mean."

_EXACTLY = "workflowUrl is matched exactly here, and there is no prefix"
_ELSEWHERE: Mapping[str, str] = {
    "workflowurlstartingwith": f"{_EXACTLY}: name the whole URL, or select by label",
    "workflowurlexactmatch": f"{_EXACTLY}: leave it out",
    "workflowrunids": "a filter by the failed runs is 'workflowRunId', and exact entries are 'dlqIds'",
    "dlqid": "did you mean 'dlqIds'?",
    "id": "did you mean 'dlqIds'?",
    "ids": "did you mean 'dlqIds'?",
    "url": "did you mean 'workflowUrl'? It is matched exactly",
    "cursor": "the gateway goes through all pages itself, and answers an empty cursor; leave it out",
    "workflowcreatedat": "select by fromDate and toDate, or by workflowRunId",
    "failurefunctionstate": "list the entries, and name those that you mean by dlqIds",
    "responsestatus": "list the entries, and name those that you mean by dlqIds",
    "host": _EXACTLY,
    "path": _EXACTLY,
}
"""What to say of names that are known elsewhere, by name in lower case."""


def unknown(name: str) -> MalformedRequest:
    """Return the refusal of a name that is none of a call on failed runs; `name` is as it was written."""
    if not name:
        sentence = "The query has an empty pair: two '&' without a parameter between them, or one at an end."
        return MalformedRequest("empty_pair", sentence)
    if (instead := _ELSEWHERE.get(name.lower())) is not None:
        sentence = f"'{name}' is not a parameter of the dead letter queue's calls: {instead}."
        return MalformedRequest("unknown_parameter", sentence.replace("?.", "?"))
    return MalformedRequest("unknown_parameter", grammar.unknown_name(name, PARAMETERS.names, risk=_WIDER))


FILTER_PARAMETERS = (URLS, FAILED_RUN_IDS, LABELS, FROM_DATE, TO_DATE, CALLER_IPS, FLOW_KEYS)
PARAMETERS = Parameters(_IDS, *FILTER_PARAMETERS, COUNT, unknown=unknown)


def reads(
    action: Action,
    most: int,
    headers: Callable[[Asked], tuple[tuple[str, str], ...]],
    *,
    takes_body: bool = False,
) -> Callable[[CallForm, Asked], ActionRequest]:
    """Return the reader of an action whose lists have at most `most` IDs; `headers` reads its overrides."""

    def read(form: CallForm, asked: Asked) -> ActionRequest:
        """Read one call. Raises: MalformedRequest, TooLarge."""
        overrides = headers(asked)
        if asked.body.content_encodings:
            raise MalformedRequest("content_encoding", "The body must not be compressed: leave Content-Encoding out.")
        try:
            if form.field is not None:
                return ActionRequest(_in_path(asked), 1, action=action, overrides=overrides, in_path=True)
            selection, count, dialect = _asked(asked, most, takes_body=takes_body)
            return ActionRequest(selection, count, dialect, action=action, overrides=overrides)
        except ValueError as exc:
            raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None

    return read


def _in_path(asked: Asked) -> ByIds:
    if asked.query or asked.body.content:
        raise MalformedRequest("path_and_query", "The path names the entry, so send no query and no body beside it.")
    assert asked.named is not None
    return _by_ids([asked.named], MOST_STARTED)


def _asked(asked: Asked, most: int, *, takes_body: bool) -> tuple[Selection, int, Dialect]:
    if asked.body.content:
        if asked.query:
            raise MalformedRequest("query_and_body", "Send either a query or a body, not both.")
        if not takes_body:
            raise MalformedRequest("body", "This call is asked for by a query: send no body.")
        return _from_body(asked, most)
    return _from_query(query_values(asked.query, PARAMETERS), most)


def _from_query(values: Values, most: int) -> tuple[Selection, int, Dialect]:
    if DLQ_IDS in values:
        ids = _by_ids(_IDS.of(values), most)
        if len(values) > 1:
            sentence = "QStash ignores everything beside dlqIds, so nothing may stand beside it."
            raise MalformedRequest("beside_ids", sentence)
        return ids, len(ids.ids), Dialect.QUERY
    count = COUNT.of(values)
    selection = Everything() if not values.keys() - {COUNT.name} else failed_filter_in(values)
    return selection, DEFAULT_COUNT if count is None else count, Dialect.QUERY


def _from_body(asked: Asked, most: int) -> tuple[Selection, int, Dialect]:
    members = json_members(asked.body)
    match members:
        case {} if not members:
            return Everything(), DEFAULT_COUNT, Dialect.BODY
        case {"dlqIds": [_, *_] as listed, **others} if not others:
            if not _are_texts(listed):
                raise MalformedRequest("body_shape", f"A list in the body holds strings only. {_BODY}")
            ids = _by_ids(listed, most)
            return ids, len(ids.ids), Dialect.BODY
        case {"dlqIds": [], **others} if not others:
            sentence = f"'dlqIds' is empty, which QStash may read as every entry: name what you mean. {_BODY}"
            raise MalformedRequest("body_shape", sentence)
    for name in members:
        if name not in PARAMETERS.names:
            raise MalformedRequest("unknown_parameter", f"{unknown(name).sentence} {_BODY}")
    raise MalformedRequest("body_shape", _BODY)


def _by_ids(ids: Sequence[str], most: int) -> ByIds:
    if len(ids) > most:
        raise TooLarge("run_ids", f"At most {most} entries stand in one request of this kind: split the list.")
    if NO_ID in ids:
        raise MalformedRequest("no_id", _NONE)
    return ByIds(tuple(ids), DLQ_IDS)


def _are_texts(listed: Sequence[object]) -> TypeGuard[Sequence[str]]:
    return all(isinstance(one, str) for one in listed)


def operation(
    action: Action,
    method: str,
    path: str,
    *,
    read: Callable[[CallForm, Asked], ActionRequest],
    came_of: Callable[[Said], Cancelled | Accepted | None],
    answer: Callable[[ActionRequest, Cancelled], Mapping[str, object] | None],
    most: int,
) -> Operation:
    """Return an operation on failed runs. A single one is ordered as the bulk call for this one ID, too."""

    def target(order: Order) -> tuple[str, str]:
        """Return the call that carries out an order of IDs."""
        return method, f"{path}?{order.query}"

    return Operation(
        action=action,
        forms=(CallForm(method, path), CallForm(method, f"{path}/{{id}}", DLQ_IDS)),
        fields=(DLQ_IDS,),
        filters=FILTERS,
        read=read,
        target=target,
        came_of=came_of,
        answer=answer,
        most_ids=most,
    )


def deleted(said: Said) -> Cancelled | None:
    """Return how many entries QStash deleted; None if the answer does not say so, or has an `error` as well."""
    match _plain(said):
        case {"deleted": int(number)} if type(number) is int and 0 <= number < 2**63:
            return Cancelled(said.status, number)
    return None


def started(said: Said) -> Cancelled | None:
    """Return the runs that QStash started; None if the answer does not name them, or has an `error` as well."""
    match _plain(said):
        case {"workflowRuns": list(listed)}:
            made = [_made(one) for one in listed]
            known = [one for one in made if one is not None]
            if len(known) == len(made) == len({one.made_id for one in known}):
                return Cancelled(said.status, len(known), made=tuple(known))
    return None


def _plain(said: Said) -> Mapping[str, object]:
    """Return the members of an answer without an error; none if it has one, or a cursor that is no text."""
    members = said.members
    fits = "error" not in members and isinstance(members.get("cursor") or "", str)
    return members if fits else {}


def _made(one: object) -> Made | None:
    match one:
        case {"error": _}:
            return None
        case {"workflowRunId": str(run_id), "workflowCreatedAt": int(created_ms)} if type(created_ms) is int:
            try:
                return Made(grammar.run_id(run_id), created_ms) if 0 < created_ms < 2**63 else None
            except ValueError:
                return None
    return None


def answer_deleted(asked: ActionRequest, done: Cancelled) -> Mapping[str, object] | None:
    """Return the body that tells how many entries were deleted; for one entry in the path, once it is, none."""
    return None if asked.in_path and done.cancelled else {"cursor": "", "deleted": done.cancelled}


def answer_started(asked: ActionRequest, done: Cancelled) -> Mapping[str, object]:
    """Return the body that names the runs that were started; for one entry in the path, the run alone."""
    runs = [{"workflowRunId": one.made_id, "workflowCreatedAt": one.created_ms} for one in done.made]
    return runs[0] if asked.in_path and len(runs) == 1 else {"cursor": "", "workflowRuns": runs}
