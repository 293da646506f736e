"""Laws of the runs that are chosen: only these, whatever the rules, the request and the account."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.plan import Denial, Permit, orders_of
from gateway.core.request import ActionRequest, ByIds, Everything
from gateway.core.run import Listing, Resolution, Resolved, Run, Skip
from gateway.policy.decide import decide
from gateway.policy.model import Effect
from tests.core.populations import Case, cases, everything, is_denied, lies_in, meant, resolutions, resolving_sets, runs
from tests.core.strategies import NOW_MS, TEAM, counts, denies, policies, requests, rule_sets
from tests.support import generated

LEAST_CHOSEN = 0.2
thorough = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=generated.cases(200))


NOTHING = Permit(None, "permit", None, ActionRequest(Everything(), 1)), Resolved(())


def chosen(case: Case) -> tuple[Permit, Resolved]:
    """The permit and the runs; of a refusal, none."""
    permit, resolved = case.decision(), case.judged()
    if isinstance(permit, Denial) or isinstance(resolved, Denial):
        return NOTHING
    return permit, resolved


@thorough
@given(cases())
def test_only_running_runs_that_the_request_means_are_chosen(case: Case) -> None:
    """Each is listed, runs, and matches every field that the request carries."""
    _, resolved = chosen(case)
    assert set(resolved.runs) <= set(case.listing.runs)
    assert all(run.running and meant(case.request.selection, run) for run in resolved.runs)


@thorough
@given(cases())
def test_every_chosen_run_lies_in_the_allow_and_in_every_require(case: Case) -> None:
    """Judged by the run's own fields; for run IDs a require on other fields too."""
    permit, resolved = chosen(case)
    carried = case.request.selection.carried
    bounding = [rule for rule in case.rules if rule.name == permit.rule or rule.effect is Effect.REQUIRE]
    assert all(lies_in(rule, carried, run) for rule in bounding for run in resolved.runs)


@thorough
@given(cases())
def test_no_run_that_a_deny_is_about_is_chosen_and_one_refuses_the_whole_request(case: Case) -> None:
    """A deny that the request could not be judged by is never forgotten: it is judged on the runs."""
    permit, resolved = chosen(case)
    if permit.rule is None:
        return
    bounds = permit.resolution or Resolution()
    old = [run for run in running(case) if not young(run, bounds)]
    denying = [rule for rule in case.rules if rule.effect is Effect.DENY]
    assert not any(is_denied(rule, case.request.selection, run) for rule in denying for run in old)
    assert set(resolved.runs) <= set(old)


def running(case: Case) -> list[Run]:
    """The running runs that the request means."""
    return [run for run in case.listing.runs if run.running and meant(case.request.selection, run)]


def young(run: Run, bounds: Resolution) -> bool:
    """Whether the run is too young for the rules."""
    return bool(bounds.older_than_ms) and NOW_MS - run.created_ms < bounds.older_than_ms


@thorough
@given(cases())
def test_the_oldest_are_chosen_and_every_other_is_named_with_the_reason(case: Case) -> None:
    """At most the count; oldest first; each run that the request means is chosen or skipped, never both."""
    permit, resolved = chosen(case)
    if permit.rule is None:
        return
    bounds = permit.resolution or Resolution()
    found = running(case)
    old = sorted((run for run in found if not young(run, bounds)), key=lambda run: (run.created_ms, run.run_id))
    assert list(resolved.runs) == old[: permit.effective.count]
    assert set(resolved.skipped.get(Skip.BEYOND_COUNT, ())) == {run.run_id for run in old[permit.effective.count :]}
    assert set(resolved.skipped.get(Skip.YOUNG, ())) == {run.run_id for run in found if young(run, bounds)}


@thorough
@given(cases())
def test_more_than_the_maximum_is_refused_whatever_the_count(case: Case) -> None:
    """The maximum is compared with what is left, before the oldest are taken."""
    permit, resolved = chosen(case)
    left = len(resolved.runs) + len(resolved.skipped.get(Skip.BEYOND_COUNT, ()))
    most = permit.resolution.max_runs if permit.resolution is not None else None
    assert most is None or left <= most
    assert len(resolved.runs) <= permit.effective.count
    assert sum(order.count for order in orders_of(resolved.runs)) == len(resolved.runs)


@thorough
@given(cases(), denies("added"))
def test_a_deny_added_takes_away_or_changes_nothing(case: Case, added: object) -> None:
    """With one more deny no run is chosen that it is about, whichever reading admits the request."""
    narrower = replace(case, rules=(*case.rules, added))  # type: ignore[arg-type]
    _, resolved = chosen(narrower)
    assert not any(is_denied(added, case.request.selection, run) for run in resolved.runs)  # type: ignore[arg-type]


