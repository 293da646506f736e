"""The keys of a policy file and of a rule, as declarations that read and describe them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gateway.core.errors import Problem
from gateway.core.plan import Approval, Budget, Owner
from gateway.core.request import HERE, MAX_COUNT
from gateway.core.run import Resolution
from gateway.files.mappings import Either, Key, ListOf, Present, Shape, may, need
from gateway.files.nodes import Place
from gateway.files.values import Bool, Choice, Int, Text, duration_field, word
from gateway.policy.conditions import Condition, CountCondition, UrlCondition
from gateway.policy.format.conditions import FILTERS, NOT_IN_DENY, PATH, RUN_IDS, bounds, count, distinct, overlaps
from gateway.policy.format.times import end_field, window
from gateway.policy.model import Effect, TeamException
from gateway.policy.window import Window

MAX_TICKET_CHARS = 64
MAX_EXCEPTION_REASON_CHARS = 200
MAX_MESSAGE_CHARS = 300
MAX_OWNER_CHARS = 200
MAX_BUDGET = 100_000_000
"""The most runs, or requests, of one budget; and the most runs that need no approval."""

MAX_APPROVERS = 5
"""The most persons that a rule asks to approve."""


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """One rule as its file has it; the `teams`, `except` and `mode` of the file itself are not counted in yet."""

    at: Place
    id: str
    effect: Effect
    conditions: Mapping[str, Condition]
    count: CountCondition | None = None
    selects: tuple[str, ...] | None = None
    exact_match: bool = False
    owner: str | None = None
    message: str | None = None
    mode: str | None = None
    excepted: tuple[TeamException, ...] = ()
    during: Window | None = None
    until_ms: int | None = None
    reason: bool = False
    resolve: bool = False
    runs: Resolution | None = None
    logs: str | None = None
    budget: Budget | None = None
    approve: Approval | None = None


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One policy file as written."""

    at: Place
    version: int
    name: str
    teams: tuple[str, ...]
    description: str | None = None
    owner: Owner | None = None
    mode: str | None = None
    excepted: tuple[TeamException, ...] = ()
    deny: tuple[RuleEntry, ...] = ()
    require: tuple[RuleEntry, ...] = ()
    allow: tuple[RuleEntry, ...] = ()

    @property
    def rules(self) -> tuple[RuleEntry, ...]:
        """All rules of the file, whatever their effect."""
        return (*self.deny, *self.require, *self.allow)


def team_name() -> Text[str]:
    """Return the reader of a team's name."""
    return word("[a-z0-9][a-z0-9_-]{0,63}", "a team: lower-case letters, digits, '_' and '-', at most 64")


def key_id() -> Text[str]:
    """Return the reader of the id of a caller's key."""
    return word("[a-z0-9][a-z0-9-]{0,62}", "a key id: lower-case letters, digits and '-', at most 63")


def policy_file() -> Shape[PolicyFile]:
    """Return the reader of one policy file."""
    keys = {
        "version": need(Int(1, 1)),
        "name": need(word("[a-z0-9][a-z0-9-]{0,62}", "a name: lower-case letters, digits and '-', at most 63")),
        "description": may(Text(str)),
        "teams": need(_teams()),
        "owner": may(owner()),
        "except": may(_exceptions(), into="excepted"),
        "mode": may(_mode()),
        "deny": may(ListOf(_deny_rule())),
        "require": may(ListOf(_require_rule())),
        "allow": may(ListOf(_allow_rule())),
    }
    return Shape(PolicyFile, keys, check=_holds_a_rule, located=True)


def owner() -> Shape[Owner]:
    """Return the reader of a file's owner, whom people can ask about its rules."""
    said = Text(_not_blank, max_chars=MAX_OWNER_CHARS)
    return Shape(Owner, {"team": need(said), "contact": need(said)})


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("expected text, found only spaces")
    return text


def _teams() -> ListOf[str]:
    pattern = r"\*|[a-z0-9][a-z0-9_-]{0,63}"
    return distinct(word(pattern, "a team (lower-case letters, digits, '_' and '-', at most 64) or '*'"))


def _mode() -> Choice[str]:
    return Choice(("enforce", "shadow"))


def _selects() -> ListOf[str]:
    return ListOf(Choice(("run_ids", "filter", "everything")), distinct={"value": str})


def _rule_keys() -> dict[str, Key]:
    return {
        "id": need(word("[a-z0-9][a-z0-9-]{0,62}", "a rule id: lower-case letters, digits and '-', at most 63")),
        "message": may(Text(str, max_chars=MAX_MESSAGE_CHARS)),
        "mode": may(_mode()),
        "except": may(_exceptions(), into="excepted"),
        "during": may(window()),
        "until": may(end_field(), into="until_ms"),
    }


