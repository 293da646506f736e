"""Rules that have runs looked up, the runs of an account, and which of them a request and a rule mean, said again.

The second telling compares URLs segment by segment and shares no code with the judgement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from hypothesis import strategies as st

from gateway.core.plan import Denial, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Filter, Selection
from gateway.core.run import CANCELLED, STARTED, Listing, Resolution, Resolved, Run
from gateway.policy.choose import choose
from gateway.policy.conditions import (
    Condition,
    CreatedCondition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.strategies import (
    EXACT_URLS,
    HERE,
    HOUR_MS,
    NOW_MS,
    POOLS,
    PREFIXES,
    RUN_IDS,
    SPANS_MS,
    TEAM,
    bounds,
    count_conditions,
    counts,
    fitting,
    policies,
    requests,
    rule_sets,
    some,
)

RUN_ID_FIELD = "workflowRunIds"

resolutions = st.builds(Resolution, st.integers(1, 6), st.sampled_from((0, 0, 1, HOUR_MS, 24 * HOUR_MS)))


@dataclass(frozen=True)
class Case:
    """Rules, a request, and what the look-up found."""

    rules: tuple[Rule, ...]
    request: ActionRequest
    listing: Listing

    def decision(self) -> Permit | Denial:
        return decide(policies(*self.rules), TEAM, self.request, NOW_MS)

    def judged(self) -> Resolved | Denial:
        """What comes of the request in the end."""
        decision = self.decision()
        if isinstance(decision, Denial):
            return decision
        return choose(policies(*self.rules), TEAM, self.request, decision, self.listing, NOW_MS)


@st.composite
def resolving(draw: st.DrawFn, rule: Rule) -> Rule:
    """The rule, more often than not with its runs looked up."""
    if rule.effect is Effect.DENY or draw(st.integers(0, 3)) == 0:
        return rule
    if rule.effect is Effect.REQUIRE:
        more = {"host": draw(bounds("host"))} if rule.conditions and draw(st.integers(0, 3)) == 0 else {}
        found = replace(rule, conditions={**rule.conditions, **more} if RUN_ID_FIELD not in rule.conditions else more)
        return replace(found, resolution=draw(resolutions)) if draw(st.booleans()) else rule
    conditions = dict(rule.conditions)
    if RUN_ID_FIELD in conditions:
        conditions["workflowUrl"] = UrlCondition(prefix=draw(some(PREFIXES)))
    elif draw(st.integers(0, 3)) == 0:
        conditions |= {field: draw(bounds(field)) for field in draw(st.sampled_from((HERE, HERE[:1])))}
    return replace(rule, conditions=conditions, owner_unchecked=False, resolution=draw(resolutions))


@st.composite
def resolving_sets(draw: st.DrawFn) -> tuple[Rule, ...]:
    """Rules of which most have runs looked up; now and then one about every run."""
    rules = [draw(resolving(rule)) for rule in draw(rule_sets())]
    if draw(st.integers(0, 3)) == 0:
        rules.append(everything(draw(resolutions), draw(count_conditions())))
    return tuple(rules)


def everything(resolution: Resolution | None, count: object = None) -> Rule:
    """An `allow` about every run of the account."""
    return Rule("p", "everything", Effect.ALLOW, {}, count, frozenset(("everything",)), resolution=resolution)  # type: ignore[arg-type]


@st.composite
def runs(draw: st.DrawFn, run_id: str, asked: Selection) -> Run:
    """One run, most of its values those that were asked for."""
    here = isinstance(asked, Filter) and not asked.carried.isdisjoint(HERE)
    wanted = asked if isinstance(asked, Filter) else ByFilter(labels=("x",))

    def near(named: Sequence[str], pool: Sequence[str], tails: Sequence[str]) -> str:
        picks = [name + tail for name in named for tail in ("", "", "", *tails)] * 2
        return draw(st.sampled_from([*picks, *pool] if len(picks) < len(pool) else [*picks, *pool[:3]]))

    tails = ("-v2", "/below") if wanted.workflow_urls and not wanted.exact else ()
    url = near(wanted.workflow_urls or (near_place(wanted) if here else ()), EXACT_URLS, tails)
    ages = st.sampled_from((-60_001, -60_000, 0, 1, HOUR_MS - 1, HOUR_MS, *SPANS_MS, 48 * HOUR_MS))
    labels = [near(wanted.labels if isinstance(asked, Filter) else (), POOLS["label"], ())]
    odd = draw(st.integers(0, 19))
    bare = odd == 0
    labels += [draw(st.sampled_from(POOLS["label"]))] if odd > 12 else []
    return Run(
        run_id,
        url.replace("//below", "/below"),
        min(NOW_MS, wanted.to_date or NOW_MS) - draw(ages),
        CANCELLED if odd in (1, 2) else STARTED,
        caller_ip=None if bare else near(wanted.caller_ips, POOLS["callerIp"], ()),
        flow_control_key=None if bare else near(wanted.flow_control_keys, POOLS["flowControlKey"], ()),
        labels=() if bare else tuple(dict.fromkeys(labels)),
    )


def near_place(wanted: Filter) -> tuple[str, ...]:
    """URLs at the hosts and paths that a filter names."""
    hosts = getattr(wanted, "hosts", ()) or POOLS["host"][:1]
    paths = getattr(wanted, "paths", ()) or POOLS["path"][:3]
    return tuple(f"https://{host}{path}{end}" for host in hosts for path in paths for end in ("", "?q=1"))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Rules, a request that mostly fits one of their allows, and the runs of the account."""
    rules = draw(resolving_sets())
    made_for = draw(st.sampled_from([rule for rule in rules if rule.effect is Effect.ALLOW]))
    fit = fitting(made_for) if made_for.conditions else counts.map(lambda count: ActionRequest(Everything(), count))
    request = draw(requests() if draw(st.integers(0, 5)) == 0 else fit)
    listed = tuple(draw(runs(run_id, request.selection)) for run_id in RUN_IDS)
    return Case(rules, request, Listing(listed, pages=1))


