"""The notes on a release say what to do about everything that changed."""

from __future__ import annotations

import re

import pytest

from tests.support.project import ROOT

CHANGED = re.compile(r"^- \*\*Changed\.\*\* (.*?)(?=^- |^#|^$)", re.MULTILINE | re.DOTALL)

SAID = {
    "Ctrl-C under the bar of `cancel`": "Ctrl-C under the bar stops the plan",
    "The bound on a look-up counts": "The bound counts the runs that match",
    "A cancel under `resolve: true` that cancelled nothing": "409 `nothing_cancelled`",
    "A run that an order of ours has cancelled": "A run that an order of ours cancelled within ten minutes",
    "`cancel` ends with 0 if all": "It ends with 1 while runs that were meant are left",
    "A gateway without `state` answers 400 to an": "`Idempotency-Key` without `state`",
    "A rule with `resolve: true` admits filters": "`resolve-admits-more`",
    "An order of run IDs in a plan that QStash refuses": "An order of run IDs in a plan that QStash refuses with 429",
    "A look-up takes up to 10,000 runs": "Pages are read side by side",
    "An instant that UTC cannot write": "an instant that UTC cannot write",
    "A cancel whose answer the kernel never took": "A cancel whose answer the kernel never took",
    "Above a limit only what has arrived is read": "Above a limit only what has arrived is read",
    "Idle connections of callers": "Idle connections of callers",
    "Hidden files beside policies": "Hidden files beside policies",
    "Judged time goes on": "Judged time goes on",
    "`/readyz` counts the keys that end": "`/readyz` counts the keys that end",
    "`serve` answers `/healthz` at once": "`serve` answers `/healthz` at once",
    "`audit verify` believes only sealed records": "`audit verify` believes only sealed records",
    "A chain that a start cannot continue": "A chain that a start cannot continue",
    "`nearest`, what a refusal proposes": "`nearest` drops no filter",
    'A 200 with `{"cancelled": 0}`': 'A 200 with `{"cancelled": 0}`',
}
"""How each change begins in CHANGELOG, and words of the notes on 0.2.0 that speak of it."""


def changes(version: str) -> list[str]:
    """The paragraphs of CHANGELOG that say what a version changed, each in one line."""
    [_, section, *_] = re.split(
        rf"^## {re.escape(version)}\b.*$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE
    )
    return [" ".join(found.split()) for found in CHANGED.findall(section.split("\n## ")[0])]


@pytest.mark.parametrize("change", changes("0.2.0"))
def test_every_change_is_in_the_notes_on_the_release(change: str) -> None:
    """What was true before and is not now: nobody has to read the whole of CHANGELOG to upgrade."""
    said = [words for begins, words in SAID.items() if change.startswith(begins)]
    assert said, "say in docs/releases/0.2.0.md what to do about it, and here with which words"
    [words] = said
    assert words in " ".join((ROOT / "docs/releases/0.2.0.md").read_text().split())


def test_no_words_are_kept_for_a_change_that_is_gone() -> None:
    """Each stands for one change."""
    found = changes("0.2.0")
    assert [begins for begins in SAID if sum(change.startswith(begins) for change in found) != 1] == []
