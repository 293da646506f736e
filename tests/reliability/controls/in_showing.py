"""Bugs in what a team learns of runs, its own and those of others, and in what it takes from other teams."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

RUNS, OWN, ENTRIES = (
    "gateway/policy/choose.py",
    "gateway/upstream/runs/team_runs.py",
    "gateway/upstream/runs/entries.py",
)
ASKERS, NARROWING, SETTLE = (
    "gateway/upstream/runs/cursors.py",
    "gateway/upstream/runs/narrowing.py",
    "gateway/execution/follow_up.py",
)
OWN_RUNS = ("tests/upstream/runs/test_own.py", "tests/upstream/runs/test_askers.py")

IN_SHOWING = (
    Bug(
        "of two running runs of an ID the newest counts",
        (Edit(ENTRIES, "return run.running and self.running_ms not in (None, run.created_ms)", "return False"),),
        ("tests/upstream/runs/test_entries.py",),
    ),
    Bug(
        "an ID of others is told from one of nobody",
        (Edit(RUNS, "    known = covered.union(listing.unreadable)\n", "    known = {*found, *listing.unreadable}\n"),),
        ("tests/policy/test_resolved.py",),
    ),
    Bug(
        "a run that is denied is shown",
        (Edit(RUNS, "        if _kind(rule) not in silenced:\n            return rule\n", "        return rule\n"),),
        ("tests/policy/test_covering.py",),
    ),
    Bug(
        "upstream's own cursor is handed out",
        (Edit(OWN, "else await log.askers.told(principal, asked_by, end)", "else end.cursor"),),
        OWN_RUNS,
    ),
    Bug(
        "a cursor is good for anybody",
        (Edit(ASKERS, "(kept.asker, kept.question) == (asker, question)", "kept.question == question"),),
        OWN_RUNS,
    ),
    Bug(
        "upstream is asked for the URLs of others",
        (
            Edit(
                NARROWING,
                "for url in selection.workflow_urls if may_show(url))",
                "for url in selection.workflow_urls)",
            ),
        ),
        OWN_RUNS,
    ),
    Bug(
        "one caller's outcomes take all places",
        (Edit(SETTLE, " and alike.count(principal) < MAX_OF_ONE", ""),),
        ("tests/execution/follow_up/test_tasks.py",),
    ),
)
