"""The timers that a dead process left in the middle: its record decides, and what that does not say is unknown.

A pause whose intent is on no record was not sent; nor was such a resume, which is due again. One with an intent and no
certain outcome is never repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

from gateway.fleet.taken import Account, read_accounts
from gateway.fleet.timed.due import LATER_MS, REFUSED, SOON_MS, UNKNOWN
from gateway.state.port import TimersKept
from gateway.state.timed.timers import Stage, Switched, Timer


async def recover(store: TimersKept, directory: Path, own: str, *, ended: Collection[str] | None = None) -> None:
    """Settle the timers that dead processes of this directory left prepared or taken.

    `own` is the chain of this process. `ended` are the chains of processes that are known to have ended; None: it is
    looked for. Raises: StateUnavailable, OSError.
    """
    left = [one for one in (await store.timers()).timers if one.stage in (Stage.PREPARED, Stage.TAKEN)]
    wanted = {_meant(one) for one in left if one.instance != own}
    if not wanted:
        return
    found = await asyncio.to_thread(read_accounts, directory, own, wanted)
    for timer in left:
        if timer.instance in (found.ended if ended is None else ended):
            account = found.accounts.get(_meant(timer), Account())
            if timer.stage is Stage.PREPARED:
                await _settle_pause(store, timer, account)
            else:
                await _settle_resume(store, timer, account)


def _meant(timer: Timer) -> str:
    """Return the decision of which the record has to say what came of it."""
    return timer.resume_id or timer.decision_id


async def _settle_pause(store: TimersKept, timer: Timer, account: Account) -> None:
    done, open_still = _done(account)
    if open_still:
        return
    replaces = done is not False
    await store.switched(Switched(timer.decision_id, timer.field, timer.name, certain=done, replaces=replaces))


async def _settle_resume(store: TimersKept, timer: Timer, account: Account) -> None:
    done, open_still = _done(account)
    if open_still:
        return
    assert timer.resume_id is not None
    why = None if done else UNKNOWN
    match account.outcome:
        case {"outcome": "refused", "upstream_status": int(status)} if status != 429:
            why = REFUSED
        case {"outcome": "refused"}:
            await store.give_back_timer(timer.decision_id, timer.resume_id, LATER_MS)
            return
        case _ if done is False:
            await store.give_back_timer(timer.decision_id, timer.resume_id, SOON_MS)
            return
    await store.end_timer(timer.decision_id, timer.resume_id, why)


def _done(account: Account) -> tuple[bool | None, bool]:
    """Return whether it was done (None: nobody knows), and whether the record may still say it."""
    if account.intent is None:
        return False, False
    match account.outcome:
        case None:
            return None, True
        case {"outcome": "cancelled"}:
            return True, False
        case {"outcome": "not_sent" | "refused"}:
            return False, False
    return None, False
