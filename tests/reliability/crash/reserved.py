"""The laws of what is reserved: the store, the record, upstream's ledger and the callers say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gateway.state.admissions import Restored
from tests.reliability.crash.laws import LAWS as BASE
from tests.reliability.crash.laws import TOLD_OTHERWISE, Recorded, violations
from tests.reliability.crash.ledger import Sent
from tests.reliability.crash.load import Told
from tests.reliability.crash.stores import Row

LEFT_OPEN = "reservations that no recovery gave back or settled"
NOT_AS_RECORDED = "decisions whose reservation differs from the record"
NOT_AS_SENT = "budgets that differ from what upstream did"
NOT_REBUILT = "budgets that a rebuilt store has otherwise"
LAWS = (*BASE, LEFT_OPEN, NOT_AS_RECORDED, NOT_AS_SENT, NOT_REBUILT)


def broken_laws(
    record: Recorded, sent: Sequence[Sent], told: Told, rows: Iterable[Row], restored: Iterable[Restored]
) -> Counter[str]:
    """How often each law was broken, at a time at which nothing is under way. `restored` is read off the record."""
    plain = {query: (status, body) for query, (status, body) in told.answers.items() if status != 409}
    broken = violations(record, sent, plain)
    for query, (status, body) in told.answers.items():
        broken[TOLD_OTHERWISE] += status == 409 and not _is_true(body, record, query)
    counted = {row.decision_id: (row.runs, row.requests) for row in rows if row.runs or row.requests}
    by_record = {one.decision_id: (one.runs, one.requests) for one in restored if one.runs or one.requests}
    names = counted.keys() | by_record.keys()
    broken[NOT_AS_RECORDED] += sum(counted.get(name) != by_record.get(name) for name in names)
    taken = sum(runs for runs, _ in counted.values())
    broken[NOT_AS_SENT] += (taken, len(counted)) != expected(record, sent)
    broken[NOT_AS_SENT] += taken < sum(entry.cancelled for entry in sent)
    return +broken


def expected(record: Recorded, sent: Sequence[Sent]) -> tuple[int, int]:
    """How many runs, and how many requests, count: what upstream did, and what nobody knows as a whole."""
    said = {entry.query: entry.cancelled for entry in sent}
    runs = requests = 0
    for query, ids in record.intents.items():
        for name in ids:
            match [one["outcome"] for one in record.outcomes.get(name, [])]:
                case ["not_sent"]:
                    continue
                case ["cancelled"]:
                    runs += said.get(query, 0)
                case _:
                    runs += query.count("workflowRunIds=")
            requests += 1
    return runs, requests


def _is_true(body: Mapping[str, object], record: Recorded, query: str) -> bool:
    """Whether the answer to a repeat says no more, and no less, than the record."""
    closings = [found for name in record.intents.get(query, []) for found in record.outcomes.get(name, [])]
    known = [found["cancelled"] for found in closings if found["outcome"] == "cancelled"]
    return (body["code"], [body["cancelled"]]) == ("outcome_unknown", known or [None])
