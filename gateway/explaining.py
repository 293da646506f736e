"""`POST /gateway/v1/explain`: a caller's own question, read as strictly as a cancel, judged and never sent."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

from gateway.cancel import CancelRequest
from gateway.errors import MalformedRequest
from gateway.policy_tools.explain import Explanation
from gateway.policy_tools.question import from_line
from gateway.read import Body, json_members

MOST_PARTS = 200
"""How many rules an answer shows; further ones are counted in `left_out`."""

_SHAPE = 'Send {"request": "DELETE /v2/workflows/runs?…"}, and "body" or "reason" where the request has one.'


def question_in(body: Body) -> CancelRequest:
    """The request that a caller asks about: `request` is a request line or query, `body` its JSON, `reason` its reason.

    Raises: MalformedRequest, also where the gateway would answer 400 to the request itself.
    """
    if body.content_encodings:
        raise MalformedRequest("content_encoding", "The body must not be compressed: leave Content-Encoding out.")
    match json_members(body):
        case {"request": str(line), **others} if others.keys() <= {"body", "reason"}:
            reason = others.get("reason")
        case _:
            raise MalformedRequest("explain_shape", _SHAPE)
    if not (reason is None or isinstance(reason, str)):
        raise MalformedRequest("explain_shape", _SHAPE)
    try:
        return from_line(line, body=_content(others.get("body")), reason=reason)
    except ValueError as exc:
        raise MalformedRequest("explain_request", f"The request in question cannot be read: {exc}.") from None


def answer(explanation: Explanation) -> dict[str, object]:
    """What the caller may see: the decision, and the names and words of the rules about its own team."""
    return explanation.members(most=MOST_PARTS)


def _content(body: object) -> bytes:
    match body:
        case None:
            return b""
        case str():
            return body.encode()
        case Mapping():
            with contextlib.suppress(RecursionError):
                return json.dumps(body).encode()
    raise MalformedRequest("explain_shape", _SHAPE)
