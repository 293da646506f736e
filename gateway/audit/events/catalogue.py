"""Every event of the record, and every member of each, in the order of the line. This is the only place that says so.

No event holds a credential, a raw target or bytes of a request: `audit/record` makes them of typed values and fixed
words. The schema of records, and the tables in docs/record.md, are made of these classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from gateway.audit.events.approvals import Approving
from gateway.audit.events.declare import ABSENT, LATER, LOOSE, Absent, Event, Keywords
from gateway.audit.events.switches import Frozen, Thawed
from gateway.audit.events.values import (
    TWO_NUMBERS,
    Action,
    ActionId,
    At,
    Cancelled,
    Cause,
    Claims,
    Count,
    Damage,
    DecisionId,
    Ends,
    FoundRun,
    KeyId,
    LastGood,
    LeftOut,
    Made,
    Names,
    Origin,
    OutcomeCause,
    OutcomeName,
    PolicyDigest,
    PrincipalName,
    Remains,
    Remote,
    Request,
    RequestId,
    RuleName,
    Sha256,
    Skipped,
    Status,
    Suspects,
    Taken,
    Team,
    TraceId,
    Upstream,
    Uuid,
)


class Envelope(Event):
    """The members of every record: the first five come before those of its event, the last two after them."""

    v: Annotated[Literal[1], "The version of the format."]
    seq: Annotated[int, "The number of the record in its chain.", Keywords(minimum=1)]
    ts: Annotated[
        str,
        "When, in UTC with microseconds, by the machine's clock.",
        Keywords(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"),
    ]
    event: Annotated[str, "Which event it is."]
    instance: Annotated[str, "The chain."]
    prev: Annotated[Sha256 | None, "The SHA-256 of the line before; null in the first record of a chain."]
    mac: Annotated[Sha256 | None, "The HMAC-SHA256 of the line up to here; null without `audit.mac_key`."]


class Start(Event, name="start"):
    """A chain begins: what writes it, the chain that it continues, and the heads of others."""

    # Its parts are known to different rooms, so each can be made without the others.
    version: Annotated[str | Absent, "The gateway's version.", LOOSE] = ABSENT
    command: Annotated[str | Absent, "The command that writes the chain, if it is not `serve`.", LOOSE] = ABSENT
    by: Annotated[str | Absent, "Who runs that command.", LOOSE] = ABSENT
    policy_digest: Annotated[PolicyDigest | Absent, LOOSE] = ABSENT
    policies: Annotated[
        Literal["kept"] | Absent,
        "That the text of these policies, and of each that a `reload` names, is kept beside the chain.",
        LOOSE,
    ] = ABSENT
    contract: Annotated[str | Absent, "The contract that QStash is expected to keep.", LOOSE] = ABSENT
    count_is_advisory: Annotated[bool | Absent, "Whether a count bounds nothing under that contract.", LOOSE] = ABSENT
    chain: Annotated[
        Literal["sha256", "hmac-sha256"] | Absent, "How the chain is sealed: without or with a key.", LOOSE
    ] = ABSENT
    key_id: Annotated[str | Absent | None, "The first 8 hex digits of that key's SHA-256.", LOOSE] = ABSENT
    continues: Annotated[Origin | Absent | None, "The chain before it, and the head at which that ended.", LOOSE] = (
        ABSENT
    )
    intents: Annotated[Sequence[str] | Absent, "The decisions that were open in the chain before it.", LOOSE] = ABSENT
    heads: Annotated[
        Mapping[str, At] | Absent, "The heads of chains in the directory that no `start` named yet.", LOOSE
    ] = ABSENT
    damaged: Annotated[Sequence[Damage] | Absent, "The chains that could not be continued, and why.", LOOSE] = ABSENT
    damaged_more: Annotated[Count | Absent, "How many more there are than `damaged` names.", LOOSE] = ABSENT
    suspect: Suspects = ABSENT
    last_good: LastGood = ABSENT


class Stop(Event, name="stop"):
    """A chain ends."""

    reason: Annotated[str | Absent, "Why, if it is not the end of the process: `size`, `retired`.", LOOSE] = ABSENT
    refusals_left_out: Annotated[Count | Absent, "How many refusals no record counts.", LOOSE] = ABSENT
    open: Annotated[Count, "How many intents are open.", LOOSE]
    continued_by: Annotated[str | Absent, "The chain that continues it.", LOOSE] = ABSENT


class Recovery(Event, name="recovery"):
    """The log goes on after a fault or a crash, or after records were left out."""

    reason: Annotated[str, "What happened, as a fixed word."]
    open: Annotated[Count, "How many intents are open."]
    left_out: Annotated[Count, "How many records were not written."]
    closed: Annotated[Count | Absent, "How many intents a start closed as `unknown`.", LOOSE] = ABSENT
    torn_bytes: Annotated[Count | Absent, "The bytes of an unfinished line that were set aside.", LOOSE] = ABSENT
    segment: Annotated[str | Absent, "The file that somebody else changed or deleted.", LOOSE] = ABSENT
    suspect: Suspects = ABSENT
    last_good: LastGood = ABSENT


class Reload(Event, name="reload"):
    """Policies, callers and limits were read again. If that was refused, nothing changed."""

    outcome: Annotated[Literal["applied", "refused"], "Whether what was read is in force."]
    cause: Annotated[Literal["signal", "change"], "What made the gateway read."]
    old_digest: Annotated[str, "The SHA-256 of the policies before."]
    new_digest: Annotated[str | None, "The SHA-256 of the policies that were read; null if they could not be."]
    problems: Annotated[Sequence[str], "The first problems, each cut short; `check` prints all of them."]
    keys_added: Annotated[Names, "Callers' new keys, as `team/id`.", LATER]
    keys_removed: Annotated[Names, "Callers' keys that are gone, as `team/id`.", LATER]
    keys_changed: Annotated[Names, "Keys of the same team and id with another digest or `expires`.", LATER]
    issuers_added: Annotated[Names, "New issuers of tokens.", LATER]
    issuers_removed: Annotated[Names, "Issuers that are gone.", LATER]
    issuers_changed: Annotated[Names, "Issuers with another audience, claim, team, key source or leeway.", LATER]
    settings_changed: Annotated[Names, "Which of `limits`, `trusted_proxies` and `operators` changed.", LATER]
    names_left_out: Annotated[Count | Absent, "How many names the lists do not show."] = ABSENT


class Refused(Event, name="refused"):
    """An answer of 4xx or 503 before policy."""

    decision_id: DecisionId
    status: Annotated[int, "The status of the answer.", Keywords(minimum=400, maximum=599)]
    code: Annotated[str, "The code of the answer."]
    cause: Cause
    remote: Remote
    action: Annotated[str | None, "What was to be done; null if it was refused before that was read.", LATER]
    trace_id: Annotated[TraceId, LATER]
    request_id: Annotated[RequestId, LATER]
    principal: Annotated[PrincipalName | Absent, LOOSE] = ABSENT
    key_id: Annotated[KeyId | Absent, LOOSE] = ABSENT
    left_out: LeftOut = ABSENT


class Asked(Event):
    """The members that say who asked."""

    decision_id: DecisionId
    team: Team
    principal: PrincipalName
    key_id: KeyId
    claims: Claims = ABSENT
    remote: Remote


class Judged(Asked):
    """The members of all events that record a decision. An event without one of them declares it anew as Absent."""

    dialect: Annotated[Literal["query", "body"], "How the request was written."]
    asked: Annotated[Request, "What was asked, by the names of QStash's parameters."]
    effective: Annotated[Request, "What policy made of it."]
    selects: Annotated[Literal["run_ids", "filter", "everything"], "What the request selects runs by."]
    decision: Annotated[Literal["permit", "deny"], "The judgement with rules in shadow mode counted."]
    enforced: Annotated[Literal["permit", "deny"], "The judgement that was enforced."]
    rule: Annotated[RuleName | None, "The rule that decided; null if none allows it."]
    narrowed: Annotated[
        Mapping[str, object] | Absent | None,
        "The count that was asked and what policy lowered it to, under the key that did it.",
        Keywords(properties={"count": TWO_NUMBERS, "runs": TWO_NUMBERS}, minProperties=1, maxProperties=1),
    ]
    shadow: Annotated[RuleName | None, "The rule in shadow mode that makes the difference, if one does."]
    policy_digest: PolicyDigest
    upstream: Upstream | Absent
    orders: Annotated[Sequence[str] | Absent, "The queries of the calls to QStash; none if nothing is sent."]
    exceptions: Annotated[Sequence[str], "Each rule that excepts the team and would have counted, with its exception."]
    reason: Annotated[str | None, "Why the caller wants it, from `Gateway-Reason`.", Keywords(maxLength=200)]
    action: Annotated[Action | Absent, LATER]
    trace_id: Annotated[TraceId | Absent, LATER]
    request_id: Annotated[RequestId | Absent, LATER]


class Denied(Judged, name="denied"):
    """Policy refuses: nothing is sent."""

    effective: Annotated[Mapping[str, object], "Nothing.", Keywords(const={})]
    cause: Annotated[str | Absent, "What refuses what `rule` admits: `frozen`, `budget_exhausted`, `throttled`."] = (
        ABSENT
    )
    ends: Ends = ABSENT


class Throttled(Asked, name="throttled"):
    """A request above a limit of its principal or its team."""

    cause: Annotated[str, "Which limit, as a fixed word."]
    limit: Annotated[Count, "The limit."]
    retry_after_s: Annotated[Count, "After how many seconds the caller may try again."]
    left_out: LeftOut = ABSENT


class Planned(Judged, name="plan"):
    """The runs that a look-up found to cancel, or what another action is about, and those left out. Nothing is sent."""

    enforced: Annotated[Literal["permit"], "The judgement that was enforced."]
    narrowed: Absent = ABSENT
    orders: Absent = ABSENT
    digest: Annotated[str, "The SHA-256 of the runs to cancel: ID and creation time, in order."]
    runs: Annotated[
        Sequence[FoundRun],
        "The runs to cancel, or the things of another action, each `[ID, URL, creation time in Unix milliseconds]`.",
    ]
    skipped: Skipped


class Intent(Judged, name="intent"):
    """What is about to be sent, and why it may be sent. It is durable before the first byte leaves."""

    enforced: Annotated[Literal["permit"], "The judgement that was enforced."]
    plan: Annotated[Uuid | Absent | None, "The plan that was shown before; null if none was.", LOOSE] = ABSENT
    digest: Annotated[str | Absent, "The SHA-256 of the runs to cancel, if they were looked up.", LOOSE] = ABSENT
    owner: Annotated[
        Literal["unchecked"] | Absent, "The rule allows run IDs without a check of whose runs they are.", LOOSE
    ] = ABSENT
    reserved: Annotated[
        Taken | Absent, "The runs counted for the budget or the approval of the rule, and for whom."
    ] = ABSENT
    idempotency: Annotated[Sha256 | Absent, "The SHA-256 of the principal and its `Idempotency-Key`."] = ABSENT
    approved_by: Annotated[
        Sequence[PrincipalName] | Absent, "Who approved exactly these runs, where the rule asks for that."
    ] = ABSENT
    ends: Ends = ABSENT


class Chunk(Event, name="chunk"):
    """The outcome of one order of several, before the next is sent, or before the same is sent again."""

    decision_id: DecisionId
    number: Annotated[Count, "Which order it is, from 1."]
    of: Annotated[Count, "How many orders the plan has."]
    order: Annotated[str, "The query of the order."]
    outcome: OutcomeName
    upstream_status: Status
    cancelled: Cancelled
    skipped: Annotated[Skipped, "The IDs of the runs that a second look left out of the order, by reason."]
    carried_out: Annotated[bool | Absent, "Whether QStash carried it out, if that is known.", LOOSE] = ABSENT
    action_id: ActionId = ABSENT
    cause: OutcomeCause = ABSENT
    progress: Annotated[Remains | Absent, "As in `outcome`.", LOOSE] = ABSENT
    attempt: Annotated[
        int | Absent,
        "Which attempt at this order it is, from 1, if QStash refused the first with 429 and it may be sent again.",
        Keywords(minimum=1),
    ] = ABSENT
    made: Made = ABSENT


class Joined(Event, name="joined"):
    """A repeat that waits for the outcome of a cancel under way, and sends nothing."""

    decision_id: DecisionId
    joins: Annotated[Uuid, "The decision whose outcome it waits for."]
    team: Team
    principal: PrincipalName
    key_id: KeyId
    claims: Claims = ABSENT
    remote: Remote


class Withdrawn(Asked, name="withdrawn"):
    """The stop of a plan before it was applied: nothing of it was sent. The plan's look-up may have been under way."""

    plan: Annotated[Uuid, "The plan that was stopped."]


