"""The OpenAPI 3.1 document of the gateway's own calls, made of their declarations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from gateway.edge.described.calls import CALLS
from gateway.edge.described.declare import UUID, Call, Problem, Result, Schema, number, ref, text
from gateway.edge.described.problems import EVERYWHERE, problem_schema
from gateway.edge.described.values import VALUES

_SAYS = (
    "The gateway's own calls. Beside them it takes, as QStash does, `DELETE /v2/workflows/runs`, the calls on failed "
    "runs, messages and pauses, each with an ID behind it or without, and `GET /v2/workflows/logs`, "
    "`GET /v2/workflows/events` and `GET /v2/dlq?source=workflow`; what those that act would do is previewed at "
    "`/preview/v2/…`. Another path gets 404, another method 405. A later version may add calls, members, headers and "
    "words."
)
_ALWAYS = ("Gateway-Decision", "Gateway-Source")
_IF_GIVEN = ("X-Request-Id",)
_OF_A_LIMIT = ("Retry-After", "Burst-RateLimit-Limit", "Burst-RateLimit-Remaining", "Burst-RateLimit-Reset")
_OF_A_STATUS = {401: ("WWW-Authenticate",), 429: _OF_A_LIMIT, 503: ("Retry-After",)}
_HEADERS: dict[str, Schema] = {
    "Gateway-Decision": text("The ID of the decision, under which the record has it.", **UUID),
    "Gateway-Source": text("Whose answer it is.", enum=["gateway", "upstream"]),
    "X-Request-Id": text("The one of the request, if it was accepted.", pattern="^[A-Za-z0-9_.-]{1,128}$"),
    "Gateway-Narrowed": text("What policy lowered the count to, like `runs=100`.", pattern="^(count|runs)=[0-9]+$"),
    "Gateway-More": text("Further runs match, or the list was not read to its end.", enum=["true"]),
    "Gateway-Skipped": text('Runs that were left out, by reason (RFC 9651), like `young=("wfr_a" "wfr_b");n=7`.'),
    "Gateway-Over-Cancelled": number("How many runs QStash cancelled beyond those sent to it."),
    "Gateway-Budget": text(
        "What is left of the budget of the rule, and when all of it is there again, in Unix seconds."
    ),
    "Gateway-Replayed": text("The answer that the Idempotency-Key got before.", enum=["true"]),
    "Gateway-Joined": text("The decision that the request repeated, and whose outcome it shares.", **UUID),
    "Retry-After": number("How long to wait, in seconds."),
    "Burst-RateLimit-Limit": number("The limit that was reached."),
    "Burst-RateLimit-Remaining": number("How much of it is left."),
    "Burst-RateLimit-Reset": number("When it resets, in Unix seconds."),
    "WWW-Authenticate": text("How to authenticate.", enum=["Bearer"]),
}
_PARAMETER = re.compile(r"\{([a-z]+)\}")


def document() -> dict[str, object]:
    """Return the document."""
    paths: dict[str, dict[str, object]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {"title": "QStash gateway", "version": "1", "description": _SAYS},
        "servers": [{"url": "/", "description": "The gateway that this document comes from."}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {**VALUES, "Problem": problem_schema()},
            "responses": {
                _common(status): _problems(status, problems, ()) for status, problems in _by_status(EVERYWHERE).items()
            },
            "headers": {name: _header(name, schema) for name, schema in _HEADERS.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A gateway key of a team, or a token of an issuer that the gateway accepts.",
                }
            },
        },
    }


def rendered() -> str:
    """Return the text of the document as it is shipped."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _operation(call: Call) -> dict[str, object]:
    answers = {str(result.status): _success(result) for result in call.results}
    common = _by_status(EVERYWHERE)
    for status, problems in sorted(_by_status(call.problems).items()):
        if problems == common.get(status) and status not in call.headers:
            answers[str(status)] = {"$ref": f"#/components/responses/{_common(status)}"}
        else:
            answers[str(status)] = _problems(status, problems, call.headers.get(status, ()))
    described: dict[str, object] = {"operationId": call.name, "summary": call.does, "description": call.more}
    parameters = [*_path_parameters(call), *_query_parameters(call)]
    if parameters:
        described["parameters"] = parameters
    if call.body is not None:
        content = {"application/json": {"schema": ref(call.body)}}
        described["requestBody"] = {"required": call.body_required, "content": content}
    return {**described, "responses": answers}


def _by_status(problems: Iterable[Problem]) -> dict[int, list[Problem]]:
    found: dict[int, list[Problem]] = {}
    for one in problems:
        found.setdefault(one.status, []).append(one)
    return found


def _common(status: int) -> str:
    return f"Everywhere{status}"


def _path_parameters(call: Call) -> list[dict[str, object]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": text(f"The ID of the {name}.", **UUID)}
        for name in _PARAMETER.findall(call.path)
    ]


def _query_parameters(call: Call) -> list[dict[str, object]]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in call.query.items()]


def _success(result: Result) -> dict[str, object]:
    if result.stream:
        told = text(f"Server-sent events; the data of each is a {result.value}.")
        return _answer(result.says, "text/event-stream", told, result.headers)
    return _answer(result.says, "application/json", ref(result.value), result.headers)


def _problems(status: int, problems: list[Problem], more: Iterable[str]) -> dict[str, object]:
    """Return the answer with that status, which is one of these problems."""
    by_code: dict[str, Problem] = {}
    for one in problems:
        by_code.setdefault(one.code, one)
    narrowed = {"properties": {"status": {"const": status}, "code": {"enum": list(by_code)}}}
    says = "\n".join(f"- `{one.code}`: {one.says}{_members(one)}" for one in problems)
    headers = (*_OF_A_STATUS.get(status, ()), *more)
    return _answer(says, "application/problem+json", {"allOf": [ref("Problem"), narrowed]}, headers)


def _members(problem: Problem) -> str:
    return f" Members: {', '.join(f'`{name}`' for name in problem.members)}." if problem.members else ""


def _answer(says: str, kind: str, schema: Mapping[str, object], headers: Iterable[str]) -> dict[str, object]:
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_ALWAYS, *_IF_GIVEN, *headers)}
    return {"description": says, "headers": named, "content": {kind: {"schema": schema}}}


def _header(name: str, schema: Schema) -> dict[str, object]:
    return {"required": name in _ALWAYS, "schema": schema}
