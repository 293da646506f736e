"""`cancel_runs`: cancels runs, by ID or by a filter, with `DELETE /v2/workflows/runs[/{id}]`.

A request is read in exactly one way, or refused. A single cancel is read as the bulk cancel of this one ID, and is
ordered and answered as that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.core import grammar
from gateway.core.errors import MalformedRequest, NotFound
from gateway.core.forms.query import (
    CALLER_IPS,
    COUNT,
    FLOW_KEYS,
    FROM_DATE,
    HOSTS,
    LABELS,
    PATHS,
    TO_DATE,
    URLS,
    Parameter,
    Parameters,
    Repeatable,
    Values,
    filter_in,
    query_values,
)
from gateway.core.outcome import Accepted, Cancelled
from gateway.core.parse import Body, json_members
from gateway.core.plan import Order
from gateway.core.request import (
    DEFAULT_COUNT,
    WIRES,
    Action,
    ActionRequest,
    ByFilter,
    ByIds,
    Dialect,
    Everything,
    Selection,
)
from gateway.operations.operation import Asked, CallForm, Operation, Said

RUNS = "/v2/workflows/runs"
"""The path of a bulk cancel; behind it and a slash stands the ID of the run that a single cancel names."""

_REPORT = (
    "With cancel=false this call is a runtime's report that its run has ended, which the gateway does not pass: "
    "runtimes that host workflows keep their own client and token."
)
_WIDER = "QStash may ignore a name that it does not know, and would then cancel more than you mean."
_IN_BODY = ("workflowRunIds", "workflowUrl")
_BODY = (
    'A body is {"workflowRunIds": ["…"]} or {"workflowUrl": "…"}, not empty, and nothing else; '
    "a query takes every filter."
)


def parse_cancel(query: bytes, body: Body) -> ActionRequest:
    """Read a bulk cancel from the raw query (without `?`) and the body.

    Raises:
        MalformedRequest: the bytes break the grammar of docs/requests.md.
    """
    if body.content_encodings:
        raise MalformedRequest("content_encoding", "The body must not be compressed: leave Content-Encoding out.")
    if query and body.content:
        raise MalformedRequest("query_and_body", "Send either a query or a body, not both.")
    try:
        if body.content:
            return _from_body(body)
        return _from_values(query_values(query, PARAMETERS))
    except ValueError as exc:
        raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None


def parse_single_cancel(run_id: str, query: bytes, body: Body) -> ActionRequest:
    """Read the cancel of the run that the path names (`run_in_path`), as a bulk cancel of this one ID.

    Raises:
        MalformedRequest: there is a body, which no client sends here, or a query other than `cancel=true`.
        NotFound: the query is `cancel=false`, which makes it another call of QStash's.
    """
    try:
        wanted = _CANCEL.of(query_values(query, _BESIDE_A_PATH))
    except ValueError as exc:
        raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None
    if wanted is False:
        # A runtime sends the result of the run in the body.
        raise NotFound("qstash_path", _REPORT)
    if body.content_encodings or body.content:
        raise MalformedRequest("path_and_body", "The path names the run, so send no body and no Content-Encoding.")
    return ActionRequest(ByIds((run_id,)), 1)


def _unknown(name: str) -> MalformedRequest:
    if name:
        return MalformedRequest("unknown_parameter", grammar.unknown_name(name, NAMES, risk=_WIDER))
    return MalformedRequest(
        "empty_pair", "The query has an empty pair: two '&' without a parameter between them, or one at an end."
    )


def _unknown_beside_a_path(name: str) -> MalformedRequest:
    if not name:
        return _unknown(name)
    if name not in NAMES:
        return MalformedRequest("unknown_parameter", grammar.unknown_name(name, (_CANCEL.name,)))
    sentence = f"The path names the run, so nothing else selects beside it: leave '{name}' out, or send it to {RUNS}."
    return MalformedRequest("unknown_parameter", sentence)


def _flag(name: str) -> Parameter[bool]:
    def reads(text: str) -> bool:
        """Read a flag, and name the parameter in the error."""
        if text not in ("true", "false"):
            raise ValueError(f"{name} is exactly true or false")
        return text == "true"

    return Parameter(name, reads)


RUN_IDS, EXACT, _CANCEL = Repeatable("workflowRunIds"), _flag("workflowUrlExactMatch"), _flag("cancel")
_BESIDE_A_PATH = Parameters(_CANCEL, unknown=_unknown_beside_a_path)

PARAMETERS = Parameters(
    *(RUN_IDS, URLS, EXACT, FROM_DATE, TO_DATE, CALLER_IPS, FLOW_KEYS, LABELS, HOSTS, PATHS, COUNT), unknown=_unknown
)

NAMES = PARAMETERS.names
"""Every parameter that a query may have, in upstream's order and case."""


