"""The one table from refusals, denials and outcomes to HTTP answers (RFC 9457 problem details).

Every problem carries `error`, the one sentence that official clients show to people.
"""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
from starlette.types import Send

from gateway.core.errors import (
    Conflict,
    FreezeUnsure,
    LookupFailed,
    MethodNotAllowed,
    NotThereYet,
    Refusal,
    Throttled,
    Unauthenticated,
    counted,
)
from gateway.core.forms.shown import DECISIONS, Left, budget_field, left_out, skipped_field
from gateway.core.outcome import Accepted, Cancelled, NotSent, Progress, Refused, Unknown
from gateway.core.plan import Denial
from gateway.core.request import CANCEL_RUNS
from gateway.core.run import LEFT
from gateway.execution.in_flight import Done, Replay, Result, Stopped, Told
from gateway.operations.table import OPERATIONS
from gateway.operations.words import WORDS, Words

Headers = list[tuple[bytes, bytes]]

BUDGET, REPLAYED = b"gateway-budget", b"gateway-replayed"

_NOT_REACHED = frozenset(("dns", "tls", "refused", "connect_error", "connect_timeout", "pool_timeout"))
"""The causes for which QStash, or the way to it, is to blame."""

_ENDED_BY_US = {
    "stopping": ("The gateway is shutting down", "Try again."),
    "no_thread": ("The gateway's system gave it no thread", "Try again later."),
    "revoked": ("Your key or token is not accepted any more", "Get a new one."),
    "frozen": ("{Acts} were frozen meanwhile", "Ask again to read by whom."),
    "denied": ("Policy does not allow it any more", "Ask again to read why."),
    "lookup_failed": ("The {things} could not be looked at again", "Try again."),
    "team_connections": ("Your team has as many {acts} on their way to QStash as a team may", "Try again later."),
}
"""Why nothing was sent after the intent was recorded, and what to do, by cause; others say only the cause.

The names in braces are `Words` of the action.
"""

_WHY_LEFT = {
    "young": "younger than the rule allows",
    "restarted": "started again under the same ID meanwhile",
    "unreadable": "of which QStash's list says too little or contradicts itself",
    "beyond_count": "beyond the count",
}
"""Why a run that matches was left at work, by the word for it."""

_RETRY_LATER = {"audit_unavailable", "state_unavailable", "decisions_unavailable", "overloaded", "shutting_down"}


@dataclass(slots=True)
class Answer:
    """One complete HTTP answer: status, headers (names in lower case) and body."""

    status: int
    headers: Headers
    body: bytes


@dataclass(slots=True)
class _Problem:
    status: int
    code: str
    title: str
    sentence: str
    members: Mapping[str, object] = field(default_factory=dict)
    headers: Headers = field(default_factory=list)
    source: bytes = b"gateway"


def refusal(error: Refusal, decision_id: str, *, now_ms: int | None = None) -> Answer:
    """Return the answer to a request that ended before its receipt.

    `now_ms` is Unix milliseconds; without it the answer to a throttled request does not say when the limit resets.
    """
    headers: Headers = []
    members: Mapping[str, object] = {}
    match error:
        case Unauthenticated():
            headers = [(b"www-authenticate", b"Bearer")]
        case NotThereYet():
            headers = [(b"retry-after", b"2")]
        case MethodNotAllowed(allow=allow):
            headers = [(b"allow", allow.encode("ascii"))]
        case Throttled(limit=limit, retry_after_s=retry_after_s):
            reset = [("Burst-RateLimit-Reset", _resets_at(now_ms, retry_after_s))] if now_ms is not None else []
            burst = (("Burst-RateLimit-Limit", str(limit)), ("Burst-RateLimit-Remaining", "0"), *reset)
            headers = _throttling(retry_after_s, burst)
        case FreezeUnsure(freeze_id=freeze_id):
            # The gateway itself tries again: a repeat of the call would be another freeze.
            members = {"id": freeze_id}
        case Refusal(code=code) if code in _RETRY_LATER:
            headers = [(b"retry-after", b"1")]
        case LookupFailed(cause=cause):
            members = {"cause": cause}
        case Conflict():
            members = error.members
    problem = _Problem(error.status, error.code, error.title, error.sentence, members, headers=headers)
    return _answer(problem, decision_id)


