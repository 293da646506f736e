"""Each model earns its place: it catches one gateway that is wrong in one way, and the real one stops that request.

A wrong gateway is a small function from the caller's raw query to what it would send, or None where it refuses. The
rule allows `https://a.example/api` and below, or the label `nightly`, or run IDs of one prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode

import pytest

from gateway.core.errors import MalformedRequest
from gateway.core.parse import Body
from gateway.core.plan import Order, Permit
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.conditions import RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.strategies import NOW_MS, TEAM, policies
from tests.laws.models import MODELS, named
from tests.laws.reference import Run, inside

OURS, OTHER = "https://a.example/api/invoice", "https://other.example/"

BY_URL = Rule("p", "url", Effect.ALLOW, {"workflowUrl": UrlCondition(prefix=("https://a.example/api",))})
BY_EXACT_URL = Rule("p", "exact", Effect.ALLOW, {"workflowUrl": UrlCondition(exact=frozenset((OURS,)))})
BY_LABEL = Rule("p", "label", Effect.ALLOW, {"label": ValueCondition("label", frozenset(("nightly",)))})
BY_ID = Rule("p", "id", Effect.ALLOW, {"workflowRunIds": RunIdCondition(prefix=("wfr_a_",))})

ACCOUNT = (
    Run("wfr_a_1", OURS, "nightly", "k", "10.0.0.1", NOW_MS),
    Run("wfr_b_1", OTHER, "theirs", "k", "10.0.0.2", NOW_MS - 2),
    Run("wfr_b_2", f"{OURS}-v2", "nightly+", "k", "10.0.0.2", NOW_MS - 1),
    Run("wfr_b_3", "https://a.example/api-v2", "", "k", "10.0.0.2", NOW_MS - 3),
    Run("wfr_b_4", "https://a.example/api", "theirs", "k", "10.0.0.2", NOW_MS - 4),
)

Gateway = Callable[[str], str | None]


def first_label_only_judged(query: str) -> str | None:
    """`dict(query)` the one way round: judges the first label and forwards them all."""
    return query if parse_qs(query)["label"][0] == "nightly" else None


def last_label_only_judged(query: str) -> str | None:
    """`dict(query)` the other way round: judges the last label and forwards them all."""
    return query if dict(parse_qsl(query))["label"] == "nightly" else None


def caller_flag_kept_before_ours(query: str) -> str | None:
    """Sends the caller's `workflowUrlExactMatch=false` and then its own `true`."""
    return query + "&workflowUrlExactMatch=true" if dict(parse_qsl(query))["workflowUrl"] == OURS else None


def caller_flag_kept_behind_ours(query: str) -> str | None:
    """Sends its own `workflowUrlExactMatch=true` and then what the caller wrote."""
    return "workflowUrlExactMatch=true&" + query if dict(parse_qsl(query))["workflowUrl"] == OURS else None


def starts_with_and_commas_allowed(query: str) -> str | None:
    """Compares a value by `startswith`, comma and all, and renders it properly."""
    values = parse_qs(query)
    return urlencode(values, doseq=True) if values["workflowUrl"][0].startswith(OURS) else None


def raw_query_forwarded(query: str) -> str | None:
    """Judges a decoded copy and forwards the caller's bytes, bad escapes and all."""
    return query if unquote(query).startswith(f"workflowUrl={OURS}") else None


def plus_sent_for_a_space(query: str) -> str | None:
    """Trims what it judges, and sends its own spelling of a space."""
    return query if parse_qs(query)["label"][0].strip() == "nightly" else None


def escapes_inside_a_url_allowed(query: str) -> str | None:
    """Takes `%2C` inside a URL for a harmless character and renders it as `%252C`."""
    values = parse_qs(query)
    allowed = "," not in values["workflowUrl"][0] and values["workflowUrl"][0].startswith(OURS)
    return urlencode(values, doseq=True) if allowed else None


def unknown_names_forwarded(query: str) -> str | None:
    """Judges the names it knows and forwards the others, a differently cased one among them."""
    values = parse_qs(query)
    return query if values.get("label") == ["nightly"] else None


def python_bool_rendered(query: str) -> str | None:
    """Renders the flag as Python prints it: `True`."""
    values = parse_qs(query)
    return urlencode({"workflowUrl": OURS, "workflowUrlExactMatch": True}) if values["workflowUrl"] == [OURS] else None


def any_true_word_is_exact(query: str) -> str | None:
    """Takes `yes` for exact, and forwards it."""
    values = parse_qs(query)
    return query if values["workflowUrl"] == [OURS] and values["workflowUrlExactMatch"] == ["yes"] else None


def prefix_without_boundary_admitted(query: str) -> str | None:
    """Admits the prefix `…/api` under a rule for `…/api`, forgetting `…/api-v2`."""
    return query if parse_qs(query)["workflowUrl"][0].startswith("https://a.example/api") else None


def filter_judged_beside_ids(query: str) -> str | None:
    """Judges the label and forwards the run IDs beside it."""
    return query if parse_qs(query)["label"] == ["nightly"] else None


def ids_judged_beside_filter(query: str) -> str | None:
    """Judges the run IDs and forwards the filter beside them."""
    return query if all(run_id.startswith("wfr_a_") for run_id in parse_qs(query)["workflowRunIds"]) else None


def empty_values_pass(query: str) -> str | None:
    """`all()` over no values is true, so an empty label is admitted and forwarded."""
    values = [value for name, value in parse_qsl(query) if name == "label"]
    return query if all(value == "nightly" for value in values) else None


