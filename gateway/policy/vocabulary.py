"""What a policy file may say: every key, condition and combination of them, as declarations that read and describe it.

An `allow` and a `require` hold by containment, a `deny` by possible overlap; each has only the conditions that have a
meaning under it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gateway import grammar
from gateway.cancel import MAX_COUNT
from gateway.document.fields import Bool, Choice, Int, Text, duration_field, word
from gateway.document.nodes import Place
from gateway.document.shapes import Key, ListOf, Present, Shape, may, need
from gateway.errors import Problem
from gateway.policy.model import (
    Condition,
    CountCondition,
    CreatedCondition,
    Effect,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)

RUN_IDS = "workflowRunIds"
VALUE_FIELDS = {"label": grammar.key, "flowControlKey": grammar.key, "callerIp": grammar.ip_address}
FILTERS = ("workflowUrl", *VALUE_FIELDS, "created")
MAX_MESSAGE_CHARS = 300
_PATTERN_SIGNS = "*^$|\\{}()"
_NOT_IN_DENY = "in a deny only exact, prefix, any_of, within_last and selects exist"


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """One rule as its file has it; the file's own `teams`, `except` and `mode` are not counted in yet."""

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
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One policy file as written."""

    at: Place
    version: int
    name: str
    teams: tuple[str, ...]
    description: str | None = None
    mode: str | None = None
    excepted: tuple[str, ...] = ()
    deny: tuple[RuleEntry, ...] = ()
    require: tuple[RuleEntry, ...] = ()
    allow: tuple[RuleEntry, ...] = ()

    @property
    def rules(self) -> tuple[RuleEntry, ...]:
        """All rules, whatever their effect."""
        return (*self.deny, *self.require, *self.allow)


def team_name() -> Text[str]:
    """The name of a team."""
    return word("[a-z0-9][a-z0-9_-]{0,63}", "a team: lower-case letters, digits, '_' and '-', at most 64")


def key_id() -> Text[str]:
    """The id of a caller's key."""
    return word("[a-z0-9][a-z0-9-]{0,62}", "a key id: lower-case letters, digits and '-', at most 63")


def policy_file() -> Shape[PolicyFile]:
    """The reader of one policy file."""
    keys = {
        "version": need(Int(1, 1)),
        "name": need(word("[a-z0-9][a-z0-9-]{0,62}", "a name: lower-case letters, digits and '-', at most 63")),
        "description": may(Text(str)),
        "teams": need(_teams()),
        "except": may(_distinct(team_name()), into="excepted"),
        "mode": may(_mode()),
        "deny": may(ListOf(_deny_rule())),
        "require": may(ListOf(_require_rule())),
        "allow": may(ListOf(_allow_rule())),
    }
    return Shape(PolicyFile, keys, check=_holds_a_rule, located=True)


def _teams() -> ListOf[str]:
    pattern = r"\*|[a-z0-9][a-z0-9_-]{0,63}"
    return _distinct(word(pattern, "a team (lower-case letters, digits, '_' and '-', at most 64) or '*'"))


def _distinct(item: Text[str]) -> ListOf[str]:
    return ListOf(item, distinct={"value": str})


def _mode() -> Choice[str]:
    return Choice(("enforce", "shadow"))


def _selects(refused: Mapping[str, str]) -> ListOf[str]:
    words = tuple(kind for kind in ("run_ids", "filter", "everything") if kind not in refused)
    return ListOf(Choice(words, refused), distinct={"value": str})


def _rule_keys() -> dict[str, Key]:
    return {
        "id": need(word("[a-z0-9][a-z0-9-]{0,62}", "a rule id: lower-case letters, digits and '-', at most 63")),
        "message": may(Text(str, max_chars=MAX_MESSAGE_CHARS)),
        "mode": may(_mode()),
        "except": may(_distinct(team_name()), into="excepted"),
    }


def _deny_rule() -> Shape[RuleEntry]:
    keys = _rule_keys() | {"selects": may(_selects({}))} | {name: may(field) for name, field in _overlaps().items()}
    absent = dict.fromkeys(("count", "workflowUrlExactMatch", "owner", "resolve"), _NOT_IN_DENY)
    return Shape(partial(_entry, effect=Effect.DENY), keys, check=_one_kind, absent=absent, located=True)


def _require_rule() -> Shape[RuleEntry]:
    keys = _rule_keys() | {"selects": may(_selects({}))} | {name: may(field) for name, field in _bounds().items()}
    keys |= {"count": may(_count()), "workflowUrlExactMatch": may(Bool(only_true=True), into="exact_match")}
    absent = {"owner": "only an allow on workflowRunIds says who vouches for the owner", "resolve": _NO_RESOLVE}
    return Shape(partial(_entry, effect=Effect.REQUIRE), keys, check=_check_require, absent=absent, located=True)


_NO_RESOLVE = "looking up the runs does not exist yet"
_NO_EVERYTHING = (
    "everything can only be allowed by a rule that looks the runs up (resolve: true), which does not exist yet"
)


def _allow_rule() -> Shape[RuleEntry]:
    keys = _rule_keys() | {"selects": may(_selects({"everything": _NO_EVERYTHING}))}
    keys |= {name: may(field) for name, field in _bounds().items()}
    keys |= {"count": may(_count()), "owner": may(Choice(("unchecked",)))}
    absent = {"workflowUrlExactMatch": "it exists in a require; here write {exact: […]}", "resolve": _NO_RESOLVE}
    return Shape(partial(_entry, effect=Effect.ALLOW), keys, check=_check_allow, absent=absent, located=True)


