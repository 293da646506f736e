"""The screens of `cancel`: tables, a question and a progress bar on a terminal, or plain text, or one JSON object."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.table import Table
from rich.text import Text

from gateway.cli.cancel.answers import WHY, runs_in_words
from gateway.cli.cancel.client import Told
from gateway.cli.cancel.flow import End, Ending
from gateway.cli.output import folded, printable
from gateway.core.errors import counted
from gateway.core.forms.budgets import ShownBudget
from gateway.core.forms.shown import Left, Narrowed, ShownPlan
from gateway.core.plan import ORDER_RUNS
from gateway.core.request import DEFAULT_COUNT
from gateway.core.run import Skip
from gateway.policy.nearest import in_words

PLAIN_WIDTH = 10_000
"""The width if there is no terminal: nothing is cut or folded."""

LABEL = "Label (a run may have several)"
"""The head above the labels: their numbers may add up to more than there are runs."""

BAR = 20
"""The width of the bar: at 80 columns nothing beside it is cut."""

SHOWN = 3
GAP, EDGE = 3, 1
"""Characters between two columns of a table, and on each side of it, on a terminal."""


class Terminal:
    """A screen on standard output, where the question is asked too. Failures go to standard error."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        # Nothing that the gateway says is read as markup, and FORCE_COLOR does not turn a file into a terminal.
        self._console = Console(
            force_terminal=terminal,
            color_system="auto" if terminal else None,
            width=None if terminal else PLAIN_WIDTH,
            markup=False,
            highlight=False,
            emoji=False,
        )

    @contextmanager
    def looking(self) -> Iterator[Told]:
        """Show a sign of progress, on a terminal."""
        if not self._console.is_terminal:
            yield _ignored
            return
        status = self._console.status("Looking the runs up")

        def told(seen: ShownPlan) -> None:
            """Say how far the look-up has come."""
            if seen.pages:
                pages = counted(seen.pages, "page")
                status.update(f"Looking the runs up: {runs_in_words(seen.matched)} on {pages}")

        with _turning(status):
            yield told

    def shows(self, plan: ShownPlan, *, until: str | None = None) -> None:
        """Show the plan: some of its runs, how many of each label and workflow, those left out; then the sum."""
        if plan.runs:
            self._console.print(*self._sample(plan), sep="\n", soft_wrap=True)
            if plan.by_label:
                self._console.print(self._table((LABEL, "Runs"), _counted(plan.by_label)))
            self._console.print(self._workflows(plan))
        self._leaves_out(plan.skipped, {})
        if plan.narrowed is not None:
            self.says(_lowered(plan.narrowed))
        if plan.runs:
            self.says(f"allowed by {plan.rule or ''}; plan {plan.plan_id}, for {plan.expires_in_s} s")
            if plan.budget is not None:
                self.says(_budget(plan.budget, plan.runs))
            self.says(f"{runs_in_words(plan.runs)}, created {_time(plan.oldest)} to {_time(plan.newest)}")
            if until is not None and (_known(plan) > plan.runs or not _is_whole(plan)):
                known = runs_in_words(_known(plan))
                match = f"{known} match in all" if _is_whole(plan) else f"at least {known} match"
                self.says(f"{match}, created until {_time(until)}; these go first")

    def asks(self, plan: ShownPlan, *, until: str | None = None) -> bool:
        """Ask whether to cancel. Every answer but a yes is a no."""
        these = "this run" if plan.runs == 1 else f"these {plan.runs} runs"
        if until is not None:
            these = f"{'all' if _is_whole(plan) else 'at least'} {runs_in_words(_known(plan))}"
        try:
            return self._console.input(f"Cancel {these}? [y/N] ", markup=False).strip().lower() in ("y", "yes")
        except EOFError:
            self._console.print()
            return False

    @contextmanager
    def applying(self, plan: ShownPlan) -> Iterator[Told]:
        """Show a bar over the orders, on a terminal."""
        columns = (
            TextColumn("Cancelling"),
            BarColumn(bar_width=BAR),
            MofNCompleteColumn(),
            TextColumn("orders, {task.fields[cancelled]} cancelled"),
            TimeElapsedColumn(),
        )
        progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        task = progress.add_task("", total=-(-plan.runs // ORDER_RUNS), cancelled=runs_in_words(0))

        def told(seen: ShownPlan) -> None:
            """Move the bar."""
            progress.update(task, completed=seen.orders_sent, cancelled=runs_in_words(seen.cancelled))

        with _turning(progress):
            yield told

    def says(self, sentence: str) -> None:
        """Print a sentence; no ID in it is broken."""
        self._console.print(folded(printable(sentence)), soft_wrap=True)

    def ends(self, ending: Ending) -> None:
        """Print the ending; a failure goes to standard error."""
        if ending.done is not None and ending.plan is not None:
            self._leaves_out(ending.done.skipped, ending.plan.skipped)
        if ending.how.exit_code == 0 or ending.how is End.DECLINED:
            for line in (ending.sentence, *ending.sums):
                self.says(line)
            return
        for line in _failure(ending):
            print(folded(printable(line), sys.stderr), file=sys.stderr)

    def _workflows(self, plan: ShownPlan) -> Table:
        rows = _counted(plan.by_workflow)
        others = plan.runs - sum(plan.by_workflow.values())
        if others > 0:
            rows.append(("(others)", str(others)))
        return self._table(("Workflow", "Runs"), rows)

    def _sample(self, plan: ShownPlan) -> Sequence[Table | Text]:
        """Return some of the runs as a table, or in two lines each if the table would break a run ID."""
        rows = [(run.run_id, _time(run.created), run.workflow_url or "", " ".join(run.labels)) for run in plan.sample]
        first = "Run" if len(rows) == plan.runs else f"The oldest {len(rows)}"
        heads = (first, "Created", "Workflow", "Labels")
        if self._fits(heads, rows):
            return [self._table(heads, rows)]
        lines = [line for run_id, created, *rest in rows for line in (f"{run_id}  {created}", f"  {'  '.join(rest)}")]
        return [Text(first), *(Text(folded(printable(line))) for line in lines)]

    def _fits(self, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> bool:
        """Return whether each row of a table fits on one line."""
        widths = [max(cell_len(printable(cell)) for cell in column) for column in zip(heads, *rows, strict=True)]
        return sum(widths) + GAP * (len(heads) - 1) + 2 * EDGE <= self._console.width

    def _table(self, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
        table = Table(box=SIMPLE_HEAD if self._console.is_terminal else None, pad_edge=False)
        for head in heads:
            # Cells are folded, never shortened: the end of an address may be what matters.
            table.add_column(head, overflow="fold", justify="right" if head == "Runs" else "left")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        return table

    def _leaves_out(self, skipped: Mapping[str, Left], shown: Mapping[str, Left]) -> None:
        """Print which runs are left out, except those that were `shown` before."""
        for why, left in skipped.items():
            if shown.get(why) == left:
                continue
            some = ", ".join(left.sample[:SHOWN]) + (", …" if left.runs > SHOWN else "")
            self.says(f"Left out: {runs_in_words(left.runs)} {WHY.get(why, why)}: {some}")


class Silence:
    """A screen that shows nothing but one JSON object on standard output, at the end."""

    @contextmanager
    def looking(self) -> Iterator[Told]:
        """Show nothing."""
        yield _ignored

    def shows(self, plan: ShownPlan, *, until: str | None = None) -> None:
        """Show nothing: the plan is in the object."""

    def asks(self, plan: ShownPlan, *, until: str | None = None) -> bool:
        """Return False: a program that means yes says so beforehand."""
        return False

    @contextmanager
    def applying(self, plan: ShownPlan) -> Iterator[Told]:
        """Show nothing."""
        yield _ignored

    def says(self, sentence: str) -> None:
        """Show nothing: what counts is in the object."""

    def ends(self, ending: Ending) -> None:
        """Print the object."""
        print(json.dumps(ending.members(), indent=2))


@contextmanager
def _turning(sign: Status | Progress) -> Iterator[None]:
    """Show a sign of progress until the context ends, whenever Ctrl-C comes."""
    try:
        with _whole():
            sign.start()
        yield
    finally:
        with _whole():
            sign.stop()


@contextmanager
def _whole() -> Iterator[None]:
    """Let Ctrl-C wait: a sign that it meets while it starts or stops would turn on, or break."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignored(seen: ShownPlan) -> None:
    """Ignore the progress."""


def _lowered(narrowed: Narrowed) -> str:
    """Return a sentence with the lowered number and the rule that lowered it."""
    if narrowed.key == "runs":
        return f"policy takes at most {narrowed.left} of {narrowed.asked} runs at once: rule {narrowed.by}"
    asked = " (without --count that many are asked for)" if narrowed.asked == DEFAULT_COUNT else ""
    return f"policy lowered the count from {narrowed.asked}{asked} to {narrowed.left}: rule {narrowed.by}"


def _budget(budget: ShownBudget, runs: int) -> str:
    """Return what is left of the budget that a plan of so many runs would take of, and whether that suffices."""
    whose = {"team": " of your team", "key": " of your own"}.get(budget.shared, "")
    per = f"the rule's budget{whose} for any {budget.per}"
    if (left := budget.left) is None:
        return f"what is left of {per} is not known now: the gateway's shared state did not say it"
    short = left.requests == 0 or (left.runs is not None and left.runs < runs)
    enough = ", which is not enough for this plan" if short else ""
    return f"{budget.words()} are left of {per}{enough}; all of it is there again at {_time(left.resets_at)}"


def _is_whole(plan: ShownPlan) -> bool:
    """Return whether all runs that match are known. A gateway before 0.2 says only whether there are none beyond."""
    return plan.read_to_end or not plan.more


def _known(plan: ShownPlan) -> int:
    """Return how many runs are known to match and may be cancelled, by this plan and by later ones."""
    return plan.runs + plan.skipped.get(Skip.BEYOND_COUNT, Left(0)).runs


def _counted(groups: Mapping[str, int]) -> list[tuple[str, ...]]:
    return [(name, str(runs)) for name, runs in groups.items()]


def _time(created: str | None) -> str:
    """Return a time to the second; an empty text for none."""
    return re.sub(r"\.[0-9]+Z$", "Z", created or "")


def _options(nearest: Mapping[str, object]) -> str:
    """Return a request (wire names) as options of this command; an empty text if some part of it has no option."""
    names = {
        "workflowUrl": "--url" if "workflowUrlExactMatch" in nearest else "--prefix",
        "host": "--host",
        "path": "--path",
        "label": "--label",
        "workflowRunIds": "--run-id",
        "count": "--count",
    }
    unsaid = {"workflowUrlExactMatch"} | ({"count"} if "workflowRunIds" in nearest else set())
    said = {name: value for name, value in nearest.items() if name not in unsaid}
    if not said.keys() <= names.keys():
        return ""
    pairs = [
        (names[name], each) for name, value in said.items() for each in (value if isinstance(value, list) else [value])
    ]
    return " ".join(f"{name} {shlex.quote(str(each))}" for name, each in pairs)


def _failure(ending: Ending) -> Iterator[str]:
    yield ending.sentence
    yield from ending.sums
    if ending.refusal is None:
        return
    members = ending.refusal.members
    if isinstance(rule := members.get("rule"), str):
        yield f"Refused by {rule}."
    if isinstance(nearest := members.get("nearest"), dict):
        yield f"Allowed would be: {_options(nearest) or in_words(nearest)}"
    if isinstance(decision := members.get("decision_id"), str) and f"decision {decision}" not in ending.sentence:
        yield f"Decision {decision}."
