"""Bugs of telling receivers: lost, repeated, out of order, or sent to where nobody meant."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

POST, DELIVERY, ADDRESS, EVENTS = (f"gateway/notices/{name}.py" for name in ("post", "delivery", "address", "events"))
STORE, RECORDED, OUTBOX = "gateway/store/outbox/notices.py", "gateway/fleet/recorded.py", "gateway/notices/outbox.py"
SENDING, TRYING, JUDGING = (f"tests/notices/test_{name}.py" for name in ("post", "delivery", "address"))
KEEPING, NOTICED, HOLDING = "tests/store/test_notices.py", "tests/fleet/test_noticed.py", "tests/notices/test_outbox.py"

IN_NOTICES = (
    Bug(
        "a redirect counts as delivered",
        (Edit(POST, "    if 200 <= status < 300:\n", "    if 200 <= status < 400:\n"),),
        (SENDING,),
    ),
    Bug(
        "the connection resolves the name anew",
        (
            Edit(
                POST,
                'else f"{scheme}://{address}:{url.port}"',
                'else f"{scheme}://{url.host}:{url.port}"',
            ),
        ),
        (SENDING,),
    ),
    Bug(
        "one public address of a name is enough",
        (Edit(ADDRESS, "    if not all(may_connect(one, networks)", "    if not any(may_connect(one, networks)"),),
        (JUDGING,),
    ),
    Bug(
        "an IPv4 address within an IPv6 one is not looked at",
        (Edit(ADDRESS, "        return address.ipv4_mapped\n", "        return address\n"),),
        (JUDGING,),
    ),
    Bug(
        "a notice overtakes one of its subject that is tried again",
        (Edit(STORE, "            ~overtaken,\n", ""),),
        (KEEPING,),
    ),
    Bug(
        "two gateways take a notice at once",
        (Edit(STORE, "leased_by=holder, leased_until_ms=now_ms() + lease_ms", "leased_by=holder"),),
        (KEEPING,),
    ),
    Bug(
        "a notice that was not taken is given up",
        (
            Edit(
                DELIVERY,
                "            await self._store.notice_postponed(notice, self._holder, round(wait_s * 1000))\n",
                "            await self._store.notice_delivered(notice)\n",
            ),
        ),
        (TRYING,),
    ),
    Bug(
        "a receiver that is away is asked without a pause",
        (Edit(DELIVERY, "        if asked_s < self._paused_until_s:\n", "        if asked_s < 0.0:\n"),),
        (TRYING,),
    ),
    Bug(
        "a freeze counts as recorded before it is told",
        (
            Edit(
                RECORDED,
                "            await self._notice(freeze, what)\n            if change in self._on_record:\n"
                "                await self._store.recorded(*change)\n",
                "            if change in self._on_record:\n                await self._store.recorded(*change)\n"
                "            await self._notice(freeze, what)\n",
            ),
        ),
        (NOTICED,),
    ),
    Bug(
        "what may be a secret is kept as it is",
        (Edit(OUTBOX, "(notice.without(self._is_secret), ", "(notice, "),),
        (HOLDING,),
    ),
    Bug(
        "what is held is forgotten when a write fails",
        (
            Edit(
                OUTBOX,
                "            await self.put(batch)\n            for notice in batch:\n",
                "            self._held.clear()\n            await self.put(batch)\n            for notice in batch:\n",
            ),
        ),
        (HOLDING,),
    ),
    Bug(
        "each gateway gives a freeze's notice an ID of its own",
        (Edit(EVENTS, 'f"freeze_{freeze.freeze_id}", "freeze"', 'f"freeze_{freeze.number}", "freeze"'),),
        ("tests/notices/test_formats.py",),
    ),
)