@thorough
@given(cases(), st.data())
def test_a_run_beyond_the_request_changes_nothing(case: Case, data: st.DataObject) -> None:
    """Runs of others in the listing neither are chosen nor change what is: upstream may list more than was asked."""
    stranger = data.draw(runs("wfr_stranger", case.request.selection))
    if meant(case.request.selection, stranger):
        return
    more = replace(case, listing=Listing((stranger, *case.listing.runs)))
    assert more.judged() == case.judged()


@given(rule_sets(), counts, resolutions)
def test_everything_is_permitted_only_where_the_runs_are_looked_up(
    rules: tuple, count: int, resolution: Resolution
) -> None:
    """Without `resolve` no rule lets `cancel everything` through, not even one that says so."""
    asked = ActionRequest(Everything(), count)
    without = decide(policies(*rules, everything(None)), TEAM, asked, NOW_MS)
    assert isinstance(without, Denial)
    alone = decide(policies(everything(resolution)), TEAM, asked, NOW_MS)
    assert isinstance(alone, Permit)
    assert alone.resolution == resolution


@given(resolving_sets(), requests(), resolutions)
def test_a_require_of_resolve_forces_every_request_through_the_look_up(
    rules: tuple, request: ActionRequest, resolution: Resolution
) -> None:
    """No permit of the team sends the request itself; the smallest maximum and the longest age count."""
    forcing = replace(everything(resolution), id="look", effect=Effect.REQUIRE, selects=None)
    decision = decide(policies(*rules, forcing), TEAM, request, NOW_MS)
    if isinstance(decision, Permit):
        found = decision.resolution
        assert found is not None
        assert found.max_runs is not None
        assert resolution.max_runs is not None
        assert found.max_runs <= resolution.max_runs
        assert found.older_than_ms >= resolution.older_than_ms


@given(rule_sets(), requests())
def test_without_resolve_nothing_is_looked_up(rules: tuple, request: ActionRequest) -> None:
    """The request itself is what is sent, as before there was a look-up."""
    decision = decide(policies(*rules), TEAM, request, NOW_MS)
    assert isinstance(decision, Denial) or decision.resolution is None


@given(rule_sets(), requests(), st.integers(0, 3))
def test_an_allow_with_resolve_never_takes_a_direct_permit_away(
    rules: tuple, request: ActionRequest, which: int
) -> None:
    """A rule added beside others may only win by a larger count, or by its name; what was permitted stays so."""
    before = decide(policies(*rules), TEAM, request, NOW_MS)
    added = replace(rules[which % len(rules)], id="z-added", resolution=Resolution(5))
    after = decide(policies(*rules, added), TEAM, request, NOW_MS)
    if isinstance(before, Permit) and added.effect is Effect.ALLOW:
        assert isinstance(after, Permit)
        assert after.effective.count >= before.effective.count


def test_the_laws_above_are_tried_on_cases_that_come_to_runs() -> None:
    """Among generated cases enough reach the runs, by every way of selecting, and enough are refused there."""
    seen = Counter[str]()

    @settings(max_examples=600, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases())
    def count(case: Case) -> None:
        decision, judged = case.decision(), case.judged()
        seen["all"] += 1
        if isinstance(decision, Permit):
            looked = "resolved" if decision.resolution is not None else "direct"
            end = "refused" if isinstance(judged, Denial) else "chosen" if judged.runs else "none"
            seen[f"{looked} {case.request.selection.kind} {end}"] += 1
            seen[end] += 1

    count()
    assert seen["chosen"] >= LEAST_CHOSEN * seen["all"], seen
    assert seen["refused"] >= 0.05 * seen["all"], seen
    for kind in ("filter", "run_ids", "everything"):
        assert seen[f"resolved {kind} chosen"], seen
        assert seen[f"resolved {kind} refused"], seen


@thorough
@given(cases(), st.data())
def test_an_unknown_id_refuses_the_whole_request(case: Case, data: st.DataObject) -> None:
    """An ID of which upstream knows nothing may be anybody's."""
    selection = case.request.selection
    if not isinstance(selection, ByIds) or isinstance(case.decision(), Denial):
        return
    gone = data.draw(st.sampled_from(selection.ids))
    judged = replace(case, listing=Listing(tuple(run for run in case.listing.runs if run.run_id != gone))).judged()
    assert isinstance(judged, Denial)
    # A long list is cut short: the sentence names the first few.
    assert gone in judged.reason or "…" in judged.reason
    unread = Listing(tuple(run for run in case.listing.runs if run.run_id != gone), (gone,))
    judged = replace(case, listing=unread).judged()
    assert isinstance(judged, Denial) or judged.skipped[Skip.UNREADABLE] == (gone,)