def _entry(*, effect: Effect, **values: object) -> RuleEntry:
    conditions = {name: values.pop(name) for name in (RUN_IDS, *FILTERS) if name in values}
    make: Callable[..., RuleEntry] = RuleEntry
    return make(effect=effect, conditions=conditions, **values)


def _bounds() -> dict[str, Shape[Condition]]:
    """The conditions of `allow` and `require`, by wire name."""
    run_ids = {"max": may(Int(1, MAX_COUNT)), "prefix": may(_distinct(Text(grammar.run_id_prefix)))}
    created = {
        "within_last": may(duration_field(), into="within_last_ms"),
        "max_span": may(duration_field(), into="max_span_ms"),
    }
    return {
        "workflowUrl": _bound(_url_condition, _url_lists()),
        RUN_IDS: _bound(RunIdCondition, run_ids),
        **{name: _bound(partial(_value_condition, name), _any_of(name)) for name in VALUE_FIELDS},
        "created": _bound(CreatedCondition, created),
    }


def _overlaps() -> dict[str, Shape[Condition]]:
    """The conditions of `deny`, by wire name."""
    return {
        "workflowUrl": _overlap(_url_condition, _url_lists()),
        RUN_IDS: _overlap(RunIdCondition, {"prefix": may(_distinct(Text(grammar.run_id_prefix)))}),
        **{name: _overlap(partial(_value_condition, name), _any_of(name)) for name in VALUE_FIELDS},
        "created": _overlap(CreatedCondition, {"within_last": may(duration_field(), into="within_last_ms")}),
    }


def _url_lists() -> dict[str, Key]:
    exact, prefix = _without_patterns(grammar.url), _without_patterns(grammar.policy_url_prefix)
    return {"exact": may(_distinct(Text(exact))), "prefix": may(_distinct(Text(prefix)))}


def _any_of(name: str) -> dict[str, Key]:
    return {"any_of": may(_distinct(Text(VALUE_FIELDS[name])))}


def _bound(make: Callable[..., Condition], bounds: dict[str, Key]) -> Shape[Condition]:
    keys = bounds | {"any": may(Bool(only_true=True)), "optional": may(Bool(only_true=True))}
    return Shape(partial(_any_is_optional, make), keys, check=partial(_names_a_bound, (*bounds, "any")))


def _overlap(make: Callable[..., Condition], bounds: dict[str, Key]) -> Shape[Condition]:
    absent = {name: _NOT_IN_DENY for name in ("max", "max_span", "any", "optional") if name not in bounds}
    return Shape(make, bounds, check=partial(_names_a_bound, tuple(bounds)), absent=absent)


def _count() -> Shape[CountCondition]:
    keys = {"max": may(Int(1, MAX_COUNT)), "cap": may(Int(1, MAX_COUNT)), "any": may(Bool(only_true=True))}
    absent = {"optional": "count is no filter, every request has one"}
    return Shape(CountCondition, keys, check=partial(_names_a_bound, tuple(keys)), absent=absent)


def _any_is_optional(make: Callable[..., Condition], **bounds: object) -> Condition:
    return make(**bounds | {"optional": True}) if "any" in bounds else make(**bounds)


def _url_condition(*, exact: tuple[str, ...] = (), **others: object) -> Condition:
    make: Callable[..., Condition] = UrlCondition
    return make(exact=frozenset(exact), **others)


def _value_condition(name: str, *, any_of: tuple[str, ...] = (), **others: object) -> Condition:
    make: Callable[..., Condition] = ValueCondition
    return make(name, any_of=frozenset(any_of), **others)


def _without_patterns(parse: Callable[[str], str]) -> Callable[[str], str]:
    def checked(text: str) -> str:
        for sign in _PATTERN_SIGNS:
            if sign in text:
                raise ValueError(f"a policy URL is no pattern, and '{sign}' looks like one: use exact or prefix")
        return parse(text)

    return checked


def _holds_a_rule(place: Place, present: Present) -> list[Problem]:
    if not present.keys().isdisjoint(("deny", "require", "allow")):
        return []
    return [place.problem("the file holds no rule: write deny, require or allow")]


def _names_a_bound(bounds: tuple[str, ...], place: Place, present: Present) -> list[Problem]:
    if "any" in present and len(present) > 1:
        return [place.problem("'any' stands alone: it admits every value and implies optional")]
    if present.keys().isdisjoint(bounds):
        return [place.problem(f"the condition bounds nothing: write {' or '.join(bounds)}")]
    return []


def _one_kind(place: Place, present: Present) -> list[Problem]:
    if RUN_IDS in present and not present.keys().isdisjoint(FILTERS):
        return [place.problem("run IDs and filters never stand in one rule: upstream ignores filters beside IDs")]
    return []


def _check_require(place: Place, present: Present) -> list[Problem]:
    conditions = {RUN_IDS, *FILTERS, "count", "selects", "workflowUrlExactMatch"}
    if present.keys().isdisjoint(conditions):
        return [place.problem("the require names no condition, so it would hold for every request")]
    return _one_kind(place, present)


def _check_allow(place: Place, present: Present) -> list[Problem]:
    problems = _one_kind(place, present)
    if present.keys().isdisjoint((RUN_IDS, *FILTERS)):
        problems.append(
            place.problem(f"the allow names nothing that selects: write workflowRunIds or one of {', '.join(FILTERS)}")
        )
    if RUN_IDS in present and present.keys().isdisjoint(("owner", "resolve")):
        problems.append(place.problem("run IDs carry no owner: say 'owner: unchecked' to allow them all the same"))
    if "owner" in present and RUN_IDS not in present:
        problems.append(present["owner"].problem("'owner' stands only beside workflowRunIds"))
    return problems
