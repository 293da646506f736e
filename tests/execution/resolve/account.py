"""A simulated account that moves: it changes between two calls, lies in its log, and checks what arrives as it does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from urllib.parse import parse_qs

from gateway.simulator.account import LogManner
from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator, kind_of
from gateway.simulator.exchange import Answer, Call, Fault, Kind
from gateway.simulator.runs import SUCCESS, Run

API = "https://billing.example.com/api"
INVOICE = f"{API}/invoice"
REMINDER = f"{API}/reminder"
SEARCH = "https://search.example.com/api/reindex"
HOUR_MS = 3_600_000

Moment = Callable[[], object]
Lie = Callable[[Call, Answer], Answer]


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def runs_of(
    url: str, number: int, *, name: str = "run", labels: Sequence[str] = (), age_ms: int = HOUR_MS
) -> list[Run]:
    """Running runs of one workflow, a second apart, the oldest first: `wfr_<name>_0000` and so on."""
    first_ms = now_ms() - age_ms - number * 1000
    return [Run(f"wfr_{name}_{at:04}", url, first_ms + at * 1000, labels=tuple(labels)) for at in range(number)]


def ids(runs: Iterable[Run]) -> list[str]:
    """Their IDs."""
    return [run.run_id for run in runs]


def oldest_first(runs: Iterable[Run]) -> list[Run]:
    """In the order in which they are cancelled."""
    return sorted(runs, key=lambda run: (run.created_ms, run.run_id))


def named(query: str) -> list[str]:
    """The run IDs in a query string."""
    return parse_qs(query).get("workflowRunIds", [])


class MovingAccount(Simulator):
    """An account with moments: something that happens just before the n-th call of a kind is carried out.

    `lie` changes the pages of the log; `witness` sees every cancel before it takes effect; `times` are those at which
    readings arrived, in seconds.
    """

    def __init__(self, contract: Contract = Contract.V2026_09) -> None:
        super().__init__()
        self.contract = contract
        self.begin([])

    def begin(self, runs: Iterable[Run], *, log: LogManner | None = None) -> None:
        """Forgets everything and starts with these runs."""
        self._asked_for = ""
        super().__init__(runs, contract=self.contract, log=log)
        self._calls: Counter[Kind] = Counter()
        self.times: list[float] = []
        self.lie: Lie | None = None
        self.witness: Callable[[Call], object] = lambda call: None
        self._moments: list[tuple[Kind, int, Moment]] = []

    def when(self, kind: Kind, number: int, happens: Moment) -> None:
        """Has something happen just before the call of that number (from 1) of that kind."""
        self._moments.append((kind, number, happens))

    def arrived(self, kind: Kind) -> int:
        """How many calls of a kind have arrived, answered or not."""
        return self._calls[kind]

    def end(self, *run_ids: str) -> None:
        """Lets runs end by themselves."""
        self.add_runs([self[run_id].ended(SUCCESS, now_ms()) for run_id in run_ids])

    def restart(self, *run_ids: str) -> None:
        """Starts runs again under their IDs."""
        self.add_runs([replace(self[run_id], created_ms=now_ms() - 1) for run_id in run_ids])

    def __getitem__(self, run_id: str) -> Run:
        return self._runs[run_id]

    def next_fault(self, kind: Kind) -> Fault | None:
        """Counts the call, and lets happen what is to happen before it."""
        self._calls[kind] += 1
        if kind is Kind.LOGS:
            self.times.append(time.monotonic())
        for moment in [moment for moment in self._moments if moment[:2] == (kind, self._calls[kind])]:
            self._moments.remove(moment)
            moment[2]()
        return super().next_fault(kind)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run; while one is asked for by its ID that one alone, because a log has an index of them."""
        found = self._runs.get(self._asked_for)
        return super().runs if not self._asked_for else () if found is None else (found,)

    def answer(self, call: Call, now_ms: int, *, at_most: int | None = None) -> Answer:
        """As the simulator answers, seen by the witness and passed through the lie."""
        kind = kind_of(call)
        if kind is Kind.CANCEL:
            self.witness(call)
        self._asked_for = parse_qs(call.query).get("workflowRunId", [""])[0]
        try:
            answer = super().answer(call, now_ms, at_most=at_most)
        finally:
            self._asked_for = ""
        return self.lie(call, answer) if kind is Kind.LOGS and self.lie is not None else answer
