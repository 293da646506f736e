"""Laws of the judgement: it only narrows, and what takes away never gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.parse import Body
from gateway.core.plan import Decision, Order, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Selection, filter_with
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.decide import decide
from gateway.policy.index.rules import AllowIndex, DenyIndex
from gateway.policy.model import Effect, Rule
from tests.core.strategies import (
    ALLOW_ALL,
    EXACT_URLS,
    HERE,
    MEMBERS,
    NOW_MS,
    POOLS,
    RUN_IDS,
    SPANS_MS,
    TEAM,
    allows,
    counted,
    counts,
    denies,
    filters,
    fitting,
    policies,
    requests,
    requires,
    rule_sets,
    selections,
    some,
)
from tests.laws.reference import Run, inside


@st.composite
def judged(draw: st.DrawFn) -> tuple[tuple[Rule, ...], ActionRequest]:
    """Rules, and a request that mostly fits one of their allows."""
    rules = draw(rule_sets())
    allowing = [rule for rule in rules if rule.effect is Effect.ALLOW]
    made_for = draw(st.sampled_from(allowing))
    return rules, draw(st.one_of(requests(), fitting(made_for), fitting(made_for)))


def decision(rules: Sequence[Rule], request: ActionRequest) -> Decision:
    return decide(policies(*rules), TEAM, request, NOW_MS)


def permitted_count(rules: Sequence[Rule], request: ActionRequest) -> int:
    """How many runs are permitted at most; 0 for a denial."""
    match decision(rules, request):
        case Permit(effective=effective):
            return effective.count
    return 0


@given(judged())
def test_the_effective_request_never_selects_more_than_was_asked(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """A permit holds the same selection and a count that is not larger; a list of IDs is whole."""
    rules, request = case
    match decision(rules, request):
        case Permit(effective=effective):
            assert effective.selection == request.selection
            assert 1 <= effective.count <= request.count
            assert effective == request or not isinstance(request.selection, ByIds)


@given(judged(), st.data())
def test_removing_an_allow_never_permits_more(
    case: tuple[tuple[Rule, ...], ActionRequest], data: st.DataObject
) -> None:
    """Without one of its allows, a team may cancel as many runs as before or fewer."""
    rules, request = case
    gone = data.draw(st.sampled_from([rule for rule in rules if rule.effect is Effect.ALLOW]))
    assert permitted_count([rule for rule in rules if rule is not gone], request) <= permitted_count(rules, request)


@given(judged(), st.one_of(denies("added"), requires("added")))
def test_adding_a_deny_or_require_never_permits_more(case: tuple[tuple[Rule, ...], ActionRequest], added: Rule) -> None:
    """With one more deny or require, a team may cancel as many runs as before or fewer."""
    rules, request = case
    assert permitted_count([*rules, added], request) <= permitted_count(rules, request)


@given(judged(), st.data())
def test_the_order_of_files_and_rules_never_matters(
    case: tuple[tuple[Rule, ...], ActionRequest], data: st.DataObject
) -> None:
    """Any order of the same rules, whichever files they came from, gives the same decision word for word."""
    rules, request = case
    spread = [
        replace(rule, policy=data.draw(st.sampled_from("abc")), shadow=data.draw(st.booleans())) for rule in rules
    ]
    assert decision(data.draw(st.permutations(spread)), request) == decision(spread, request)


@given(judged(), allows("added"), st.sampled_from(("deny", "require", "allow")))
def test_a_rule_in_shadow_mode_changes_nothing_that_is_enforced(
    case: tuple[tuple[Rule, ...], ActionRequest], added: Rule, effect: str
) -> None:
    """Shadow rules of every kind leave the permit, its rule and its count as they are."""
    rules, request = case
    without, beside = (
        decision(rules, request),
        decision([*rules, replace(added, effect=Effect(effect), shadow=True)], request),
    )
    assert beside._replace(decided=without.decided, shadow=None) == without._replace(shadow=None)


@given(judged())
def test_what_shadow_mode_would_decide_is_what_enforcing_decides(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """`decided` with a rule in shadow mode is the decision that the same rules give when enforced."""
    rules, request = case
    shadowed = decision([replace(rule, shadow=True) for rule in rules], request)
    assert not isinstance(shadowed, Permit)
    assert (shadowed.decided == "permit") == isinstance(decision(rules, request), Permit)


@given(rule_sets(), counts)
def test_everything_is_never_permitted(rules: tuple[Rule, ...], count: int) -> None:
    """As long as nothing resolves, no set of rules lets `cancel everything` through."""
    assert not isinstance(decision([*ALLOW_ALL, *rules], ActionRequest(Everything(), count)), Permit)


@given(st.lists(st.one_of(allows(), allows()), max_size=8), selections())
def test_the_index_finds_what_a_look_at_every_rule_finds(rules: list[Rule], selection: Selection) -> None:
    """Candidates from the index, judged, are those of a linear scan; none is missed and none stands twice."""
    named = [replace(rule, id=f"r{number}") for number, rule in enumerate(rules)]
    candidates = list(AllowIndex(named).candidates(selection))
    assert len({rule.name for rule in candidates}) == len(candidates)
    alone = {rule.name for rule in named if permitted_count([rule], counted(selection, 1))}
    assert alone <= {rule.name for rule in candidates}
    assert bool(permitted_count(named, counted(selection, 1))) == bool(alone)


@given(judged())
def test_the_nearest_is_always_admitted_and_never_wider_than_an_allow(
    case: tuple[tuple[Rule, ...], ActionRequest],
) -> None:
    """What a refusal proposes is permitted as it stands, by a rule that contains it."""
    rules, request = case
    refused = decision(rules, request)
    if isinstance(refused, Permit) or refused.nearest is None:
        return
    proposed = from_wire(dict(refused.nearest))
    assert not isinstance(proposed.selection, Everything)
    if isinstance(proposed.selection, ByFilter):
        assert parse_cancel(Order(proposed.selection, proposed.count).query.encode("ascii"), Body()) == proposed
    match decision(rules, proposed):
        case Permit(effective=effective):
            assert effective == proposed
        case denial:
            raise AssertionError(denial)


def from_wire(wire: dict) -> ActionRequest:
    """A request from the object that a refusal shows."""
    if ids := wire.get("workflowRunIds"):
        return counted(ByIds(tuple(ids)), 1)
    lists = {member: tuple(wire.get(name, ())) for name, member in {"workflowUrl": "workflow_urls", **MEMBERS}.items()}
    exact = wire.get("workflowUrlExactMatch") is True
    dates = {"from_date": wire.get("fromDate"), "to_date": wire.get("toDate")}
    selection = filter_with({**lists, **dates, "exact": exact})
    return ActionRequest(selection, wire["count"])


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """One run with a value for every field."""
    pick = {field: draw(st.sampled_from(pool)) for field, pool in POOLS.items()}
    age = draw(st.sampled_from((0, *SPANS_MS, 48 * 3_600_000)))
    return Run(
        draw(st.sampled_from(RUN_IDS)), draw(st.sampled_from(EXACT_URLS)),
        pick["label"], pick["flowControlKey"], pick["callerIp"], NOW_MS - age,
    )  # fmt: skip


@st.composite
def spellings(draw: st.DrawFn, run: Run) -> ActionRequest:
    """Any readable request that selects the run: exactly, by a prefix cut anywhere, with fields left out, or by ID."""
    if draw(st.integers(0, 4)) == 0:
        others = draw(st.lists(st.sampled_from(RUN_IDS), max_size=2))
        return counted(ByIds(tuple(dict.fromkeys([*others, run.run_id]))), 1)
    url, exact = run.url, draw(st.booleans())
    if not exact:
        start = url.index("/", len("https://")) + 1
        url = url[: draw(st.integers(start, len(url)))].partition("?")[0]
    members = {
        "workflow_urls": (url,), "labels": (run.label,), "flow_control_keys": (run.flow_control_key,),
        "caller_ips": (run.caller_ip,), "from_date": run.created_ms, "to_date": run.created_ms,
    }  # fmt: skip
    kept = draw(st.lists(st.sampled_from(sorted(members)), min_size=1, unique=True))
    try:
        selection = ByFilter(**{name: members[name] for name in kept}, exact=exact and "workflow_urls" in kept)  # type: ignore[arg-type]
    except ValueError:  # the prefix was cut inside an escape
        selection = ByFilter(labels=(run.label,))
    return ActionRequest(selection, draw(counts))


@given(denies(), runs(), st.data())
def test_a_deny_holds_against_every_wider_spelling_of_the_same_runs(deny: Rule, run: Run, data: st.DataObject) -> None:
    """If a deny is about a run, no request that would select it passes: by prefix, with a label left out, or by ID."""
    request = data.draw(spellings(run))
    assert isinstance(decision(ALLOW_ALL, request), Permit)
    about_it = inside(deny, run, NOW_MS) and (deny.selects is None or request.selection.kind in deny.selects)
    if about_it:
        assert not isinstance(decision([*ALLOW_ALL, deny], request), Permit)


@given(denies(), filters(), some(RUN_IDS))
def test_a_deny_on_another_field_than_the_id_refuses_every_list_of_ids(
    deny: Rule, other: ByFilter, run_ids: tuple[str, ...]
) -> None:
    """Run IDs say nothing about URL, label or date, so any of them may be a denied run."""
    narrowed = replace(deny, selects=None, conditions={
        field: condition for field, condition in deny.conditions.items() if field != "workflowRunIds"
    })  # fmt: skip
    assert not isinstance(decision([*ALLOW_ALL, narrowed], counted(ByIds(run_ids), 1)), Permit)


@given(st.lists(denies(), max_size=8), st.sampled_from(EXACT_URLS))
def test_no_deny_is_missed_by_the_index(rules: list[Rule], url: str) -> None:
    """Whatever a look at every rule finds against an exact URL, or a run of it, the index finds; in the same order."""
    named = [replace(rule, id=f"r{number}") for number, rule in enumerate(rules)]
    asked = ByFilter(workflow_urls=(url,), exact=True)
    found = [rule.name for rule in DenyIndex(named).candidates(asked)]
    told = ("workflowUrl", *HERE)
    shown = {rule.name: [bound for field, bound in rule.conditions.items() if field in told] for rule in named}
    assert {name for name, bounds in shown.items() if all(bound.overlaps(asked, NOW_MS) for bound in bounds)} <= {
        *found
    }
    assert found == sorted(found)
    place = urlsplit(url)
    of_url = {"host": (place.netloc,), "path": (place.path,)}
    assert list(DenyIndex(named).about((url,), of_url)) == list(DenyIndex(named).candidates(asked))
