"""Bugs of looking runs up: which are chosen, what is looked at again, what is recorded when, and whose a plan is."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

RUNS, SECOND_LOOK = "gateway/policy/choose.py", "gateway/execution/plans/recheck.py"
DRAFT, DRAFTS, PLANNING, ORDERS = (
    f"gateway/execution/plans/{name}.py" for name in ("draft", "drafts", "planner", "orders")
)
SPANS, LISTING = "gateway/upstream/runs/spans.py", "gateway/upstream/runs/listing.py"
PAGES = "gateway/edge/pages/calls.py"
CHOICE, MOVING, PLANS = (
    ("tests/execution/resolve/test_choice.py",),
    ("tests/execution/resolve/test_moving.py",),
    ("tests/execution/resolve/test_plans.py",),
)
BROKEN_OFF = ("tests/execution/resolve/test_broken_off.py",)
IN_MEMORY = ("tests/execution/test_plans.py",)
ANY_NUMBER = ("tests/execution/test_any_number.py",)
EARLY = ("tests/upstream/runs/test_early_end.py",)
HANDLED = "gateway/execution/plans/handled.py"

IN_RESOLVING = (
    Bug(
        "the number checked after the count",
        (
            Edit(
                RUNS,
                "_by_number(rules, permit, left, now_ms, thing)",
                "_by_number(rules, permit, left[: permit.effective.count], now_ms, thing)",
            ),
        ),
        CHOICE,
    ),
    Bug(
        "no deny is judged on the runs",
        (Edit(RUNS, "        _by_denies(rules, request.selection, left, now_ms, thing)\n        or ", "        "),),
        CHOICE,
    ),
    Bug(
        "runs are not held against the rule that allowed",
        (
            Edit(
                RUNS,
                "    for rule in (allow, *rules.requiring(now_ms)):\n",
                "    for rule in rules.requiring(now_ms):\n",
            ),
        ),
        ("tests/policy/test_resolved.py",),
    ),
    Bug(
        "an unknown run ID is passed over",
        (Edit(RUNS, "    if strange:\n", "    if len(strange) == len(selection.ids):\n"),),
        CHOICE,
    ),
    Bug(
        "the newest are cancelled",
        (
            Edit(
                RUNS, "key=lambda run: (run.created_ms, run.run_id))", "key=lambda run: (-run.created_ms, run.run_id))"
            ),
        ),
        CHOICE,
    ),
    Bug(
        "a prefix without boundary among the runs",
        (
            Edit(
                RUNS,
                "return lies_under(url, urls, in_subtree)",
                "return url.startswith(urls)",
            ),
        ),
        CHOICE,
    ),
    Bug(
        "where nothing is found the filter is sent",
        (
            Edit(PLANNING, "from gateway.core.plan import Denial,", "from gateway.core.plan import Order, Denial,"),
            Edit(
                PLANNING,
                "orders = OPERATIONS[call.request.action].orders(resolved.runs, call.request)",
                "orders = OPERATIONS[call.request.action].orders(resolved.runs, call.request) or (\n"
                "        Order(call.request.selection, 100),\n    )",
            ),
        ),
        CHOICE,
    ),
    Bug("the cursor is forgotten", (Edit(SPANS, "        if not cursor:\n", "        if part.pages:\n"),), CHOICE),
    Bug(
        "a cursor that comes again is followed",
        (
            Edit(
                SPANS, "        if cursor in part.cursors:\n", "        if cursor in part.cursors and part.pages < 0:\n"
            ),
        ),
        ("tests/upstream/runs/test_spans.py",),
    ),
    Bug(
        "a part ends where its page does",
        (Edit(SPANS, "part.done = meets or not after.pages", "part.done = True"),),
        ("tests/upstream/runs/test_spans.py",),
    ),
    Bug(
        "dates that upstream does not keep are believed",
        (Edit(SPANS, "        return below and inside and all(", "        return all("),),
        ("tests/upstream/runs/test_spans.py",),
    ),
    Bug(
        "runs are asked for that were created before the filter begins",
        (Edit(SPANS, "self._floor_ms = max(floor_ms or 0, OLDEST_MS)", "self._floor_ms = 0"),),
        ("tests/upstream/runs/test_dates_in_order.py",),
    ),
    Bug(
        "a beginning that no part shows again is believed",
        (Edit(SPANS, "if self._shown[key] >= part.begins_ms and", "if False and"),),
        ("tests/upstream/runs/test_spans.py", "tests/upstream/runs/test_coarse_dates.py"),
    ),
    Bug(
        "the news of a second look are not looked at",
        (Edit(LISTING, "_news(read, since_ms - LAG_MS, collected)", "_news(read, since_ms + 10 * LAG_MS, collected)"),),
        ("tests/upstream/runs/test_again.py",),
    ),
    Bug(
        "a filter's list is taken for the whole",
        (Edit(LISTING, "narrowed=bool(narrowed), ended", "narrowed=False, ended"),),
        ("tests/upstream/runs/test_spans.py",),
    ),
    Bug(
        "runs of others count against the bound",
        (Edit(LISTING, "        if matched > self.max_runs:", "        if matched + others > self.max_runs:"),),
        EARLY,
    ),
    Bug(
        "a look-up that ended early is taken for the whole list",
        (Edit(DRAFTS, "listing.narrowed or listing.ended_early", "listing.narrowed"),),
        ANY_NUMBER,
    ),
    Bug(
        "a run that was ordered is ordered again",
        (Edit(HANDLED, " if not self._looked_up and not self._named:\n", " if self._looked_up is not None:\n"),),
        ANY_NUMBER,
    ),
    Bug(
        "what an earlier process ordered is ordered again",
        (
            Edit(
                "gateway/serving/outcomes.py",
                "            recall(await asyncio.to_thread(self._ordered))\n",
                "            assert recall is not None\n            await asyncio.to_thread(self._ordered)\n",
            ),
        ),
        ("tests/execution/resolve/test_after_a_kill.py",),
    ),
    Bug(
        "an order that was on its way at a kill is forgotten",
        (
            Edit(
                "gateway/audit/decisions/ordered.py",
                "            in_flight = self.queries[self.last : self.last + 1]\n",
                "            in_flight = self.queries[:0]\n",
            ),
        ),
        ("tests/audit/decisions/test_ordered.py",),
    ),
    Bug(
        "what was on its way at a kill counts as cancelled",
        (Edit(HANDLED, "one.decision_id, one.certain)", "one.decision_id, True)"),),
        ANY_NUMBER,
    ),
    Bug(
        "an entry of another workflow counts where it cannot be read",
        (Edit(LISTING, "    return url is None or ", "    return url != '' or "),),
        EARLY,
    ),
    Bug(
        "a run that was started again is taken for the one that was ordered",
        (
            Edit(
                HANDLED,
                "        key = _key(field, run.run_id, run.created_ms)\n",
                "        mine = self._looked_up._entries\n"
                "        key = next((one for one in mine if one[1] == run.run_id), _key(field, run.run_id))\n",
            ),
        ),
        ANY_NUMBER,
    ),
    Bug(
        "a cancel of nothing is a success although runs are left",
        (Edit("gateway/edge/answers.py", "    if not left and not result.more:\n", "    if left or result.more:\n"),),
        ANY_NUMBER,
    ),
    Bug(
        "a list of run IDs is cut",
        (
            Edit(
                "gateway/policy/model.py",
                '("most_named", (count.ceiling, taken)),',
                '("most_named", (count.ceiling,)),',
            ),
        ),
        ("tests/policy/test_resolved.py",),
    ),
    Bug(
        "no second look",
        (Edit(SECOND_LOOK, "        if number == 1 and ", "        if number >= 1 or "),),
        MOVING,
    ),
    Bug(
        "a run that was restarted is cancelled",
        (Edit(SECOND_LOOK, "now.running and now.created_ms == run.created_ms:", "now.running:"),),
        MOVING,
    ),
    Bug(
        "a look-up is as old as its end",
        (
            Edit(
                DRAFTS,
                "        chosen = await self._judging.chosen(",
                "        looked_at_s = self._clock.monotonic_s()\n        chosen = await self._judging.chosen(",
            ),
        ),
        IN_MEMORY,
    ),
    Bug(
        "a key that was revoked goes on",
        (
            Edit(
                SECOND_LOOK,
                '        if standing is None:\n            return Look(None, stopped="revoked")\n',
                "        if standing is None:\n"
                "            return Look(OPERATIONS[self.plan.asked.action].orders(runs, self.plan.asked)[0])\n",
            ),
        ),
        BROKEN_OFF,
    ),
    Bug(
        "a number that was lowered holds for each order alone",
        (Edit(SECOND_LOOK, " or self._too_many(permit):", ":"),),
        IN_MEMORY,
    ),
    Bug(
        "the next order is sent after a lost answer",
        (
            Edit(
                ORDERS,
                "        if not isinstance(outcome, Cancelled):\n            self.stopped",
                "        if isinstance(outcome, NotSent):\n            self.stopped",
            ),
        ),
        BROKEN_OFF,
    ),
    Bug(
        "an order is not recorded before the next",
        (
            Edit(
                ORDERS,
                "        if not await self.audit.chunk(members) and self.stopped is None:\n",
                "        if asyncio.ensure_future(self.audit.chunk(members)) is None:\n",
            ),
        ),
        IN_MEMORY,
    ),
    Bug(
        "the plan is recorded when it can be",
        (
            Edit(
                DRAFTS,
                '        await self._audit.keep("plan", members)\n',
                '        await self._audit.note("plan", members)\n',
            ),
        ),
        IN_MEMORY,
    ),
    Bug(
        "the plan is not recorded",
        (Edit(DRAFTS, '        await self._audit.keep("plan", members)\n', "        assert members\n"),),
        IN_MEMORY,
    ),
    Bug(
        "a plan is applied twice",
        (
            Edit(
                DRAFT,
                "    if draft.state is State.READY:\n",
                "    if draft.state in (State.READY, State.APPLIED):\n",
            ),
        ),
        PLANS,
    ),
    Bug(
        "a plan of another principal is applied",
        (Edit(DRAFTS, "None if draft is None or principal not in (None, draft.call.principal) else draft", "draft"),),
        PLANS,
    ),
    Bug(
        "a plan is not judged anew",
        (
            Edit(
                "gateway/execution/pipeline.py",
                "        chosen = await self._planner.chosen_again(draft, call, permit)\n",
                "        chosen = draft.resolved\n",
            ),
        ),
        PLANS,
    ),
    Bug(
        "a preview is a success",
        (
            Edit(
                PAGES,
                '        raise Conflict("preview", sentence, members=await self._shown(inbound, draft))\n',
                "        return answers.status_page(200, await self._shown(inbound, draft), inbound.decision_id)\n",
            ),
        ),
        PLANS,
    ),
)
