"""The parser from path, query and body to `CancelRequest`: a request is read in exactly one way, or refused.

Reading is total: it returns a value or raises MalformedRequest, and nothing else. Bytes that two parsers could read
differently (docs/upstream-contract.md#5-two-parsers) are malformed, even if neither reading would do harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from gateway.core.forms.strict_json import json_object
from gateway.core.request import ByFilter, ByRunIds, CancelRequest, Dialect, EveryRun, Selection

RUNS = "/v2/workflows/runs"
"""The path of a bulk cancel; behind it and a slash stands the ID of the run that a single cancel names."""

DEFAULT_COUNT = 100
MAX_KEY_CHARS = 128
"""The longest Idempotency-Key, in characters."""
"""Upstream's default for a missing `count` (docs/upstream-contract.md#1-the-call); judged and sent explicitly."""

_NO_RUN = "undefined"
"""The word that a client of version 0.1 writes in the place of an ID, whatever else it was given."""

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

_MEDIA_TYPE = re.compile(rb'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Body:
    """A request body as it arrived, with the values of its Content-Type and Content-Encoding headers."""

    content: bytes = b""
    content_types: tuple[bytes, ...] = ()
    content_encodings: tuple[bytes, ...] = ()


def parse_reason(headers: Sequence[bytes]) -> str | None:
    """Return the caller's reason from the one `Gateway-Reason` header, decoded as UTF-8; None if there is none.

    Raises:
        MalformedRequest: there are two, or the value is not 1 to 200 printable characters or holds a gateway key.
    """
    if not headers:
        return None
    try:
        [header] = headers
        return grammar.reason(header.decode("utf-8"))
    except ValueError:
        raise MalformedRequest(
            "reason",
            f"Send the header Gateway-Reason once: 1 to {grammar.MAX_REASON_CHARS} printable characters in UTF-8, "
            "without a key among them.",
        ) from None


def parse_idempotency_key(headers: Sequence[bytes]) -> str | None:
    """Return the one `Idempotency-Key`, as it was sent; None if there is none.

    Raises:
        MalformedRequest: there are two, or the value is not 1 to 128 printable characters of ASCII.
    """
    if not headers:
        return None
    key = headers[0].decode("latin-1")
    if len(headers) > 1 or not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        raise MalformedRequest(
            "idempotency_key",
            f"Send the header Idempotency-Key once: 1 to {MAX_KEY_CHARS} printable characters of ASCII.",
        )
    return key


def parse_cancel(query: bytes, body: Body) -> CancelRequest:
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


def run_in_path(path: str) -> str | None:
    """Return the ID of the run that the path of a single cancel names; None if the path is another one."""
    before, _, name = path.rpartition("/")
    if before != RUNS or name == _NO_RUN:
        return None
    try:
        return grammar.run_id(name)
    except ValueError:
        return None


def parse_single_cancel(run_id: str, query: bytes, body: Body) -> CancelRequest:
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
    return CancelRequest(ByRunIds((run_id,)), 1)


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


def _from_values(values: Values) -> CancelRequest:
    if RUN_IDS.name in values:
        run_ids = RUN_IDS.of(values)
        if len(values) > 1:
            raise MalformedRequest(
                "beside_run_ids", "Upstream ignores everything beside workflowRunIds, so nothing may stand beside it."
            )
        return CancelRequest(ByRunIds(run_ids), len(run_ids))
    count = COUNT.of(values)
    return CancelRequest(_filter(values), DEFAULT_COUNT if count is None else count)


def _filter(values: Values) -> Selection:
    if not values or (len(values) == 1 and COUNT.name in values):
        return EveryRun()
    if EXACT.name in values and URLS.name not in values:
        raise MalformedRequest("exact_without_url", "workflowUrlExactMatch stands only beside workflowUrl.")
    return filter_in(values, exact=EXACT.of(values) or False)


def json_members(body: Body) -> dict[str, object]:
    """Return the members of a JSON body.

    Raises:
        MalformedRequest: it is not one JSON object with distinct keys, or its Content-Type does not say JSON.
    """
    if len(body.content_types) != 1 or not _MEDIA_TYPE.fullmatch(body.content_types[0]):
        raise MalformedRequest("content_type", "A body needs exactly one 'Content-Type: application/json'.")
    try:
        return json_object(body.content)
    except ValueError:
        raise MalformedRequest("not_json", "The body is not one JSON object in UTF-8 with distinct keys.") from None


def _from_body(body: Body) -> CancelRequest:
    members = json_members(body)
    if not members:
        return CancelRequest(EveryRun(), DEFAULT_COUNT, Dialect.BODY)
    match members:
        case {"workflowRunIds": [_, *_] as run_ids, **others} if not others:
            return CancelRequest(ByRunIds(_texts(run_ids)), len(run_ids), Dialect.BODY)
        case {"workflowUrl": [_, *_] as urls, **others} if not others:
            return CancelRequest(ByFilter(workflow_urls=_texts(urls)), DEFAULT_COUNT, Dialect.BODY)
        case {"workflowUrl": str(url), **others} if url and not others:
            return CancelRequest(ByFilter(workflow_urls=_texts([url])), DEFAULT_COUNT, Dialect.BODY)
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