def _from_values(values: Values) -> ActionRequest:
    if RUN_IDS.name in values:
        run_ids = RUN_IDS.of(values)
        if len(values) > 1:
            raise MalformedRequest(
                "beside_run_ids", "Upstream ignores everything beside workflowRunIds, so nothing may stand beside it."
            )
        return ActionRequest(ByIds(run_ids), len(run_ids))
    count = COUNT.of(values)
    return ActionRequest(_filter(values), DEFAULT_COUNT if count is None else count)


def _filter(values: Values) -> Selection:
    if not values or (len(values) == 1 and COUNT.name in values):
        return Everything()
    if EXACT.name in values and URLS.name not in values:
        raise MalformedRequest("exact_without_url", "workflowUrlExactMatch stands only beside workflowUrl.")
    return filter_in(values, exact=EXACT.of(values) or False)


def _from_body(body: Body) -> ActionRequest:
    members = json_members(body)
    if not members:
        return ActionRequest(Everything(), DEFAULT_COUNT, Dialect.BODY)
    match members:
        case {"workflowRunIds": [_, *_] as run_ids, **others} if not others:
            return ActionRequest(ByIds(_texts(run_ids)), len(run_ids), Dialect.BODY)
        case {"workflowUrl": [_, *_] as urls, **others} if not others:
            return ActionRequest(ByFilter(workflow_urls=_texts(urls)), DEFAULT_COUNT, Dialect.BODY)
        case {"workflowUrl": str(url), **others} if url and not others:
            return ActionRequest(ByFilter(workflow_urls=_texts([url])), DEFAULT_COUNT, Dialect.BODY)
    for name in members:
        if name not in NAMES:
            raise MalformedRequest("unknown_parameter", f"{grammar.unknown_name(name, NAMES, risk=_WIDER)} {_BODY}")
        if name not in _IN_BODY:
            raise MalformedRequest("body_shape", f"'{name}' is not read from a body. {_BODY}")
    raise MalformedRequest("body_shape", _misshapen(members))


def _misshapen(members: Mapping[str, object]) -> str:
    """Return what is wrong with a body whose names are known."""
    if len(members) > 1:
        return f"Upstream ignores everything beside workflowRunIds, so nothing may stand beside it. {_BODY}"
    [(name, value)] = members.items()
    if value in ([], ""):
        return f"'{name}' is empty, which upstream may read as every run: name what you mean. {_BODY}"
    shape = "a list of strings" if name == "workflowRunIds" else "a string or a list of strings"
    return f"'{name}' is {shape}. {_BODY}"


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(values):
        raise MalformedRequest("body_shape", f"A list in the body holds strings only. {_BODY}")
    if any("," in text for text in texts):
        raise MalformedRequest(
            "comma", "A value in the body has a comma, which upstream may read as a list: write a list."
        )
    return texts


def _read(form: CallForm, asked: Asked) -> ActionRequest:
    if form.field is None:
        return parse_cancel(asked.query, asked.body)
    # Read as a bulk cancel, a single one without a query would ask for every run.
    assert asked.named is not None
    return parse_single_cancel(asked.named, asked.query, asked.body)


def _target(order: Order) -> tuple[str, str]:
    return "DELETE", f"{RUNS}?{order.query}"


def _came_of(said: Said) -> Cancelled | Accepted | None:
    number = said.members.get("cancelled")
    if type(number) is int and 0 <= number < 2**63:
        return Cancelled(said.status, number, said.bulk_action_id)
    if "cancelled" not in said.members and said.bulk_action_id is not None:
        return Accepted(said.status, said.bulk_action_id)
    return None


def _answer(_asked: ActionRequest, done: Cancelled) -> Mapping[str, object]:
    return {"cancelled": done.cancelled}


OPERATION = Operation(
    action=Action.CANCEL_RUNS,
    forms=(CallForm("DELETE", RUNS), CallForm("DELETE", f"{RUNS}/{{id}}", "workflowRunIds")),
    fields=(RUN_IDS.name,),
    filters=frozenset(wire.field for wire in WIRES),
    read=_read,
    target=_target,
    came_of=_came_of,
    answer=_answer,
)
