"""The part of `state rebuild` that reads the record: what each decision has taken of a budget, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.audit.chain import parse_line
from gateway.audit.decisions.joined import Members
from gateway.audit.decisions.left_open import lines_of_events
from gateway.audit.segment import chains_in
from gateway.core.forms.times import instant_ms
from gateway.fleet.taken import EVENTS, Account
from gateway.state.admissions import Restored


def taken_in(directories: Iterable[Path]) -> list[Restored]:
    """Return what the decisions on record have taken of budgets. Raises: OSError: a directory cannot be read."""
    accounts: dict[str, tuple[str, Account]] = {}
    for directory in directories:
        # Names of chains sort by time, so an intent is met before what came of it in a later chain.
        chains = {chain: [path for _, path in files] for chain, files in chains_in(directory.iterdir()).items()}
        for chain, _, line in lines_of_events(chains, EVENTS, lambda _: None):
            _take(accounts, chain, parse_line(line))
    return [one for chain, account in accounts.values() for one in _restored(chain, account)]


def _take(accounts: dict[str, tuple[str, Account]], chain: str, members: Members | str) -> None:
    if isinstance(members, str):
        return
    decision_id = str(members.get("decision_id"))
    if members.get("event") == "intent" and isinstance(members.get("reserved"), dict):
        accounts.setdefault(decision_id, (chain, Account()))
    if decision_id in accounts:
        accounts[decision_id][1].take(members)


def _restored(chain: str, account: Account) -> Iterator[Restored]:
    match account.intent:
        case {
            "decision_id": str(decision_id),
            "ts": str(at),
            "team": str(team),
            "reserved": {"rule": str(rule), "scope": str(scope), "runs": int(runs)},
        }:
            closed = account.closed()
            known = None if closed is None else closed.runs
            yield Restored(
                decision_id,
                chain,
                instant_ms(at),
                rule,
                scope,
                runs=runs if known is None else known,
                requests=0 if closed is not None and closed.free_binding else 1,
                cancelled=known,
                closed=closed is not None,
                team=team,
            )
