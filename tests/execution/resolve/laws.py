"""What the record must say of cancels by run ID, whatever happened: compared with what arrived at upstream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.execution.resolve.account import named

OUTSIDE = "runs sent that no plan recorded before names"
NOT_INTENDED = "orders that are no part of an order of their intent"
TWICE = "runs sent twice, but for orders refused with 429"
NOT_CLOSED = "intents without exactly one closing record"
NOT_PLANNED = "intents whose orders are not the runs of a plan recorded before"
NOT_NOTED = "orders sent before the one before them was recorded"
LAWS = (OUTSIDE, NOT_INTENDED, TWICE, NOT_CLOSED, NOT_PLANNED, NOT_NOTED)

Record = Mapping[str, object]


@dataclass(slots=True)
class Recorded:
    """Records by event, in order; plans and intents by their names."""

    plans: dict[str, Record] = field(default_factory=dict)
    intents: dict[str, Record] = field(default_factory=dict)
    chunks: dict[str, list[Record]] = field(default_factory=dict)
    outcomes: dict[str, list[Record]] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def of(records: Iterable[Record]) -> Recorded:
        """Takes the records in as they stand, one after the other."""
        found = Recorded()
        for record in records:
            found._add(record, str(record.get("decision_id")))
        return found

    def _add(self, record: Record, name: str) -> None:
        match record["event"]:
            case "plan":
                self.plans[name] = record
            case "intent" if "plan" in record:
                self.intents[name] = record
                plan = self.plans.get(str(record["plan"]))
                # A plan can be applied when some of its runs have ended, but never to another one.
                if plan is None or not set(ordered(record)) <= {run[0] for run in plan["runs"]}:  # type: ignore[attr-defined]
                    self.broken[NOT_PLANNED] += 1
            case "chunk":
                self.chunks.setdefault(name, []).append(record)
            case "outcome":
                self.outcomes.setdefault(name, []).append(record)


def ordered(intent: Record) -> list[str]:
    """The run IDs of an intent's orders, in turn."""
    orders = intent["orders"]
    assert isinstance(orders, list)
    return [run_id for order in orders for run_id in named(order)]


def violations(records: Iterable[Record], sent: Sequence[str], *, open_allowed: int = 0) -> Counter[str]:
    """How often each law was broken, where `sent` are the queries that arrived, and no run was asked for twice."""
    record = Recorded.of(records)
    broken = record.broken
    planned = {run[0] for plan in record.plans.values() for run in plan["runs"]}  # type: ignore[attr-defined]
    parts = [set(named(order)) for intent in record.intents.values() for order in intent["orders"]]  # type: ignore[attr-defined]
    arrived = Counter(run_id for query in sent for run_id in named(query))
    broken[OUTSIDE] += sum(run_id not in planned for run_id in arrived) + sum(not named(query) for query in sent)
    broken[NOT_INTENDED] += sum(not any(set(named(query)) <= part for part in parts) for query in sent)
    again = _sent_again(record)
    broken[TWICE] += sum(number > 1 + again[run_id] for run_id, number in arrived.items())
    unclosed = sum(len(record.outcomes.get(name, [])) != 1 for name in record.intents)
    broken[NOT_CLOSED] += max(0, unclosed - open_allowed)
    broken[NOT_NOTED] += sum(
        _not_noted(intent, record.chunks.get(name, []), arrived) for name, intent in record.intents.items()
    )
    return +broken


def _sent_again(record: Recorded) -> Counter[str]:
    """How often each run may have been sent again, because an order that named it was refused with 429, on record."""
    chunks = [chunk for of_one in record.chunks.values() for chunk in of_one]
    slow = [chunk for chunk in chunks if (chunk.get("outcome"), chunk.get("upstream_status")) == ("refused", 429)]
    return Counter(run_id for chunk in slow if "attempt" in chunk for run_id in named(str(chunk["order"])))


def _not_noted(intent: Record, chunks: Sequence[Record], arrived: Mapping[str, int]) -> int:
    """How many orders arrived although one sent before them has no `chunk`."""
    orders = intent["orders"]
    assert isinstance(orders, list)
    noted = {chunk["number"] for chunk in chunks}
    reached = [number for number, order in enumerate(orders, 1) if any(run_id in arrived for run_id in named(order))]
    return sum(number not in noted for number in reached[:-1])
