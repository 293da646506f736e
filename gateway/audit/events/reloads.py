"""The record of a reload: what was read again, whether it is in force, and the names that changed; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from gateway.audit.events import catalogue
from gateway.audit.events.declare import ABSENT, Members
from gateway.audit.events.values import MOST_NAMES

MOST_PROBLEMS = 20
MOST_PROBLEM_CHARS = 500
"""A `reload` records at most MOST_PROBLEMS problems, each cut to this many characters; `check` prints all of them."""

CHANGES = (
    *("keys_added", "keys_removed", "keys_changed"),
    *("issuers_added", "issuers_removed", "issuers_changed"),
    "settings_changed",
)
"""The lists in a `reload`: keys as `team/id`, issuers as their tokens name them, and keys of the configuration."""


def reload_members(
    cause: Literal["signal", "change"],
    *,
    old_digest: str,
    new_digest: str | None,
    problems: Sequence[str],
    changed: Mapping[str, Sequence[str]] | None = None,
) -> Members:
    """Return the members of `reload`: policies, callers and limits were read again.

    If there are `problems`, they were refused and nothing changed. `new_digest` is None if there were no readable
    policies. `changed` has names for any of CHANGES.
    """
    names = {what: (changed or {}).get(what, ()) for what in CHANGES}
    left_out = sum(max(0, len(some) - MOST_NAMES) for some in names.values())
    shown = {what: list(some[:MOST_NAMES]) for what, some in names.items()}
    return catalogue.Reload(
        outcome="refused" if problems else "applied",
        cause=cause,
        old_digest=old_digest,
        new_digest=new_digest,
        problems=[problem[:MOST_PROBLEM_CHARS] for problem in problems[:MOST_PROBLEMS]],
        names_left_out=left_out or ABSENT,
        **shown,
    ).members()
