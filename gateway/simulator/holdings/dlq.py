"""The calls on the dead letter queue: list, delete, resume, restart and retry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.simulator import golang
from gateway.simulator.exchange import Answer, Kind, answer_of, error_of
from gateway.simulator.holdings.held import Done, Holdings, Turn
from gateway.simulator.holdings.selection import (
    ANY_DLQ,
    MESSAGE_DLQ,
    WORKFLOW_DLQ,
    Selection,
    page_of,
    read_selection,
)
from gateway.simulator.holdings.things import DlqEntry
from gateway.simulator.runs import Run

MAX_PAGE = 100
MAX_RESTARTED = 50
MISSING = "dlq message not found"

_BASES = {
    Kind.DELETE_DLQ: "/v2/workflows/dlq",
    Kind.RESUME_DLQ: "/v2/workflows/dlq/resume",
    Kind.RESTART_DLQ: "/v2/workflows/dlq/restart",
    Kind.DELETE_MESSAGE_DLQ: "/v2/dlq",
    Kind.RETRY_MESSAGE_DLQ: "/v2/dlq/retry",
}


@dataclass(frozen=True, slots=True)
class _Taken:
    """The entries that a call acts on. `one` says that the path named it; `missing` that an ID was not found."""

    entries: list[DlqEntry]
    cursor: str
    one: bool = False
    missing: bool = False


def shown(held: Holdings, turn: Turn) -> Done:
    """Show one entry, or a page of them: newest first, at most 100, workflow runs only with `source=workflow`."""
    workflows = turn.path.startswith("/v2/workflows/")
    entry_id = turn.named("/v2/workflows/dlq" if workflows else "/v2/dlq")
    listed = held.listed(turn.now_ms)
    if entry_id:
        entry = next((entry for entry in listed if entry.dlq_id == entry_id), None)
        return Done(answer_of(200, entry.wire()) if entry else error_of(404, MISSING))
    workflows = workflows or golang.query_values(turn.call.query).get("source") == ["workflow"]
    # Unlike the calls that act, the list matches a URL exactly, as the list of runs does.
    asked = read_selection(turn.call.query, b"", ANY_DLQ, turn.contract, prefixes=False)
    listed = tuple(entry for entry in listed if entry.of_workflow) if workflows else listed
    page, cursor = page_of(listed, asked, size=min(asked.count or MAX_PAGE, MAX_PAGE))
    return Done(answer_of(200, {"cursor": cursor, "messages": [entry.wire() for entry in page]}))


def deleted(held: Holdings, turn: Turn) -> Done:
    """Delete entries. What is missing does not count; an ID in the path is answered with 404, or an empty 200."""
    taken = _taken(held, turn)
    if taken.one and not taken.entries:
        return Done(error_of(404, MISSING))
    for entry in taken.entries:
        held.drop(entry, turn.now_ms)
    count = {"cursor": taken.cursor, "deleted": len(taken.entries)}
    return Done(Answer(200, "") if taken.one else answer_of(200, count), _ids(taken.entries))


def started(held: Holdings, turn: Turn) -> Done:
    """Resume or restart failed runs: each begins as a new run. If an ID is missing the others are started all the same.

    Headers override what the runs had, and one of them says where their payload goes if they fail.
    """
    taken = _taken(held, turn)
    if taken.one and not taken.entries:
        known = turn.named(_BASES[turn.kind]) in held.dlq
        return Done(error_of(400, "not a workflow message") if known else error_of(404, MISSING))
    runs = tuple(_again(held, turn, entry) for entry in taken.entries)
    if not held.manner.keeps_started:
        for entry in taken.entries:
            held.drop(entry, turn.now_ms)
    named = [{"workflowRunId": run.run_id, "workflowCreatedAt": run.created_ms} for run in runs]
    if taken.missing:
        answer = error_of(404, "some dlq messages were not found")
    elif taken.one:
        answer = answer_of(200, named[0])
    else:
        answer = answer_of(200, {"cursor": taken.cursor, "workflowRuns": named})
    return Done(answer, _ids(taken.entries), started=runs)


def retried(held: Holdings, turn: Turn) -> Done:
    """Send messages again: each becomes a new message and leaves the DLQ. If an ID is missing the others are sent."""
    taken = _taken(held, turn)
    if taken.one and not taken.entries:
        return Done(error_of(404, MISSING))
    responses = []
    for entry in taken.entries:
        again = replace(entry.as_message(), message_id=held.new_id("msg_"), created_ms=turn.now_ms)
        held.add(messages=[again])
        held.drop(entry, turn.now_ms)
        responses.append({"messageId": again.message_id})
    if taken.missing:
        answer = error_of(404, "some dlq messages were not found")
    elif taken.one:
        answer = answer_of(201, responses[0])
    else:
        answer = answer_of(201, {"cursor": taken.cursor, "responses": responses})
    return Done(answer, _ids(taken.entries))


def called_back(held: Holdings, turn: Turn) -> Done:
    """Call the failure function of a failed run once more."""
    entry = held.dlq.get(turn.named("/v2/workflows/dlq/callback"))
    if entry is None or not entry.of_workflow:
        return Done(error_of(404, MISSING))
    named = {"workflowRunId": entry.run_id, "workflowCreatedAt": entry.workflow_created_ms}
    return Done(answer_of(200, named), (entry.dlq_id,))


def _taken(held: Holdings, turn: Turn) -> _Taken:
    of_messages = turn.kind in (Kind.DELETE_MESSAGE_DLQ, Kind.RETRY_MESSAGE_DLQ)
    # There is one DLQ: the calls for messages reach the failed runs in it, too.
    reached = {entry.dlq_id: entry for entry in held.dlq.values() if of_messages or entry.of_workflow}
    named = turn.named(_BASES[turn.kind])
    if named:
        return _Taken([reached[named]] if named in reached else [], "", one=True)
    grammar = MESSAGE_DLQ if of_messages else WORKFLOW_DLQ
    asked = read_selection(turn.call.query, turn.call.body, grammar, turn.contract, prefixes=held.manner.prefixes)
    page, cursor = page_of(reached.values(), asked, size=_size(turn.kind, asked))
    return _Taken(page[: turn.at_most], cursor, missing=not reached.keys() >= set(asked.ids))


def _size(kind: Kind, asked: Selection) -> int:
    """Return how many entries one call takes at most; 0 for all that it selects."""
    match kind:
        case Kind.RESTART_DLQ:
            # Without a count it restarts all, says one text; at most 50 in any call, says another.
            return MAX_RESTARTED if asked.ids else min(asked.count, MAX_RESTARTED)
        case _ if asked.ids:
            return 0
        case Kind.DELETE_DLQ | Kind.RESUME_DLQ:
            return asked.count
        case Kind.DELETE_MESSAGE_DLQ:
            return min(asked.count or MAX_PAGE, MAX_PAGE)
        case _:
            return 0  # retry knows no count


def _again(held: Holdings, turn: Turn, entry: DlqEntry) -> Run:
    label, key = turn.header("upstash-label"), turn.header("upstash-flow-control-key")
    run = Run(
        run_id=held.new_id("wfr_"),
        url=entry.workflow_url or entry.url,
        created_ms=turn.now_ms,
        caller_ip=entry.caller_ip,
        labels=tuple(label.split(",")) if label else entry.labels,
        flow_control_key=key or entry.flow_control_key,
    )
    callback = turn.header("upstash-failure-callback")
    if callback:
        held.callbacks[run.run_id] = callback
    return run


def _ids(entries: Iterable[DlqEntry]) -> tuple[str, ...]:
    return tuple(entry.dlq_id for entry in entries)
