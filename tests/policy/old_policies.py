"""Every policy text of the suite before rules named actions, and what is decided under each on generated requests.

`old_policies.json` holds the texts, with a digest of the decisions as they were made before there was any action but
to cancel runs. Nothing writes it anew: an old policy means what it meant.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from gateway.core.errors import MalformedRequest
from gateway.core.forms.texts import PolicyText, PolicyTexts
from gateway.core.parse import Body
from gateway.core.plan import Denial, Permit
from gateway.core.request import ActionRequest, Principal
from gateway.core.run import STARTED, Listing, Run
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.choose import choose
from gateway.policy.decide import decide
from gateway.policy.format.load import policies_of
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.policy.recorded import Draw

KEPT = Path(__file__).with_name("old_policies.json")
REQUESTS = 80
RUNS = 12
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000

_PLAIN = re.compile(r"https?://[a-z0-9.:-]+/[A-Za-z0-9/._-]*")
_NAMES = {
    "workflowRunIds": ("wfr_1", "wfr_billing_1"),
    "workflowUrl": ("https://a.example/api", "https://billing.example.com/api/invoice"),
    "label": ("nightly", "batch"),
    "flowControlKey": ("k", "billing"),
    "callerIp": ("10.0.0.1", "2001:db8::1"),
    "host": ("billing.example.com",),
    "path": ("/api/invoice",),
    "created": (),
}


def policies(text: str) -> Policies:
    """Return the rules of one file."""
    texts = PolicyTexts((PolicyText("policy.yaml", text.encode()),))
    return policies_of(texts)


class _Requests:
    """Generated requests: most are made after an `allow`, with values that it lists, often changed at the end."""

    def __init__(self, draw: Draw, rules: Sequence[Rule]) -> None:
        self._draw = draw
        self._allows = [rule for rule in rules if rule.effect is Effect.ALLOW]
        named = sorted({team for rule in rules for team in rule.teams} - {"*"})
        self.teams = (*named, *named, *named, "nobody")

    def query(self) -> str:
        """Return a query."""
        draw, rule = self._draw, self._draw.one(self._allows) if self._allows else None
        fields = set(rule.conditions) if rule is not None and not draw.in_(5) else set(draw.some(tuple(_NAMES)))
        if draw.in_(4):
            fields ^= {draw.one(tuple(_NAMES))}
        if "workflowRunIds" in fields and not draw.in_(8):
            fields = {"workflowRunIds"}
        pairs = [pair for name in sorted(fields) for pair in self._pairs(name, rule)]
        count = "" if fields == {"workflowRunIds"} else draw.one(("", "", "count=1", "count=20", "count=100"))
        return "&".join([*pairs, count] if count else pairs)

    def _pairs(self, name: str, rule: Rule | None) -> list[str]:
        draw = self._draw
        if name == "created":
            start = NOW_MS - draw.one((1, 1, 2, 6, 24, 48)) * HOUR_MS + draw.one((-1, 0, 1))
            return [f"fromDate={start}", *([f"toDate={NOW_MS}"] if draw.in_(2) else [])]
        values = draw.some(self._values(name, rule), most=2)
        found = [f"{name}={quote(value, safe='')}" for value in values]
        return [*found, "workflowUrlExactMatch=true"] if name == "workflowUrl" and not draw.in_(3) else found

    def _values(self, name: str, rule: Rule | None) -> tuple[str, ...]:
        condition = None if rule is None else rule.conditions.get(name)
        listed = sorted({*getattr(condition, "any_of", ()), *getattr(condition, "exact", ())})
        tops = getattr(condition, "prefix", ())
        if name == "workflowRunIds":
            found = tuple(f"{top}{end}" for top in tops for end in "123")
        else:
            found = (*listed, *listed, *(f"{top.rstrip('/')}{end}" for top in tops for end in ("/", "/x", "/x", "-v2")))
        return (*found, *found, *_NAMES[name])

    def runs(self) -> tuple[Run, ...]:
        """Return runs of the account, most of them near to what a rule names."""
        draw, found = self._draw, []
        for number in range(RUNS):
            rule = draw.one(self._allows) if self._allows else None
            url = draw.one([url for url in self._values("workflowUrl", rule) if _PLAIN.fullmatch(url)])
            age_ms = draw.one((0, 1, 2, 7, 30)) * HOUR_MS
            labels = draw.some(self._values("label", rule), most=2)
            key = draw.one(self._values("flowControlKey", rule))
            found.append(Run(f"wfr_{number}", url, NOW_MS - age_ms, STARTED, "10.0.0.1", key, labels))
        return tuple(found)


def decisions(text: str) -> Iterator[dict[str, object]]:
    """Yield what is decided on each request under a text, and on the runs where they are looked up."""
    made = policies(text)
    asked = _Requests(Draw(len(text)), made.rules)
    for number in range(REQUESTS):
        principal, query = Principal(asked.teams[number % len(asked.teams)], "ci"), asked.query()
        try:
            request = parse_cancel(query.encode(), Body())
        except (MalformedRequest, UnicodeEncodeError):
            yield {"query": query, "malformed": True}
            continue
        yield {"query": query, "team": principal.team, **_decided(made, principal, request, asked.runs())}


def _decided(made: Policies, principal: Principal, request: ActionRequest, runs: tuple[Run, ...]) -> dict[str, object]:
    decision = decide(made, principal, request, NOW_MS)
    members: dict[str, object] = {"rule": decision.rule, "decided": decision.decided, "shadow": decision.shadow}
    members["exceptions"] = list(decision.exceptions)
    if isinstance(decision, Denial):
        return {**members, "permit": False, "nearest": decision.nearest, **decision.particulars()}
    members |= {"permit": True, "sent": decision.effective.wire(), "unchecked": decision.owner_unchecked}
    members["narrowing"] = decision.narrowing and list(decision.narrowing)
    return members | ({} if decision.resolution is None else _chosen(made, principal, request, decision, runs))


def _chosen(
    made: Policies, principal: Principal, request: ActionRequest, permit: Permit, runs: tuple[Run, ...]
) -> dict[str, object]:
    found = choose(made, principal, request, permit, Listing(runs), NOW_MS)
    if isinstance(found, Denial):
        return {"chosen": None, "by": found.rule}
    skipped = {reason: list(ids) for reason, ids in found.skipped.items()}
    return {"chosen": [run.run_id for run in found.runs], "skipped": skipped}


def digest(text: str) -> str:
    """Return a digest of all decisions under a text."""
    made = json.dumps(list(decisions(text)), sort_keys=True)
    return hashlib.sha256(made.encode()).hexdigest()[:16]
