"""How upstream might read a call other than the cancel of runs: what its method, path and query do to an account.

Written from the contract alone, and shares no code with the gateway or the simulator. A reading takes what was sent and
gives every deed: what is done to which thing. Wherever a server might ignore something the reading does, so that the
call widens, up to everything that the call can reach.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from tests.laws.models import Model
from tests.laws.reference import Run

Account = Mapping[str, Sequence[Run]]
"""What there is, by kind: `failed` runs, failed messages (`dead`), `messages`, and what can be paused.

Each thing stands in the form of a run, whose ID is its own."""


class Deed(NamedTuple):
    """What is done, and to which thing of which kind."""

    action: str
    kind: str
    name: str


class _Bulk(NamedTuple):
    """A call that takes IDs in its query, or one in its path."""

    method: str
    path: str
    action: str
    kinds: tuple[str, ...]
    field: str


# The calls about failed messages reach failed runs as well: there is one DLQ.
_BULK = (
    _Bulk("DELETE", "/v2/workflows/runs", "cancel_runs", ("runs",), "workflowRunIds"),
    _Bulk("POST", "/v2/workflows/dlq/resume", "resume_dlq", ("failed",), "dlqIds"),
    _Bulk("POST", "/v2/workflows/dlq/restart", "restart_dlq", ("failed",), "dlqIds"),
    _Bulk("POST", "/v2/workflows/dlq/callback", "callback", ("failed",), "dlqIds"),
    _Bulk("DELETE", "/v2/workflows/dlq", "delete_dlq", ("failed",), "dlqIds"),
    _Bulk("POST", "/v2/dlq/retry", "retry_message_dlq", ("failed", "dead"), "dlqIds"),
    _Bulk("DELETE", "/v2/dlq", "delete_message_dlq", ("failed", "dead"), "dlqIds"),
    _Bulk("DELETE", "/v2/messages", "cancel_messages", ("messages",), "messageIds"),
)
_SWITCH = re.compile(r"(?:POST|PATCH) /v2/(flowControl|queues|schedules)/([^/]+)/(pause|resume)")
_REMOVED = re.compile(r"DELETE /v2/(queues|schedules|topics)/([^/]+)")

PATHS: Mapping[str, Callable[[str], str]] = {
    "as it is": lambda path: path,
    "unescaped": unquote,
    "unescaped twice": lambda path: unquote(unquote(path)),
    "dots resolved": lambda path: posixpath.normpath(re.sub("/+", "/", unquote(path))),
    "without its end after a semicolon": lambda path: path.partition(";")[0],
    "plus is a space": lambda path: unquote(path.replace("+", " ")),
}
"""How a server might read a path, by name."""


class Reading(NamedTuple):
    """One server: how it reads a path, and how a query."""

    path: str
    query: Model

    def deeds(self, method: str, target: str, account: Account) -> set[Deed]:
        """Everything that such a server does for this call."""
        raw, _, query = target.partition("?")
        path = PATHS[self.path](raw)
        if switched := _SWITCH.fullmatch(f"{method} {path}"):
            kind, name, action = switched.groups()
            return {Deed(action, kind, name)}
        if removed := _REMOVED.fullmatch(f"{method} {path}"):
            return {Deed("remove", removed[1], removed[2])}
        return self._bulk(method, path, query, account)

    def _bulk(self, method: str, path: str, query: str, account: Account) -> set[Deed]:
        for call in _BULK:
            # An ID in the path that is empty makes a bulk call of it.
            if method == call.method and path.rstrip("/") == call.path:
                found = [(kind, thing) for kind in call.kinds
                         for thing in self.query.selected(query, account.get(kind, ()), field=call.field)]  # fmt: skip
                return {Deed(call.action, kind, thing.run_id) for kind, thing in found}
            named = path.removeprefix(f"{call.path}/")
            if method == call.method and path.startswith(f"{call.path}/") and "/" not in named:
                there = [kind for kind in call.kinds if any(one.run_id == named for one in account.get(kind, ()))]
                return {Deed(call.action, kind, named) for kind in there}
        return set()
