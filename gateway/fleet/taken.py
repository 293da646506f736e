"""What the record says of decisions that took something of the store, and the recovery of those left open by a death.

An admission whose process died before its intent is given back. One with an intent is closed by what the record says of
it by now, which the recovery of the log has made certain, or unknown for good; a follow-up may still settle that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from gateway.audit.chain import parse_line
from gateway.audit.decisions.joined import Members, Tally
from gateway.audit.decisions.left_open import lines_of_events, recent_chains
from gateway.audit.segment import ChainLock, OsDisk, chains_in
from gateway.core.request import CANCEL_RUNS
from gateway.state.admissions import Answered, Closed
from gateway.state.port import Admissions

EVENTS = (b"intent", b"chunk", b"outcome", b"settled")
"""The events that an `Account` is made of."""


@dataclass(slots=True)
class Account:
    """The intent of one decision, and what came of it, from its records so far."""

    intent: Members | None = None
    outcome: Members | None = None
    tally: Tally = field(default_factory=Tally)

    def take(self, members: Members) -> None:
        """Add what one record of the decision says; records may come in any order of chains, and twice."""
        match members.get("event"):
            case "intent":
                self.intent = self.intent or members
                return
            case "outcome":
                self.outcome = self.outcome or members
        self.tally.take(members)

    def closed(self) -> Closed | None:
        """Return how the decision is to be closed; None while there is no outcome on record."""
        match self.outcome:
            case None:
                return None
            case {"outcome": "cancelled"}:
                return Closed(self.tally.cancelled, self._answer(self.outcome))
            case {"outcome": "not_sent"}:
                return Closed(0, free_binding=True)
            case {"outcome": "refused"}:
                return Closed(0, free_binding=self.outcome.get("upstream_status") == 429)
        return Closed(None if self.tally.settled is None else self.tally.cancelled)

    def _answer(self, outcome: Members) -> Answered | None:
        """Return the answer that was given, where the record shows it whole: runs were cancelled, to the plan's end.

        Of other actions it does not show in which of two forms they were answered.
        """
        of_runs = self.intent is None or self.intent.get("action", CANCEL_RUNS) == CANCEL_RUNS
        if not of_runs or not self.tally.cancelled or "stopped_by" in outcome:
            return None
        return Answered(200, orjson.dumps({"cancelled": self.tally.cancelled}))


class Accounts(NamedTuple):
    """The accounts of the decisions that were asked for, and the chains whose process has ended, read to their end."""

    accounts: Mapping[str, Account]
    ended: frozenset[str]


async def recover(admissions: Admissions, directory: Path, own: str, *, ended: Collection[str] | None = None) -> int:
    """Close or withdraw what dead processes of this directory left open in the store; return how much that was.

    `own` is the chain of this process, which it goes on writing. `ended` are the chains of processes that are known to
    have ended; None: it is looked for. Raises: StateUnavailable, OSError.
    """
    names = await asyncio.to_thread(lambda: chains_in(directory.iterdir()).keys() - {own})
    left = await admissions.open_of(names) if names else ()
    if not left:
        return 0
    found = await asyncio.to_thread(read_accounts, directory, own, {one.decision_id for one in left})
    number, ended = 0, found.ended if ended is None else ended
    for one in left:
        if one.instance not in ended:
            continue
        account = found.accounts.get(one.decision_id, Account())
        closed = account.closed()
        if account.intent is None:
            await admissions.withdraw(one.decision_id)
        elif closed is not None:
            await admissions.close(one.decision_id, closed)
        else:
            continue
        number += 1
    return number


async def ended_in(directory: Path, own: str) -> frozenset[str]:
    """Return the chains of a directory whose processes have ended. Raises: OSError."""
    return (await asyncio.to_thread(read_accounts, directory, own, ())).ended


async def died(
    directory: Path, own: str, listed: Collection[str], *, ended: Collection[str] | None = None
) -> list[str]:
    """Return which of the listed gateways were processes of this directory and have ended. Raises: OSError."""
    names = await asyncio.to_thread(lambda: chains_in(directory.iterdir()).keys() & (set(listed) - {own}))
    if names and ended is None:
        ended = await ended_in(directory, own)
    return sorted(names & set(ended or ()))


def read_accounts(directory: Path, own: str, wanted: Collection[str]) -> Accounts:
    """Return the accounts of the `wanted` decisions in a directory whose own chain is `own`. Raises: OSError."""
    names = {name.encode("ascii", "replace") for name in wanted}
    chains, accounts = recent_chains(directory, 0), dict[str, Account]()
    successors: dict[str, str] = {}
    for chain, at, line in lines_of_events(chains, (*EVENTS, b"stop")):
        if at.event != b"stop" and at.decision_id not in names:
            continue
        members = parse_line(line)
        if isinstance(members, str):
            continue
        if members["event"] != "stop":
            accounts.setdefault(str(members["decision_id"]), Account()).take(members)
        elif isinstance(successor := members.get("continued_by"), str):
            successors[chain] = successor
    return Accounts(
        accounts, frozenset(chain for chain in chains if _has_ended(directory, _parts(chain, successors), own))
    )


def _parts(chain: str, successors: Mapping[str, str]) -> list[str]:
    """Return the chains that the process of this one has written, this one first."""
    parts = [chain]
    while (later := successors.get(parts[-1])) is not None and later not in parts:
        parts.append(later)
    return parts


def _has_ended(directory: Path, parts: Iterable[str], own: str) -> bool:
    """Return whether no process writes the last of these chains any more."""
    last = list(parts)[-1]
    listed = chains_in(directory.iterdir())
    if last == own or last not in listed:
        return False
    lock = ChainLock.take(OsDisk(), directory, last, first=listed[last][0][1])
    if lock is None:
        return False
    lock.release()
    return True
