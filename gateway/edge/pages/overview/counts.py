"""The numbers of decisions over time, and of the rules that decided them, from the newest decisions on record.

Reading stops at a number of decisions and after a time, so no page costs what the record is long. What was read in full
is said: `complete`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.audit.decisions.finding import NEWEST
from gateway.audit.decisions.joined import RecordedDecision
from gateway.audit.decisions.lines import key_of
from gateway.core import grammar
from gateway.core.errors import MalformedRequest
from gateway.core.forms.query import Parameter, Parameters, query_values
from gateway.core.forms.times import parsed_ms, run_time
from gateway.core.request import CANCEL_RUNS, Principal
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of
from gateway.edge.pages.decisions import MOST, DecisionPages, team_seen

BUCKETS = 48
"""Into how many parts a time is cut."""

MOST_READ = 2000
READ_S = 1.5
"""How many decisions are read for one page at the most, and for how long, in seconds."""

KEPT_S = 1.0
MOST_KEPT = 64
"""How long the numbers of a team are shown to others of it who ask for the same, and for how many teams."""

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([1-9][0-9]{0,3})([mhd])")
_LONGEST_MS = 30 * _UNITS_MS["d"]
USUAL_MS = _UNITS_MS["d"]


def _since(text: str) -> int:
    """Read a time like `24h` in milliseconds. Raises: ValueError: it is none, or longer than 30 days."""
    found = _DURATION.fullmatch(text)
    length_ms = int(found[1]) * _UNITS_MS[found[2]] if found else 0
    if not BUCKETS * 1000 <= length_ms <= _LONGEST_MS:
        raise ValueError("since is a time like 90m, 24h or 7d, at most 30d")
    return length_ms


def _unknown(name: str) -> MalformedRequest:
    return MalformedRequest("unknown_parameter", grammar.unknown_name(name, _PARAMETERS.names))


_SINCE = Parameter("since", _since)
_PARAMETERS = Parameters(_SINCE, unknown=_unknown)


def length_ms(inbound: Inbound) -> int:
    """Return how far back the caller asks to look, in milliseconds. Raises: MalformedRequest."""
    values = query_values(inbound.scope["query_string"], _PARAMETERS)
    try:
        return _SINCE.of(values) or USUAL_MS
    except ValueError as exc:
        raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None


@dataclass(slots=True)
class _Bucket:
    decisions: int = 0
    denied: int = 0
    done: Counter[str] = field(default_factory=Counter)

    def take(self, decision: Mapping[str, object]) -> None:
        """Count one decision."""
        number = decision.get("cancelled")
        self.decisions += 1
        self.denied += decision.get("state") == "denied"
        if isinstance(number, int) and number:
            self.done[str(decision.get("action"))] += number


@dataclass(slots=True)
class Tally:
    """How often rules decided, and what those in shadow mode would have done, by the name of the rule."""

    decisions: int = 0
    complete: bool = True
    hits: Counter[str] = field(default_factory=Counter)
    shadow: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, decision: RecordedDecision) -> None:
        """Count one decision."""
        begun = decision.begun or {}
        self.decisions += 1
        if isinstance(rule := begun.get("rule"), str):
            self.hits[rule] += 1
        if isinstance(rule := begun.get("shadow"), str):
            from gateway.authoring.history import shadow_effect  # needed by no other page

            self.shadow[rule, shadow_effect(begun.get("enforced"), begun.get("decision"))] += 1


class CountPages:
    """The call that counts decisions, and the counts that the page of policies has."""

    def __init__(self, pages: DecisionPages, intake: Intake) -> None:
        self._pages = pages
        self._intake = intake
        self._kept: dict[tuple[str | None, int], tuple[float, dict[str, object]]] = {}

    async def counts(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/counts`: return how many decisions, refusals and cancelled runs there were, and when.

        Raises: Refusal.
        """
        length, team = length_ms(inbound), team_seen(inbound)
        kept = self._kept.get((team, length))
        if kept is None or time.monotonic() - kept[0] > KEPT_S:
            kept = time.monotonic(), await self._counted(caller_of(inbound), team, length)
            self._kept[team, length] = kept
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return answers.status_page(200, kept[1], inbound.decision_id)

    async def _counted(self, caller: Principal, team: str | None, length: int) -> dict[str, object]:
        step = length // BUCKETS
        ends = (self._intake.clock.now_ms() // step + 1) * step
        begins = ends - step * BUCKETS
        buckets = [_Bucket() for _ in range(BUCKETS)]
        before, read, complete, until_s = NEWEST, 0, False, time.monotonic() + READ_S
        while not complete and read < MOST_READ and time.monotonic() < until_s:
            page = await self._pages.listed_before(caller, team, before=before, most=MOST)
            for one in page.decisions:
                at = parsed_ms(str(one["at"]))
                if at < begins:
                    complete = True
                    break
                buckets[min(BUCKETS - 1, (at - begins) // step)].take(one)
                read += 1
            complete = complete or page.after is None
            before = page.after or before
        return {
            "from": run_time(begins),
            "to": run_time(ends),
            "step_s": step / 1000,
            "complete": complete,
            "counts": [
                {
                    "at": run_time(begins + step * number),
                    "decisions": one.decisions,
                    "denied": one.denied,
                    "cancelled": one.done[CANCEL_RUNS],
                    "done": dict(one.done),
                }
                for number, one in enumerate(buckets)
            ],
        }

    async def of_rules(self, caller: Principal, team: str | None, since_ms: int) -> Tally:
        """Return the counts of rules since a time in Unix milliseconds, on this gateway's record. Raises: Refusal."""
        tally, before, until_s = Tally(), NEWEST, time.monotonic() + READ_S
        while tally.decisions < MOST_READ and time.monotonic() < until_s:
            page = await self._pages.recorded_before(caller, team, before=before, most=MOST)
            for one in page.decisions:
                if parsed_ms(str((one.begun or {}).get("ts"))) < since_ms:
                    return tally
                tally.take(one)
            if page.after is None:
                return tally
            before = key_of(page.decisions[-1].decision_id)
        tally.complete = False
        return tally