def denial(denied: Denial, decision_id: str) -> Answer:
    """Return the answer to a request that policy refuses, or that a barrier refuses though its rule admits it."""
    members: dict[str, object] = {"rule": denied.rule}
    if (barrier := denied.barrier) is not None:
        members |= barrier.members
        headers, status = _encoded(barrier.headers), 429 if barrier.code == "throttled" else 403
        return _answer(
            _Problem(status, barrier.code, barrier.title, denied.reason, members, headers=headers), decision_id
        )
    if denied.nearest is not None:
        members["nearest"] = denied.nearest
    members |= denied.particulars()
    problem = _Problem(403, "policy_denied", "Refused by policy", denied.reason, members)
    return _answer(problem, decision_id)


def told(said: Told, decision_id: str) -> Answer | Done:
    """Return the answer to a request for which nothing was sent, or what is to be delivered."""
    match said:
        case Done():
            return said
        case Denial():
            return denial(said, decision_id)
        case Replay():
            return replayed(said, decision_id)


def outcome(result: Result, decision_id: str) -> Answer:
    """Return the answer to a request whose intent was recorded, whether or not it was sent."""
    plan, found = result.plan, result.outcome
    words = WORDS[plan.asked.action]
    if result.stop is not None and isinstance(found, Cancelled):
        answer = _answer(_with_excess(_stopped(result.stop, found, words), result.over_cancelled, words), decision_id)
    elif (left := _left(result, words)) is not None:
        answer = _answer(left, decision_id)
    elif isinstance(found, Cancelled):
        # If nothing was left to send, the number is the gateway's own.
        source = b"gateway" if found.upstream_status is None else b"upstream"
        answer = _done(OPERATIONS[plan.asked.action].answer(plan.asked, found), _gateway_headers(decision_id, source))
    else:
        problem = _not_cancelled(found, decision_id, words)
        answer = _answer(_with_excess(problem, result.over_cancelled, words), decision_id)
    if (narrowing := plan.permit.narrowing) is not None:
        narrowed = f"{narrowing.key}={plan.permit.effective.count}"
        answer.headers.append((b"gateway-narrowed", narrowed.encode("ascii")))
    if plan.reserved is not None and (budget := _budget(result)) is not None:
        answer.headers += _encoded((("Gateway-Budget", budget),))
    if result.over_cancelled:
        answer.headers.append((b"gateway-over-cancelled", b"%d" % result.over_cancelled))
    if result.more:
        answer.headers.append((b"gateway-more", b"true"))
    if result.skipped:
        answer.headers.append((b"gateway-skipped", skipped_field(left_out(result.skipped)).encode("ascii")))
    return answer


def replayed(replay: Replay, decision_id: str) -> Answer:
    """Return the answer that an earlier decision was given, as the answer of this one."""
    first = replay.answer
    kind = b"application/json" if first.status < 400 else b"application/problem+json"
    headers = [(b"content-type", kind)] if first.body else []
    headers += [*_gateway_headers(decision_id, b"gateway"), (REPLAYED, b"true")]
    if replay.budget is not None:
        headers += _encoded((("Gateway-Budget", replay.budget),))
    return _with_length(first.status, headers, first.body)


def _budget(result: Result) -> str | None:
    """Return what is left of the budget, with what was certainly not needed of that which was taken."""
    reserved = result.plan.reserved
    if reserved is None or result.plan.permit.budget is None:
        return None
    left = reserved.left_runs
    if left is not None:
        match result.outcome:
            case Cancelled(cancelled=cancelled):
                left = max(0, left + reserved.runs - cancelled)
            case Refused() | NotSent():
                left += reserved.runs
    return budget_field(left, reserved.left_requests, reserved.resets_ms)


def _left(result: Result, words: Words) -> _Problem | None:
    """Return the problem if nothing was done although things that match are left; a loop would end at a 200."""
    if not isinstance(result.outcome, Cancelled) or result.outcome.cancelled or result.plan.resolved is None:
        return None
    left = {why.value: Left.of(run_ids) for why, run_ids in result.skipped.items() if why in LEFT}
    if not left and not result.more:
        return None
    why = ", ".join(f"{words.number(one.runs)} {_WHY_LEFT[name]}" for name, one in left.items())
    beginning = f"Nothing was {words.done}, and {words.things} that match are left"
    sentence = f"{beginning}: {why or 'the list was not read to its end'}."
    members = {"more": result.more, "skipped": {name: one.to_json() for name, one in left.items()}}
    return _Problem(409, "nothing_cancelled", f"Nothing {words.done}", sentence, members)


