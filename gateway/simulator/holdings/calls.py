"""The table of calls: each by its method and path, its kind, and the function that carries it out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from gateway.simulator.exchange import Kind, error_of
from gateway.simulator.holdings import account_wide, dlq, messages, switches
from gateway.simulator.holdings.held import Done, Holdings, Turn


@dataclass(frozen=True, slots=True)
class Route:
    """One call; `line` is matched with the method and the cleaned path."""

    line: re.Pattern[str]
    kind: Kind
    carry_out: Callable[[Holdings, Turn], Done]


_ACTING = (
    (r"DELETE /v2/workflows/dlq(/[^/]+)?", Kind.DELETE_DLQ, dlq.deleted),
    (r"POST /v2/workflows/dlq/resume(/[^/]+)?", Kind.RESUME_DLQ, dlq.started),
    (r"POST /v2/workflows/dlq/restart(/[^/]+)?", Kind.RESTART_DLQ, dlq.started),
    (r"POST /v2/workflows/dlq/callback/[^/]+", Kind.RETRY_CALLBACK, dlq.called_back),
    (r"DELETE /v2/dlq(/[^/]+)?", Kind.DELETE_MESSAGE_DLQ, dlq.deleted),
    (r"POST /v2/dlq/retry(/[^/]+)?", Kind.RETRY_MESSAGE_DLQ, dlq.retried),
    (r"DELETE /v2/messages(/[^/]+)?", Kind.CANCEL_MESSAGES, messages.cancelled),
    (r"POST /v2/(flowControl|queues)/[^/]+/pause", Kind.PAUSE, switches.switched),
    (r"POST /v2/(flowControl|queues)/[^/]+/resume", Kind.RESUME, switches.switched),
    # Clients send PATCH, the documentation says POST.
    (r"(POST|PATCH) /v2/schedules/[^/]+/pause", Kind.PAUSE, switches.switched),
    (r"(POST|PATCH) /v2/schedules/[^/]+/resume", Kind.RESUME, switches.switched),
    (r"POST /v2/flowControl/[^/]+/(pin|unpin|resetRate)", Kind.RETUNE, switches.retuned),
    (r"DELETE /v2/(queues|schedules|topics)/[^/]+", Kind.REMOVE, switches.removed),
    (r"POST /v2/keys/rotate", Kind.ROTATE_KEYS, account_wide.rotated),
    (r"POST /v2/notify/[^/]+(/[^/]+)?", Kind.NOTIFY, account_wide.notified),
)
_READING = (
    (r"GET /v2/(workflows/)?dlq(/[^/]+)?", Kind.DLQ, dlq.shown),
    (r"GET /v2/messages/[^/]+", Kind.MESSAGE, messages.shown),
    (r"GET /v2/(flowControl|queues|schedules)(/[^/]+)?", Kind.SETTING, switches.shown),
    (r"GET /v2/waiters/[^/]+", Kind.SETTING, account_wide.waiters_shown),
    (r"GET /v2/keys", Kind.SETTING, account_wide.keys_shown),
)
_ROUTES = tuple(Route(re.compile(line), kind, function) for line, kind, function in (*_ACTING, *_READING))

ACTIONS = frozenset(kind for _, kind, _ in _ACTING)
READINGS = frozenset(kind for _, kind, _ in _READING)


def clean(path: str) -> str:
    """Return the path that upstream acts on: unescaped, without doubled or trailing slashes, `..` resolved."""
    return posixpath.normpath(re.sub("/+", "/", unquote(path)))


def route_of(method: str, path: str) -> Route | None:
    """Return the call that a method and a cleaned path make, or None if it is none of these."""
    line = f"{method} {path}"
    return next((route for route in _ROUTES if route.line.fullmatch(line)), None)


def carry_out(held: Holdings, turn: Turn) -> Done:
    """Carry out a call. One that has no route is not found."""
    route = route_of(turn.call.method, turn.path)
    if route is None:
        return Done(error_of(404, "not found"))
    try:
        return route.carry_out(held, turn)
    except ValueError as exc:
        return Done(error_of(400, f"failed to parse request: {exc}"))
