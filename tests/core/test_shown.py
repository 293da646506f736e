"""What the gateway shows of a plan is what its own client reads, member by member."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.forms.shown import SAMPLE, Found, Left, Listed, Narrowed, ShownPlan, skipped_field, skipped_in
from gateway.core.request import Action

PLAN_ID = "01a20940-23dd-7575-b88b-57f1178d3492"
COUNTS = st.integers(0, 10**9 - 1)
TEXTS = st.text(max_size=9)
LEFT = st.builds(Left, COUNTS, st.lists(TEXTS, max_size=3).map(tuple))
LABELS = st.lists(TEXTS, max_size=3).map(tuple)
LISTED = (
    st.builds(Listed, TEXTS, TEXTS)
    | st.builds(Listed, TEXTS, TEXTS, TEXTS, LABELS)
    | st.builds(
        Listed, TEXTS, TEXTS, TEXTS, LABELS, st.sampled_from(("dlqId", "messageId")), st.none() | TEXTS.filter(bool)
    )
)
READY = st.builds(
    ShownPlan,
    st.just(PLAN_ID),
    st.sampled_from(("ready", "applying", "applied", "unknown")),
    COUNTS,
    st.sampled_from([action.value for action in Action]),
    digest=TEXTS,
    runs=COUNTS,
    sample=st.lists(LISTED, max_size=3).map(tuple),
    oldest=st.none() | TEXTS,
    newest=st.none() | TEXTS,
    by_workflow=st.dictionaries(TEXTS, COUNTS, max_size=3),
    by_label=st.dictionaries(TEXTS, COUNTS, max_size=3),
    skipped=st.dictionaries(TEXTS, LEFT, max_size=3),
    rule=st.none() | TEXTS,
    count=COUNTS,
    narrowed=st.none() | st.builds(Narrowed, COUNTS, COUNTS, TEXTS),
    orders=COUNTS,
    orders_sent=COUNTS,
    cancelled=COUNTS,
    outcome=st.none() | TEXTS,
    settled=st.none() | st.builds(Found, TEXTS, TEXTS, st.none() | COUNTS),
)


@given(READY)
def test_a_plan_is_read_as_it_was_shown(plan: ShownPlan) -> None:
    """Every member comes back, from the text of its JSON."""
    written = json.loads(json.dumps(plan.to_json()))
    assert ShownPlan.from_json(written) == plan
    assert ShownPlan.from_json(written).members == written


def test_a_plan_that_is_not_ready_shows_only_its_state() -> None:
    """While its runs are looked up it also shows how far that came; where there are none to show, only its state."""
    begun = {"plan": PLAN_ID, "expires_in_s": 9, "action": "cancel_runs"}
    looking = {**begun, "state": "looking", "pages": 3, "matched": 27}
    assert ShownPlan(PLAN_ID, "looking", 9, pages=3, matched=27).to_json() == looking
    for state in ("stopped", "expired"):
        assert ShownPlan(PLAN_ID, state, 9).to_json() == {**begun, "state": state}
    for state, refused in (("failed", {}), ("refused", {"rule": "a/own", "owner": {"team": "a", "contact": "#a"}})):
        plan = ShownPlan(PLAN_ID, state, 9, failure="No.", refused=refused)
        written = plan.to_json()
        assert written == {**begun, "state": state, "error": "No.", **refused}
        read = ShownPlan.from_json(written)
        assert (read.failure, read.refused, read.runs) == ("No.", refused, 0)


@pytest.mark.parametrize("members", [{}, {"plan": PLAN_ID}, {"plan": "../../v2", "state": "ready"}, {"plan": 1}])
def test_what_is_no_plan_is_not_read_as_one(members: dict[str, object]) -> None:
    """Without an ID in its form or a state nothing of it counts, because the ID becomes part of a path."""
    with pytest.raises(ValueError, match="no plan"):
        ShownPlan.from_json(members)


@given(st.dictionaries(st.from_regex("[a-z_]+", fullmatch=True), LEFT, max_size=4))
def test_the_header_of_skipped_runs_is_read_as_it_was_written(left: dict[str, Left]) -> None:
    """Reasons in turn, each with the IDs that are shown and the number of all."""
    assert skipped_in(skipped_field(left)) == left


def test_of_a_long_list_some_are_shown_and_all_are_counted() -> None:
    """The number never depends on how many are named."""
    run_ids = [f"wfr_{number}" for number in range(3 * SAMPLE)]
    assert Left.of(run_ids) == Left(len(run_ids), tuple(run_ids[:SAMPLE]))


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**4299])
def test_a_number_that_no_gateway_counts_to_is_read_as_none(number: int) -> None:
    """A hostile answer cannot end the command: Python refuses to write a number of 4,301 digits."""
    plan = ShownPlan.from_json({"plan": PLAN_ID, "state": "ready", "runs": number, "by_workflow": {"x": -number}})
    assert (plan.runs, plan.by_workflow) == (0, {"x": 0})
