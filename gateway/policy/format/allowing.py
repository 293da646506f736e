"""The checks of rules as a whole: which of their keys go together, and that an `allow` says what it allows."""

from __future__ import annotations

from collections.abc import Container

from gateway.core.errors import Problem
from gateway.core.request import HERE, RUN_IDS, Action
from gateway.files.mappings import Present
from gateway.files.nodes import Place
from gateway.policy.conditions import FAILED, ID_LISTS, PAUSED
from gateway.policy.format.actions import PAUSING, UNLISTED, Actions
from gateway.policy.format.conditions import FIELDS, FILTERS, PATH
from gateway.policy.model import ONLY_RUNS
from gateway.policy.words.things import ENTRY, RUN, Thing, named_by

OF_FAILED = (*FILTERS, "workflowRunId")
"""The filters of runs and of failed runs."""


def id_list(present: Container[str]) -> str | None:
    """Return the field of a list of IDs that a rule has; None if it has none."""
    return next((field for field in ID_LISTS if field in present), None)


def one_kind(place: Place, present: Present) -> list[Problem]:
    """Return the problem of a rule whose fields no request has together."""
    ids = id_list(present)
    if ids is not None and not present.keys().isdisjoint(OF_FAILED):
        why = "upstream ignores filters beside IDs" if ids == RUN_IDS else "a request has one or the other"
        return [place.problem(f"{named_by(ids).one} IDs and filters never stand in one rule: {why}")]
    paused = [field for field in PAUSED if field in present]
    if len(paused) > 1:
        return [place.problem(f"a request names one of {', '.join(PAUSED)}, and so does a rule")]
    return []


def check_resolve(place: Place, present: Present) -> list[Problem]:
    """Return the problem of a rule that looks up without a bound, or has a bound without a look-up."""
    if "resolve" in present and "runs" not in present:
        return [place.problem("'resolve: true' needs 'runs: {max: …}' or 'runs: {cap: …}': how many may be cancelled")]
    if "runs" in present and "resolve" not in present:
        return [present["runs"].problem("'runs' stands only beside 'resolve: true'")]
    return []


def check_require(place: Place, present: Present) -> list[Problem]:
    """Return the problems of a `require`."""
    conditions = {*FIELDS, "count", "selects", "workflowUrlExactMatch", "reason", "resolve"}
    if present.keys().isdisjoint(conditions):
        return [place.problem("the require names no condition, so it would hold for every request")]
    return [*one_kind(place, present), *check_resolve(place, present)]


def check_allow(actions: Actions, place: Place, present: Present) -> list[Problem]:
    """Return the problems of an `allow` for these actions."""
    if not actions.isdisjoint(PAUSING):
        return _check_paused(actions, place, present)
    problems = check_resolve(place, present)
    if "budget" in present and present.keys().isdisjoint(("resolve", *ID_LISTS)):
        problems.append(present["budget"].problem(_counts(actions)))
    if "approve" in present and "resolve" not in present:
        many = looked_up(actions).many
        said = f"people approve {many} that were found, so 'approve' stands only beside 'resolve: true'"
        problems.append(present["approve"].problem(said))
    ids = id_list(present)
    if ids is not None:
        return problems + _check_allowed_ids(ids, actions, place, present)
    problems += _check_filters(actions, present)
    if present.keys().isdisjoint(OF_FAILED) and not (_lists(actions) and {"selects", "resolve"} <= present.keys()):
        problems.append(place.problem(_selects_nothing(actions)))
    if "owner" in present:
        beside = RUN_IDS if actions == ONLY_RUNS else "a list of IDs"
        problems.append(present["owner"].problem(f"'owner' stands only beside {beside}"))
    return problems


def _counts(actions: Actions) -> str:
    ids, many = RUN_IDS if actions == ONLY_RUNS else "a list of IDs", looked_up(actions).many
    return f"a budget counts {many}, so it stands only where they are known: beside 'resolve: true' or {ids}"


