"""Shadow mode: decided, enforced and carried out are three fields, and what shadow rules would change is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authoring.history import ShadowStats, lines
from gateway.core.plan import Decision, Permit
from gateway.core.request import ActionRequest, ByFilter
from gateway.policy.conditions import CountCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.authoring.logs import write_log
from tests.cli.running import command
from tests.core.rules import allow, judge, label, rule
from tests.core.strategies import NOW_MS, TEAM, policies, requests, rule_sets

LABELLED = ByFilter(labels=("x",))
OWN = allow("own", CountCondition(cap=50), label=label("x"))


def result(decision: Decision) -> ActionRequest | None:
    """What would be sent, if anything."""
    return decision.effective if isinstance(decision, Permit) else None


@st.composite
def shadowed(draw: st.DrawFn) -> tuple[Rule, ...]:
    """Rules of which every third or so is in shadow mode."""
    return tuple(replace(each, shadow=draw(st.integers(0, 2)) == 0) for each in draw(rule_sets()))


@given(shadowed(), requests())
def test_a_shadow_rule_never_changes_what_is_enforced(rules: tuple[Rule, ...], request: ActionRequest) -> None:
    """With the shadow rules taken out, the same is sent by the same rule."""
    found = decide(policies(*rules), TEAM, request, NOW_MS)
    without = decide(policies(*(each for each in rules if not each.shadow)), TEAM, request, NOW_MS)
    assert (found.rule, result(found)) == (without.rule, result(without))


@given(shadowed(), requests())
def test_what_was_decided_is_what_enforcing_every_rule_would_give(
    rules: tuple[Rule, ...], request: ActionRequest
) -> None:
    """`decided` is the verdict with all modes taken away, and `shadow` names a rule exactly where that differs."""
    found = decide(policies(*rules), TEAM, request, NOW_MS)
    enforced = decide(policies(*(replace(each, shadow=False) for each in rules)), TEAM, request, NOW_MS)
    assert found.decided == ("permit" if isinstance(enforced, Permit) else "deny")
    assert (found.shadow is not None) is (result(found) != result(enforced))
    assert found.shadow is None or found.shadow in {each.name for each in rules if each.shadow}


@pytest.mark.parametrize(
    ("shadow", "rules", "decided", "permitted"),
    [
        pytest.param(rule(Effect.DENY, "s"), (OWN,), "deny", 50, id="deny"),
        pytest.param(rule(Effect.REQUIRE, "s", CountCondition(max=5)), (OWN,), "deny", 50, id="require"),
        pytest.param(rule(Effect.REQUIRE, "s", CountCondition(cap=5)), (OWN,), "permit", 50, id="cap"),
        pytest.param(allow("s", label=label("x")), (), "permit", None, id="allow"),
        pytest.param(allow("s", label=label("x")), (OWN,), "permit", 50, id="wider-allow"),
    ],
)
def test_every_kind_of_shadow_rule_is_named_where_it_makes_the_difference(
    shadow: Rule, rules: tuple[Rule, ...], decided: str, permitted: int | None
) -> None:
    """What it would have decided is recorded, and what is enforced stays."""
    found = judge(LABELLED, replace(shadow, shadow=True), *rules)
    assert (found.decided, found.shadow) == (decided, "p/s")
    assert (found.effective.count if isinstance(found, Permit) else None) == permitted


def test_of_several_shadow_caps_the_smallest_is_named() -> None:
    """The one that would bind, and by name where two are equal."""
    caps = [rule(Effect.REQUIRE, name, CountCondition(cap=cap)) for name, cap in (("a", 9), ("c", 5), ("b", 5))]
    found = judge(LABELLED, *(replace(each, shadow=True) for each in caps), OWN)
    assert found.shadow == "p/b"


def record(ts: str, **members: object) -> dict[str, object]:
    """A decision on record."""
    return {"event": "intent", "ts": ts, "team": "t", "principal": "t/k", "shadow": "p/s"} | members


@pytest.mark.parametrize(
    ("enforced", "decision", "effect"),
    [("permit", "deny", "refuse"), ("deny", "permit", "admit"), ("permit", "permit", "recount")],
)
def test_the_difference_says_what_the_rule_would_do(enforced: str, decision: str, effect: str) -> None:
    """Refuse who is let through, admit who is refused, or let through another number."""
    stats = ShadowStats()
    stats.add(record("2026-01-01T00:00:00.000000Z", enforced=enforced, decision=decision))
    assert [caller.effect for caller in stats.callers] == [effect]


@given(st.permutations([f"2026-01-0{day}T00:00:00.000000Z" for day in range(1, 6)]))
def test_first_and_last_do_not_depend_on_the_order_of_files(order: list[str]) -> None:
    """Several replicas write several files."""
    stats = ShadowStats()
    for ts in order:
        stats.add(record(ts, enforced="permit", decision="deny"))
    [seen] = stats.callers.values()
    assert (seen.times, seen.first, seen.last) == (5, min(order), max(order))
    assert (stats.decisions, stats.first, stats.last) == (5, min(order), max(order))


def test_only_decisions_count() -> None:
    """What was explained or joined is no decision of its own."""
    stats = ShadowStats()
    stats.add(record("2026-01-01T00:00:00.000000Z", enforced="permit", decision="deny") | {"event": "explained"})
    assert list(lines(stats)) == ["no decisions on record"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("same", ["no rule in shadow mode would have changed any of them"]),
        ("shadow", ["own/no-nightly would refuse  billing/ci", "own/weekly would admit   billing/ci"]),
        ("shadow-cap", ["own/few would recount billing/ci"]),
    ],
)
def test_stats_name_the_callers_that_a_shadow_rule_would_meet(tmp_path: Path, rules: str, expected: list[str]) -> None:
    """By rule and caller: how often, and when first and last."""
    write_log(tmp_path / "audit", rules=rules)
    done = command("audit", "stats", "--shadow", str(tmp_path / "audit"))
    assert (done.returncode, done.stderr) == (0, "")
    first, *found = done.stdout.splitlines()
    assert first == "3 decisions from 2026-09-06T00:00:00.000000Z to 2026-09-06T01:00:00.000000Z"
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))
    if rules == "shadow":
        assert found[0].endswith("2 times, first 2026-09-06T00:00:00.000000Z, last 2026-09-06T01:00:00.000000Z")


def test_a_line_that_is_no_record_is_not_passed_over(tmp_path: Path) -> None:
    """Exit 1, because a caller may be missing from the list."""
    log = write_log(tmp_path / "audit")
    with log.open("ab") as file:
        file.write(b"{}\n")
    done = command("audit", "stats", "--shadow", str(log))
    assert done.returncode == 1
    assert "1 line is no record" in done.stderr
