"""What passes between the simulator's core and the wire: calls, answers, ledger entries and scripted faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Token(StrEnum):
    """Which credential a call carried."""

    FULL = "full"
    READ_ONLY = "read-only"
    WRONG = "wrong"
    NONE = "none"


class Kind(StrEnum):
    """What a call is for."""

    CANCEL = "cancel"
    CANCEL_ONE = "cancel-one"
    FINISH = "finish"
    CATASTROPHE = "catastrophe"
    LOGS = "logs"
    PROGRESS = "progress"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived: `path` and `query` undecoded, header names in lower case, no Authorization."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    token: Token = Token.FULL
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def dialect(self) -> str:
        """Where the request says what it wants: `query`, `body`, `both` or `none`."""
        match bool(self.query), bool(self.body):
            case True, True:
                return "both"
            case True, False:
                return "query"
            case False, True:
                return "body"
            case _:
                return "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; lone surrogates in `body` (U+DC80 to U+DCFF) stand for single bytes that are not UTF-8."""

    status: int
    body: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def content(self) -> bytes:
        """The body as sent."""
        return self.body.encode("utf-8", "surrogateescape")


def answer_of(status: int, members: Mapping[str, object]) -> Answer:
    """An answer with a JSON object as its body."""
    return Answer(status, json.dumps(members))


@dataclass(frozen=True, slots=True)
class Entry:
    """One call that was not a reading: what arrived, what was answered and which runs it cancelled.

    `status` is None where a scripted fault kept the call from having any effect.
    """

    at_ms: int
    kind: Kind
    call: Call
    status: int | None
    run_ids: tuple[str, ...] = ()
    action_id: str | None = None

    def wire(self) -> dict[str, object]:
        """The entry as the control endpoint shows it."""
        return {
            "at": self.at_ms,
            "kind": self.kind,
            "method": self.call.method,
            "path": self.call.path,
            "query": self.call.query,
            "body": self.call.body.decode("utf-8", "replace"),
            "dialect": self.call.dialect,
            "token": self.call.token,
            "headers": [list(pair) for pair in self.call.headers],
            "status": self.status,
            "cancelled": list(self.run_ids),
            "actionId": self.action_id,
        }


class Ending(StrEnum):
    """How a connection ends: after a whole answer, by FIN or RST, or not at all while the caller waits."""

    ANSWER = "answer"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the next `times` calls of the kind `on` (`any`: every kind).

    `acts` says whether the call takes effect, `acts_on_at_most` that only so many of its runs are cancelled. The answer
    is that of the state machine, or `status`, `body` and `headers` where `status` is set (0: no HTTP at all, the bytes
    of `body` alone). An `ending` other than `answer` sends only its first `cut_at_byte` bytes.
    """

    times: int = 1
    on: str = Kind.CANCEL
    acts: bool = False
    acts_on_at_most: int | None = None
    delay_before_ms: int = 0
    delay_after_ms: int = 0
    status: int | None = None
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cut_at_byte: int = 0
    ending: Ending = Ending.ANSWER

    def __post_init__(self) -> None:
        if self.times < 1 or self.on not in (*Kind, "any"):
            raise ValueError("a fault happens at least once, on a kind of call or on any")
        if not self.acts and self.status is None and self.ending is Ending.ANSWER:
            raise ValueError("a call that takes no effect needs a status to answer or another ending")

    def once_less(self) -> Fault | None:
        """What is left of the fault after it happened."""
        return replace(self, times=self.times - 1) if self.times > 1 else None

    def strikes(self, kind: Kind) -> bool:
        """Whether it concerns a call of this kind."""
        return self.on in (kind, "any")

    @property
    def sent_bytes(self) -> int | None:
        """How much of the answer goes out; None for all of it."""
        return None if self.ending is Ending.ANSWER else self.cut_at_byte

    def scripted(self) -> Answer | None:
        """The answer it puts in place of the true one, if any."""
        return None if self.status is None else Answer(self.status, self.body, tuple(self.headers.items()))


def rate_limited(*, times: int = 1, on: str = Kind.CANCEL, reset_s: int = 1) -> Fault:
    """The answer to too many calls, with the burst headers of the real service."""
    headers = {"Burst-RateLimit-Limit": "100", "Burst-RateLimit-Remaining": "0", "Burst-RateLimit-Reset": str(reset_s)}
    body = json.dumps({"error": "Exceeded burst rate limit."})
    return Fault(times=times, on=on, status=429, body=body, headers=headers)


_FAULT_TYPES = {
    **dict.fromkeys(("times", "acts_on_at_most", "delay_before_ms", "delay_after_ms", "status", "cut_at_byte"), int),
    **dict.fromkeys(("on", "body", "ending"), str),
    "acts": bool,
    "headers": dict,
}


def fault_of(wire: Mapping[str, object]) -> Fault:
    """A fault from JSON with the names of the fields.

    Raises: ValueError if a name is unknown or a value cannot be one.
    """
    for name, value in wire.items():
        if type(value) is not _FAULT_TYPES.get(name):
            raise ValueError(f"{name} is no member of a fault, or has the wrong type")
    members: dict[str, Any] = {**wire, "ending": Ending(str(wire.get("ending", Ending.ANSWER)))}
    return Fault(**members)
