"""Which runs a team is shown: those that a request admitted by one of its rules could cancel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.request import Principal
from gateway.core.run import Resolution
from gateway.policy.choose import covers
from gateway.policy.conditions import CreatedCondition, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule, TeamException
from tests.core.populations import everything
from tests.core.rules import API, allow, label, rule, urls
from tests.core.strategies import HOUR_MS, NOW_MS, TEAM, counted, policies
from tests.policy.test_resolved import BELOW_API, BY_ID, run

IDS_ALONE = replace(allow("own", workflowRunIds=RunIdCondition(5)), owner_unchecked=True)
BY_PREFIX = replace(IDS_ALONE, conditions={"workflowRunIds": RunIdCondition(5, ("wfr_1",))})


@pytest.mark.parametrize(
    ("which", "covered"),
    [
        (allow("own", workflowUrl=BELOW_API), True),
        (allow("own", workflowUrl=UrlCondition(frozenset((f"{API}/x",)))), False),
        (allow("own", workflowUrl=BELOW_API, label=label("day")), False),
        (allow("own", workflowUrl=BELOW_API, label=label("day", optional=True)), True),
        (allow("own", label=label("day", optional=True)), False),
        (allow("own", label=label("night", optional=True)), True),
        (allow("own", workflowUrl=UrlCondition(any=True, optional=True)), True),
        (allow("own", label=ValueCondition("label", any=True, optional=True)), True),
        (allow("own", flowControlKey=ValueCondition("flowControlKey", any=True, optional=True)), False),
        (allow("own", workflowUrl=BELOW_API, callerIp=ValueCondition("callerIp", any=True, optional=True)), True),
        (allow("own", callerIp=replace(label("10.0.0.1"), field="callerIp")), False),
        (allow("own", created=CreatedCondition(HOUR_MS)), False),
        (everything(Resolution(9)), True),
        (IDS_ALONE, False),
        (BY_PREFIX, True),
        (replace(BY_ID, conditions={**BY_ID.conditions, "workflowUrl": UrlCondition(any=True, optional=True)}), False),
        (replace(BY_ID, conditions={**BY_ID.conditions, "workflowUrl": UrlCondition(any=True)}), False),
        (replace(BY_PREFIX, conditions={**BY_PREFIX.conditions, "workflowUrl": UrlCondition(any=True)}), True),
        (replace(BY_PREFIX, conditions={"workflowRunIds": RunIdCondition(5, ("wfr_2",), optional=True)}), False),
        (BY_ID, True),
        (replace(allow("own", workflowUrl=BELOW_API), shadow=True), False),
        (replace(allow("own", workflowUrl=BELOW_API), until_ms=NOW_MS), False),
    ],
)
def test_a_rule_covers_the_runs_that_a_request_it_admits_could_cancel(which: Rule, covered: bool) -> None:
    """Point by point; a field that may be left out bounds nothing unless it is all there is; bare IDs show nothing."""
    found = covers(policies(which).for_team(TEAM.team), run("wfr_1", labels=("night",)), NOW_MS)
    assert found == (replace(which, teams=frozenset(("*",))) if covered else None)


OWN, EVERYTHING = allow("own", workflowUrl=BELOW_API), everything(Resolution(9))
KEEP = rule(Effect.DENY, "keep", label=label("night"))


@pytest.mark.parametrize(
    ("which", "deny", "covered"),
    [
        (OWN, KEEP, False),
        (OWN, rule(Effect.DENY, "keep", label=label("day")), True),
        (OWN, replace(KEEP, shadow=True), True),
        (OWN, replace(KEEP, until_ms=NOW_MS), True),
        (OWN, replace(KEEP, excepted=(TeamException(TEAM.team),)), True),
        (OWN, replace(KEEP, selects=frozenset(("run_ids", "everything"))), True),
        (OWN, replace(KEEP, selects=frozenset(("filter",))), False),
        (BY_ID, replace(KEEP, selects=frozenset(("run_ids",))), False),
        (BY_ID, replace(KEEP, selects=frozenset(("filter",))), True),
        (OWN, rule(Effect.DENY, "halt"), False),
        (OWN, replace(rule(Effect.DENY, "all"), selects=frozenset(("everything",))), True),
        (EVERYTHING, replace(rule(Effect.DENY, "all"), selects=frozenset(("everything",))), False),
        (OWN, rule(Effect.DENY, "urls", workflowUrl=UrlCondition(prefix=(f"{API}/x",))), True),
        (OWN, rule(Effect.DENY, "urls", workflowUrl=UrlCondition(prefix=("https://a.example",))), False),
        (OWN, rule(Effect.DENY, "new", created=CreatedCondition(HOUR_MS)), True),
    ],
)
def test_a_run_that_a_deny_is_about_is_not_covered(which: Rule, deny: Rule, covered: bool) -> None:
    """Nobody could cancel it, so nobody is shown it; a deny of another kind of request hides nothing."""
    found = covers(policies(which, deny).for_team(TEAM.team), run("wfr_1", labels=("night",)), NOW_MS)
    assert (found is not None) is covered


def test_a_run_hidden_from_one_rule_is_covered_by_another() -> None:
    """The deny is about filters alone, and there is a rule on run IDs."""
    deny = replace(KEEP, selects=frozenset(("filter",)))
    found = covers(policies(OWN, replace(BY_ID, id="by-id"), deny).for_team(TEAM.team), run("wfr_1", labels=("night",)),
                   NOW_MS)  # fmt: skip
    assert found is not None
    assert found.name == "p/by-id"


def test_a_rule_that_shows_more_covers_first() -> None:
    """Two rules about a run: the one with `logs: full` says what is shown."""
    plain, full = (allow(name, workflowUrl=BELOW_API) for name in ("a", "b"))
    found = covers(policies(plain, replace(full, logs_full=True)).for_team(TEAM.team), run("wfr_1"), NOW_MS)
    assert found is not None
    assert found.name == "p/b"


def test_a_team_that_is_excepted_or_unknown_is_shown_nothing() -> None:
    """Only rules that speak about the team cover its runs."""
    own = replace(allow(workflowUrl=BELOW_API), teams=frozenset(("search",)))
    assert covers(policies(own).for_team(TEAM.team), run("wfr_1"), NOW_MS) is None
    assert decide(policies(own), Principal("search", "k"), counted(urls(API), 1), NOW_MS).rule == "p/r"
