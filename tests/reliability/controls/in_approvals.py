"""Bugs of approvals: who may approve, what it is bound to, and how often it is used."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

APPROVING, STORED = "gateway/execution/gates/approving.py", "gateway/store/people/approvals.py"
GATES, STORE = ("tests/execution/gates/test_approvals.py",), ("tests/store/test_approvals.py",)

IN_APPROVALS = (
    Bug(
        "approved under other policies it is approved",
        (
            Edit(
                APPROVING,
                "        if (waiting.policy_digest, waiting.rule) != (call.policies.digest, permit.rule):\n",
                "        if waiting.rule != permit.rule:\n",
            ),
        ),
        GATES,
    ),
    Bug(
        "approved by one whose key is gone it is approved",
        (Edit(APPROVING, "return None if all(map(self._in_force, waiting.given())) else", "return None if True else"),),
        GATES,
    ),
    Bug(
        "approved by its requester it is approved",
        (
            Edit(
                "gateway/execution/gates/unapproved.py",
                "    if principal.name == waiting.requester or person == waiting.person:\n",
                "    if False:\n",
            ),
            Edit(
                "tests/support/state/approvals.py",
                "            if voice.principal == found.requester or voice.person in (found.person, *others):\n",
                "            if voice.person in others:\n",
            ),
        ),
        GATES,
    ),
    Bug(
        "approved by one of two it is approved",
        (Edit(APPROVING, "        if len(given) < waiting.needed:\n", "        if not given:\n"),),
        GATES,
    ),
    Bug(
        "approved of another reason it is approved",
        (
            Edit(
                "gateway/state/approvals.py",
                'return request_sha256({"request": request.identity(), "reason": request.reason})',
                'return request_sha256({"request": request.identity()})',
            ),
        ),
        GATES,
    ),
    Bug(
        "approved before it is on record it counts",
        (
            Edit(
                APPROVING,
                '        await self._audit.keep("approval", said_members(waiting, voice, said.principal, '
                "remote=said.remote))\n        counted_now = await self._store.confirm(voice.voice_id)\n",
                "        counted_now = await self._store.confirm(voice.voice_id)\n"
                '        await self._audit.keep("approval", said_members(waiting, voice, said.principal, '
                "remote=said.remote))\n",
            ),
        ),
        GATES,
    ),
    Bug(
        "approval is asked of each slice by itself",
        (
            Edit(
                "gateway/store/admissions.py",
                "NeedsApproval(before) if before + reservation.runs > free.over else None",
                "NeedsApproval(before) if reservation.runs > free.over else None",
            ),
        ),
        STORE,
    ),
    Bug(
        "approval is given twice by one person with two keys",
        (Edit(STORED, "voice.person in (found.person, *others)", "voice.person == found.person"),),
        STORE,
    ),
    Bug(
        "approval outlives a rejection",
        (
            Edit(
                STORED,
                "        _end(connection, one.plan_id, End.REJECTED, by=one.principal)\n",
                "        pass\n",
            ),
        ),
        STORE,
    ),
)
