"""One entry of upstream's log becomes a run whose every value is in the request's grammar, or no run at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import grammar
from gateway.core.run import Run
from gateway.upstream.runs.entries import UNKNOWN_ID, Collected, entry_id, read_entry, seen

CREATED_MS = 1_795_000_000_000
WHOLE: dict[str, Any] = {
    "workflowRunId": "wfr_1",
    "workflowUrl": "https://billing.example.com/api/invoice",
    "workflowState": "RUN_STARTED",
    "workflowRunCreatedAt": CREATED_MS,
    "workflowRunCallerIp": "203.0.113.7",
    "labels": ["nightly", "batch"],
    "flowControlKey": "billing",
    "steps": [{"anything": [None, 1]}],
}
READ = Run(
    "wfr_1",
    "https://billing.example.com/api/invoice",
    CREATED_MS,
    caller_ip="203.0.113.7",
    flow_control_key="billing",
    labels=("nightly", "batch"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=10,
)


def collected(*entries: object, hidden: str = "\0") -> Collected:
    found = Collected()
    for entry in entries:
        found.add(seen(entry, lambda text: hidden in text))
    return found


def test_a_whole_entry_is_read_and_what_is_not_known_is_left_out() -> None:
    """Every field of a run has its place; steps and payloads have none."""
    found = read_entry(WHOLE)
    assert found == READ
    assert found is not None
    assert found.running


@pytest.mark.parametrize("name", ["workflowRunCallerIp", "labels", "flowControlKey"])
def test_an_optional_field_may_be_missing_or_null(name: str) -> None:
    """A server written in Go leaves out, or sends null for, what a run does not have."""
    without = {member: value for member, value in WHOLE.items() if member != name}
    assert read_entry(without) == read_entry({**WHOLE, name: None})
    assert read_entry(without) is not None


@pytest.mark.parametrize(
    ("name", "member"), [("workflowRunCallerIp", "caller_ip"), ("flowControlKey", "flow_control_key")]
)
def test_an_empty_text_stands_for_none(name: str, member: str) -> None:
    """It is no value that a filter could name."""
    found = read_entry({**WHOLE, name: ""})
    assert found is not None
    assert getattr(found, member) is None


@pytest.mark.parametrize(
    ("written", "canonical"),
    [("2001:DB8::0:1", "2001:db8::1"), ("::ffff:203.0.113.7", "203.0.113.7"), ("203.0.113.7", "203.0.113.7")],
)
def test_an_address_is_compared_in_one_form(written: str, canonical: str) -> None:
    """Upstream may write an address in any of its forms; rules and requests name the canonical one."""
    found = read_entry({**WHOLE, "workflowRunCallerIp": written})
    assert found is not None
    assert found.caller_ip == canonical


def test_a_server_that_knows_one_label_only_is_understood() -> None:
    """Where there is no list, the one label is the list; beside a list it is one of it, or empty."""
    one = {**WHOLE, "labels": None, "label": "nightly"}
    both = {**WHOLE, "labels": ["batch", "batch", "nightly"], "label": "nightly"}
    empty = {**WHOLE, "labels": ["batch"], "label": ""}
    found = [run.labels if run else None for run in map(read_entry, (one, both, empty))]
    assert found == [("nightly",), ("batch", "nightly"), ("batch",)]


@pytest.mark.parametrize("labels", [["nightly"], []])
def test_a_label_that_the_list_does_not_have_makes_the_run_unreadable(labels: list[str]) -> None:
    """A rule that keeps runs of that label would else be passed by the list that leaves it out."""
    assert read_entry({**WHOLE, "labels": labels, "label": "keep"}) is None


BROKEN: list[tuple[str, object]] = [
    ("workflowRunId", 7),
    ("workflowRunId", "a b"),
    ("workflowRunId", "a/../b"),
    ("workflowRunId", "wfr_" + "x" * 125),
    ("workflowUrl", None),
    ("workflowUrl", "https://Billing.example.com/x"),
    ("workflowUrl", "https://billing.example.com"),
    ("workflowUrl", "https://billing.example.com/a/../b"),
    ("workflowUrl", ["https://billing.example.com/x"]),
    ("workflowRunCreatedAt", True),
    ("workflowRunCreatedAt", float(CREATED_MS)),
    ("workflowRunCreatedAt", str(CREATED_MS)),
    ("workflowRunCreatedAt", CREATED_MS // 1000),
    ("workflowRunCreatedAt", -CREATED_MS),
    ("workflowRunCreatedAt", 10**13),
    ("workflowState", None),
    ("workflowState", ""),
    ("workflowState", "RUN_STARTED\n"),
    ("workflowState", 1),
    ("workflowRunCallerIp", "localhost"),
    ("workflowRunCallerIp", 3405803783),
    ("labels", "nightly"),
    ("labels", [1]),
    ("labels", ["a,b"]),
    ("labels", [""]),
    ("labels", [f"l{number}" for number in range(101)]),
    ("flowControlKey", ["billing"]),
    ("flowControlKey", "a b"),
]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_a_value_of_another_type_or_outside_the_grammar_makes_the_run_unreadable(name: str, value: object) -> None:
    """Nothing is repaired or guessed: a run that is not certain is not judged, and not cancelled."""
    assert read_entry({**WHOLE, name: value}) is None


@pytest.mark.parametrize("name", ["workflowRunId", "workflowUrl", "workflowState", "workflowRunCreatedAt"])
def test_what_every_run_has_may_not_be_missing(name: str) -> None:
    """An entry without it is no run."""
    assert read_entry({member: value for member, value in WHOLE.items() if member != name}) is None


@given(st.dictionaries(st.sampled_from([*WHOLE, "label"]), JSON | st.sampled_from(list(WHOLE.values()))) | JSON)
def test_reading_is_total_and_gives_only_values_in_the_grammar(entry: object) -> None:
    """Whatever upstream sends is a run that a request could name, or none; nothing raises."""
    entry_id(entry)
    found = read_entry(entry)
    if found is not None:
        grammar.run_id(found.run_id)
        grammar.url(found.workflow_url)
        grammar.date(str(found.created_ms))
        for label in found.labels:
            grammar.key(label)
        if found.caller_ip is not None:
            grammar.ip_address(found.caller_ip)


DONE = {**WHOLE, "workflowState": "RUN_SUCCESS"}
OTHER: list[tuple[str, object]] = [
    ("workflowUrl", "https://search.example.com/api/reindex"),
    ("workflowRunCallerIp", "203.0.113.8"),
    ("flowControlKey", "search"),
    ("labels", ["nightly", "batch", "keep"]),
    ("labels", None),
]


@given(st.permutations([(DONE, CREATED_MS), (DONE, CREATED_MS + 1), (WHOLE, CREATED_MS + 2)]))
def test_of_an_id_that_stands_twice_the_newest_run_counts(entries: list[tuple[dict[str, Any], int]]) -> None:
    """Whatever the order of the pages, a run that was started again is the one that a cancel would hit."""
    listing = collected(*({**entry, "workflowRunCreatedAt": at} for entry, at in entries)).listing(pages=1)
    assert [(run.created_ms, run.running) for run in listing.runs] == [(CREATED_MS + 2, True)]
    assert listing.unreadable == ()


@given(st.permutations([(WHOLE, CREATED_MS), (DONE, CREATED_MS + 1), (WHOLE, CREATED_MS + 2)]))
def test_two_running_runs_under_one_id_make_it_unreadable(entries: list[tuple[dict[str, Any], int]]) -> None:
    """A cancel names the ID alone, so it may hit either of them, and the older may be anybody's."""
    listing = collected(*({**entry, "workflowRunCreatedAt": at} for entry, at in entries)).listing(pages=1)
    assert (listing.runs, listing.unreadable) == ((), ("wfr_1",))


