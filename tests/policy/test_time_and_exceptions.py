"""Rules with windows, ends, exceptions and reasons, in the judgement."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authoring.offers import offers
from gateway.core.plan import Decision, Denial, Permit
from gateway.core.request import ActionRequest, Principal
from gateway.policy.conditions import CountCondition, UrlCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule, TeamException
from gateway.policy.window import Window
from tests.core.rules import API, allow, rule, urls
from tests.core.strategies import ALLOW_ALL, NOW_MS, TEAM, fitting, policies, requests, rule_sets

OPEN = Window(from_ms=NOW_MS, until_ms=NOW_MS + 1)
CLOSED = (Window(from_ms=NOW_MS + 1), Window(until_ms=NOW_MS))
ASKED = ActionRequest(urls(API), 100)


def at(now_ms: int, *rules: Rule, asked: ActionRequest = ASKED, team: Principal = TEAM) -> Decision:
    """The decision at an instant."""
    return decide(policies(*rules), team, asked, now_ms)


@st.composite
def windowed(draw: st.DrawFn) -> tuple[tuple[Rule, ...], tuple[Rule, ...], ActionRequest]:
    """Rules of which some are not in force, those of them that are, and a request."""
    rules = draw(rule_sets())
    forms = [draw(st.sampled_from(("always", "open", "closed", "ended", "live"))) for _ in rules]
    bounds = {"open": {"during": OPEN}, "closed": {"during": draw(st.sampled_from(CLOSED))}}
    bounds |= {"always": {}, "ended": {"until_ms": NOW_MS}, "live": {"until_ms": NOW_MS + 1}}  # type: ignore[dict-item]
    timed = tuple(replace(one, **bounds[form]) for one, form in zip(rules, forms, strict=True))  # type: ignore[arg-type]
    kept = tuple(one for one, form in zip(rules, forms, strict=True) if form not in ("closed", "ended"))
    made_for = draw(st.sampled_from([one for one in rules if one.effect is Effect.ALLOW]))
    return timed, kept, draw(st.one_of(requests(), fitting(made_for)))


@given(windowed())
def test_a_rule_outside_its_window_is_as_if_absent(
    case: tuple[tuple[Rule, ...], tuple[Rule, ...], ActionRequest],
) -> None:
    """Whatever its effect: the rule, what is permitted and what would have been are those of the rules in force."""
    timed, kept, asked = case
    with_closed, without = at(NOW_MS, *timed, asked=asked), at(NOW_MS, *kept, asked=asked)
    assert type(with_closed) is type(without)
    assert with_closed.rule == without.rule
    assert getattr(with_closed, "effective", None) == getattr(without, "effective", None)
    assert getattr(with_closed, "nearest", None) == getattr(without, "nearest", None)


def test_a_change_freeze_ends_at_its_instant() -> None:
    """A `deny` in a window refuses until the millisecond before its end, and says the window."""
    freeze = replace(rule(Effect.DENY, "freeze"), during=Window(from_ms=NOW_MS - 5, until_ms=NOW_MS))
    refused = at(NOW_MS - 1, freeze, *ALLOW_ALL)
    assert isinstance(refused, Denial)
    assert refused.rule == "p/freeze"
    assert "(during from 20" in refused.reason
    assert isinstance(at(NOW_MS, freeze, *ALLOW_ALL), Permit)
    assert isinstance(at(NOW_MS - 6, freeze, *ALLOW_ALL), Permit)


def test_a_refusal_says_that_another_time_would_do() -> None:
    """Who asks outside the hours of the only rule that allows it reads the hours."""
    later = replace(allow("later", workflowUrl=UrlCondition(frozenset({API}))), during=Window(from_ms=NOW_MS + 1000))
    refused = at(NOW_MS, later)
    assert isinstance(refused, Denial)
    assert refused.rule is None
    assert refused.reason.startswith("Rule p/later allows this only during from ")
    gone = at(NOW_MS + 2000, replace(later, until_ms=NOW_MS + 1500))
    assert isinstance(gone, Denial)
    assert gone.reason.startswith("No rule of your team allows this request.")


EXACT = Rule("guardrails", "exact-url", Effect.REQUIRE, {}, exact_match=True)
DENY = Rule("guardrails", "payments", Effect.DENY, {"workflowUrl": UrlCondition(prefix=("https://a.example",))})
CAP = Rule("guardrails", "cap", Effect.REQUIRE, {}, CountCondition(cap=10))
BY_PREFIX = ActionRequest(urls("https://a.example/", exact=False), 100)


@pytest.mark.parametrize("guard", [EXACT, DENY, CAP])
@pytest.mark.parametrize("until_ms", [None, NOW_MS + 1])
def test_a_used_exception_is_named(guard: Rule, until_ms: int | None) -> None:
    """A rule that would have refused or lowered, and excepts the team, is named with the team and the ticket."""
    excepted = (TeamException("other"), TeamException("billing", until_ms, "incident", "OPS-12"))
    decision = at(NOW_MS, replace(guard, excepted=excepted), *ALLOW_ALL, asked=BY_PREFIX)
    assert isinstance(decision, Permit)
    assert decision.effective.count == 100
    assert decision.exceptions == (f"{guard.name}: billing (ticket OPS-12)",)


@pytest.mark.parametrize("guard", [EXACT, DENY, CAP])
def test_an_exception_that_changes_nothing_is_not_named(guard: Rule) -> None:
    """The record marks what was used, not what exists: nor one of a rule in shadow mode or out of force."""
    excused = replace(guard, excepted=(TeamException("billing"),))
    harmless = ActionRequest(urls("https://b.example/x"), 5)
    assert at(NOW_MS, excused, *ALLOW_ALL, asked=harmless).exceptions == ()
    for idle in (replace(excused, shadow=True), replace(excused, during=CLOSED[0]), replace(excused, until_ms=NOW_MS)):
        assert at(NOW_MS, idle, *ALLOW_ALL, asked=BY_PREFIX).exceptions == ()


def test_an_exception_ends_at_its_instant() -> None:
    """From `until` on the rule speaks about the team again."""
    guard = replace(EXACT, excepted=(TeamException("billing", NOW_MS),))
    assert isinstance(at(NOW_MS - 1, guard, *ALLOW_ALL, asked=BY_PREFIX), Permit)
    refused = at(NOW_MS, guard, *ALLOW_ALL, asked=BY_PREFIX)
    assert (refused.rule, refused.exceptions) == ("guardrails/exact-url", ())


def test_one_teams_exception_is_no_one_elses() -> None:
    """A team that no file names gets the rules about everyone, without any exception."""
    guard = replace(EXACT, excepted=(TeamException("billing"),))
    stranger = at(NOW_MS, guard, *ALLOW_ALL, asked=BY_PREFIX, team=Principal("stranger", "k"))
    assert (stranger.rule, stranger.exceptions) == ("guardrails/exact-url", ())


WHY = Rule("guardrails", "why", Effect.REQUIRE, {}, reason_required=True)


def test_a_reason_is_demanded_where_a_rule_requires_it() -> None:
    """Without it the refusal names the header; with it the reason stays with what is sent."""
    refused = at(NOW_MS, WHY, *ALLOW_ALL)
    assert isinstance(refused, Denial)
    assert refused.rule == "guardrails/why"
    assert "Gateway-Reason" in refused.reason
    permitted = at(NOW_MS, WHY, CAP, *ALLOW_ALL, asked=replace(ASKED, reason="INC-7: stuck"))
    assert isinstance(permitted, Permit)
    assert (permitted.effective.count, permitted.effective.reason) == (10, "INC-7: stuck")


def test_the_nearest_keeps_the_reason() -> None:
    """What a caller with a reason is shown would be admitted with that reason."""
    own = allow("own", workflowUrl=UrlCondition(frozenset({API})))
    asked = ActionRequest(urls(API, "https://b.example/x"), 5, reason="INC-7")
    refused = at(NOW_MS, WHY, own, asked=asked)
    assert isinstance(refused, Denial)
    assert refused.nearest is not None


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "x" * 201, "\u202e"])
def test_a_reason_that_cannot_be_shown_is_no_reason(reason: str) -> None:
    """The record and its readers get printable text of bounded length."""
    with pytest.raises(ValueError, match="reason"):
        ActionRequest(urls(API), 1, reason=reason)


def test_offers_say_the_window_and_the_reason() -> None:
    """What a team reads about itself holds now, with an example that does."""
    own = allow("own", workflowUrl=UrlCondition(frozenset({API})))
    shown = list(offers(policies(replace(own, during=OPEN), WHY), TEAM.team, NOW_MS))
    window, reason = f"only during {OPEN.words()}", "always with a reason in the header Gateway-Reason"
    words = f"any number of the runs of exactly {API}; {window}; {reason}"
    assert [offer.words for offer in shown] == [words]
    assert shown[0].example is not None
    [closed] = offers(policies(replace(own, during=CLOSED[1])), TEAM.team, NOW_MS)
    assert (closed.words, closed.example) == (f"nothing now: only during {CLOSED[1].words()}", None)
    assert list(offers(policies(replace(own, until_ms=NOW_MS)), TEAM.team, NOW_MS)) == []


@given(rule_sets(), st.data())
def test_an_index_leaves_no_deny_out(rules: tuple[Rule, ...], data: st.DataObject) -> None:
    """With a hundred other denies beside them, the rules judge as they do alone."""
    allowing = data.draw(st.sampled_from([one for one in rules if one.effect is Effect.ALLOW]))
    asked = data.draw(st.one_of(requests(), fitting(allowing)))
    alone = at(NOW_MS, *rules, asked=asked)
    elsewhere = UrlCondition(frozenset({"https://z.example/x"}), ("https://z.example/p",))
    others = [rule(Effect.DENY, f"zz{number}", workflowUrl=elsewhere) for number in range(3)]
    among = at(NOW_MS, *rules, *others, asked=asked)
    touched = not isinstance(alone, Permit) or among.rule in ("p/zz0", alone.rule)
    assert touched
    if getattr(asked.selection, "exact", False):
        assert (type(among), among.rule) == (type(alone), alone.rule)
