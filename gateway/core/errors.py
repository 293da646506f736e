"""The errors that can occur before a receipt exists; after it, outcomes are values.

GatewayError
├── InvalidConfiguration      a file that cannot be used; every problem in it, with its position
├── AuditFailure              the log cannot be opened, continued or locked at start
├── StateFailure              the store cannot be opened, or is another one than this version needs
│   └── StateAway              it does not answer now, and may in a moment
└── Refusal                   ends one request; mapped to HTTP in one table, edge/answers
    ├── MalformedRequest      400  cannot be read in exactly one way
    ├── Unauthenticated       401  one answer for every cause
    │   ├── ExpiredKey         its last day is past
    │   └── RealTokenUsed      the credential is a token of the account itself
    ├── NotAnOperator         403  only `operators` may do this
    ├── NotAnApprover         403  the rule does not let this principal approve
    ├── NotFound              404
    │   └── NotThereYet        it may be at another gateway, and be known here in a moment
    ├── MethodNotAllowed      405
    ├── ReceiveTimeout        408
    ├── TooLarge              413, 414, 431
    ├── ExpectationFailed     417  `Expect`: the client repeats the request without it
    ├── Conflict              409  the state of a plan does not allow it
    ├── KeyReused             422  the Idempotency-Key came with another request before
    ├── NoSuchScope           422  a freeze of a team or rule that does not exist
    ├── Throttled             429  this principal's own limits
    ├── LookupFailed          502  the runs could not be looked up; nothing was sent
    ├── AuditUnavailable      503  the intent could not be made durable
    ├── StateUnavailable      503  the store cannot be asked; nothing was sent
    │   └── FreezeUnsure       a freeze may not be in the store
    ├── DecisionsUnavailable  503  older decisions cannot be looked up now
    ├── Overloaded            503
    └── ShuttingDown          503
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.request import Principal


class GatewayError(Exception):
    """The base of every error that this project raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault in a file, with its position as editors and CI read it (line and column from 1)."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class InvalidConfiguration(GatewayError):
    """A configuration or policy file is refused; `problems` holds every problem found, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


class AuditFailure(GatewayError):
    """The audit directory cannot be used: it is unwritable, locked, or damaged beyond a torn tail."""


class StateFailure(GatewayError):
    """The store cannot be opened: it is not there, of another version, foreign or unreachable; one sentence says it."""


class StateAway(StateFailure):
    """The store does not answer: its server is down, starting or hung. A gateway that serves waits for it."""


class Refusal(GatewayError):
    """The end of a request before its receipt: nothing was sent upstream.

    `cause` is a fixed word for the record and never holds bytes of the request; `sentence` is the text for people.
    """

    status: int
    code: str
    title: str

    def __init__(self, cause: str, sentence: str) -> None:
        self.cause = cause
        self.sentence = sentence
        super().__init__(sentence)


class MalformedRequest(Refusal):
    """The request cannot be read in exactly one way."""

    status, code, title = 400, "malformed_request", "Malformed request"


_HOW_TO_AUTHENTICATE = (
    "Send a gateway key of your team, or a token that the gateway accepts, as 'Authorization: Bearer <key>'. If you "
    "did, the gateway does not know it or it has ended: ask the gateway's operators for a key. A token of QStash is "
    "not accepted here."
)


class Unauthenticated(Refusal):
    """The request has no valid credential. Callers see one text whatever the cause."""

    status, code, title = 401, "unauthenticated", "Not authenticated"

    def __init__(self, cause: str) -> None:
        super().__init__(cause, _HOW_TO_AUTHENTICATE)


class NotAnOperator(Refusal):
    """The call is for principals of a team under `operators`."""

    status, code, title = 403, "not_an_operator", "Not an operator"


class NotAnApprover(Refusal):
    """The rule asks for others: for principals of certain teams, pairwise different, and not for the requester."""

    status, code, title = 403, "not_an_approver", "Not an approver"


class NotFound(Refusal):
    """The path is not, byte for byte, one of this gateway's paths."""

    status, code, title = 404, "not_found", "Not found"


class NotThereYet(NotFound):
    """Nothing is known here of what was asked for; another gateway may know of it, and tell it in a moment."""


