"""The values between the simulator's core and the wire: calls, answers, ledger entries and scripted faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Token(StrEnum):
    """The credential that a call carried."""

    FULL = "full"
    READ_ONLY = "read-only"
    WRONG = "wrong"
    NONE = "none"


class Kind(StrEnum):
    """The purpose of a call."""

    CANCEL = "cancel"
    CANCEL_ONE = "cancel-one"
    FINISH = "finish"
    DELETE_DLQ = "delete-dlq"
    RESUME_DLQ = "resume-dlq"
    RESTART_DLQ = "restart-dlq"
    RETRY_CALLBACK = "retry-callback"
    DELETE_MESSAGE_DLQ = "delete-message-dlq"
    RETRY_MESSAGE_DLQ = "retry-message-dlq"
    CANCEL_MESSAGES = "cancel-messages"
    PAUSE = "pause"
    RESUME = "resume"
    RETUNE = "retune"
    REMOVE = "remove"
    ROTATE_KEYS = "rotate-keys"
    NOTIFY = "notify"
    LOGS = "logs"
    PROGRESS = "progress"
    DLQ = "dlq"
    MESSAGE = "message"
    SETTING = "setting"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived: `path` and `query` undecoded, header names in lower case, without Authorization."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    token: Token = Token.FULL
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def dialect(self) -> str:
        """The part of the request that says what it wants: `query`, `body`, `both` or `none`."""
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
    """One response. Lone surrogates in `body` (U+DC80 to U+DCFF) stand for single bytes that are not UTF-8."""

    status: int
    body: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        return self.body.encode("utf-8", "surrogateescape")


def answer_of(status: int, members: Mapping[str, object]) -> Answer:
    """Return an answer with a JSON object as its body."""
    return Answer(status, json.dumps(members))


def error_of(status: int, text: str) -> Answer:
    """Return an answer that says what went wrong."""
    return answer_of(status, {"error": text})


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded call: what arrived, what was answered, and which runs it cancelled.

    `hit` holds what else it destroyed, stopped or started: IDs of DLQ entries or messages, or names such as
    `queues/emails`. `status` is None if a scripted fault kept the call from having any effect.
    """

    at_ms: int
    kind: Kind
    call: Call
    status: int | None
    run_ids: tuple[str, ...] = ()
    action_id: str | None = None
    hit: tuple[str, ...] = ()

    def wire(self) -> dict[str, object]:
        """Return the entry as the control endpoint shows it."""
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
            "hit": list(self.hit),
        }


class Ending(StrEnum):
    """The end of a connection: after a whole answer, by FIN, by RST, or never, so that the caller waits."""

    ANSWER = "answer"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that strikes the next `times` calls of the kind `on` (`any`: every kind).

    `acts` says whether the call takes effect; `acts_on_at_most` limits how many runs or other things it hits. The state
    machine answers, unless `status` is set: then the answer is `status`, `body` and `headers` (0: no HTTP at all, only
    the bytes of `body`). With an `ending` other than `answer`, only the first `cut_at_byte` bytes of it are sent.
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
        """Return the fault with one strike fewer, or None if that was the last."""
        return replace(self, times=self.times - 1) if self.times > 1 else None

    def strikes(self, kind: Kind) -> bool:
        """Return whether the fault is for a call of this kind."""
        return self.on in (kind, "any")

    @property
    def sent_bytes(self) -> int | None:
        """The number of bytes of the answer that are sent; None for all of them."""
        return None if self.ending is Ending.ANSWER else self.cut_at_byte

    def scripted(self) -> Answer | None:
        """Return the answer that replaces the true one, or None if none does."""
        return None if self.status is None else Answer(self.status, self.body, tuple(self.headers.items()))


def rate_limited(*, times: int = 1, on: str = Kind.CANCEL, reset_s: int = 1) -> Fault:
    """Return a fault that answers 429 for too many calls, with the burst headers of the real service."""
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
    """Read a fault from JSON with the names of the fields.

    Raises: ValueError if a name is unknown or a value is not valid.
    """
    for name, value in wire.items():
        if type(value) is not _FAULT_TYPES.get(name):
            raise ValueError(f"{name} is no member of a fault, or has the wrong type")
    members: dict[str, Any] = {**wire, "ending": Ending(str(wire.get("ending", Ending.ANSWER)))}
    return Fault(**members)