def _exceptions() -> ListOf[TeamException]:
    """Return the reader of `except`: teams by name alone, or with an end and the reason."""
    keys = {
        "team": need(team_name()),
        "until": may(end_field(), into="until_ms"),
        "reason": may(Text(str, max_chars=MAX_EXCEPTION_REASON_CHARS)),
        "ticket": may(Text(str, max_chars=MAX_TICKET_CHARS)),
    }
    plain = Text(_excepted, team_name().pattern)
    return ListOf(Either(plain, Shape(TeamException, keys, located=True)), distinct={"team": lambda one: one.team})


def _excepted(name: str) -> TeamException:
    return TeamException(team_name().parse(name))


def _deny_rule() -> Shape[RuleEntry]:
    keys = _rule_keys() | {"selects": may(_selects())} | {name: may(field) for name, field in overlaps().items()}
    absent = dict.fromkeys(
        ("count", "workflowUrlExactMatch", "owner", "resolve", "runs", "logs", "reason", "budget", "approve"),
        NOT_IN_DENY,
    )
    return Shape(partial(_entry, effect=Effect.DENY), keys, check=_one_kind, absent=absent, located=True)


def _require_rule() -> Shape[RuleEntry]:
    keys = _rule_keys() | {"selects": may(_selects())} | {name: may(field) for name, field in bounds().items()}
    keys |= {"count": may(count()), "workflowUrlExactMatch": may(Bool(only_true=True), into="exact_match")}
    keys |= {"reason": may(Bool(only_true=True))} | _resolve_keys()
    absent = {"owner": "only an allow on workflowRunIds says who vouches for the owner", "logs": _IN_ALLOW}
    absent |= {"budget": _IN_ALLOW, "approve": _IN_ALLOW}
    return Shape(partial(_entry, effect=Effect.REQUIRE), keys, check=_check_require, absent=absent, located=True)


_IN_ALLOW = "it exists in an allow"


def _resolve_keys() -> dict[str, Key]:
    """Return the keys that have the runs looked up and bound what may be found."""
    runs = {
        "max": may(Int(1, MAX_COUNT), into="max_runs"),
        "cap": may(Int(1, MAX_COUNT)),
        "older_than": may(duration_field(), into="older_than_ms"),
    }
    return {"resolve": may(Bool(only_true=True)), "runs": may(Shape(Resolution, runs, one_of=("max", "cap")))}


def _allow_rule() -> Shape[RuleEntry]:
    keys = _rule_keys() | {"selects": may(_selects())} | {name: may(field) for name, field in bounds().items()}
    keys |= {"count": may(count()), "owner": may(Choice(("unchecked",)))} | _resolve_keys()
    keys |= {"logs": may(Choice(("summary", "full"))), "budget": may(_budget()), "approve": may(_approval())}
    absent = {"workflowUrlExactMatch": "it exists in a require; here write {exact: […]}"}
    absent |= {"reason": "it exists in a require"}
    return Shape(partial(_entry, effect=Effect.ALLOW), keys, check=_check_allow, absent=absent, located=True)


def _budget() -> Shape[Budget]:
    """Return the reader of how much a rule may do within a while: runs, requests, or both."""
    keys = {
        "runs": may(Int(1, MAX_BUDGET)),
        "requests": may(Int(1, MAX_BUDGET)),
        "per": need(duration_field(), into="per_ms"),
        "shared": may(Choice(("rule", "team", "key"))),
    }
    return Shape(Budget, keys, check=_bounds_something)


def _approval() -> Shape[Approval]:
    """Return the reader of who has to approve, how many of them, and from how many runs on."""
    keys = {
        "by": need(distinct(team_name())),
        "count": may(Int(1, MAX_APPROVERS)),
        "over": may(Int(0, MAX_BUDGET)),
        "within": may(duration_field(), into="within_ms"),
    }
    return Shape(Approval, keys)


def _bounds_something(place: Place, present: Present) -> list[Problem]:
    if "runs" in present or "requests" in present:
        return []
    return [place.problem("the budget bounds nothing: write 'runs', 'requests', or both")]


def _entry(*, effect: Effect, **values: object) -> RuleEntry:
    conditions = {name: values.pop(name) for name in (RUN_IDS, *FILTERS) if name in values}
    make: Callable[..., RuleEntry] = RuleEntry
    return make(effect=effect, conditions=conditions, **values)


def _holds_a_rule(place: Place, present: Present) -> list[Problem]:
    if not present.keys().isdisjoint(("deny", "require", "allow")):
        return []
    return [place.problem("the file holds no rule: write deny, require or allow")]


