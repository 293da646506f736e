"""The state of the account besides its runs, and how it behaves where nobody knows how upstream does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.simulator.asked import Contract
from gateway.simulator.exchange import Answer, Call, Kind
from gateway.simulator.holdings.things import DlqEntry, Message
from gateway.simulator.runs import Run


@dataclass(frozen=True, slots=True)
class Manner:
    """The behaviour that is not known of upstream. Each default is the more dangerous of the two.

    `prefixes`: a URL selects every URL that begins with it. `keeps_started`: an entry that was resumed or restarted
    stays in the DLQ, so that it can be started again. `stops_runs`: to cancel a message that is a step of a workflow
    cancels its run. The DLQ is listed as it was `lag_ms` ago.
    """

    prefixes: bool = True
    keeps_started: bool = True
    stops_runs: bool = True
    lag_ms: int = 0


@dataclass(frozen=True, slots=True)
class Waiter:
    """A run that waits for an event."""

    event_id: str
    run_id: str
    url: str


@dataclass(slots=True)
class Holdings:
    """DLQ entries and messages by ID; what can be paused, with whether it is; URL groups, waiters and signing keys.

    `switches` has names as in paths: `flowControl/billing`, `queues/emails`, `schedules/nightly`. `callbacks` says by
    run ID where the payload of a resumed or restarted run goes if it fails, where the caller chose that.
    """

    dlq: dict[str, DlqEntry] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    topics: set[str] = field(default_factory=set)
    waiters: list[Waiter] = field(default_factory=list)
    signing_keys: tuple[str, str] = ("sig_1", "sig_2")
    manner: Manner = field(default_factory=Manner)
    callbacks: dict[str, str] = field(default_factory=dict)
    _gone: list[tuple[int, DlqEntry]] = field(default_factory=list)
    _made: int = 0

    def add(self, entries: Iterable[DlqEntry] = (), messages: Iterable[Message] = ()) -> None:
        """Add entries of the DLQ and messages; each replaces the one with its ID."""
        self.dlq.update((entry.dlq_id, entry) for entry in entries)
        self.messages.update((message.message_id, message) for message in messages)

    def drop(self, entry: DlqEntry, now_ms: int) -> None:
        """Take an entry out of the DLQ. The list shows it until its lag is over."""
        del self.dlq[entry.dlq_id]
        self._gone.append((now_ms, entry))

    def listed(self, now_ms: int) -> tuple[DlqEntry, ...]:
        """Return the entries that the list of the DLQ shows."""
        at_ms = now_ms - self.manner.lag_ms
        gone = (entry for gone_ms, entry in self._gone if gone_ms > at_ms)
        return tuple(entry for entry in (*self.dlq.values(), *gone) if entry.created_ms <= at_ms)

    def new_id(self, prefix: str) -> str:
        """Return an ID that was not given out before: the prefix and 21 characters."""
        self._made += 1
        return f"{prefix}again{self._made:016d}"

    def wire(self) -> dict[str, object]:
        """Return all of it as the control endpoint shows it."""
        return {
            "dlq": [entry.wire() for entry in self.dlq.values()],
            "messages": [message.wire() for message in self.messages.values()],
            "paused": dict(sorted(self.switches.items())),
            "topics": sorted(self.topics),
            "waiters": [[waiter.event_id, waiter.run_id] for waiter in self.waiters],
            "signingKeys": list(self.signing_keys),
            "callbacks": dict(self.callbacks),
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """One call to carry out. `path` is cleaned; `caps` says that `count` limits a cancel of messages by filter.

    `at_most` limits how many things it hits before it fails; None for no limit.
    """

    kind: Kind
    call: Call
    path: str
    now_ms: int
    contract: Contract
    caps: bool
    at_most: int | None = None

    def named(self, before: str) -> str:
        """Return what the path names after `before`; empty if it ends there."""
        return self.path.removeprefix(before).strip("/")

    def header(self, name: str) -> str:
        """Return the value of a header, by its name in lower case; empty if it is not there."""
        return dict(self.call.headers).get(name, "")


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a call, the IDs or names that it hit, the runs it started, and the IDs of the runs it stopped."""

    answer: Answer
    hit: tuple[str, ...] = ()
    started: tuple[Run, ...] = ()
    stopped: tuple[str, ...] = ()
