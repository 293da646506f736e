"""The actions of a rule: how they are read, and which keys a rule about each of them has.

A rule that names several has only the keys that all of them have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.errors import Problem
from gateway.core.request import RUN_IDS, Action
from gateway.files import nodes
from gateway.files.mappings import Several, report_twice
from gateway.files.nodes import Node, Place
from gateway.files.values import Choice
from gateway.policy.conditions import FAILED, PAUSED
from gateway.policy.format.conditions import FIELDS, FILTERS
from gateway.policy.model import ONLY_RUNS

ANY = "any"
"""The word for every action, in `deny` and `require` only."""

EVERY = frozenset(Action)
PAUSING = frozenset((Action.PAUSE, Action.RESUME))
UNLISTED = frozenset((Action.DELETE_MESSAGE_DLQ, Action.RETRY_MESSAGE_DLQ))
"""The actions on what no call of QStash's lists with its owner."""

OVERRIDING = frozenset((Action.RESUME_DLQ, Action.RESTART_DLQ))
"""The actions whose requests may bring headers that change what is resumed or restarted."""

Actions = frozenset[Action]

_FAILED_FILTERS = ("workflowUrl", "label", "workflowRunId", "created", "callerIp", "flowControlKey")
_FIELDS: Mapping[Action, tuple[str, ...]] = {
    Action.CANCEL_RUNS: (RUN_IDS, *FILTERS),
    **dict.fromkeys(sorted(FAILED), ("dlqIds", *_FAILED_FILTERS)),
    Action.CANCEL_MESSAGES: ("messageIds",),
    **dict.fromkeys(sorted(UNLISTED), ("dlqIds",)),
    **dict.fromkeys(sorted(PAUSING), PAUSED),
}

_ONLY: Mapping[str, tuple[Actions, str]] = {
    **dict.fromkeys(("resolve", "runs"), (EVERY - UNLISTED - PAUSING, "has nothing looked up")),
    "owner": (EVERY - PAUSING, "names what is meant, so nobody is asked whose it is"),
    "count": (EVERY - PAUSING, "is about one name, so there is nothing to count"),
    "budget": (EVERY - PAUSING, "is about one name, so there is nothing to count"),
    "approve": (EVERY - UNLISTED - PAUSING, "has nothing looked up that people could approve"),
    "workflowUrlExactMatch": (ONLY_RUNS, "never sends a URL, so none is sent as a prefix: it is for cancel_runs"),
    "logs": (ONLY_RUNS, "shows no logs: they are those of runs (cancel_runs)"),
    "overrides": (OVERRIDING, "takes no headers that override anything: it is for resume_dlq and restart_dlq"),
}
"""The keys that rules about some actions have, and what is said of an action that is none of these."""


def lacked(key: str, actions: Actions) -> str | None:
    """Return why a rule about these actions does not have a key, as a sentence on the first that lacks it."""
    for action in (one for one in Action if one in actions):
        if key in FIELDS and key not in _FIELDS[action]:
            apart = ": give it a rule of its own" if len(actions) > 1 else ""
            return f"{action} selects by {', '.join(_FIELDS[action])}{apart}"
        those, why = _ONLY.get(key, (EVERY, ""))
        if action not in those:
            instead = ": write 'owner: unchecked'" if action in UNLISTED and key in ("resolve", "runs") else ""
            return f"{action} {why}{instead}"
    return None


_NAMES = Several(Choice((*(action.value for action in Action), ANY)), most=len(Action))


@dataclass(frozen=True, slots=True)
class Named:
    """The reader of `action`: one name or a list; `any` is every action, except in an `allow`."""

    in_allow: bool

    def read(self, node: Node, problems: list[Problem]) -> Actions | None:
        """Return the actions; None if the value has any problem."""
        before = len(problems)
        names = _NAMES.read(node, problems)
        if names is None or len(problems) > before:
            return None
        report_twice("action", [*names], problems)
        problems += self._of_any(node.place, [name for _, name in names])
        if len(problems) > before:
            return None
        return EVERY if names[0][1] == ANY else frozenset(Action(name) for _, name in names)

    def _of_any(self, place: Place, names: list[str]) -> list[Problem]:
        if ANY not in names:
            return []
        if self.in_allow:
            said = "an allow names its actions one by one: 'any' exists in a deny and a require"
            return [place.problem(said)]
        return [place.problem("'any' stands alone: it is every action")] if len(names) > 1 else []

    def json_schema(self) -> dict[str, object]:
        """Return the schema of a name, or of a list of them."""
        return _NAMES.json_schema()


def actions_of(rule: Node, named: Named, problems: list[Problem]) -> Actions | None:
    """Return the actions that a rule names, `cancel_runs` where it names none; None if they cannot be read."""
    if not isinstance(rule, nodes.Mapping):
        return ONLY_RUNS
    part = next((value for key, value in rule.members if key.text == "action"), None)
    return ONLY_RUNS if part is None else named.read(part, problems)