def _check_paused(actions: Actions, place: Place, present: Present) -> list[Problem]:
    if not actions <= PAUSING:
        return [place.problem("pause and resume are allowed by rules of their own: name the other actions in another")]
    if not any(field in present for field in PAUSED):
        said = f"the allow names nothing: write one of {', '.join(PAUSED)}, like queue: {{any_of: [mail]}}"
        return [place.problem(said)]
    return one_kind(place, present)


def _lists(actions: Actions) -> bool:
    """Return whether what the actions are about can be listed, so that they can have filters."""
    return actions <= FAILED | ONLY_RUNS


def _selects_nothing(actions: Actions) -> str:
    if not _lists(actions):
        ids = "messageIds" if Action.CANCEL_MESSAGES in actions else "dlqIds"
        return f"the allow names nothing that selects: write {ids}, like {ids}: {{max: 20}}; nothing else selects here"
    fields = f"workflowRunIds or one of {', '.join(FILTERS)}"
    if actions != ONLY_RUNS:
        fields = "dlqIds, or a filter like workflowUrl"
    return (
        f"the allow names nothing that selects: write {fields}; "
        "everything can only be allowed by selects: [everything] with resolve: true"
    )


def _check_filters(actions: Actions, present: Present) -> list[Problem]:
    """Return the problems of an `allow` on filters of which the gateway sends some nowhere."""
    problems = [
        present[name].problem(
            f"{name} is matched by the gateway and never sent: an allow on it has the runs looked up (resolve: true)"
        )
        for name in sorted(HERE & present.keys())
        if "resolve" not in present
    ]
    if PATH in present and present.keys().isdisjoint(("host", "workflowUrl")):
        problems.append(present[PATH].problem("a path is one of a host: name host or workflowUrl beside it"))
    if not actions.isdisjoint(FAILED) and "resolve" not in present:
        said = (
            "a filter of failed runs is matched by the gateway and never sent: an allow on it has the entries looked "
            "up (resolve: true, with runs: {max: …} or runs: {cap: …})"
        )
        problems += [present[name].problem(said) for name in OF_FAILED if name in present]
    return problems


def _check_allowed_ids(ids: str, actions: Actions, place: Place, present: Present) -> list[Problem]:
    thing = named_by(ids)
    if "resolve" not in present or not actions.isdisjoint(UNLISTED):
        problems = one_kind(place, present)
        if "owner" not in present:
            problems.append(place.problem(_no_owner(thing, actions)))
        return problems
    problems = []
    if ids != "messageIds":
        problems += _check_found(ids, thing, place, present)
    if "owner" in present:
        said = f"'owner: unchecked' and 'resolve: true' exclude each other: the {thing.many} are looked up"
        problems.append(present["owner"].problem(said))
    return problems


def _no_owner(thing: Thing, actions: Actions) -> str:
    if not actions.isdisjoint(UNLISTED):
        return (
            f"{thing.one} IDs carry no owner, and nothing shows it: say 'owner: unchecked' to allow them all the same"
        )
    return (
        f"{thing.one} IDs carry no owner: say 'resolve: true' to have the {thing.many} looked up, "
        "or 'owner: unchecked' to allow them all the same"
    )


def _check_found(ids: str, thing: Thing, place: Place, present: Present) -> list[Problem]:
    """Return the problems of an `allow` on IDs whose runs or entries are looked up."""
    beside = {"workflowUrl"}
    if "overrides" in present:
        beside.add("flowControlKey")  # It lists the keys that a header may put in the place of the entries' own.
    problems = [
        present[name].problem(f"beside {ids} an allow with 'resolve: true' names workflowUrl only, not {name}")
        for name in OF_FAILED
        if name in present and name not in beside
    ]
    if "workflowUrl" not in present:
        said = f"with 'resolve: true' an allow on {ids} names the workflowUrl its {thing.many} must have"
        problems.append(place.problem(said))
    return problems


def looked_up(actions: Actions) -> Thing:
    """Return the word for what a rule about these actions looks up."""
    return ENTRY if actions <= FAILED else RUN
