"""`python -m tests.reliability.crash --rounds 1000`: exit code 0 if no law was broken, else 1."""

from __future__ import annotations

import argparse
import itertools
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.reliability.crash.budgeted import BudgetBatch, PostgresBatch
from tests.reliability.crash.loop import COLUMNS, Batch, Tally, run_batch
from tests.reliability.crash.resolved import PlanBatch
from tests.reliability.crash.restarted import RestartBatch
from tests.reliability.tables import laws_table, table

BATCH = 50
ENOUGH_REACHED = 0.9
ENOUGH_BETWEEN = 0.2


def main() -> int:
    """Runs the rounds in batches, two at a time, and prints what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--plan-rounds", type=int, default=300, help="rounds under requests whose runs are looked up")
    parser.add_argument("--state-rounds", type=int, default=500, help="rounds under requests with a budget")
    parser.add_argument("--restart-rounds", type=int, default=40, help="rounds in which failed runs are restarted")
    parser.add_argument("--postgresql", action="store_true", help="keep the budget in PostgreSQL, and not in SQLite")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    budgeted = PostgresBatch if arguments.postgresql else BudgetBatch
    asked = (
        (Batch, arguments.rounds),
        (PlanBatch, arguments.plan_rounds),
        (budgeted, arguments.state_rounds),
        (RestartBatch, arguments.restart_rounds),
    )
    held = [_lived(kind, rounds, arguments) for kind, rounds in asked if rounds]
    return 0 if all(held) else 1


def _lived(kind: type[Batch], rounds: int, arguments: argparse.Namespace) -> bool:
    """Whether the laws held over so many rounds of a kind."""
    started_s, names, tally = time.monotonic(), kind.names(), Tally()
    points = [names[number % len(names)] for number in range(rounds)]
    batches = [points[first : first + BATCH] for first in range(0, len(points), BATCH)]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        seeds = (arguments.seed * 1000 + number for number in range(len(batches)))
        for done in pool.map(run_batch, seeds, batches, itertools.repeat(kind)):
            tally.add(done)
            sys.stderr.write(f"{kind.title}: {sum(tally.kills.values())} of {len(points)}\n")
    sys.stdout.write(report(tally, kind, seed=arguments.seed, took_s=time.monotonic() - started_s))
    return holds(tally)


def holds(tally: Tally) -> bool:
    """No law was broken; the deaths were where they should be, and enough lie between an intent and its outcome."""
    kills = sum(tally.kills.values())
    there = sum(tally.reached.values()) >= ENOUGH_REACHED * kills
    between = sum(tally.between.values()) >= ENOUGH_BETWEEN * kills
    return not +tally.broken and there and between


def report(tally: Tally, kind: type[Batch], *, seed: int, took_s: float) -> str:
    """Two tables in Markdown: what happened at each point, and the laws."""
    shown = {**COLUMNS, **kind.more}
    columns, titles = [getattr(tally, member) for member in shown.values()], ("point", *shown)
    rows = [(name, *(column[name] for column in columns)) for name in kind.names()]
    rows.append(("all", *(sum(column.values()) for column in columns)))
    lines = ["", f"{kind.title}:", "", *table(titles, rows)]
    lines += ["", f"seed {seed}, {took_s:.0f} s; intents {tally.intents}, cancels at upstream {tally.cancels}", ""]
    lines += laws_table(kind.laws, tally.broken)
    lines += [f"kept: {directory}" for directory in tally.kept]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
