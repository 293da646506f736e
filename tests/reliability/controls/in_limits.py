"""Bugs of who may take how much, and who gives way."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

WAITING = ("tests/edge/test_waiting.py",)
LIMITS, IN_FLIGHT, ASKERS = (
    "gateway/callers/admission.py",
    "gateway/execution/in_flight.py",
    "gateway/upstream/runs/cursors.py",
)
DRAFTS, REFUSALS, APP = "gateway/execution/plans/drafts.py", "gateway/audit/refusals.py", "gateway/app.py"

IN_LIMITS = (
    Bug(
        "above the limits a body is waited for",
        (
            Edit(
                "gateway/edge/routing/cancels.py",
                "        if not self._pipeline.any_to_join(caller):\n            return None\n",
                "        await inbound.receive()\n",
            ),
        ),
        WAITING,
    ),
    Bug(
        "a head alone keeps its connection",
        (
            Edit(
                "gateway/edge/protocol.py",
                "        self._leaves_out_body = self.parser.should_upgrade()\n",
                "        self._leaves_out_body = self.parser.should_upgrade()\n"
                "        self._settings.connections.busy(self)\n",
            ),
        ),
        WAITING,
    ),
    Bug(
        "a body is not paid for",
        (
            Edit(
                LIMITS,
                "            use.bucket.tokens -= read_bytes // COST_BYTES\n",
                "            use.bucket.tokens -= 0\n",
            ),
        ),
        WAITING,
    ),
    Bug(
        "a team has every place",
        (Edit("gateway/callers/in_force.py", "team = self.share.of(most)", "team = most"),),
        ("tests/serving/test_parts.py",),
    ),
    Bug(
        "a team has every page",
        (Edit(APP, "            share=current.share,\n        )\n", "        )\n"),),
        ("tests/upstream/runs/test_served.py",),
    ),
    Bug(
        "joins without end",
        (Edit(IN_FLIGHT, "        if self.joined >= most:\n", "        if self.joined < 0:\n"),),
        ("tests/execution/test_pipeline.py",),
    ),
    Bug(
        "the oldest plan gives way, whoever has it",
        (Edit(DRAFTS, "for draft in free if draft.call.principal == holder)", "for draft in free)"),),
        ("tests/execution/test_plans.py",),
    ),
    Bug(
        "the oldest cursor gives way, whoever has it",
        (Edit(ASKERS, " in self._kept.items() if kept.asker == holder)]", " in self._kept.items())]"),),
        ("tests/upstream/runs/test_askers.py",),
    ),
    Bug(
        "strangers hide uses of the real token",
        (Edit(REFUSALS, "isinstance(refusal, (ExpiredKey, RealTokenUsed)) else", "False else"),),
        ("tests/audit/test_refusal_log.py",),
    ),
    Bug(
        "handshakes are not counted",
        (
            Edit(
                "gateway/serving/server.py",
                "        super().connection_made(transport)\n        self._connections.opened(self)\n",
                "        super().connection_made(transport)\n",
            ),
        ),
        ("tests/serving/test_tls.py",),
    ),
)
