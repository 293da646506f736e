"""The simulated upstream as a state machine without I/O. It answers calls and keeps a ledger of what they did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.simulator.account import Action, Burst, LogManner, log_page
from gateway.simulator.asked import Asked, Contract, read_asked
from gateway.simulator.changes import Change
from gateway.simulator.exchange import Answer, Call, Entry, Fault, Kind, Token, answer_of, error_of
from gateway.simulator.golang import query_values
from gateway.simulator.holdings import calls
from gateway.simulator.holdings.held import Holdings, Turn
from gateway.simulator.holdings.samples import sampled
from gateway.simulator.runs import CANCELED, SUCCESS, Run

RUNS = "/v2/workflows/runs"

_READINGS = calls.READINGS | {Kind.LOGS, Kind.PROGRESS}


class Simulator:
    """One simulated account. It never waits and reads no clock: every call passes `now_ms`, in Unix milliseconds.

    Under contract 2026-09, `count_is_ignored` makes `count` limit nothing, `always_in_background` answers every filter
    cancel with only an `actionId`, and a cancel in the background reports progress for `action_ms`. `log` sets how
    runs are listed. `holdings` is what the account has besides runs: a few samples of everything if left out.
    """

    def __init__(
        self,
        runs: Iterable[Run] = (),
        *,
        contract: Contract = Contract.V2026_09,
        count_is_ignored: bool = True,
        always_in_background: bool = False,
        action_ms: int = 1_000,
        log: LogManner | None = None,
        holdings: Holdings | None = None,
    ) -> None:
        self._runs = {run.run_id: run for run in runs}
        self._contract = Contract(contract)
        self._count_is_ignored = count_is_ignored and self._contract is Contract.V2026_09
        self._always_in_background = always_in_background
        self._action_ms = action_ms
        self._log = log or LogManner()
        self.holdings = sampled(self._runs.values()) if holdings is None else holdings
        self._actions: dict[str, Action] = {}
        self._burst = Burst(self._log.burst, self._log.burst_ms)
        self._faults: list[Fault] = []
        self._changes: list[Change] = []
        self._ledger: list[Entry] = []
        self._readings: list[Entry] = []

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run of the account."""
        return tuple(self._runs.values())

    @property
    def ledger(self) -> tuple[Entry, ...]:
        """Every call that was not a reading, in order of arrival."""
        return tuple(self._ledger)

    @property
    def readings(self) -> tuple[Entry, ...]:
        """Every reading that was answered, even with a refusal, in order of arrival."""
        return tuple(self._readings)

    @property
    def cancelled(self) -> tuple[str, ...]:
        """The IDs of all runs cancelled so far, in order."""
        return tuple(run_id for entry in self.ledger for run_id in entry.run_ids)

    @property
    def catastrophes(self) -> tuple[Entry, ...]:
        """The calls that arrived at other endpoints that destroy, stop or start something."""
        return tuple(entry for entry in self.ledger if entry.kind in calls.ACTIONS)

    def add_runs(self, runs: Iterable[Run]) -> None:
        """Add runs. A run with an existing ID replaces that run, as a restart does."""
        self._runs.update((run.run_id, run) for run in runs)

    def script(self, *faults: Fault) -> None:
        """Queue faults. A call meets the oldest fault that is for its kind."""
        self._faults.extend(faults)

    def change(self, *changes: Change) -> None:
        """Queue changes of the account. Each one happens right before a later call."""
        self._changes.extend(changes)

    def next_fault(self, kind: Kind) -> Fault | None:
        """Return the oldest fault for this kind of call and use it up once; return None if there is none."""
        for index, fault in enumerate(self._faults):
            if fault.strikes(kind):
                rest = fault.once_less()
                self._faults[index : index + 1] = [rest] if rest else []
                return fault
        return None

    def ignore(self, call: Call, now_ms: int) -> None:
        """Record a call that a fault kept from having any effect; a reading is not recorded."""
        if kind_of(call) not in _READINGS:
            self._record(call, now_ms, status=None)

    def answer(self, call: Call, now_ms: int, *, at_most: int | None = None) -> Answer:
        """Carry out the call; `at_most` limits how many runs or other things it hits before it fails."""
        refusal = _refusal(call)
        if kind_of(call) in _READINGS:
            return self._read(call, now_ms, refusal)
        if refusal is not None:
            self._record(call, now_ms, status=refusal.status)
            return refusal
        self._happen(kind_of(call), now_ms)
        match kind_of(call):
            case Kind.CANCEL:
                answer = self._cancel(call, now_ms, at_most)
            case Kind.CANCEL_ONE:
                answer = self._end_one(call, now_ms, state=CANCELED)
            case Kind.FINISH:
                answer = self._end_one(call, now_ms, state=SUCCESS)
            case _:
                answer = self._act(call, now_ms, at_most)
        return answer

    def _read(self, call: Call, now_ms: int, refusal: Answer | None) -> Answer:
        answered, headers = self._burst.take(now_ms)
        answer = refusal if answered else refusal or error_of(429, "Exceeded burst rate limit.")
        if answer is None:
            self._happen(kind_of(call), now_ms)
            answer = self._show(call, now_ms)
        self._readings.append(Entry(now_ms, kind_of(call), call, answer.status))
        return replace(answer, headers=headers)

    def _show(self, call: Call, now_ms: int) -> Answer:
        match kind_of(call):
            case Kind.LOGS:
                return self._logs(call, now_ms)
            case Kind.PROGRESS:
                return self._progress(call, now_ms)
            case _:
                return calls.carry_out(self.holdings, self._turn(call, now_ms)).answer

    def _act(self, call: Call, now_ms: int, at_most: int | None) -> Answer:
        """Carry out a call on what the account holds besides runs, and what it does to runs."""
        done = calls.carry_out(self.holdings, self._turn(call, now_ms, at_most))
        self.add_runs(done.started)
        stopped = [run for run in map(self._runs.get, done.stopped) if run is not None and run.running]
        self.add_runs(run.ended(CANCELED, now_ms) for run in stopped)
        run_ids = tuple(run.run_id for run in stopped)
        self._record(call, now_ms, status=done.answer.status, run_ids=run_ids, hit=done.hit)
        return done.answer

    def _turn(self, call: Call, now_ms: int, at_most: int | None = None) -> Turn:
        caps = not self._count_is_ignored
        return Turn(kind_of(call), call, calls.clean(call.path), now_ms, self._contract, caps, at_most)

    def _happen(self, kind: Kind, now_ms: int) -> None:
        """Carry out the changes that are due before this call, and bring the others for its kind one call closer."""
        queued, self._changes = self._changes, []
        for change in queued:
            if change.on != kind:
                self._changes.append(change)
            elif change.after:
                self._changes.append(replace(change, after=change.after - 1))
            else:
                self._runs.update(change.of(self._runs, now_ms))
                change.touch(self.holdings, now_ms)

    def _cancel(self, call: Call, now_ms: int, at_most: int | None) -> Answer:
        try:
            asked = read_asked(call.query, call.body, self._contract)
        except ValueError as exc:
            self._record(call, now_ms, status=400)
            return error_of(400, f"failed to parse request: {exc}")
        hit = self._hit(asked)[:at_most]
        self._runs.update((run.run_id, run.ended(CANCELED, now_ms)) for run in hit)
        action_id = self._track(asked, len(hit), now_ms)
        self._record(call, now_ms, status=200, run_ids=tuple(run.run_id for run in hit), action_id=action_id)
        tracked = {"actionId": action_id} if action_id else {}
        if tracked and (asked.in_background or self._always_in_background):
            return answer_of(200, tracked)
        return answer_of(200, {"cancelled": len(hit), **tracked})

    def _hit(self, asked: Asked) -> list[Run]:
        if asked.run_ids:
            named = (self._runs.get(run_id) for run_id in dict.fromkeys(asked.run_ids))
            return [run for run in named if run is not None and run.running]
        hit = [run for run in self._runs.values() if run.running and asked.selects(run)]
        if self._count_is_ignored:
            return hit
        return sorted(hit, key=lambda run: run.created_ms)[: asked.count]

    def _track(self, asked: Asked, total: int, now_ms: int) -> str | None:
        if self._contract is Contract.V2025 or asked.run_ids:
            return None
        action_id = f"act_{len(self._actions) + 1}"
        background = asked.in_background or self._always_in_background
        duration_ms = self._action_ms if background else 0
        self._actions[action_id] = Action(action_id, now_ms, total, duration_ms, asked.wire())
        return action_id

    def _end_one(self, call: Call, now_ms: int, *, state: str) -> Answer:
        run = self._runs.get(calls.clean(call.path).removeprefix(f"{RUNS}/"))
        if run is None or not run.running:
            self._record(call, now_ms, status=404)
            return error_of(404, "workflow run not found")
        self._runs[run.run_id] = run.ended(state, now_ms)
        self._record(call, now_ms, status=200, run_ids=(run.run_id,) if state == CANCELED else ())
        return answer_of(200, {})

    def _logs(self, call: Call, now_ms: int) -> Answer:
        try:
            page = log_page(self.runs, call.query, now_ms - self._log.lag_ms, shifting=self._log.shifting)
        except ValueError as exc:
            return error_of(400, str(exc))
        return answer_of(200, page)

    def _progress(self, call: Call, now_ms: int) -> Answer:
        action = self._actions.get(calls.clean(call.path).rpartition("/")[2])
        report = action.report(now_ms) if action else None
        return answer_of(200, report) if report else error_of(404, "bulk action not found")

    def _record(
        self,
        call: Call,
        now_ms: int,
        *,
        status: int | None,
        run_ids: tuple[str, ...] = (),
        action_id: str | None = None,
        hit: tuple[str, ...] = (),
    ) -> None:
        self._ledger.append(Entry(now_ms, kind_of(call), call, status, run_ids, action_id, hit))


def kind_of(call: Call) -> Kind:
    """Classify the call. An escaped, doubled or trailing slash leads to the same place as the plain path."""
    path = calls.clean(call.path)
    match call.method, path.removeprefix("/v2/workflows/").split("/"):
        case "DELETE", ["runs"]:
            return Kind.CANCEL
        case "DELETE", ["runs", _]:
            return Kind.FINISH if query_values(call.query).get("cancel", [""])[0] == "false" else Kind.CANCEL_ONE
        case "GET", ["logs"]:
            return Kind.LOGS
        case "GET", ["events"] if query_values(call.query).get("groupBy") == ["workflowRunId"]:
            return Kind.LOGS
        case "GET", ["bulkActions", _]:
            return Kind.PROGRESS
    route = calls.route_of(call.method, path)
    return route.kind if route else Kind.UNKNOWN


def _refusal(call: Call) -> Answer | None:
    if call.token in (Token.WRONG, Token.NONE):
        return error_of(401, "unauthorized")
    if call.token is Token.READ_ONLY and call.method != "GET":
        return error_of(403, "read-only token cannot be used for this operation")
    return None
