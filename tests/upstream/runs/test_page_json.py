"""What a team's run returned stands in upstream's pages; whatever it is, it spoils no more than its own entry."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.forms.strict_json import MAX_NAMES, MAX_PARTS, MAX_VALUES, json_object, page_object
from gateway.upstream.runs.entries import read_entry

WHOLE = '{"workflowRunId": "wfr_1", "steps": []}'
LONG = "9" * 5000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ('{"workflowRunId": "wfr_2", "invoker": {"a": 1, "a": 1}}', "wfr_2"),
        ('{"workflowRunId": "wfr_2", "steps": [[{"a": [{"b": 1, "b": 2}]}]]}', "wfr_2"),
        ('{"workflowRunId": "wfr_2", "label": "a", "label": "b"}', "wfr_2"),
        ('{"workflowRunId": "wfr_2", "workflowRunId": "wfr_3"}', None),
        (f'{{"workflowRunId": "wfr_2", "steps": [{{"n": {LONG}}}]}}', "wfr_2"),
        (f'{{"workflowRunId": "wfr_2", "steps": [{{"n": -{LONG}}}]}}', "wfr_2"),
        (f'{{"workflowRunId": {LONG}}}', LONG),
        (LONG, None),
        ('{"workflowRunId": "wfr_2", "steps": [NaN, {"n": [-Infinity]}]}', "wfr_2"),
    ],
)
def test_a_spoilt_entry_has_no_more_than_its_id(entry: str, left: str | None) -> None:
    """The entries beside it are whole."""
    page = page_object(f'{{"cursor": "c", "runs": [{entry}, {WHOLE}]}}'.encode())
    assert page["cursor"] == "c"
    assert isinstance(page["runs"], list)
    spoilt, whole = page["runs"]
    assert whole == {"workflowRunId": "wfr_1", "steps": []}
    assert spoilt.keys() == {"workflowRunId"}
    assert left == LONG or spoilt["workflowRunId"] == left


def test_bytes_that_are_no_text_stay_in_their_entry() -> None:
    """Nothing that is read of an entry can be made of them, and the entries beside it are whole."""
    entry = b'{"workflowRunId": "wfr_2", "workflowUrl": "https://a.example.com/\xff", "steps": [{"body": "\xed\xa0"}]}'
    page = page_object(b'{"cursor": "c", "runs": [' + entry + b", " + WHOLE.encode() + b"]}")
    assert isinstance(page["runs"], list)
    assert page["runs"][1] == {"workflowRunId": "wfr_1", "steps": []}
    assert read_entry(page["runs"][0]) is None


@pytest.mark.parametrize(
    "page",
    [
        '{"cursor": "", "runs": [], "runs": []}',
        f'{{"cursor": {LONG}, "runs": []}}',
        '{"cursor": {"a": 1, "a": 2}, "runs": []}',
        '{"runs": {"a": 1, "a": 2}}',
        '{"runs": [NaN]}',
        "[]",
        "",
        "\ufeff{}",
        '{"runs": ' + "[" * 200_000 + "]" * 200_000 + "}",
    ],
)
def test_what_is_spoilt_outside_of_the_entries_spoils_the_page(page: str) -> None:
    """There it may hide runs."""
    with pytest.raises(ValueError, match=r".*"):
        page_object(page.encode())


@given(st.dictionaries(st.text(max_size=20), JSON) | st.fixed_dictionaries({"runs": st.lists(JSON), "cursor": JSON}))
def test_a_page_without_such_things_is_read_as_all_json_is(page: dict[str, object]) -> None:
    """Nothing else is changed."""
    content = json.dumps(page).encode()
    assert page_object(content) == json_object(content) == page


@pytest.mark.parametrize("part", ["[]", "{}"])
def test_a_page_of_too_many_parts_is_not_read(part: str) -> None:
    """The interpreter makes and forgets lists in one step, in which nothing else of the process goes on."""
    whole = ",".join([part] * (MAX_PARTS - 10))
    assert page_object(f'{{"runs": [{WHOLE}, {{"steps": [{whole}]}}]}}'.encode())
    too_many = ",".join([part] * MAX_PARTS)
    with pytest.raises(ValueError, match="too many"):
        page_object(f'{{"runs": [{WHOLE}, {{"steps": [{too_many}]}}]}}'.encode())


@pytest.mark.parametrize(
    ("part", "most", "around"),
    [
        ('"{:x}":""', MAX_NAMES, "{{{}}}"),
        ('"{:x}" :\n[]', MAX_PARTS, "{{{}}}"),
        ("null", MAX_VALUES, "[{}]"),
        ('"{:x}"', MAX_VALUES, "[{}]"),
    ],
)
def test_a_page_of_too_many_names_or_values_is_not_read(part: str, most: int, around: str) -> None:
    """One object of a million names has few brackets, and is made in one step of the interpreter as well."""

    def page(number: int) -> bytes:
        """A page with so many names or values in one run."""
        return f'{{"runs": [{around.format(",".join(part.format(at) for at in range(number)))}]}}'.encode()

    assert page_object(page(most - 10))
    with pytest.raises(ValueError, match="too many"):
        page_object(page(most + 10))


def test_a_page_of_long_runs_is_read() -> None:
    """Ten runs of a thousand steps, each told in full and with a URL, are far below every bound."""
    step = {f"member{at}": at for at in range(12)} | {"callUrl": "https://a.example.com/b", "headers": {"a": ["b"]}}
    page = {"cursor": "", "runs": [{"workflowRunId": f"wfr_{at}", "steps": [step] * 1000} for at in range(10)]}
    assert page_object(json.dumps(page).encode()) == page
