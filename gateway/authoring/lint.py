"""Warnings about policies and configurations that are valid. Each has an id, a reason and a fix; none is an error.

A finding is silenced at its place, with a reason: `# lint: ignore <id>: <reason>`, at the end of its line or on a
line of its own above it. Pure: files come in as text, time as Unix milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from gateway.authoring.conflicts import kind_of, refuses_all
from gateway.authoring.lints.approvals import approve_idle, approving_teams, by_nobody
from gateway.authoring.lints.bounds import above_lookup, budget_idle, budget_of_all, cap_above
from gateway.authoring.lints.finding import Finding, about, lasting, place_of
from gateway.authoring.lints.looked_up import admits_more, looks_up, not_compared, owner_unchecked, teams_looked_up
from gateway.authoring.lints.pauses import paused_for_good
from gateway.callers.settings import ending
from gateway.config import CLOSING_S
from gateway.core.errors import InvalidConfiguration
from gateway.core.forms.times import instant, utc
from gateway.core.request import CANCEL_RUNS, Action
from gateway.core.run import LookUpBounds
from gateway.files import nodes
from gateway.files.nodes import Place
from gateway.files.yaml_text import compose
from gateway.policy.conditions import UrlCondition
from gateway.policy.format.conditions import FILTERS
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies

IDS = {
    "never-matches": "the rule can never match",
    "always-refused": "another rule refuses all that this one allows",
    "bare-host-prefix": "a prefix without a path is a whole host",
    "cap-above-guardrail": "a smaller cap makes this one idle",
    "runs-above-lookup": "a bound on runs that no look-up reaches",
    "team-without-allow": "a caller of a team that may do nothing",
    "team-without-caller": "a team that nobody speaks for",
    "owner-unchecked": "run IDs taken on trust",
    "pause-for-good": "a pause that nobody may undo",
    "budget-of-all": "one budget for whoever comes first",
    "budget-idle": "a budget that never counts",
    "approve-idle": "an approval that is never asked for",
    "approve-by-nobody": "an approval that nobody can give",
    "count-only": "a bound that upstream may ignore",
    "optional-not-compared": "a bound that runs are not held against",
    "resolve-admits-more": "filters that the rule does not mention",
    "passed": "an end that has passed",
    "timeout-above-grace": "a call may be cut off at the end",
    "key-expired": "a key that is no longer good",
    "key-expires": "a key that is soon no longer good",
    "certificate-expires": "a TLS certificate that is soon no longer good",
    "clock-behind": "records that are ahead of the machine's clock",
    "hidden-file": "a hidden file is no policy",
    "readable-by-all": "a secret that everyone may read",
    "silence-without-reason": "a silence says why",
    "silence-unused": "a silence that silences nothing",
}
"""Every lint: its id, and what it is about."""

CONTRACTS = ("2025", "2026-09")
"""The contracts of upstream. The configured one only makes a difference to `count-only`."""

_SILENCE = re.compile(r"#\s*lint:\s*ignore\b\s*(?:(?P<id>[a-z-]+)\s*)?(?P<reason>:.*)?$")

Lines = Mapping[str, Sequence[str]]
"""The lines of each file, by the file name that a `Place` has."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A key (with its last UTC day) or an issuer, and the team that it may speak for."""

    name: str
    team: str
    at: Place
    last: date | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The parts of a configuration that lints need. `at` is the place of its deadlines; `seen` comes from the disk.

    `lookup_runs` is the most runs that may match in one look-up. `operators` are teams whose work is no cancel.
    """

    contract: str
    callers: tuple[Caller, ...]
    total_timeout_s: int
    shutdown_grace_s: int
    at: Place
    seen: tuple[Finding, ...] = ()
    lookup_runs: int = LookUpBounds().runs
    operators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Silence:
    place: Place
    id: str
    reason: str
    line: int
    """The line that the silence is about."""


def lint(policies: Policies, lines: Lines, summary: Summary, now_ms: int) -> tuple[Finding, ...]:
    """Return every finding that is not silenced, sorted by file and place."""
    found = [*_of_rules(policies, summary, now_ms), *_of_callers(policies, summary, now_ms), *summary.seen]
    silences = [silence for file, text in lines.items() for silence in _silences(file, text)]
    reasoned = {(one.place.file, one.line, one.id) for one in silences if one.reason}
    callerless = list(_without_caller(policies, lines, summary))
    callerless += by_nobody(policies, {caller.team for caller in summary.callers})
    # If nobody can call at all, a finding for each team would only repeat it: the summary of `check` says so once.
    told = [*found, *(callerless if summary.callers else ())]
    kept = [one for one in told if (one.place.file, one.place.line, one.id) not in reasoned]
    # One file serves under both contracts, and before the first key exists: a silence needed only then is not unused.
    other = (one for contract in CONTRACTS for rule in policies.rules for one in _count_only(rule, contract, policies))
    return tuple(sorted({*kept, *_of_silences(silences, [*found, *callerless, *other])}))


def _of_rules(policies: Policies, summary: Summary, now_ms: int) -> Iterator[Finding]:
    resolving = teams_looked_up(policies)
    checks: list[Callable[[Rule], Iterable[Finding]]] = [
        partial(_never_matches),
        partial(_bare_host),
        partial(owner_unchecked),
        partial(paused_for_good, policies=policies),
        partial(admits_more),
        partial(_passed, now_ms=now_ms),
        partial(_count_only, contract=summary.contract, policies=policies),
        partial(not_compared, policies=policies, resolving=resolving),
        partial(cap_above, policies=policies),
        partial(above_lookup, most=summary.lookup_runs),
        partial(budget_of_all),
        partial(budget_idle, policies=policies),
        partial(approve_idle),
        partial(_always_refused, policies=policies),
    ]
    for rule in policies.rules:
        for check in checks:
            yield from check(rule)


def _never_matches(rule: Rule) -> Iterator[Finding]:
    at = place_of(rule)
    if rule.teams and "*" not in rule.teams and all(rule.never_about(team) for team in rule.teams):
        yield Finding(at, "never-matches", f"{rule.name} excepts every team it is made for.", "Remove it.")
    if rule.during is not None and rule.until_ms is not None:
        begins = rule.during.from_ms
        if begins is not None and begins >= rule.until_ms:
            yield Finding(at, "never-matches", f"{rule.name} ends before its window opens.", "Correct until or during.")
    if rule.effect is Effect.ALLOW and rule.selects is not None and kind_of(rule) not in rule.selects:
        message = f"{rule.name} names {kind_of(rule)} conditions, and selects leaves {kind_of(rule)} out."
        yield Finding(at, "never-matches", message, f"Add {kind_of(rule)} to selects, or leave selects out.")


def _bare_host(rule: Rule) -> Iterator[Finding]:
    url = rule.conditions.get("workflowUrl")
    if rule.effect is Effect.DENY or not isinstance(url, UrlCondition):
        return
    for prefix in url.prefix:
        if prefix.rstrip("/").count("/") == 2:
            message = f"{rule.name} admits every workflow of {prefix}, also those that come later."
            yield Finding(
                place_of(rule), "bare-host-prefix", message, "Name the path below which they may be cancelled."
            )


def _passed(rule: Rule, now_ms: int) -> Iterator[Finding]:
    ends = [end for end in (rule.until_ms, rule.during.until_ms if rule.during else None) if end is not None]
    if ends and min(ends) <= now_ms:
        message = f"{rule.name} ended at {instant(min(ends))} and is as if absent."
        yield Finding(place_of(rule), "passed", message, "Remove the rule, or set a later end.")
    for one in rule.excepted:
        if one.until_ms is not None and one.until_ms <= now_ms:
            message = f"{rule.name}: the exception of {one} ended at {instant(one.until_ms)}."
            yield Finding(one.at or place_of(rule), "passed", message, "Remove it, or set a later end.")


def _count_only(rule: Rule, contract: str, policies: Policies) -> Iterator[Finding]:
    if contract != "2026-09" or rule.count is None or rule.count.ceiling is None or rule.effect is Effect.DENY:
        return
    if CANCEL_RUNS not in rule.actions:
        return  # no other action is ever sent with a filter
    if rule.resolution is not None or all(looks_up(policies, team, CANCEL_RUNS) for team in rule.teams):
        return
    by_filter = not rule.conditions.keys().isdisjoint(FILTERS)
    if by_filter or (rule.effect is Effect.REQUIRE and rule.id_list is None):
        message = (
            f"{rule.name} bounds a filter cancel by count alone; count is advisory under 2026-09, upstream may cancel "
            "every run that matches."
        )
        fix = (
            "Have the runs looked up (resolve: true), or keep the filter narrow: only a list of run IDs bounds exactly."
        )
        yield Finding(place_of(rule), "count-only", message, fix)


def _always_refused(rule: Rule, policies: Policies) -> Iterator[Finding]:
    if rule.effect is not Effect.ALLOW or rule.shadow:
        return
    guards = [_refusing(rule, policies, *each) for each in about(rule) if not rule.never_about(each[0])]
    named = [guard for guard in guards if guard is not None]
    if named and len(named) == len(guards):
        message = f"{rule.name} allows nothing: {named[0].name} refuses every request that it admits."
        yield Finding(place_of(rule), "always-refused", message, f"Narrow {named[0].name}, or remove this rule.")


def _refusing(rule: Rule, policies: Policies, team: str, action: Action) -> Rule | None:
    """Return the first rule that applies to the team and the action at all times and refuses all that `rule` allows."""
    rules = policies.for_team(team, action)
    guards = (guard for guard in (*rules.denies, *rules.requires) if lasting(guard, team) and not guard.shadow)
    # A require that looks runs up at some times leaves to the runs, at those times, what would otherwise be refused.
    resolved = rule.resolution is not None or any(one.resolution is not None for one in rules.requires)
    return next((guard for guard in guards if refuses_all(guard, rule, resolved=resolved)), None)


def _of_callers(policies: Policies, summary: Summary, now_ms: int) -> Iterator[Finding]:
    least = summary.total_timeout_s + CLOSING_S + 1
    if summary.shutdown_grace_s < least:
        message = (
            f"upstream.total_timeout_s ({summary.total_timeout_s}) and the {CLOSING_S} s for closing do not fit "
            f"into shutdown_grace_s ({summary.shutdown_grace_s}): a call in flight at the end may be closed as unknown."
        )
        yield Finding(summary.at, "timeout-above-grace", message, f"Raise shutdown_grace_s to {least} or more.")
    acting = {*summary.operators, *approving_teams(policies)}  # they freeze or approve, and need no rule for it
    for caller in summary.callers:
        yield from _of_caller(caller, now_ms)
        allowed = any(policies.for_team(caller.team, action).allows for action in Action)
        if not allowed and caller.team not in acting:
            message = f"{caller.name}: no rule allows anything to team {caller.team}."
            fix = "Write an allow for the team, or remove the caller."
            yield Finding(caller.at, "team-without-allow", message, fix)


def _without_caller(policies: Policies, lines: Lines, summary: Summary) -> Iterator[Finding]:
    spoken_for = {"*", *(caller.team for caller in summary.callers)}
    callerless: dict[str, set[str]] = {}
    for rule in policies.rules:
        if unspoken := rule.teams - spoken_for:
            callerless.setdefault(place_of(rule).file, set()).update(unspoken)
    for file, teams in callerless.items():
        place = _teams_key(file, lines.get(file, ()))
        for team in sorted(teams):
            message = f"Nobody can call as team {team}: no key and no issuer names it."
            yield Finding(place, "team-without-caller", message, f"Make a key with 'keys new --team {team} --id …'.")


def _of_caller(caller: Caller, now_ms: int) -> Iterator[Finding]:
    today = utc(now_ms).date()
    if (words := ending(caller.last, today)) is not None and caller.last is not None:
        expired = caller.last < today
        fix = "Remove it; 'keys new' makes another." if expired else "Make its successor with 'keys new' before."
        yield Finding(caller.at, "key-expired" if expired else "key-expires", f"{caller.name}: {words}.", fix)


def _teams_key(file: str, text: Sequence[str]) -> Place:
    """Return the place of the key `teams` in a policy file, or the file's beginning if it cannot be read any more."""
    try:
        document, _ = compose(file, "\n".join(text))
    except InvalidConfiguration:
        return Place(file, 1, 1)
    members = document.members if isinstance(document, nodes.Mapping) else ()
    return next((key.place for key, _ in members if key.text == "teams"), Place(file, 1, 1))


def _silences(file: str, text: Sequence[str]) -> Iterator[_Silence]:
    for number, line in enumerate(text, 1):
        match = _SILENCE.search(line) if "#" in line else None
        if match is None:
            continue
        about = number
        # On a line of its own, a silence is about the next line that is not a comment.
        while about <= len(text) and text[about - 1].lstrip().startswith("#"):
            about += 1
        yield _Silence(
            Place(file, number, match.start() + 1), match["id"] or "", (match["reason"] or "")[1:].strip(), about
        )


def _of_silences(silences: Iterable[_Silence], found: Sequence[Finding]) -> Iterator[Finding]:
    standing = {(one.place.file, one.place.line, one.id) for one in found}
    for silence in silences:
        if not silence.reason:
            message = "This silence gives no reason, so it silences nothing."
            yield Finding(silence.place, "silence-without-reason", message, "Write '# lint: ignore <id>: <reason>'.")
        elif (silence.place.file, silence.line, silence.id) not in standing:
            known = "there is no such finding here" if silence.id in IDS else "there is no such lint"
            yield Finding(silence.place, "silence-unused", f"Nothing is silenced: {known}.", "Remove the comment.")
