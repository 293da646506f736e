"""The simulator as an ASGI application, with scripted faults, and control endpoints under `/_simulator/`."""

from __future__ import annotations

import asyncio
import hmac
import http
import ipaddress
import json
import socket
import struct
from collections.abc import Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.simulator.changes import change_of
from gateway.simulator.core import Simulator, kind_of
from gateway.simulator.exchange import Answer, Call, Ending, Fault, Token, answer_of, fault_of
from gateway.simulator.golang import query_values
from gateway.simulator.holdings.things import entry_of, message_of
from gateway.simulator.runs import make_runs, run_of

CONTROL = "/_simulator/"
_CONTROLS = (
    "GET ledger, GET readings, GET runs, GET holdings, POST faults, POST runs, POST changes, POST dlq, POST messages"
)


def app(simulator: Simulator, token: str, read_token: str, *, clock: Callable[[], int], latency_ms: int = 0) -> ASGIApp:
    """Return the ASGI application.

    `clock` returns Unix milliseconds. Every call except those under `/_simulator/` is delayed by `latency_ms`.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, under the next scripted fault for its kind if there is one."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        if _raw_path(scope).startswith(CONTROL):
            await _respond(_control(simulator, request, body, clock()), scope, receive, send)
            return
        call = _call_of(request, body, token_of=lambda given: _kind_of_token(given, token, read_token))
        await asyncio.sleep(latency_ms / 1000)
        fault = simulator.next_fault(kind_of(call))
        if fault is None:
            await _respond(simulator.answer(call, clock()), scope, receive, send)
        else:
            await _end(scope, receive, send, fault=fault, answer=await _struck(fault, simulator, call, clock))

    return serve


async def _struck(fault: Fault, simulator: Simulator, call: Call, clock: Callable[[], int]) -> Answer | None:
    """Carry out the call as far as the fault allows, and return the answer to send, or None if there is none."""
    await asyncio.sleep(fault.delay_before_ms / 1000)
    answer = None
    if fault.acts:
        answer = simulator.answer(call, clock(), at_most=fault.acts_on_at_most)
    else:
        simulator.ignore(call, clock())
    await asyncio.sleep(fault.delay_after_ms / 1000)
    return fault.scripted() or answer


async def _end(scope: Scope, receive: Receive, send: Send, *, fault: Fault, answer: Answer | None) -> None:
    if answer is not None and answer.status and fault.sent_bytes is None:
        await _respond(answer, scope, receive, send)
        return
    await _end_raw(answer, fault, scope["state"].get("transport"), receive)


async def _end_raw(answer: Answer | None, fault: Fault, transport: asyncio.Transport | None, receive: Receive) -> None:
    if transport is None:
        raise RuntimeError("this fault needs the connection: run the application with SimulatorServer")
    if answer is not None:
        transport.write(_render(answer)[: fault.sent_bytes])
    match fault.ending:
        case Ending.RESET:
            # SO_LINGER with zero seconds makes close() send RST instead of FIN.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        case Ending.HANG:
            pass
        case _:
            transport.close()
    # Returning before the connection is gone would make the server write an answer of its own.
    while (await receive())["type"] != "http.disconnect":
        pass


def _render(answer: Answer) -> bytes:
    if answer.status == 0:
        return answer.content
    reason = http.HTTPStatus(answer.status).phrase if answer.status in set(http.HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in _headers(answer).items()]
    return "\r\n".join([*lines, "", ""]).encode() + answer.content


def _headers(answer: Answer) -> dict[str, str]:
    own = dict(answer.headers)
    named = {name.lower() for name in own}
    added = {"content-type": "application/json", "content-length": str(len(answer.content))}
    return {**{name: value for name, value in added.items() if name not in named}, **own}


async def _respond(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    await Response(answer.content, status_code=answer.status, headers=_headers(answer))(scope, receive, send)


def _control(simulator: Simulator, request: Request, body: bytes, now_ms: int) -> Answer:
    if not _is_loopback(request.client.host if request.client else ""):
        return answer_of(403, {"error": "control is for loopback only"})
    control = f"{request.method} {_raw_path(request.scope).removeprefix(CONTROL)}"
    try:
        members = _controlled(simulator, control, body, now_ms)
    except ValueError as exc:
        return answer_of(400, {"error": str(exc)})
    return answer_of(200, members) if members is not None else answer_of(404, {"error": _CONTROLS})


def _controlled(simulator: Simulator, control: str, body: bytes, now_ms: int) -> dict[str, object] | None:
    match control:
        case "GET ledger":
            return {"ledger": [entry.wire() for entry in simulator.ledger]}
        case "GET readings":
            return {"readings": [entry.wire() for entry in simulator.readings]}
        case "GET runs":
            return {"runs": [run.wire() for run in simulator.runs]}
        case "GET holdings":
            return simulator.holdings.wire()
        case "POST dlq":
            simulator.holdings.add(entries=[entry_of(wire) for wire in _objects(body, "dlq")])
        case "POST messages":
            simulator.holdings.add(messages=[message_of(wire) for wire in _objects(body, "messages")])
        case "POST faults":
            simulator.script(*(fault_of(wire) for wire in _objects(body, "faults")))
        case "POST runs":
            _start_runs(simulator, body, now_ms)
        case "POST changes":
            simulator.change(*(change_of(wire) for wire in _objects(body, "changes")))
        case _:
            return None
    return {}


def _start_runs(simulator: Simulator, body: bytes, now_ms: int) -> None:
    """Add runs: those in `{"runs": [...]}`, as in the workflow log, or generated ones for `{"make": n, "seed": s}`."""
    asked = json.loads(body)
    if isinstance(asked, dict) and isinstance(asked.get("make"), int):
        simulator.add_runs(make_runs(asked["make"], now_ms, int(asked.get("seed", 0))))
    else:
        simulator.add_runs([run_of(wire) for wire in _objects(body, "runs")])


def _objects(body: bytes, name: str) -> list[Mapping[str, object]]:
    asked = json.loads(body)
    listed = asked.get(name) if isinstance(asked, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ValueError(f'the body is {{"{name}": [{{…}}, …]}}')
    return listed


def _call_of(request: Request, body: bytes, *, token_of: Callable[[str], Token]) -> Call:
    query = request.scope["query_string"].decode("latin-1")
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    given = credential if scheme.lower() == "bearer" else query_values(query).get("qstash_token", [""])[0]
    headers = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.scope["headers"]
        if name != b"authorization"
    )
    return Call(request.method, _raw_path(request.scope), query, body, token_of(given), headers)


def _kind_of_token(given: str, token: str, read_token: str) -> Token:
    if hmac.compare_digest(given.encode(), token.encode()):
        return Token.FULL
    if hmac.compare_digest(given.encode(), read_token.encode()):
        return Token.READ_ONLY
    return Token.WRONG if given else Token.NONE


def _raw_path(scope: Scope) -> str:
    return bytes(scope["raw_path"]).decode("latin-1")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
