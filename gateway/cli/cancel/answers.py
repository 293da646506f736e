"""The gateway's answers to a caller, as values: a result, a refusal, or no answer that could be read.

A plan is a `ShownPlan`, which the gateway writes with the same class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.forms.shown import Left, Members, skipped_in

_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a plan that was carried out to its end.

    `over_cancelled` is how many runs were cancelled beyond those that were sent.
    """

    cancelled: int
    decision_id: str
    skipped: Mapping[str, Left]
    over_cancelled: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gateway's statement that a request was not, or not wholly, carried out. `members` is the whole problem."""

    sentence: str
    code: str
    members: Members


@dataclass(frozen=True, slots=True)
class Lost:
    """The lack of a gateway's answer. `sent` is False only if certainly nothing was sent; `why` is for people."""

    sent: bool
    why: str


def done_in(members: Members, headers: Mapping[str, str]) -> Done:
    """Read a result from members and headers (lower-case names). Raises: ValueError if they are not a result."""
    cancelled = members.get("cancelled")
    if type(cancelled) is not int or cancelled < 0:
        raise ValueError("no result")
    over = headers.get("gateway-over-cancelled", "")
    skipped = skipped_in(headers.get("gateway-skipped", ""))
    return Done(cancelled, headers.get("gateway-decision", ""), skipped, int(over) if _COUNT.fullmatch(over) else 0)


def refusal_in(members: Members) -> Refusal:
    """Read a refusal from the members of an answer. Raises: ValueError if they are not a refusal."""
    sentence, code = members.get("error"), members.get("code")
    if isinstance(sentence, str) and isinstance(code, str):
        return Refusal(sentence, code, members)
    raise ValueError("no refusal")