def _with_excess(problem: _Problem, over_cancelled: int, words: Words) -> _Problem:
    """Return the problem, extended by the number of things above those sent that upstream did it to, if any."""
    if not over_cancelled:
        return problem
    more = words.number(over_cancelled, before="more ")
    sentence = f"{problem.sentence} QStash {words.done} {more} than were sent to it."
    return replace(problem, sentence=sentence, members={**problem.members, "over_cancelled": over_cancelled})


def _not_cancelled(result: Accepted | Refused | NotSent | Unknown, decision_id: str, words: Words) -> _Problem:
    match result:
        case Accepted(action_id=action_id):
            return _unknown(decision_id, "QStash works on it in the background", {"action_id": action_id}, words)
        case Refused(upstream_status=429, retry_after_s=retry_after_s, burst=burst):
            sentence = f"QStash itself is throttling this account; nothing was {words.done}. Try again later."
            headers = _throttling(retry_after_s or 1, burst)
            return _Problem(429, "throttled", "Too many requests", sentence, headers=headers, source=b"upstream")
        case Refused(upstream_status=status, text=text):
            return _refused_upstream(status, text, words)
        case NotSent(cause=cause):
            sentence = _not_sent(cause, words)
            return _Problem(502, "upstream_unreachable", "Upstream unreachable", sentence, {"cause": cause})
        case Unknown(cause=cause, progress=Progress() as progress):
            return _partly(decision_id, cause, progress, words)
        case Unknown(cause=cause, upstream_status=status):
            members = {"cause": cause} | ({"upstream_status": status} if status is not None else {})
            return _unknown(decision_id, "no trustworthy answer came back from QStash", members, words)


def _not_sent(cause: str, words: Words) -> str:
    why = "QStash could not be reached" if cause in _NOT_REACHED else f"The gateway ended it itself ({cause})"
    why, then = _ENDED_BY_US.get(cause, (why, "Try again later."))
    why = why.format(Acts=words.acts.capitalize(), acts=words.acts, things=words.things)
    return f"{why}; nothing was sent and nothing was {words.done}. {then}"


def _done(members: Mapping[str, object] | None, headers: Headers) -> Answer:
    if members is None:
        return _with_length(200, headers, b"")
    return _with_length(200, [(b"content-type", b"application/json"), *headers], orjson.dumps(members))


def _stopped(stop: Stopped, found: Cancelled, words: Words) -> _Problem:
    done = f"{words.were(found.cancelled)} {words.done}"
    unsent = counted(len(stop.unsent), "was", "were")
    sentence = f"The plan was stopped: {done}, {unsent} not sent. Plan again for what is left."
    members = {
        "plan": stop.plan_id,
        "state": "stopped",
        "cancelled": found.cancelled,
        "orders_sent": stop.orders_sent,
        "unsent": Left.of(stop.unsent).to_json(),
    }
    return _Problem(409, "plan_stopped", "Plan stopped", sentence, members)


def _partly(decision_id: str, cause: str, progress: Progress, words: Words) -> _Problem:
    done = f"{words.were(progress.cancelled)} {words.done}"
    unsent = counted(len(progress.unsent), "was", "were")
    then = f"see GET {DECISIONS}/{decision_id} before you plan the rest."
    then = f"The runs' states are read back: {then}" if words is WORDS[CANCEL_RUNS] else f"{words.repeat} Also {then}"
    sentence = (
        f"Stopped in the middle ({cause}): {done} for certain, {unsent} not sent, of {len(progress.unknown)} "
        f"it is not known. {then}"
    )
    members: dict[str, object] = {"status_url": f"{DECISIONS}/{decision_id}", "cause": cause}
    members["progress"] = {
        "cancelled": progress.cancelled,
        "unsent": Left.of(progress.unsent).to_json(),
        "unknown": Left.of(progress.unknown).to_json(),
    }
    return _Problem(504, "outcome_unknown", "Outcome unknown", sentence, members)


def broken(decision_id: str) -> Answer:
    """Return the answer to an error in our own code before the receipt; after it, the pipeline answers unknown."""
    sentence = "The gateway failed before anything was sent. Tell its operators the decision id."
    return _answer(_Problem(503, "internal_error", "Internal error", sentence), decision_id)


def not_shown(decision_id: str, words: Words = WORDS[CANCEL_RUNS]) -> Answer:
    """Return the answer for an outcome that cannot be written as one; it refers the caller to the record."""
    return _answer(_unknown(decision_id, "the gateway failed to write down the answer", {}, words), decision_id)