@pytest.mark.parametrize(("name", "value"), OTHER)
@pytest.mark.parametrize("state", ["RUN_STARTED", "RUN_SUCCESS"])
def test_entries_of_one_run_that_differ_make_it_unreadable(name: str, value: object, state: str) -> None:
    """In either order: which of them is true is not certain, and a rule may turn on it."""
    other = {**WHOLE, "workflowState": state, name: value}
    for entries in ((WHOLE, other), (other, WHOLE), (WHOLE, other, WHOLE)):
        listing = collected(*entries).listing(pages=1)
        assert (listing.runs, listing.unreadable) == ((), ("wfr_1",))


@given(st.permutations([WHOLE, DONE, WHOLE]))
def test_a_run_that_ends_while_it_is_listed_has_ended(entries: list[dict[str, Any]]) -> None:
    """Its state alone may differ between two pages."""
    listing = collected(*entries).listing(pages=1)
    assert [(run.created_ms, run.state) for run in listing.runs] == [(CREATED_MS, "RUN_SUCCESS")]


@given(st.permutations([WHOLE, {**WHOLE, "labels": 7}]))
def test_an_id_with_an_unreadable_entry_is_unreadable(entries: list[object]) -> None:
    """The entry that cannot be read may be the run that a cancel would hit."""
    listing = collected(*entries).listing(pages=1)
    assert (listing.runs, listing.unreadable) == ((), ("wfr_1",))


def test_an_id_that_cannot_be_read_either_has_a_name_that_no_run_has() -> None:
    """It is counted once, as a question mark, which is no run ID."""
    listing = collected(7, {"workflowRunId": "a b"}, None).listing(pages=3)
    assert (listing.unreadable, listing.pages) == ((UNKNOWN_ID,), 3)
    with pytest.raises(ValueError, match="run ID"):
        grammar.run_id(UNKNOWN_ID)


@pytest.mark.parametrize("name", ["workflowRunId", "workflowUrl", "flowControlKey", "labels"])
def test_a_run_with_a_secret_in_it_is_neither_shown_nor_recorded(name: str) -> None:
    """A token pasted into a workflow's URL would else stand in the record and in answers."""
    value = {"workflowUrl": "https://a.example/s3cret-0123", "labels": ["s3cret-0123"]}.get(name, "s3cret-0123")
    listing = collected({**WHOLE, name: value}, hidden="s3cret").listing(pages=1)
    assert listing.runs == ()
    assert "s3cret" not in repr(listing)


def test_of_an_entry_that_cannot_be_read_the_url_is_known_if_that_can_be() -> None:
    """So that another workflow's is not taken for one that a request means; never where it holds a secret."""
    odd = WHOLE | {"labels": ["night run"]}
    assert (seen(odd, lambda _: False).run, seen(odd, lambda _: False).workflow_url) == (None, WHOLE["workflowUrl"])
    assert seen(odd | {"workflowUrl": "not a URL"}, lambda _: False).workflow_url is None
    assert seen(odd, lambda text: str(WHOLE["workflowUrl"]) in str(text)).workflow_url is None
