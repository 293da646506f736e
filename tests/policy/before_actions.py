"""The judgement as it was before rules named actions: the policies of that day, and a digest of what each decided.

`before_actions.json` holds the text of every policy that the suite then loaded, and the digests that the code of that
day gave for them. They are never computed anew: a rule that names no action means what it meant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.core.forms.texts import PolicyText, PolicyTexts
from gateway.core.plan import Decision, Denial, Permit
from gateway.core.request import ActionRequest, ByIds, Everything, Principal, Selection, filter_with
from gateway.core.run import CANCELLED, STARTED, Listing, Resolved, Run
from gateway.policy.choose import choose, covers
from gateway.policy.conditions import CreatedCondition, PathCondition, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.format.load import policies_of
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.policy.recorded import Draw

RECORD = Path(__file__).with_name("before_actions.json")
REQUESTS = 40
RUNS = 6
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000

_MEMBERS = {
    "label": "labels",
    "flowControlKey": "flow_control_keys",
    "callerIp": "caller_ips",
    "host": "hosts",
    "path": "paths",
}
_OTHERS = {
    "label": ("nightly", "keep", "x"),
    "flowControlKey": ("k", "K"),
    "callerIp": ("10.0.0.1", "2001:db8::1"),
    "host": ("a.example", "billing.example.com"),
    "path": ("/api", "/api-v2/x"),
}
_URLS = ("https://a.example/x", "https://billing.example.com/api/invoice", "https://b.example/")
_REASONS = (None, "stuck")


class _Known:
    """The values that the rules of a policy list, and some beside, above and below them."""

    def __init__(self, policies: Policies) -> None:
        self.urls, self.prefixes, self.times = [*_URLS], ["wfr_", "x"], [NOW_MS]
        self.values = {field: [*values] for field, values in _OTHERS.items()}
        self.spans = [HOUR_MS]
        teams = {team for rule in policies.rules for team in rule.teams} | policies.named
        self.teams = [*sorted(teams - {"*"}), "nobody"]
        for rule in policies.rules:
            for condition in rule.conditions.values():
                self._add(condition)
            ends = [rule.until_ms, *(one.until_ms for one in rule.excepted)]
            ends += [rule.during.from_ms, rule.during.until_ms] if rule.during else []
            self.times += [end + beside for end in ends if end is not None for beside in (-1, 0)]

    def _add(self, condition: object) -> None:
        match condition:
            case UrlCondition(exact=exact, prefix=prefix):
                tops = [url.rstrip("/") for url in prefix]
                self.urls += sorted(exact) + [f"{top}{end}" for top in tops for end in ("/", "/x/y", "-v2/x")]
            case RunIdCondition(prefix=prefix):
                self.prefixes += prefix
            case ValueCondition(field=field, any_of=listed):
                self.values[field] += sorted(listed)
                below = condition.prefix if isinstance(condition, PathCondition) else ()
                self.values[field] += [f"{top.rstrip('/')}/x" for top in below]
            case CreatedCondition(within_last_ms=length, max_span_ms=span):
                self.spans += [one for one in (length, span) if one is not None]


def _selection(draw: Draw, known: _Known) -> Selection:
    if draw.in_(4):
        return ByIds(draw.some([f"{prefix}{end}" for prefix in known.prefixes for end in ("1", "2")], most=4))
    if draw.in_(10):
        return Everything()
    members: dict[str, object] = {}
    for field in draw.some(("workflowUrl", "workflowUrl", "workflowUrl", "created", *_MEMBERS)):
        if field == "workflowUrl":
            urls = draw.some(known.urls, most=2)
            members |= {"workflow_urls": urls, "exact": any("?" in url for url in urls) or draw.in_(2)}
        elif field == "created":
            end = draw.one((None, NOW_MS))
            members |= {"from_date": NOW_MS - draw.one(known.spans) + draw.one((-1, 0, 1)), "to_date": end}
        else:
            members[_MEMBERS[field]] = draw.some(known.values[field], most=2)
    return filter_with(members)


def _after(draw: Draw, allow: Rule) -> Selection:
    """Return a selection with values that an `allow` lists, so that it is often admitted."""
    members: dict[str, object] = {}
    for field, condition in allow.conditions.items():
        match condition:
            case RunIdCondition(prefix=prefixes):
                return ByIds(draw.some([f"{draw.one(prefixes or ('wfr_',))}{end}" for end in "123"], most=3))
            case UrlCondition(exact=exact, prefix=prefixes):
                below = [f"{top.rstrip('/')}/{end}" for top in prefixes for end in ("", "z")]
                members |= {"workflow_urls": draw.some(sorted(exact) or below or _URLS, most=2)}
                members |= {"exact": bool(exact) or draw.in_(2)}
            case CreatedCondition(within_last_ms=length, max_span_ms=span):
                start = NOW_MS - min(length or HOUR_MS, span or HOUR_MS)
                members |= {"from_date": start + draw.one((0, 1, -1)), "to_date": NOW_MS}
            case ValueCondition(any_of=listed):
                members[_MEMBERS[field]] = draw.some(sorted(listed) or _OTHERS[field], most=2)
    return filter_with(members) if members else Everything()


def _asked(draw: Draw, known: _Known, policies: Policies) -> tuple[ActionRequest, Principal]:
    """Return a request and who makes it: of three, two are made after an `allow`, mostly by a team that it is for."""
    allows = [rule for rule in policies.rules if rule.effect is Effect.ALLOW]
    team, selection = draw.one(known.teams), _selection(draw, known)
    if allows and not draw.in_(3):
        allow = draw.one(allows)
        team, selection = draw.one((*sorted(allow.teams - {"*"}), team)), _after(draw, allow)
    count = len(selection.ids) if isinstance(selection, ByIds) else draw.one((1, 2, 5, 20, 100, 5000))
    return ActionRequest(selection, count, reason=draw.one(_REASONS)), Principal(team, "ci")


def _run(draw: Draw, known: _Known, run_id: str) -> Run:
    return Run(
        run_id,
        draw.one(known.urls),
        NOW_MS - draw.one((0, *known.spans)) + draw.one((-1, 0, 1)),
        draw.one((STARTED, STARTED, STARTED, CANCELLED)),
        draw.one((None, *known.values["callerIp"])),
        draw.one((None, *known.values["flowControlKey"])),
        draw.some(known.values["label"], most=2),
    )


def _listing(draw: Draw, known: _Known, selection: Selection) -> Listing:
    named = selection.ids if isinstance(selection, ByIds) else ()
    run_ids = dict.fromkeys((*named, *(f"{draw.one(known.prefixes)}{number}" for number in range(RUNS))))
    return Listing(tuple(_run(draw, known, run_id) for run_id in run_ids))


def _said(decision: Decision) -> tuple[object, ...]:
    kind = "permit" if isinstance(decision, Permit) else "deny"
    said = (kind, decision.rule, decision.decided, decision.shadow, decision.exceptions)
    if isinstance(decision, Denial):
        return (*said, decision.reason, decision.nearest, decision.particulars())
    more = (decision.effective.wire(), decision.narrowing, decision.owner_unchecked)
    return (*said, *more, str(decision.resolution), str(decision.budget), str(decision.approval))


def _taken(ended: Resolved) -> tuple[object, ...]:
    skipped = {why.value: ids for why, ids in ended.skipped.items()}
    return "taken", [run.run_id for run in ended.runs], skipped, ended.more


def judgements(text: str) -> Iterator[tuple[object, ...]]:
    """Yield what a policy decides on generated requests, what it takes of generated runs, and which it shows.

    The first member says which of them it is.
    """
    policies = policies_of(PolicyTexts((PolicyText("p.yaml", text.encode()),)))
    draw, known = Draw(len(text)), _Known(policies)
    for _ in range(REQUESTS):
        (asked, team), now_ms = _asked(draw, known, policies), draw.one(known.times)
        decision, listing = decide(policies, team, asked, now_ms), _listing(draw, known, asked.selection)
        yield _said(decision)
        rules = policies.for_team(team.team)
        yield "shown", *(rule and rule.name for rule in (covers(rules, run, now_ms) for run in listing.runs))
        if isinstance(decision, Permit) and decision.resolution is not None:
            ended = choose(policies, team, asked, decision, listing, now_ms)
            yield _said(ended) if isinstance(ended, Denial) else _taken(ended)


def digest(text: str) -> str:
    """Return the first digits of the SHA-256 over all judgements of a policy."""
    lines = json.dumps([*judgements(text)], sort_keys=True, default=str)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def recorded() -> Sequence[tuple[str, str]]:
    """Return the text of each policy of that day, and the digest of what it decided."""
    return [(one["text"], one["digest"]) for one in json.loads(RECORD.read_text(encoding="utf-8"))]
