"""The screens of `cancel` on a terminal of 80 by 24, as they are drawn: IDs whole, the sum right above the question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tests.cli.fake_gateway import (
    AS_OF,
    ASKED,
    DECISION_ID,
    LISTED,
    SEEN,
    Said,
    another,
    applied,
    fake_gateway,
    plan,
)
from tests.cli.terminal import Terminal, drawn, on_terminal

COLUMNS, ROWS = 80, 24
ALL = ("cancel", "--prefix", "https://billing.example.com/api", "--until-none")


def run(number: int) -> Mapping[str, object]:
    """A run with an ID of usual length."""
    return {
        "workflowRunId": f"wfr_billing_4dhkYGVZSZssMuRlKDV{number:02d}",
        "workflowUrl": "https://billing.example.com/api/invoice",
        "created": f"2026-11-23T12:00:{number:02d}.000Z",
        "labels": ["nightly"],
    }


FOUND = plan(
    runs=250,
    sample=[run(number) for number in range(10)],
    oldest="2026-11-23T12:00:00.000Z",
    newest="2026-11-23T15:21:58.000Z",
    by_workflow={"https://billing.example.com/api/invoice": 200, "https://billing.example.com/api/reminder": 50},
    by_label={"nightly": 250},
    skipped={
        "young": {"runs": 6, "sample": [str(run(number)["workflowRunId"]) for number in range(20, 26)]},
        "beyond_count": {"runs": 26, "sample": [str(run(number)["workflowRunId"]) for number in range(30, 40)]},
    },
    rule="billing/own",
    count=250,
    narrowed={"count": [500, 250], "by": "billing/own"},
    more=True,
    as_of=AS_OF,
)

AT_THE_QUESTION = f"""\
  https://billing.example.com/api/invoice  nightly
wfr_billing_4dhkYGVZSZssMuRlKDV09  2026-11-23T12:00:09Z
  https://billing.example.com/api/invoice  nightly

 Label (a run may have several)   Runs
 ─────────────────────────────────────
 nightly                           250


 Workflow                                   Runs
 ───────────────────────────────────────────────
 https://billing.example.com/api/invoice     200
 https://billing.example.com/api/reminder     50

Left out: 6 runs younger than the rule lets be cancelled:
    wfr_billing_4dhkYGVZSZssMuRlKDV20, wfr_billing_4dhkYGVZSZssMuRlKDV21,
    wfr_billing_4dhkYGVZSZssMuRlKDV22, …
Left out: 26 runs beyond the count: wfr_billing_4dhkYGVZSZssMuRlKDV30,
    wfr_billing_4dhkYGVZSZssMuRlKDV31, wfr_billing_4dhkYGVZSZssMuRlKDV32, …
policy lowered the count from 500 to 250: rule billing/own
allowed by billing/own; plan {another(0)}, for 600 s
250 runs, created 2026-11-23T12:00:00Z to 2026-11-23T15:21:58Z
at least 276 runs match, created until 2026-11-23T15:27:06Z; these go first
Cancel at least 276 runs? [y/N]"""

AT_THE_END = f"""\
Cancel at least 276 runs? [y/N] y
Cancelling ━━━━━━━━━━━━━━━━━━━━ 3/3 orders, 250 runs cancelled 0:00:00
Plan 1: 250 runs cancelled, under decision {DECISION_ID}.
Cancelling ━━━━━━━━━━━━━━━━━━━━ 1/1 orders, 26 runs cancelled 0:00:00
Plan 2: 26 runs cancelled, under decision {DECISION_ID}.
Nothing more may be cancelled now.
276 runs cancelled in 2 plans, under decisions
    {DECISION_ID} and
    {DECISION_ID}.
Left: 6 runs younger than the rule lets be cancelled.
"""


def numbered(number: int, state: str, **members: object) -> Mapping[str, object]:
    return {**FOUND, "state": state, "plan": another(number), **members}


def says() -> dict[str, Sequence[Said]]:
    """An incident of 276 runs in two plans."""
    decided = {"Gateway-Decision": DECISION_ID}
    young = {"young": {"runs": 6, "sample": []}}
    return {
        ASKED: [
            (201, numbered(0, "ready")),
            (201, numbered(1, "ready", runs=26, skipped=young)),
            (201, numbered(2, "ready", runs=0, newest=None, skipped=young, more=False)),
        ],
        f"GET {LISTED.removeprefix('GET ')}/{another(0)}": [
            (200, numbered(0, "applied", orders_sent=3, cancelled=250))
        ],
        f"GET {LISTED.removeprefix('GET ')}/{another(1)}": [(200, numbered(1, "applied", orders_sent=1, cancelled=26))],
        applied(0): [(200, {"cancelled": 250}, decided)],
        applied(1): [(200, {"cancelled": 26}, decided)],
    }


def screen(running: Terminal) -> list[str]:
    return drawn(running.seen, COLUMNS, ROWS)


def test_the_screens_of_an_incident() -> None:
    """At the question, and at the end; each line as a person sees it."""
    with fake_gateway(says()) as fake:
        env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
        with on_terminal(*ALL, "--count", "500", env=env, columns=COLUMNS, rows=ROWS) as running:
            running.until(r"\[y/N\] ")
            assert screen(running) == AT_THE_QUESTION.splitlines()
            running.types("y\n")
            assert running.exit_code() == 0
            seen = re.sub(r"0:00:0\d", "0:00:00", "\n".join(screen(running)))
            assert seen.endswith(AT_THE_END)


def test_no_id_of_the_sample_is_broken() -> None:
    """All ten are there, each whole on one row, though they have left the screen."""
    with fake_gateway(says()) as fake:
        env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
        with on_terminal(*ALL, "--dry-run", env=env, columns=COLUMNS, rows=ROWS) as running:
            assert running.exit_code() == 0
    rows = drawn(running.seen, COLUMNS, 1000)
    assert all(any(str(run(number)["workflowRunId"]) in row for row in rows) for number in range(10))
    assert rows[-2] == "Only a dry run. Nothing was cancelled."


def test_the_screen_of_a_look_up() -> None:
    """One line that says how many runs and pages so far."""
    looking = plan("looking", pages=12, matched=1100)
    with fake_gateway({ASKED: [(202, looking)], SEEN: [(200, looking)]}) as fake:
        env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
        with on_terminal(*ALL, env=env, columns=COLUMNS, rows=ROWS) as running:
            running.until("12 pages")
            assert [row[2:] for row in screen(running)] == ["Looking the runs up: 1100 runs on 12 pages"]
            running.interrupts()
            assert running.exit_code() == 1