class Outcome(Event, name="outcome"):
    """What came of an intent. It closes the intent."""

    decision_id: DecisionId
    outcome: OutcomeName
    upstream_status: Status
    cancelled: Cancelled
    over_cancelled: Annotated[
        Count,
        "How many runs QStash cancelled above the count that was sent; of another action, how many of its things.",
    ]
    duration_ms: Annotated[Count | None, "How long it took, in milliseconds; null if nobody knows."]
    caller_gone: Annotated[bool | None, "Whether the caller had disconnected by then; null if nobody knows."]
    carried_out: Annotated[bool | None, "Whether QStash carried it out; null if nobody knows."]
    action_id: ActionId = ABSENT
    cause: OutcomeCause = ABSENT
    progress: Annotated[
        Remains | Absent, "Of several orders: the runs cancelled for certain, and the IDs not sent or unknown.", LOOSE
    ] = ABSENT
    skipped: Annotated[
        Skipped | Absent, "The IDs of the runs that a second look left out of an order, by reason.", LOOSE
    ] = ABSENT
    joins_left_out: Annotated[Count | Absent, "How many repeats above the limit on joins came before it."] = ABSENT
    stopped_by: Annotated[
        PrincipalName | Absent, "Who stopped the plan before all of its orders were sent; those sent are all certain."
    ] = ABSENT
    made: Made = ABSENT


