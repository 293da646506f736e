"""Bugs of pausing and resuming: something else is switched, or a pause ends twice, too early, or never."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

SWITCHES, ORDERS = "gateway/operations/switches.py", "gateway/core/request.py"
DUE, RECOVERED = "gateway/fleet/timed/due.py", "gateway/fleet/timed/recovered.py"
GATE, STORE = "gateway/execution/gates/timed.py", "gateway/store/timed/timers.py"
READING, ENDING = "tests/operations/test_switches.py", "tests/fleet/test_pauses_that_end.py"
KEEPING, RECOVERING = "tests/store/test_timers.py", "tests/fleet/test_timers_recovered.py"

IN_PAUSING = (
    Bug(
        "a body beside a pause is passed over",
        (Edit(SWITCHES, "if asked.query or asked.body.content or asked.body.content_encodings:", "if asked.query:"),),
        (READING,),
    ),
    Bug(
        "any answer says that it was paused",
        (Edit(SWITCHES, "Cancelled(said.status, 1) if said.is_empty else None", "Cancelled(said.status, 1)"),),
        (READING,),
    ),
    Bug(
        "how long a pause lasts is sent to QStash",
        (Edit(ORDERS, "tuple(pair for pair in self.overrides if pair[0] != UNTIL)", "self.overrides"),),
        (READING, ENDING),
    ),
    Bug(
        "a resume that may have been done is tried again",
        (Edit(DUE, "    return None, UNKNOWN\n", "    return SOON_MS, None\n"),),
        (ENDING,),
    ),
    Bug(
        "a resume that may have been done counts as done",
        (Edit(DUE, "    return None, UNKNOWN\n", "    return None, None\n"),),
        (ENDING,),
    ),
    Bug(
        "the end of a pause answers the caller that it joined",
        (Edit(DUE, " and told.in_flight.decision_id == resume_id:\n", ":\n"),),
        (ENDING,),
    ),
    Bug(
        "a freeze does not hold a resume back",
        (Edit(DUE, " and self._held(timer) is None:\n", ":\n"),),
        (ENDING,),
    ),
    Bug(
        "a pause that is not certain is resumed",
        (Edit(GATE, "    certain = certainly(outcome)\n", "    certain = True\n"),),
        (ENDING,),
    ),
    Bug(
        "a pause that ends wants no rule for the resume",
        (Edit("gateway/policy/decide.py", "    if isinstance(found, Permit):\n", "    if found is not None:\n"),),
        (ENDING,),
    ),
    Bug(
        "the gateway's own resume ends the timer of a later pause",
        (
            Edit(
                GATE, "        if plan.ends is not None:\n", "        if plan.ends is None and plan.ends is not None:\n"
            ),
        ),
        (ENDING,),
    ),
    Bug(
        "two gateways take a timer",
        (
            Edit(
                STORE,
                "TIMERS.c.stage == Stage.WAITING.value, TIMERS.c.due_ms <= now_ms()",
                "TIMERS.c.due_ms <= now_ms()",
            ),
        ),
        (KEEPING,),
    ),
    Bug(
        "a timer is taken before its time",
        (
            Edit(
                STORE,
                "TIMERS.c.stage == Stage.WAITING.value, TIMERS.c.due_ms <= now_ms()",
                "TIMERS.c.stage == Stage.WAITING.value",
            ),
        ),
        (KEEPING,),
    ),
    Bug(
        "a later pause leaves the timer of an earlier one",
        (Edit(STORE, "    if switched.replaces:\n", "    if switched.replaces and not switched.certain:\n"),),
        (KEEPING,),
    ),
    Bug(
        "a dead process's unknown resume is given back",
        (Edit(RECOVERED, "        case _ if done is False:\n", "        case _ if not done:\n"),),
        (RECOVERING,),
    ),
)