def empty_value_for_no_filter(query: str) -> str | None:
    """Sends `label=` for a run without one, which some servers match literally."""
    return query if parse_qs(query, keep_blank_values=True)["label"] in ([""], ["nightly"]) else None


def small_count_passes(query: str) -> str | None:
    """Trusts the count: five runs at most, of whomever."""
    return query if int(parse_qs(query)["count"][0]) <= 5 else None


@dataclass(frozen=True)
class Seeded:
    """A wrong gateway, the request that shows it, the rule it should have kept, and the model that sees it."""

    model: str
    gateway: Gateway
    query: str
    rule: Rule


SEEDED = (
    Seeded("repeated values are OR", first_label_only_judged, "label=nightly&label=theirs", BY_LABEL),
    Seeded("first value only", caller_flag_kept_before_ours,
           f"workflowUrl={OURS}&workflowUrlExactMatch=false", BY_EXACT_URL),
    Seeded("last value only", caller_flag_kept_behind_ours,
           f"workflowUrl={OURS}&workflowUrlExactMatch=false", BY_EXACT_URL),
    Seeded("first value only", last_label_only_judged, "label=theirs&label=nightly", BY_LABEL),
    Seeded("commas split", starts_with_and_commas_allowed,
           f"workflowUrl={OURS},{OTHER}&workflowUrlExactMatch=true", BY_URL),
    Seeded("bad pairs dropped", raw_query_forwarded, f"workflowUrl={OURS}%zz&count=5", BY_URL),
    Seeded("semicolons separate", raw_query_forwarded, f"workflowUrl={OURS};workflowUrl={OTHER}", BY_URL),
    Seeded("decoded twice", escapes_inside_a_url_allowed, f"workflowUrl={OURS}%252C{OTHER}", BY_URL),
    Seeded("plus is a plus", plus_sent_for_a_space, "label=nightly+", BY_LABEL),
    Seeded("names case-folded", unknown_names_forwarded, "label=nightly&Label=theirs", BY_LABEL),
    Seeded("exact flag only 'true'", python_bool_rendered, f"workflowUrl={OURS}", BY_EXACT_URL),
    Seeded("exact flag by ParseBool", any_true_word_is_exact,
           f"workflowUrl={OURS}&workflowUrlExactMatch=yes", BY_EXACT_URL),
    Seeded("prefix without boundary", prefix_without_boundary_admitted, "workflowUrl=https://a.example/api", BY_URL),
    Seeded("run IDs override", filter_judged_beside_ids, "label=nightly&workflowRunIds=wfr_b_1", BY_LABEL),
    Seeded("run IDs and filters join", ids_judged_beside_filter, "workflowRunIds=wfr_a_1&label=theirs", BY_ID),
    Seeded("empty value is no filter", empty_values_pass, "label=&count=100", BY_LABEL),
    Seeded("empty value matches nothing", empty_value_for_no_filter, "label=&count=100", BY_LABEL),
    Seeded("count is a cap", small_count_passes, "count=1", BY_LABEL),
    Seeded("count is ignored", small_count_passes, f"workflowUrl={OURS}&count=1", BY_EXACT_URL),
    Seeded("many at once", unknown_names_forwarded, "label=nightly&LABEL=x%252Ctheirs", BY_LABEL),
)  # fmt: skip


def reached(model: str, query: str, rule: Rule) -> list[str]:
    """The runs outside the rule that this upstream would cancel."""
    return [run.run_id for run in named(model).selected(query, ACCOUNT) if not inside(rule, run, NOW_MS)]


def real_gateway(query: str, rule: Rule) -> str | None:
    """What the code under test sends for the same request under the same rule."""
    try:
        request = parse_cancel(query.encode("ascii"), Body())
        decision = decide(policies(rule), TEAM, request, NOW_MS)
    except MalformedRequest:
        return None
    if not isinstance(decision, Permit):
        return None
    return Order(decision.effective.selection, decision.effective.count).query  # type: ignore[arg-type]


@pytest.mark.parametrize("bug", SEEDED, ids=lambda bug: f"{bug.model}-{bug.gateway.__name__}")
def test_a_seeded_bug_is_seen_by_its_model_and_the_gateway_does_not_have_it(bug: Seeded) -> None:
    """The wrong gateway reaches a run of somebody else; the real one sends nothing that does, under any model."""
    sent = bug.gateway(bug.query)
    assert sent is not None
    assert reached(bug.model, sent, bug.rule)
    ours = real_gateway(bug.query, bug.rule)
    assert ours is None or not any(reached(model.name, ours, bug.rule) for model in MODELS)


def test_every_model_sees_a_seeded_bug() -> None:
    """No model is decoration."""
    assert {bug.model for bug in SEEDED} == {model.name for model in MODELS}


@pytest.mark.parametrize(
    ("query", "rule"),
    [("label=nightly", BY_LABEL), (f"workflowUrl={OURS}&workflowUrlExactMatch=true", BY_EXACT_URL),
     ("workflowUrl=https://a.example/api/invoice/", BY_URL), ("workflowRunIds=wfr_a_1", BY_ID)],
)  # fmt: skip
def test_the_rules_of_this_file_let_the_right_request_through(query: str, rule: Rule) -> None:
    """The control: each rule permits something, so a refusal above is not the only thing that the gateway can do."""
    sent = real_gateway(query, rule)
    assert sent is not None
    assert not any(reached(model.name, sent, rule) for model in MODELS)