class Settled(Event, name="settled"):
    """What was learnt after an outcome that did not say it."""

    decision_id: DecisionId
    source: Annotated[Literal["bulk_action", "read_back"], "What was read: the action, or each run that was ordered."]
    cancelled: Annotated[Count | None, "How many runs are cancelled; null if it is still unknown."]
    action_id: Annotated[ActionId, "The bulk action that was read.", LOOSE] = ABSENT
    over_cancelled: Annotated[Count | Absent, "How many runs above the count that was sent.", LOOSE] = ABSENT
    filter_wider: Annotated[
        bool | Absent | None, "Whether QStash works on a wider filter than was sent; null if it did not say.", LOOSE
    ] = ABSENT
    ordered: Annotated[Count | Absent, "How many runs were ordered.", LOOSE] = ABSENT
    still_running: Annotated[Count | Absent, "How many of them still run.", LOOSE] = ABSENT
    finished: Annotated[Count | Absent, "How many ended otherwise.", LOOSE] = ABSENT
    gone: Annotated[Count | Absent, "How many are not shown, or are another run under that ID.", LOOSE] = ABSENT
    unreadable: Annotated[Count | Absent, "How many could not be read.", LOOSE] = ABSENT
    cause: Annotated[str | Absent, "Why looking ended early, as a fixed word.", LOOSE] = ABSENT


class Explained(Judged, name="explained", checks=("decision_id",)):
    """A decision that a caller only asked about: nothing is sent."""

    effective: Annotated[Mapping[str, object], "What policy would make of it; nothing if it refuses."]
    narrowed: Absent = ABSENT
    upstream: Absent = ABSENT
    orders: Absent = ABSENT
    trace_id: Absent = ABSENT
    request_id: Absent = ABSENT


class Retired(Event, name="retired"):
    """A chain may be missing from now on: it was moved or deleted by `audit retire`."""

    retired: Annotated[str, "The chain."]
    at: Annotated[At, "Its head."]
    files: Annotated[Mapping[str, Sha256 | None], "The SHA-256 of each of its files."]
    to: Annotated[str | None, "The directory that they were moved to; null if they were deleted."]


_HERE = tuple(one for one in tuple(globals().values()) if isinstance(one, type) and one.__module__ == __name__)
EVENTS: tuple[type[Event], ...] = (
    *(one for one in _HERE if issubclass(one, Event) and one.NAME),
    Frozen,
    Thawed,
    Approving,
)
"""The events of this version: every class above that has a name, then those of freezes; people see this order."""
