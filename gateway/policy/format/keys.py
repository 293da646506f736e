"""The keys of a policy file and of a rule, as declarations that read and describe them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

from gateway.core.errors import Problem
from gateway.core.plan import Approval, Budget, Owner
from gateway.core.request import MAX_COUNT
from gateway.core.run import Resolution
from gateway.files.mappings import Either, Judged, Key, ListOf, Present, Shape, may, need
from gateway.files.nodes import Node, Place
from gateway.files.values import Bool, Choice, Int, Text, duration_field, word
from gateway.policy.conditions import Condition, CountCondition, UrlCondition
from gateway.policy.format.actions import EVERY, Actions, Named, actions_of, lacked
from gateway.policy.format.allowing import check_allow, check_require, id_list, looked_up, one_kind
from gateway.policy.format.conditions import FIELDS, NOT_IN_DENY, bounds, count, distinct, overlaps
from gateway.policy.format.times import end_field, window
from gateway.policy.model import ONLY_RUNS, Effect, TeamException
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
    actions: Actions = ONLY_RUNS
    overrides: bool = False


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
        **{effect.value: may(ListOf(_RuleOf(effect)), into=effect.value) for effect in _SHAPES},
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
    kinds = Judged(Choice(("run_ids", "ids", "filter", "everything")), lambda kind: _KINDS.get(kind, kind))
    return ListOf(kinds, distinct={"value": str})


_KINDS = {"ids": "run_ids"}
"""Other words for a kind of selection: not all IDs are those of runs."""


@dataclass(frozen=True, slots=True)
class _RuleOf:
    """The reader of a rule: which keys it has depends on the actions that it names."""

    effect: Effect

    def read(self, node: Node, problems: list[Problem]) -> RuleEntry | None:
        """Return the rule; None if it cannot be read."""
        actions = actions_of(node, Named(in_allow=self.effect is Effect.ALLOW), problems)
        return None if actions is None else _shape(self.effect, actions).read(node, problems)

    def json_schema(self) -> dict[str, object]:
        """Return the schema of a rule with the keys of all actions."""
        return _SHAPES[self.effect](EVERY).json_schema()


@cache
def _shape(effect: Effect, actions: Actions) -> Shape[RuleEntry]:
    """Return the reader of a rule about these actions: without the keys that one of them does not have."""
    whole = _SHAPES[effect](actions)
    said = {name: why for name in whole.keys if (why := lacked(name, actions)) is not None}
    keys = {name: key for name, key in whole.keys.items() if name not in said}
    return replace(whole, keys=keys, absent={**whole.absent, **said})


def _rule_keys(effect: Effect) -> dict[str, Key]:
    return {
        "action": may(Named(in_allow=effect is Effect.ALLOW), into="actions"),
        "id": need(word("[a-z0-9][a-z0-9-]{0,62}", "a rule id: lower-case letters, digits and '-', at most 63")),
        "message": may(Text(str, max_chars=MAX_MESSAGE_CHARS)),
        "mode": may(_mode()),
        "except": may(_exceptions(), into="excepted"),
        "during": may(window()),
        "until": may(end_field(), into="until_ms"),
        "selects": may(_selects()),
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


def _deny_rule(actions: Actions) -> Shape[RuleEntry]:
    keys = _rule_keys(Effect.DENY) | {name: may(field) for name, field in overlaps().items()}
    absent = dict.fromkeys(
        (
            *("count", "workflowUrlExactMatch", "owner", "resolve", "runs", "logs", "reason", "budget", "approve"),
            "overrides",
        ),
        NOT_IN_DENY,
    )
    return Shape(partial(_entry, effect=Effect.DENY), keys, check=one_kind, absent=absent, located=True)


def _require_rule(actions: Actions) -> Shape[RuleEntry]:
    keys = _rule_keys(Effect.REQUIRE) | {name: may(field) for name, field in bounds().items()}
    keys |= {"count": may(count()), "workflowUrlExactMatch": may(Bool(only_true=True), into="exact_match")}
    keys |= {"reason": may(Bool(only_true=True))} | _resolve_keys()
    absent = {"owner": "only an allow on workflowRunIds says who vouches for the owner", "logs": _IN_ALLOW}
    absent |= {"budget": _IN_ALLOW, "approve": _IN_ALLOW, "overrides": _IN_ALLOW}
    return Shape(partial(_entry, effect=Effect.REQUIRE), keys, check=check_require, absent=absent, located=True)


_IN_ALLOW = "it exists in an allow"


def _resolve_keys() -> dict[str, Key]:
    """Return the keys that have the runs looked up and bound what may be found."""
    runs = {
        "max": may(Int(1, MAX_COUNT), into="max_runs"),
        "cap": may(Int(1, MAX_COUNT)),
        "older_than": may(duration_field(), into="older_than_ms"),
    }
    return {"resolve": may(Bool(only_true=True)), "runs": may(Shape(Resolution, runs, one_of=("max", "cap")))}


def _allow_rule(actions: Actions) -> Shape[RuleEntry]:
    keys = _rule_keys(Effect.ALLOW) | {name: may(field) for name, field in bounds().items()}
    keys |= {"count": may(count()), "owner": may(Choice(("unchecked",)))} | _resolve_keys()
    keys |= {"logs": may(Choice(("summary", "full"))), "budget": may(_budget()), "approve": may(_approval())}
    keys |= {"overrides": may(Bool(only_true=True))}
    absent = {"workflowUrlExactMatch": "it exists in a require; here write {exact: […]}"}
    absent |= {"reason": "it exists in a require"}
    check = partial(check_allow, actions)
    return Shape(partial(_entry, effect=Effect.ALLOW), keys, check=check, absent=absent, located=True)


_SHAPES: Mapping[Effect, Callable[[Actions], Shape[RuleEntry]]] = {
    Effect.DENY: _deny_rule,
    Effect.REQUIRE: _require_rule,
    Effect.ALLOW: _allow_rule,
}


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
    conditions = {name: values.pop(name) for name in FIELDS if name in values}
    make: Callable[..., RuleEntry] = RuleEntry
    return make(effect=effect, conditions=conditions, **values)


def _holds_a_rule(place: Place, present: Present) -> list[Problem]:
    if not present.keys().isdisjoint(("deny", "require", "allow")):
        return []
    return [place.problem("the file holds no rule: write deny, require or allow")]


def allowed_at_all(entry: RuleEntry) -> list[Problem]:
    """Return the problems of an `allow` that its keys alone do not show.

    These are `everything` that is not alone or has no look-up, a rule that selects nothing, and an optional URL beside
    run IDs.
    """
    kinds = entry.selects or ()
    if "everything" in kinds and (not entry.resolve or entry.conditions or kinds != ("everything",)):
        return [
            entry.at.problem(
                f"everything can only be allowed by a rule that looks the {looked_up(entry.actions).many} up "
                "(resolve: true), "
                "says selects: [everything] alone, and names no field"
            )
        ]
    if not entry.conditions and "everything" not in kinds:
        return [entry.at.problem("the allow names nothing that selects: with no field it says selects: [everything]")]
    url = entry.conditions.get("workflowUrl")
    ids = id_list(entry.conditions)
    if ids is not None and isinstance(url, UrlCondition) and url.optional and not url.any:
        one = looked_up(entry.actions).one
        return [entry.at.problem(f"beside {ids} workflowUrl is not optional: every {one} has a URL")]
    return []
