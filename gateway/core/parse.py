"""The parser from query and body to `CancelRequest`: a request is read in exactly one way, or refused.

Reading is total: it returns a value or raises MalformedRequest, and nothing else. Bytes that two parsers could read
differently (docs/upstream-contract.md#5-two-parsers) are malformed, even if neither reading would do harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from gateway.core import grammar
from gateway.core.errors import MalformedRequest
from gateway.core.request import ByFilter, ByRunIds, CancelRequest, Dialect, EveryRun, Selection
from gateway.core.strict_json import json_object

NAMES = (
    "workflowRunIds",
    "workflowUrl",
    "workflowUrlExactMatch",
    "fromDate",
    "toDate",
    "callerIp",
    "flowControlKey",
    "label",
    "count",
)
"""Every parameter that a query may have, in upstream's order and case."""

DEFAULT_COUNT = 100
"""Upstream's default for a missing `count` (docs/upstream-contract.md#1-the-call); judged and sent explicitly."""

_WIDER = "QStash may ignore a name that it does not know, and would then cancel more than you mean."
_IN_BODY = ("workflowRunIds", "workflowUrl")
_BODY = (
    'A body is {"workflowRunIds": ["…"]} or {"workflowUrl": "…"}, not empty, and nothing else; '
    "a query takes every filter."
)

_ONCE = frozenset(("workflowUrlExactMatch", "fromDate", "toDate", "count"))
_PLAIN = re.compile(rb"[A-Za-z0-9_.~-]*")
"""Values that need no decoding in any reading of a query (RFC 3986, unreserved)."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MEDIA_TYPE = re.compile(rb'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)

Values = Mapping[str, Sequence[str]]


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
        return _from_values(_query_values(query))
    except ValueError as exc:
        raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None


def _query_values(query: bytes) -> Values:
    values: dict[str, list[str]] = {}
    for pair in query.split(b"&") if query else ():
        raw_name, equals, raw_value = pair.partition(b"=")
        name = _name(raw_name)
        if not equals or not raw_value:
            raise MalformedRequest("empty_value", f"'{name}' has no value; leave it out or give it one.")
        if name in _ONCE and name in values:
            raise MalformedRequest("repeated", f"'{name}' is given twice.")
        values.setdefault(name, []).append(decoded(name, raw_value))
    return values


def _name(raw: bytes) -> str:
    # Names are compared as they are written: some readers drop an escaped name or one in another case (Go is
    # case-sensitive), and a dropped filter widens the call.
    name = raw.decode("latin-1")
    if name in NAMES:
        return name
    if not name:
        raise MalformedRequest(
            "empty_pair", "The query has an empty pair: two '&' without a parameter between them, or one at an end."
        )
    raise MalformedRequest("unknown_parameter", grammar.unknown_name(name, NAMES, risk=_WIDER))


def decoded(name: str, raw: bytes) -> str:
    """Return one value of a query, decoded once.

    Raises:
        MalformedRequest: two readers could read it differently.
    """
    if _PLAIN.fullmatch(raw):
        return raw.decode("ascii")
    if b";" in raw or _BAD_ESCAPE.search(raw):
        raise MalformedRequest(
            "bad_escape", f"'{name}' has a ';' or a bad percent-encoding, which upstream may drop: encode the value."
        )
    try:
        value = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("not_utf8", f"'{name}' is not UTF-8.") from None
    if "," in value:
        raise MalformedRequest(
            "comma", f"'{name}' has a comma, which upstream may read as a list: repeat the parameter."
        )
    return value


def _from_values(values: Values) -> CancelRequest:
    if run_ids := values.get("workflowRunIds"):
        if len(values) > 1:
            raise MalformedRequest(
                "beside_run_ids", "Upstream ignores everything beside workflowRunIds, so nothing may stand beside it."
            )
        return CancelRequest(ByRunIds(tuple(run_ids)), len(run_ids))
    count = grammar.count(values["count"][0]) if "count" in values else DEFAULT_COUNT
    return CancelRequest(_filter(values), count)


def _filter(values: Values) -> Selection:
    if not values or values.keys() == {"count"}:
        return EveryRun()
    if "workflowUrlExactMatch" in values and "workflowUrl" not in values:
        raise MalformedRequest("exact_without_url", "workflowUrlExactMatch stands only beside workflowUrl.")
    return ByFilter(
        workflow_urls=tuple(values.get("workflowUrl", ())),
        exact=_exact(values.get("workflowUrlExactMatch", ("false",))[0]),
        from_date=_date(values, "fromDate"),
        to_date=_date(values, "toDate"),
        caller_ips=tuple(values.get("callerIp", ())),
        flow_control_keys=tuple(values.get("flowControlKey", ())),
        labels=tuple(values.get("label", ())),
    )


def _exact(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("workflowUrlExactMatch is exactly true or false")
    return text == "true"


def _date(values: Values, name: str) -> int | None:
    if name not in values:
        return None
    try:
        return grammar.date(values[name][0])
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from None


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