def segments(url: str) -> list[str]:
    """The URL in the pieces between its slashes; an empty last one is none."""
    pieces = url.split("/")
    return pieces[:-1] if pieces[-1] == "" else pieces


def below(url: str, top: str) -> bool:
    """The first segments of the URL are those of `top`; a page with a ?query is a page of its own."""
    wanted = segments(top)
    return url.split("/")[: len(wanted)] == wanted


def meant(selection: Selection, run: Run) -> bool:
    """Whether the request names the run."""
    if isinstance(selection, ByIds):
        return run.run_id in selection.ids
    if isinstance(selection, Everything):
        return True
    urls = selection.workflow_urls
    hosts, paths = getattr(selection, "hosts", ()), getattr(selection, "paths", ())
    found = [
        any(run.workflow_url == url if selection.exact else below(run.workflow_url, url) for url in urls),
        bool(set(run.labels) & set(selection.labels)),
        run.flow_control_key in selection.flow_control_keys,
        run.caller_ip in selection.caller_ips,
        urlsplit(run.workflow_url).netloc in hosts,
        urlsplit(run.workflow_url).path in paths,
    ]
    named = (urls, selection.labels, selection.flow_control_keys, selection.caller_ips, hosts, paths)
    dated = (selection.from_date or 0) <= run.created_ms <= (selection.to_date or 10**13)
    return dated and all(matched for matched, values in zip(found, named, strict=True) if values)


def lies_in(rule: Rule, carried: frozenset[str], run: Run) -> bool:
    """Whether the run lies in an `allow` or `require`, optional fields that the request left out aside."""
    bounds = (bound for field, bound in rule.conditions.items() if field in carried or not bound.optional)
    return all(holds(bound, run, wide=False) for bound in bounds)


def is_denied(rule: Rule, selection: Selection, run: Run) -> bool:
    """Whether the `deny` is about the run."""
    if rule.selects is not None and selection.kind not in rule.selects:
        return False
    return all(holds(bound, run, wide=True) for bound in rule.conditions.values())


def holds(bound: Condition, run: Run, *, wide: bool) -> bool:
    """One field's bound on one run; `wide` takes the same page with a ?query for a page below."""
    if isinstance(bound, UrlCondition):
        urls = {run.workflow_url, run.workflow_url.partition("?")[0]} if wide else {run.workflow_url}
        return (
            bound.any or run.workflow_url in bound.exact or any(below(url, top) for url in urls for top in bound.prefix)
        )
    if isinstance(bound, RunIdCondition):
        return not bound.prefix or any(run.run_id[: len(start)] == start for start in bound.prefix)
    if isinstance(bound, CreatedCondition):
        age_ms = NOW_MS - run.created_ms
        return bound.within_last_ms is None or (age_ms <= bound.within_last_ms and (wide or age_ms >= -60_000))
    assert isinstance(bound, ValueCondition)
    place = urlsplit(run.workflow_url)
    if isinstance(bound, PathCondition):
        return bound.any or place.path in bound.any_of or any(below(place.path, top) for top in bound.prefix)
    own: Sequence[str | None] = {
        "label": run.labels,
        "flowControlKey": (run.flow_control_key,),
        "callerIp": (run.caller_ip,),
        "host": (place.netloc,),
    }[bound.field]
    return any(value is not None if bound.any else value in bound.any_of for value in own)
