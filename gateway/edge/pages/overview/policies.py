"""The page of policies: the files that are in force for a team, as they were written, and what their rules did."""

from __future__ import annotations

from pathlib import PurePath

from gateway.core.forms.times import run_time
from gateway.core.request import Action
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of
from gateway.edge.pages.decisions import team_seen
from gateway.edge.pages.overview.counts import CountPages, Tally, length_ms
from gateway.policy.model import Rule
from gateway.policy.rules import Policies

EFFECTS = ("refuse", "admit", "recount")
"""What a rule in shadow mode may have done, were it enforced."""


class PolicyPages:
    """The call that shows policies."""

    def __init__(self, counts: CountPages, intake: Intake) -> None:
        self._counts = counts
        self._intake = intake

    async def policies(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/policies`: the files that name the caller's team or `*`; to operators all of them.

        The counts are those of the caller's team, to operators of all. Raises: Refusal.
        """
        since_ms = self._intake.clock.now_ms() - length_ms(inbound)
        team, policies = team_seen(inbound), inbound.live.policies
        tally = await self._counts.of_rules(caller_of(inbound), team, since_ms)
        members = {
            "policy_digest": policies.digest,
            "since": run_time(since_ms),
            "decisions": tally.decisions,
            "complete": tally.complete,
            "files": files(policies, team, tally),
        }
        return answers.status_page(200, members, inbound.decision_id)


def files(policies: Policies, team: str | None, tally: Tally) -> list[dict[str, object]]:
    """Return the files that a team sees (None: all), with their text and the counts of their rules."""
    rules: dict[str, list[Rule]] = {}
    for rule in policies.rules:
        if rule.at is not None:
            rules.setdefault(PurePath(rule.at.file).name, []).append(rule)
    return [
        {
            "file": text.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            "teams": sorted({name for rule in rules.get(text.name, ()) for name in rule.teams}),
            "text": text.content.decode("utf-8", "replace"),
            "rules": [_rule(rule, tally) for rule in rules.get(text.name, ())],
        }
        for text in policies.texts.files
        if team is None or any(not rule.teams.isdisjoint((team, "*")) for rule in rules.get(text.name, ()))
    ]


def _rule(rule: Rule, tally: Tally) -> dict[str, object]:
    return {
        "rule": rule.name,
        "effect": rule.effect.value,
        "actions": [action.value for action in Action if action in rule.actions],
        "mode": "shadow" if rule.shadow else "enforce",
        "hits": tally.hits[rule.name],
        "shadow": {effect: tally.shadow[rule.name, effect] for effect in EFFECTS},
    }
