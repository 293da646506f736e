"""Bugs of the calls that destroy other things than running workflow runs."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

PLAN, REQUEST = "gateway/core/plan.py", "gateway/core/request.py"
OPERATION, LISTS, ENTRIES = (
    "gateway/operations/operation.py",
    "gateway/operations/id_lists.py",
    "gateway/operations/entries.py",
)
OVERRIDES, SWITCHES = "gateway/operations/overrides.py", "gateway/operations/switches.py"
READING, RULES, NAMED = "gateway/policy/reading.py", "gateway/policy/rules.py", "gateway/policy/format/actions.py"
HANDLED, ORDERED = "gateway/execution/plans/handled.py", "gateway/audit/decisions/ordered.py"
MESSAGES, VENDOR = "gateway/upstream/messages/entries.py", "gateway/operations/vendor.py"
ORACLE = ("tests/laws/test_other_actions.py",)
RECORDED, ACCIDENTS = ("tests/wire/test_recorded_actions.py",), ("tests/wire/test_accidents.py",)
NO_ID_LISTED = "        if NO_ID in ids:\n            sentence"

IN_ACTIONS = (
    Bug(
        "restarts are ordered by a filter",
        (Edit(PLAN, "_BY_FILTER_TOO if self.action is CANCEL_RUNS else ByIds):", "(ByIds, ByFilter.__base__)):"),),
        ORACLE,
    ),
    Bug(
        "an empty list asks for everything",
        (
            Edit(
                LISTS,
                "        return self._of_ids(self._texts(members), Dialect.BODY)\n",
                "        if members[self.name] == []:\n"
                "            return ActionRequest(Everything(), DEFAULT_COUNT, Dialect.BODY, action=self.action)\n"
                "        return self._of_ids(self._texts(members), Dialect.BODY)\n",
            ),
        ),
        RECORDED,
    ),
    Bug(
        "a call that names nothing passes under any IDs",
        (
            Edit(
                READING,
                "        about_it = reading is Reading.RESOLVED and rule.admits_everything\n",
                "        return all(condition.optional for condition in rule.conditions.values())\n",
            ),
            Edit(
                "gateway/policy/index/rules.py",
                "            return [self._everything]\n",
                "            return [self._by_ids, self._everything]\n",
            ),
        ),
        (*ORACLE, *ACCIDENTS),
    ),
    Bug(
        "an empty ID in the path names something",
        (
            Edit(OPERATION, " or len(path) <= len(before) + len(after):", ":"),
            Edit(OPERATION, "one != NO_ID and IDS[self.field](one) == one", "one != NO_ID"),
        ),
        ACCIDENTS,
    ),
    Bug(
        "an ID is spliced into the path as it came",
        (Edit(OPERATION, "one != NO_ID and IDS[self.field](one) == one", "one != NO_ID"),),
        ACCIDENTS,
    ),
    Bug(
        "undefined is the ID of a message",
        (Edit(LISTS, NO_ID_LISTED, NO_ID_LISTED.replace("NO_ID in ids", "not ids")),),
        ACCIDENTS,
    ),
    Bug("undefined is the ID of an entry", (Edit(ENTRIES, "    if NO_ID in ids:\n", "    if not ids:\n"),), ACCIDENTS),
    Bug(
        "undefined names what is paused",
        (Edit(OPERATION, "one != NO_ID and IDS", "IDS"),),
        ACCIDENTS,
    ),
    Bug(
        "a filter stands beside IDs of entries",
        (Edit(ENTRIES, "        if len(values) > 1:\n", "        if len(values) > 9:\n"),),
        ACCIDENTS,
    ),
    Bug(
        "a rule covers actions that it does not name",
        (Edit(RULES, "about = [rule for rule in made if action in rule.actions]", "about = [*made]"),),
        ORACLE,
    ),
    Bug(
        "a rule without action is about every one",
        (Edit(NAMED, "return ONLY_RUNS if part is None else", "return EVERY if part is None else"),),
        ("tests/policy/test_before_actions.py",),
    ),
    Bug(
        "an override passes under every rule",
        (Edit(READING, "    return rule.overrides and (not keys", "    return (not keys"),),
        ("tests/policy", "tests/system/test_failed_runs.py"),
    ),
    Bug(
        "an override brings the key of another team",
        (Edit(READING, "(isinstance(listed, ValueCondition) and listed.takes(keys))", "bool(keys)"),),
        ("tests/policy",),
    ),
    Bug(
        "an override that nobody asked for is sent",
        (
            Edit(
                PLAN,
                "request.headers if request.overrides else ())",
                '(*request.headers, ("Upstash-Retries", "5")))',
            ),
        ),
        ORACLE,
    ),
    Bug(
        "Gateway-Until is sent upstream",
        (
            Edit(
                REQUEST,
                "return tuple(pair for pair in self.overrides if pair[0] != UNTIL)",
                "return self.overrides",
            ),
        ),
        ORACLE,
    ),
    Bug(
        "a label is an override",
        (Edit(OVERRIDES, '        ("Upstash-Retries", _retries),\n',
              '        ("Upstash-Retries", _retries),\n        ("Upstash-Label", _key),\n'),),
        ("tests/operations",),
    ),
    Bug(
        "a retry of a message takes any header",
        (Edit(LISTS, "        no_overrides(asked.headers)\n", ""),),
        ("tests/operations",),
    ),
    Bug(
        "an answer with an error counts",
        (Edit(ENTRIES, '    fits = "error" not in members and ', "    fits = "),),
        ("tests/operations",),
    ),
    Bug(
        "whatever answers a pause has paused",
        (Edit(SWITCHES, " if said.is_empty else None", ""),),
        ("tests/operations",),
    ),
    Bug(
        "a message that is a step of a run is cancelled",
        (Edit(MESSAGES, " or shows_run(members):", ":"),),
        ("tests/upstream/messages",),
    ),
    Bug(
        "what was restarted by ID is restarted by a filter",
        (Edit(HANDLED, "            return [_key(name, one) for one in ids]\n", "            return []\n"),),
        ("tests/execution/test_ordered_things.py",),
    ),
    Bug(
        "a second order that was refused has the first forgotten",
        (Edit(HANDLED, " is not None and entry.decision_id == decision_id:\n", " is not None:\n"),),
        ("tests/execution/test_ordered_things.py",),
    ),
    Bug(
        "invented IDs have what was restarted forgotten",
        (Edit(HANDLED, "        self._named = _Kept(clock)\n", "        self._named = self._looked_up\n"),),
        ("tests/execution/test_ordered_things.py",),
    ),
    Bug(
        "the next process restarts what this one did",
        (Edit(ORDERED, '_LOOKED_UP = ("workflowRunIds", "dlqIds", "messageIds")', '_LOOKED_UP = ("workflowRunIds",)'),),
        ("tests/audit/decisions",),
    ),
    Bug(
        "the next process restarts what this one did, killed",
        (Edit(ORDERED, '_LOOKED_UP = ("workflowRunIds", "dlqIds", "messageIds")', '_LOOKED_UP = ("workflowRunIds",)'),),
        ("tests/reliability/crash/test_crash.py",),
    ),
    Bug(
        "a call that never passes has no sentence",
        (Edit(VENDOR, '    ("POST /v2/keys/rotate", _ROTATION),\n', ""),),
        ("tests/operations/test_vendor.py",),
    ),
)  # fmt: skip