def _one_kind(place: Place, present: Present) -> list[Problem]:
    if RUN_IDS in present and not present.keys().isdisjoint(FILTERS):
        return [place.problem("run IDs and filters never stand in one rule: upstream ignores filters beside IDs")]
    return []


def _check_require(place: Place, present: Present) -> list[Problem]:
    conditions = {RUN_IDS, *FILTERS, "count", "selects", "workflowUrlExactMatch", "reason", "resolve"}
    if present.keys().isdisjoint(conditions):
        return [place.problem("the require names no condition, so it would hold for every request")]
    return [*_one_kind(place, present), *_check_resolve(place, present)]


def _check_resolve(place: Place, present: Present) -> list[Problem]:
    if "resolve" in present and "runs" not in present:
        return [place.problem("'resolve: true' needs 'runs: {max: …}' or 'runs: {cap: …}': how many may be cancelled")]
    if "runs" in present and "resolve" not in present:
        return [present["runs"].problem("'runs' stands only beside 'resolve: true'")]
    return []


def _check_allow(place: Place, present: Present) -> list[Problem]:
    problems = _check_resolve(place, present)
    if "budget" in present and present.keys().isdisjoint(("resolve", RUN_IDS)):
        said = "a budget counts runs, so it stands only where they are known: beside 'resolve: true' or workflowRunIds"
        problems.append(present["budget"].problem(said))
    if "approve" in present and "resolve" not in present:
        said = "people approve runs that were found, so 'approve' stands only beside 'resolve: true'"
        problems.append(present["approve"].problem(said))
    if RUN_IDS in present:
        return problems + _check_allowed_ids(place, present)
    problems += _check_here(present)
    if present.keys().isdisjoint(FILTERS) and not {"selects", "resolve"} <= present.keys():
        fields = f"workflowRunIds or one of {', '.join(FILTERS)}"
        problems.append(
            place.problem(
                f"the allow names nothing that selects: write {fields}; "
                "everything can only be allowed by selects: [everything] with resolve: true"
            )
        )
    if "owner" in present:
        problems.append(present["owner"].problem("'owner' stands only beside workflowRunIds"))
    return problems


def _check_here(present: Present) -> list[Problem]:
    """Return the problems of an `allow` on what the gateway matches itself, the host and path of runs."""
    problems = [
        present[name].problem(
            f"{name} is matched by the gateway and never sent: an allow on it has the runs looked up (resolve: true)"
        )
        for name in sorted(HERE & present.keys())
        if "resolve" not in present
    ]
    if PATH in present and present.keys().isdisjoint(("host", "workflowUrl")):
        problems.append(present[PATH].problem("a path is one of a host: name host or workflowUrl beside it"))
    return problems


def _check_allowed_ids(place: Place, present: Present) -> list[Problem]:
    if "resolve" not in present:
        problems = _one_kind(place, present)
        if "owner" not in present:
            problems.append(
                place.problem(
                    "run IDs carry no owner: say 'resolve: true' to have the runs looked up, "
                    "or 'owner: unchecked' to allow them all the same"
                )
            )
        return problems
    problems = [
        present[name].problem(f"beside workflowRunIds an allow with 'resolve: true' names workflowUrl only, not {name}")
        for name in FILTERS
        if name in present and name != "workflowUrl"
    ]
    if "workflowUrl" not in present:
        problems.append(
            place.problem("with 'resolve: true' an allow on workflowRunIds names the workflowUrl its runs must have")
        )
    if "owner" in present:
        problems.append(
            present["owner"].problem(
                "'owner: unchecked' and 'resolve: true' exclude each other: the runs are looked up"
            )
        )
    return problems


def allowed_at_all(entry: RuleEntry) -> list[Problem]:
    """Return the problems of an `allow` that its keys alone do not show.

    These are `everything` that is not alone or has no look-up, a rule that selects nothing, and an optional URL beside
    run IDs.
    """
    kinds = entry.selects or ()
    if "everything" in kinds and (not entry.resolve or entry.conditions or kinds != ("everything",)):
        return [
            entry.at.problem(
                "everything can only be allowed by a rule that looks the runs up (resolve: true), "
                "says selects: [everything] alone, and names no field"
            )
        ]
    if not entry.conditions and "everything" not in kinds:
        return [entry.at.problem("the allow names nothing that selects: with no field it says selects: [everything]")]
    url = entry.conditions.get("workflowUrl")
    if RUN_IDS in entry.conditions and isinstance(url, UrlCondition) and url.optional and not url.any:
        return [entry.at.problem("beside workflowRunIds workflowUrl is not optional: every run has a URL")]
    return []