def not_awaited(decision_id: str, words: Words = WORDS[CANCEL_RUNS]) -> Answer:
    """Return the answer to a request that the process, shutting down, no longer waits for."""
    return _answer(_unknown(decision_id, "the gateway is shutting down while it is sent", {}, words), decision_id)


def status_page(status: int, members: Mapping[str, object], decision_id: str) -> Answer:
    """Return the answer of a page that is read; a status of 400 or more makes it a problem with the page's members."""
    if status >= 400:
        sentence = f"Not ready: {str(members.get('reason')).replace('_', ' ')}."
        return _answer(_Problem(status, "not_ready", "Not ready", sentence, members), decision_id)
    headers = [(b"content-type", b"application/json"), *_gateway_headers(decision_id, b"gateway")]
    return _with_length(status, headers, orjson.dumps(members))


def text_page(content_type: str, text: bytes, decision_id: str) -> Answer:
    """Return the answer of a page that is plain text."""
    return _with_length(
        200, [(b"content-type", content_type.encode()), *_gateway_headers(decision_id, b"gateway")], text
    )


async def write(answer: Answer, send: Send, *, more: Headers | None = None) -> None:
    """Send an answer over ASGI, with `more` headers."""
    headers = [*answer.headers, *(more or ())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def named(answer: Answer, request_id: str | None) -> Answer:
    """Return an answer with the id that its caller gave the request, if there is one."""
    if request_id is not None:
        answer.headers.append((b"x-request-id", request_id.encode("ascii")))
    return answer


def budgeted(answer: Answer, said: str | None) -> Answer:
    """Return an answer with what is left of the budget it stands under, if that is known and not on it already."""
    if said is not None and not any(name == BUDGET for name, _ in answer.headers):
        answer.headers.append((BUDGET, said.encode("ascii")))
    return answer


def on_the_wire(answer: Answer, *, bodiless: bool) -> bytes:
    """Return an answer as bytes of HTTP/1.1, for a connection that ends after it; `bodiless` leaves out its body."""
    reason = http.HTTPStatus(answer.status).phrase.encode("ascii")
    lines = [b"HTTP/1.1 %d %s" % (answer.status, reason), *(b"%s: %s" % header for header in answer.headers)]
    return b"\r\n".join([*lines, b"connection: close", b"", b"" if bodiless else answer.body])


def _refused_upstream(status: int, text: str, words: Words) -> _Problem:
    said = f" It said: {text}" if text else ""
    refused = f"QStash refused the gateway's call with status {status}; nothing was {words.done}."
    sentence = f"{refused} Tell the gateway's operators.{said}"
    members = {"upstream_status": status, "upstream_error": text}
    return _Problem(502, "upstream_refused", "Upstream refused", sentence, members, source=b"upstream")


def _unknown(decision_id: str, why: str, members: Mapping[str, object], words: Words) -> _Problem:
    known = f"What becomes known of it: GET {DECISIONS}/{decision_id}."
    sentence = f"The {words.act} may have happened: {why}. {words.repeat} {known}"
    members = {"status_url": f"{DECISIONS}/{decision_id}", **members}
    return _Problem(504, "outcome_unknown", "Outcome unknown", sentence, members)


def _resets_at(now_ms: int, retry_after_s: int) -> str:
    """Return when the limit resets, in Unix seconds, which is upstream's form: clients show that number."""
    return str(-(-now_ms // 1000) + retry_after_s)


def _throttling(retry_after_s: int, burst: tuple[tuple[str, str], ...]) -> Headers:
    return _encoded((("Retry-After", str(retry_after_s)), *burst))


def _encoded(headers: Sequence[tuple[str, str]]) -> Headers:
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers]


def _gateway_headers(decision_id: str, source: bytes) -> Headers:
    return [(b"gateway-decision", decision_id.encode("ascii")), (b"gateway-source", source)]


def _answer(problem: _Problem, decision_id: str) -> Answer:
    members = {
        # `error` comes first, because the JavaScript client shows people the raw body.
        "error": problem.sentence,
        "type": f"urn:qstash-gateway:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "decision_id": decision_id,
        **problem.members,
    }
    headers = [
        (b"content-type", b"application/problem+json"),
        *_gateway_headers(decision_id, problem.source),
        *problem.headers,
    ]
    return _with_length(problem.status, headers, orjson.dumps(members))


def _with_length(status: int, headers: Headers, body: bytes) -> Answer:
    return Answer(status, [*headers, (b"content-length", b"%d" % len(body))], body)
