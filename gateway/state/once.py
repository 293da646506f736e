"""The binding of an Idempotency-Key: what is kept of the key and of the request that it came with. Pure.

Both are kept as SHA-256 only. The one of the request can be made again from the record of an intent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from gateway.core.errors import MalformedRequest
from gateway.core.request import Principal
from gateway.state.admissions import Binding


def binding(principal: Principal, key: str, asked: Mapping[str, object], *, plan_id: str | None = None) -> Binding:
    """Return the binding of a principal's key to a request (its `identity`), or to the plan that it applies."""
    return Binding(_sha256(f"{principal.name}\n{key}"), request_sha256(asked, plan_id=plan_id))


def request_sha256(asked: Mapping[str, object], *, plan_id: str | None = None) -> str:
    """Return the SHA-256 (hex) of what is asked for: of equal requests the same, however they are written, and why.

    A plan is applied once, so its ID stands for what is asked.
    """
    said = {"plan": plan_id} if plan_id is not None else {"asked": asked}
    return _sha256(json.dumps(said, sort_keys=True, separators=(",", ":")))


def keeps_no_keys(act: str) -> MalformedRequest:
    """Return the refusal of an Idempotency-Key where nothing is kept; `act` names what the request does in a word."""
    return MalformedRequest(
        "idempotency_key",
        "This gateway keeps no state, so it cannot know an Idempotency-Key again, and a repeat with it may be a second "
        f"{act}: send the request without it, or ask the gateway's operators for 'state'. Nothing was sent.",
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
