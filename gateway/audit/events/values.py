"""The kinds of values that members of the record have, each with what it says; `catalogue` makes the events of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypedDict

from gateway.audit.events.declare import LOOSE, Absent, Keywords

TWO_NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
"""The schema of a pair of whole numbers."""

MOST_NAMES = 100
"""The most names in one list of a `reload`; `names_left_out` counts the others, over all lists."""

Count = Annotated[int, Keywords(minimum=0)]
Uuid = Annotated[str, Keywords(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Sha256 = Annotated[str, Keywords(pattern="^[0-9a-f]{64}$")]
RuleName = Annotated[str, Keywords(pattern="^[^/]+/[^/]+$")]

DecisionId = Annotated[Uuid, "The decision, as `Gateway-Decision` names it in the answer."]
Team = Annotated[str, "The caller's team."]
PrincipalName = Annotated[str, "The caller, as `<team>/<key id>` or `<team>/<issuer>#<sub>`."]
KeyId = Annotated[str, "The id of the caller's key or token."]
Claims = Annotated[Mapping[str, str] | Absent, "The claims that bound the caller's token.", LOOSE]
Remote = Annotated[str | None, "The address of the caller; null if it is not known."]
Cause = Annotated[str, "Why, as a fixed word."]
LeftOut = Annotated[Count | Absent, "How many of the same kind before this one were not recorded."]
PolicyDigest = Annotated[str, "The SHA-256 of the policies in force."]
Upstream = Annotated[str, "Where QStash is."]
Action = Annotated[str, "What was to be done, as policies name it: `cancel_runs`, `delete_dlq`."]
TraceId = Annotated[
    str,
    "The trace of the request, from the caller's `traceparent`; else the decision without its dashes.",
    Keywords(pattern="^[0-9a-f]{32}$"),
]
RequestId = Annotated[
    str | None,
    "The caller's `X-Request-Id`; null if there was none that could be accepted.",
    Keywords(pattern="^[A-Za-z0-9_.-]{1,128}$"),
]
Request = Annotated[
    Mapping[str, object], Keywords(properties={"count": {"type": "integer", "minimum": 1}}, required=["count"])
]
Skipped = Annotated[Mapping[str, Sequence[str]], "The IDs of the runs that were left out, by reason."]
OutcomeName = Annotated[
    Literal["cancelled", "accepted", "refused", "not_sent", "unknown"], "What came of it, as far as anybody knows."
]
Status = Annotated[Count | None, "The status of QStash's answer; null if there was none."]
Cancelled = Annotated[
    Count | None,
    "To how many things QStash did it, by the action: runs cancelled, entries deleted; null if nobody knows.",
]
ActionId = Annotated[str | Absent, "The bulk action under which QStash works on it.", LOOSE]
OutcomeCause = Annotated[str | Absent, "Why it was not sent, or is unknown, as a fixed word.", LOOSE]
Ends = Annotated[
    Uuid | Absent, "The pause that is over, as its decision: nobody asked for this resume, the gateway itself does it."
]
Names = Annotated[Sequence[str], Keywords(maxItems=MOST_NAMES)]
FoundRun = Annotated[
    Sequence[object],
    Keywords(
        prefixItems=[{"type": "string"}, {"type": "string"}, {"type": "integer", "minimum": 0}], minItems=3, maxItems=3
    ),
]
MadeThing = Annotated[
    Sequence[object],
    Keywords(
        prefixItems=[{"type": "string"}, {"type": ["integer", "null"], "minimum": 0}],
        minItems=2,
        maxItems=2,
    ),
]
Made = Annotated[
    Sequence[MadeThing] | Absent,
    "What came into being, as a run that was started again: each `[ID, creation time in Unix milliseconds]`, the time "
    "null if QStash did not say it.",
]


class At(TypedDict):
    """The place of a record in a chain: its number, and the SHA-256 of its line."""

    seq: Count
    head: Sha256 | None


class Origin(At):
    """The end of the chain that another one continues."""

    chain: str


class Damage(TypedDict):
    """A chain that a start could not continue, and why."""

    chain: str
    problem: str


class Remains(TypedDict):
    """The runs of several orders of which not all were carried out: a number, and the IDs of the others."""

    cancelled: Count
    unsent: Sequence[str]
    unknown: Sequence[str]


class Taken(TypedDict):
    """Runs that were taken of the budget of a rule, before anything was sent; `scope` says whose budget it is."""

    rule: RuleName
    scope: str
    runs: Count


class MoreOfAnOutcome(TypedDict, total=False):
    """The members of an `outcome` that only some have and that do not follow from what came of it."""

    skipped: Mapping[str, Sequence[str]] | Absent
    joins_left_out: int | Absent
    stopped_by: str | Absent
    made: Sequence[MadeThing] | Absent


Suspects = Annotated[Sequence[str] | Absent, "Files that may hold lines after the last certain one.", LOOSE]
LastGood = Annotated[At | Absent, "The last certain record before those files.", LOOSE]
