"""Reading is total, and what is rendered reads back as itself."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote_plus

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.errors import MalformedRequest
from gateway.core.parse import Body
from gateway.core.plan import Order, order_of
from gateway.core.request import ActionRequest, ByFilterHere, ByIds, Everything
from gateway.operations.calls.cancel_runs import NAMES, parse_cancel
from tests.core.strategies import RUN_IDS, URLS, counted, filters, requests, some

JSON = (b"application/json",)

_NAMES = st.sampled_from((*NAMES, "Label", "host", "async", "label[]", "", "%6cabel"))
_TEXTS = st.one_of(
    st.sampled_from((*URLS, *RUN_IDS, "true", "false", "True", "1", "0", "", ",", "a,b", "%", "%zz", ";", "10.0.0.1",
                     "1700000000000", "1e3", "\uff11\uff10", "https://a.example/%25", "#")),
    st.text(max_size=12),
)  # fmt: skip
_PAIRS = st.lists(st.tuples(_NAMES, _TEXTS), max_size=6)


def _encoded(pairs: list[tuple[str, str]], *, escape: bool) -> bytes:
    quoted = (f"{name}={quote_plus(value, errors='replace') if escape else value}" for name, value in pairs)
    return "&".join(quoted).encode("utf-8", "replace")


def _read(query: bytes, body: Body) -> ActionRequest | None:
    try:
        return parse_cancel(query, body)
    except MalformedRequest as error:
        refused = error
    assert refused.sentence
    assert refused.cause.isidentifier()
    return None


@given(st.binary(max_size=80), st.binary(max_size=80), st.sampled_from(((), JSON, (b"text/plain",), JSON * 2)))
@example(b"", b'{"workflowRunIds":' + b"[" * 100_000, JSON)
@example(b"", b'{"count":' + b"9" * 5000 + b"}", JSON)
@example(b"", b'{"workflowUrl":"\\ud800"}', JSON)
@example(b"label=%ff", b"", ())
def test_reading_any_bytes_gives_a_request_or_malformed(query: bytes, content: bytes, types: tuple[bytes, ...]) -> None:
    """Whatever the bytes, there is a value or MalformedRequest, never anything else."""
    _read(query, Body(content, types))
    _read(b"", Body(content, types))


@given(_PAIRS, st.booleans())
def test_reading_is_total_near_the_grammar(pairs: list[tuple[str, str]], escape: bool) -> None:
    """Pairs of known and nearly known names with odd values are read or refused, and never raise anything else."""
    _read(_encoded(pairs, escape=escape), Body())


@given(_PAIRS, st.booleans())
def test_what_is_read_is_what_stands_there(pairs: list[tuple[str, str]], escape: bool) -> None:
    """A readable query names each pair exactly, so nothing is dropped, added, trimmed or case-folded on the way."""
    query = _encoded(pairs, escape=escape)
    request = _read(query, Body())
    if request is None:
        return
    asked = sorted(parse_qsl(query.decode(), keep_blank_values=True, strict_parsing=bool(query)))
    unsaid = {("workflowUrlExactMatch", "false"), ("count", str(request.count))}
    assert set(asked) - unsaid == set(request.selection.pairs()) - unsaid
    assert isinstance(request.selection, Everything) or {name for name, _ in asked} - {"count"}


@given(filters(), st.integers(1, 999_999_999))
@example(parse_cancel(b"fromDate=1000000000000", Body()).selection, 1)
def test_reading_a_rendered_filter_gives_it_back(selection: object, count: int) -> None:
    """read(render(filter)) is the filter, and rendering it again gives the same bytes."""
    assert not isinstance(selection, (ByIds, Everything))
    order = Order(selection, count)  # type: ignore[arg-type]
    again = parse_cancel(order.query.encode("ascii"), Body())
    assert again == ActionRequest(selection, count)  # type: ignore[arg-type]


@given(some(RUN_IDS, most=6))
def test_reading_rendered_run_ids_gives_them_back_without_the_added_count(run_ids: tuple[str, ...]) -> None:
    """read(render(IDs)) is the list once the count, which callers may not send, is left out."""
    query, _, count = Order(ByIds(run_ids), len(run_ids)).query.rpartition("&")
    assert count == f"count={len(run_ids)}"
    assert parse_cancel(query.encode("ascii"), Body()) == counted(ByIds(run_ids), 1)


@given(requests())
def test_what_is_sent_is_printable_ascii_without_a_separator_in_a_value(request: ActionRequest) -> None:
    """No value brings a comma, semicolon, plus, ampersand or space of its own into the query."""
    if isinstance(request.selection, Everything | ByFilterHere):
        return
    for pair in order_of(request).query.split("&"):
        name, equals, value = pair.partition("=")
        assert name in NAMES
        assert equals
        assert value
        assert value.isascii()
        assert not set(value) & set(",;+& =/:?#")


@given(_PAIRS, st.booleans())
def test_nothing_selected_is_never_a_list_of_runs(pairs: list[tuple[str, str]], escape: bool) -> None:
    """A request without a non-empty run ID is never ByIds, however it is spelled."""
    request = _read(_encoded(pairs, escape=escape), Body())
    if request is not None and not any(name == "workflowRunIds" and value for name, value in pairs):
        assert not isinstance(request.selection, ByIds)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(URLS),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(("workflowRunIds", "workflowUrl", "WorkflowUrl", "x")), inner, max_size=2),
                    max_leaves=6))  # fmt: skip
def test_a_json_body_without_run_ids_is_never_a_list_of_runs(value: object) -> None:
    """Null, an empty list or a key in another case never becomes a list of runs; only `{}` is everything."""
    import json

    request = _read(b"", Body(json.dumps(value).encode(), JSON))
    if request is None:
        return
    assert isinstance(value, dict)
    assert isinstance(request.selection, ByIds) == bool(value.get("workflowRunIds"))
    assert isinstance(request.selection, Everything) == (value == {})
