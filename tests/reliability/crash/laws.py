"""The laws, judged by comparing three accounts: the record, upstream's ledger, and what callers were told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.crash.ledger import Sent

NO_INTENT = "cancels without an intent"
NOT_ONCE = "intents without exactly one closing record"
TWICE = "cancels sent twice"
WRONG_NUMBER = "outcomes that differ from the ledger"
SENT_AFTER_ALL = "outcomes not_sent of what was sent"
TOLD_OTHERWISE = "answers that differ from the record"
NOT_INTACT = "chains that do not verify"
NOT_ENDED = "batches that did not come to their end"
LAWS = (NO_INTENT, NOT_ONCE, TWICE, WRONG_NUMBER, SENT_AFTER_ALL, TOLD_OTHERWISE, NOT_INTACT, NOT_ENDED)


@dataclass(slots=True)
class Recorded:
    """The intents of some files by the query they send, and the outcomes by decision."""

    intents: dict[str, list[str]] = field(default_factory=dict)
    outcomes: dict[str, list[dict]] = field(default_factory=dict)

    @property
    def open_queries(self) -> list[str]:
        """What was intended and is not closed."""
        return [query for query, ids in self.intents.items() if any(name not in self.outcomes for name in ids)]


def recorded(paths: Iterable[Path]) -> Recorded:
    """What the whole lines of the files say; a torn one says nothing, nor what a suspect file holds too much."""
    found = Recorded()
    lines = {path.name: [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] for path in paths}
    cuts = _cuts(lines)
    for name, members in ((name, members) for name, records in lines.items() for members in records):
        if members["seq"] > cuts.get(name, members["seq"]):
            continue
        if members["event"] == "intent":
            for query in members["orders"]:
                found.intents.setdefault(query, []).append(members["decision_id"])
        elif members["event"] == "outcome":
            found.outcomes.setdefault(members["decision_id"], []).append(members)
    return found


def _cuts(lines: Mapping[str, Sequence[dict]]) -> dict[str, int]:
    """The last record that counts in a suspect file: the next file begins by saying so, and repeats what came after."""
    firsts = [records[0] for records in lines.values() if records and records[0].get("suspect")]
    return {name: first["last_good"]["seq"] for first in firsts for name in first["suspect"]}


def violations(
    record: Recorded, sent: Sequence[Sent], answers: dict[str, tuple[int, dict]], *, may_owe: bool = False
) -> Counter[str]:
    """How often each law was broken, where every query was asked for once.

    `may_owe`: the disk may have kept the outcome of an answered cancel from the record, which then says `unknown`.
    """
    broken: Counter[str] = Counter()
    arrived = Counter(entry.query for entry in sent)
    said = {entry.query: entry.cancelled for entry in sent}
    broken[NO_INTENT] = sum(query not in record.intents for query in arrived)
    broken[TWICE] = sum(number > 1 for number in arrived.values())
    for query, ids in record.intents.items():
        closings = [record.outcomes.get(name, []) for name in ids]
        broken[NOT_ONCE] += sum(len(found) != 1 for found in closings) + (len(ids) != 1)
        for outcome in (outcome for found in closings for outcome in found):
            if outcome["outcome"] == "cancelled":
                broken[WRONG_NUMBER] += outcome["cancelled"] != said.get(query)
            broken[SENT_AFTER_ALL] += outcome["outcome"] == "not_sent" and query in arrived
    broken[NOT_ONCE] += len(record.outcomes.keys() - {name for ids in record.intents.values() for name in ids})
    for query, (status, body) in answers.items():
        closed = [found for name in record.intents.get(query, []) for found in record.outcomes.get(name, [])]
        broken[TOLD_OTHERWISE] += not _agrees(status, body, closed, may_owe=may_owe)
    return +broken


def _agrees(status: int, body: dict, closings: Sequence[dict], *, may_owe: bool) -> bool:
    outcomes = [found["outcome"] for found in closings]
    if status == 200:
        told = [found for found in closings if found["outcome"] == "cancelled"]
        owed = may_owe and outcomes == ["unknown"]
        return owed or (len(told) == 1 and told[0]["cancelled"] == body["cancelled"])
    if status == 503:
        # A process that died may have landed the intent it refused; who recovers it cannot know.
        return all(found["outcome"] == "not_sent" or found.get("cause") == "recovered" for found in closings)
    return "cancelled" not in outcomes