class MethodNotAllowed(Refusal):
    """The path is known but does not take this method; `allow` is the value of the Allow header."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"

    def __init__(self, allow: str, sentence: str) -> None:
        self.allow = allow
        super().__init__("method", sentence)


class ReceiveTimeout(Refusal):
    """The header or body did not arrive within `receive_timeout_s`."""

    status, code, title = 408, "receive_timeout", "Request not received in time"


class TooLarge(Refusal):
    """The request exceeds a configured limit; `status` is 413 (body, run IDs), 414 (target) or 431 (headers)."""

    status, code, title = 413, "too_large", "Too large"

    def __init__(self, cause: str, sentence: str, *, status: int = 413) -> None:
        self.status = status
        super().__init__(cause, sentence)


class ExpectationFailed(Refusal):
    """The request has an `Expect` header; a client is to repeat it without one (RFC 9110, 10.1.1)."""

    status, code, title = 417, "expectation_failed", "Expectation failed"


class Conflict(Refusal):
    """The state of a plan does not allow this; `members` say which plan it is and what is known of it."""

    status, code, title = 409, "conflict", "Conflict"

    def __init__(self, code: str, sentence: str, *, members: Mapping[str, object] | None = None) -> None:
        self.code = code
        self.members = dict(members or {})
        super().__init__(code, sentence)


class KeyReused(Refusal):
    """The Idempotency-Key came with another request before; nothing was sent."""

    status, code, title = 422, "idempotency_key_reused", "Idempotency-Key used before"

    def __init__(self) -> None:
        super().__init__(
            "idempotency_key_reused",
            "You have sent this Idempotency-Key with another request before, so nothing was sent. Make a new key for "
            "each thing that you want done once; a repeat of a request has its key.",
        )


NARROW = "Narrow the request, or try again later."
"""The advice given when a look-up takes too long."""


class LookupFailed(Refusal):
    """The runs that a request means could not all be looked up; nothing was sent.

    `what` says what happened and `advice` whether to try again, each in a sentence; `done` is what was not done, in a
    word. The operators' log also gets `reason`, a fixed word for why there was no answer, and `upstream_status`, if
    there was an answer.
    """

    status, code, title = 502, "lookup_failed", "Look-up failed"

    def __init__(
        self,
        cause: str,
        what: str,
        advice: str = "Try again later; if it stays so, tell the gateway's operators.",
        *,
        reason: str | None = None,
        upstream_status: int | None = None,
        done: str = "cancelled",
    ) -> None:
        self.reason = reason
        self.upstream_status = upstream_status
        self._said = what, advice
        super().__init__(cause, f"{what} Nothing was sent and nothing was {done}. {advice}")

    def of_what_is(self, done: str) -> LookupFailed:
        """Return the same of a request for another action: nothing was `done`."""
        what, advice = self._said
        return LookupFailed(
            self.cause, what, advice, reason=self.reason, upstream_status=self.upstream_status, done=done
        )

    def particulars(self) -> dict[str, object]:
        """Return the members for the operators' log; none of them holds text of a caller or of upstream."""
        return {
            "cause": self.cause,
            "reason": self.reason,
            "upstream_status": self.upstream_status,
            "said": self.sentence,
        }


class NoSuchScope(Refusal):
    """A freeze names a team or a rule that does not exist, so it would stop nothing."""

    status, code, title = 422, "no_such_scope", "No such team or rule"


class Throttled(Refusal):
    """The principal has reached its own limit; `limit` is in requests, `retry_after_s` in whole seconds."""

    status, code, title = 429, "throttled", "Too many requests"

    def __init__(self, cause: str, sentence: str, *, limit: int, retry_after_s: int) -> None:
        self.limit = limit
        self.retry_after_s = retry_after_s
        super().__init__(cause, sentence)


class AuditUnavailable(Refusal):
    """The intent could not be made durable, so nothing was sent."""

    status, code, title = 503, "audit_unavailable", "Audit log unavailable"

    def __init__(self, cause: str) -> None:
        why = "is still being opened" if cause == "recovering" else "cannot be written"
        super().__init__(cause, f"The audit log {why}, so nothing was sent. Try again later.")


class StateUnavailable(Refusal):
    """The store did not answer in time, or as it should, and this request needs it; nothing was sent.

    `cause` is a fixed word: `timeout`, `unreachable`, `refused`, `not_read_yet`. `problem` tells operators in one
    sentence what is wrong with a store that answers, and was not there when the gateway started.
    """

    status, code, title = 503, "state_unavailable", "State unavailable"

    def __init__(self, cause: str, *, problem: str | None = None) -> None:
        self.problem = problem
        super().__init__(
            cause,
            "The gateway cannot reach the state that it shares (freezes, budgets, plans), and this request needs it, "
            "so nothing was sent. Requests that need none of it go on. Try again later.",
        )


class FreezeUnsure(StateUnavailable):
    """The store may not have what was done to a freeze; `sentence` says what holds all the same."""

    def __init__(self, cause: str, freeze_id: str, sentence: str) -> None:
        super().__init__(cause)
        self.freeze_id = freeze_id
        self.sentence = sentence


class DecisionsUnavailable(Refusal):
    """The decisions that are not in memory cannot be looked up now; nothing else depends on their index."""

    status, code, title = 503, "decisions_unavailable", "Decisions unavailable"

    def __init__(self, cause: str) -> None:
        super().__init__(
            cause,
            "The gateway cannot look up older decisions now: their index is being made, or cannot be read. Cancels and "
            "the record do not depend on it. Try again in a minute; if it stays so, tell the gateway's operators: "
            "their log says which file it is (decisions_index_failed), and 'audit show' needs no index.",
        )


class Overloaded(Refusal):
    """All `max_in_flight` places are taken."""

    status, code, title = 503, "overloaded", "Overloaded"


class ShuttingDown(Refusal):
    """The process is ending and accepts no new intents."""

    status, code, title = 503, "shutting_down", "Shutting down"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return the number with the noun that is counted; `many` is the plural if it is not `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


class ExpiredKey(Unauthenticated):
    """The key's last day is past. The caller gets the answer of a stranger; the record names the key's principal."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        super().__init__("expired_key")


class RealTokenUsed(Unauthenticated):
    """The credential is a token of the account itself: it is in the wrong hands."""

    def __init__(self) -> None:
        super().__init__("upstream_token")
