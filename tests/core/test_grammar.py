"""The grammar of "What is accepted", sentence by sentence: what is read, and what is malformed."""

from __future__ import annotations

import pytest

from gateway.core.errors import MalformedRequest
from gateway.core.parse import Body
from gateway.core.plan import Order, order_of
from gateway.core.request import ActionRequest, ByFilter, ByIds, Dialect, Everything, Selection
from gateway.operations.calls.cancel_runs import parse_cancel

JSON = b"application/json"
URL = "https://a.example/api"
EXACT = "&workflowUrlExactMatch=true"


def read(query: str) -> ActionRequest:
    return parse_cancel(query.encode("utf-8"), Body())


def read_body(content: str, *types: bytes) -> ActionRequest:
    return parse_cancel(b"", Body(content.encode("utf-8", "surrogatepass"), types or (JSON,)))


def cause(query: str) -> str:
    with pytest.raises(MalformedRequest) as refused:
        read(query)
    return refused.value.cause


@pytest.mark.parametrize(
    ("query", "selection", "count"),
    [
        ("", Everything(), 100),
        ("count=7", Everything(), 7),
        ("workflowRunIds=a", ByIds(("a",)), 1),
        ("workflowRunIds=" + "a" * 128, ByIds(("a" * 128,)), 1),
        ("workflowRunIds=wfr-1_.x&workflowRunIds=b", ByIds(("wfr-1_.x", "b")), 2),
        ("label=a", ByFilter(labels=("a",)), 100),
        ("label=a&label=b&count=1", ByFilter(labels=("a", "b")), 1),
        ("label=%61", ByFilter(labels=("a",)), 100),
        ("flowControlKey=a.b_c-D&count=999999999", ByFilter(flow_control_keys=("a.b_c-D",)), 999_999_999),
        ("callerIp=10.0.0.1&callerIp=2001:db8::1", ByFilter(caller_ips=("10.0.0.1", "2001:db8::1")), 100),
        ("fromDate=1700000000000", ByFilter(from_date=1_700_000_000_000), 100),
        ("toDate=1700000000000", ByFilter(to_date=1_700_000_000_000), 100),
        ("fromDate=1700000000000&toDate=1700000000000",
         ByFilter(from_date=1_700_000_000_000, to_date=1_700_000_000_000), 100),
        (f"workflowUrl={URL}", ByFilter(workflow_urls=(URL,)), 100),
        (f"workflowUrl={URL}&workflowUrlExactMatch=false", ByFilter(workflow_urls=(URL,)), 100),
        (f"workflowUrl={URL}{EXACT}", ByFilter(workflow_urls=(URL,), exact=True), 100),
        (f"workflowUrlExactMatch=true&workflowUrl={URL}", ByFilter(workflow_urls=(URL,), exact=True), 100),
    ],
)  # fmt: skip
def test_a_canonical_query_is_read(query: str, selection: Selection, count: int) -> None:
    """Every parameter, alone and repeated where it may be; a missing count is 100."""
    assert read(query) == ActionRequest(selection, count)


@pytest.mark.parametrize(
    "name",
    ["Host", "hosts", "async", "cursor", "qstash_token", "Label", "LABEL", "workflowrunids", "workflowRunId",
     "label[]", "label%5B%5D", "%6cabel", "label%00", " label", "l\u0430bel", "count ", "__proto__", "x" * 5000],
)  # fmt: skip
def test_every_other_name_is_malformed(name: str) -> None:
    """Names are compared byte for byte: no case folding, decoding, trimming or brackets."""
    assert cause(f"label=a&{name}=x") == "unknown_parameter"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("label=", "empty_value"), ("label", "empty_value"), ("workflowRunIds=", "empty_value"),
        ("=a", "empty_pair"), ("=", "empty_pair"), ("&", "empty_pair"), ("label=a&", "empty_pair"),
        ("&label=a", "empty_pair"), ("label=a&&count=1", "empty_pair"), ("?label=a", "unknown_parameter"),
        ("label=%", "bad_escape"), ("label=%6", "bad_escape"), ("label=%zz", "bad_escape"), ("label=a%", "bad_escape"),
        ("label=a;count=1", "bad_escape"), ("label=a;", "bad_escape"), ("label=%FF", "not_utf8"),
        ("label=%C0%AF", "not_utf8"), ("label=%ED%A0%80", "not_utf8"), ("label=a,b", "comma"), ("label=a%2Cb", "comma"),
        (f"workflowUrl={URL}/%2C", "comma"), ("workflowRunIds=a,b", "comma"),
        ("count=1&count=1", "repeated"), (f"workflowUrl={URL}{EXACT}{EXACT}", "repeated"),
        ("fromDate=1700000000000&fromDate=1700000000000", "repeated"),
        ("toDate=1700000000000&toDate=1700000000000", "repeated"),
        ("workflowRunIds=a&count=1", "beside_run_ids"), ("workflowRunIds=a&label=b", "beside_run_ids"),
        ("label=b&workflowRunIds=a", "beside_run_ids"), ("workflowUrlExactMatch=true", "exact_without_url"),
        ("label=a&workflowUrlExactMatch=false", "exact_without_url"),
    ],
)  # fmt: skip
def test_what_two_parsers_read_differently_is_malformed(query: str, word: str) -> None:
    """Empty names, values and pairs, bad escapes, `;`, commas and repeats are refused, also where they do no harm."""
    assert cause(query) == word


@pytest.mark.parametrize(
    "query",
    [
        "workflowRunIds=a&workflowRunIds=a", "workflowRunIds=" + "a" * 129, "workflowRunIds=___", "workflowRunIds=.",
        "workflowRunIds=..", "workflowRunIds=a/b", "workflowRunIds=a%20", "workflowRunIds=a+", "workflowRunIds=%C3%A9",
        "workflowRunIds=*", "workflowRunIds=a%0A",
        "label=a+b", "label=a%20b", "label=%00", "label=a%0A", "label=%C3%A9", "label=*", "label=a/b",
        "label=a%2500", "flowControlKey=a:b", "flowControlKey=a%7F",
        "count=0", "count=-1", "count=%2B1", "count=+1", "count=01", "count=1.0", "count=1e2", "count=1_0", "count=0x1",
        "count=1000000000", "count=%EF%BC%91", "count=%D9%A1", "count=1%0A", "count=true", "count=1+",
        "fromDate=1700000000", "fromDate=17000000000000", "fromDate=2024-01-01", "fromDate=-170000000000",
        "fromDate=%EF%BC%91700000000000", "toDate=+700000000000", "fromDate=1700000000001&toDate=1700000000000",
        "callerIp=10.0.0.01", "callerIp=10.0.0", "callerIp=10.0.0.1/8", "callerIp=0x0a000001", "callerIp=167772161",
        "callerIp=2001:DB8::1", "callerIp=2001:db8:0::1", "callerIp=::ffff:10.0.0.1", "callerIp=fe80::1%25eth0",
        "callerIp=[::1]", "callerIp=localhost", "callerIp=10.0.0.1+",
        f"workflowUrl={URL}&workflowUrlExactMatch=True", f"workflowUrl={URL}&workflowUrlExactMatch=1",
        f"workflowUrl={URL}&workflowUrlExactMatch=t", f"workflowUrl={URL}&workflowUrlExactMatch=+true",
    ],
)  # fmt: skip
def test_a_value_outside_its_grammar_is_malformed(query: str) -> None:
    """Numbers, dates, addresses, IDs and keys are ASCII, canonical, and nothing else."""
    assert cause(query) in {"value", "empty_value"}


CANONICAL_URLS = [
    "https://a.example/", "http://a.example/", "https://a.example:8443/x", "http://a.example:443/", "https://10.0.0.1/",
    "https://[2001:db8::1]/x", "https://[2001:db8::1]:8443/x", "https://xn--bcher-kva.example/", "https://a_b.example/x",
    "https://localhost/x", "https://a.example/~b!$&'()*=:@+-._", "https://a.example/a%20b", "https://a.example/%C3%A9",
    "https://a.example/a/", "https://a.example/...", "https://a.example/.well-known/x",
]  # fmt: skip

FORBIDDEN_URLS = [
    "https://a.example", "HTTPS://a.example/", "https://A.example/", "ftp://a.example/", "//a.example/", "a.example/",
    "https:/a.example/", "https:a.example/", "https://a.example:443/", "http://a.example:80/", "https://a.example:/",
    "https://a.example:0/", "https://a.example:0443/", "https://a.example:65536/", "https://u@a.example/",
    "https://u:p@a.example/", "https://a.example/#f", "https://a.example/x#", "https://a.example/./x",
    "https://a.example/..", "https://a.example/x/../y", "https://a.example//x", "https://a.example/x//",
    "https://a.example/%2e%2e/x", "https://a.example/%2E/x", "https://a.example/%2Fx", "https://a.example/%5Cx",
    "https://a.example/%61", "https://a.example/%7E", "https://a.example/%2D", "https://a.example/%5F",
    "https://a.example/%31", "https://a.example/%c3%a9", "https://a.example/%00", "https://a.example/%0A",
    "https://a.example/%7F", "https://a.example/%3B", "https://a.example/%2C", "https://a.example/%", "https:///x",
    "https://a.example./x", "https://.a.example/", "https://a..example/", "https://-a.example/", "https://a-.example/",
    "https://a.example\\x", "https://a.example/\\x", "https://\u00e4.example/", "https://a.example/\u00e9",
    "https://a.example/x y", "https://a.example/ ", " https://a.example/", "https://a.example/{x}", "https://a.example/*|",
    "https://a.example/[x]", 'https://a.example/"', "https://a.example/<x>", "https://a.example/`", "https://a.example/^",
    "https://010.0.0.1/", "https://10.1/", "https://167772161/", "https://0x0a000001/", "https://10.0.0.256/",
    "https://a.0x1/", "https://[2001:DB8::1]/", "https://[::ffff:10.0.0.1]/", "https://[10.0.0.1]/", "https://[::1/",
    "https://" + "a" * 64 + ".example/", "https://" + "a." * 127 + "example/", "https://a.example/x?", "https://a.example?x",
]  # fmt: skip


@pytest.mark.parametrize("url", CANONICAL_URLS)
@pytest.mark.parametrize("exact", [True, False])
def test_a_canonical_url_is_read_and_rendered_as_it_stands(url: str, *, exact: bool) -> None:
    """A canonical URL is taken whole, exact or as a prefix, and comes back from the query that is sent."""
    selection = ByFilter(workflow_urls=(url,), exact=exact)
    assert read(Order(selection, 5).query) == ActionRequest(selection, 5)


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
def test_a_url_with_a_second_spelling_cannot_be_constructed(url: str) -> None:
    """What is not canonical is refused and never normalised, exact or as a prefix."""
    for exact in (True, False):
        with pytest.raises(ValueError, match="workflowUrl"):
            ByFilter(workflow_urls=(url,), exact=exact)


def test_a_query_of_a_url_is_part_of_an_exact_value_only() -> None:
    """`?query` may stand in an exact value; a prefix with one is malformed."""
    url = "https%3A%2F%2Fa.example%2Fx%3Fa%3D1%26b%3D%2F"
    assert read(f"workflowUrl={url}{EXACT}").selection == ByFilter(("https://a.example/x?a=1&b=/",), exact=True)
    assert cause(f"workflowUrl={url}") == "value"


def test_a_url_without_a_path_is_told_to_add_one() -> None:
    """The sentence says what to do: add `/`."""
    with pytest.raises(MalformedRequest, match="add '/'"):
        read("workflowUrl=https://a.example")


def test_every_value_of_a_repeated_field_is_read_strictly() -> None:
    """A bad value hides behind no good one."""
    assert cause("label=a&label=b+c") == "value"
    assert cause(f"workflowUrl={URL}&workflowUrl=https://a.example") == "value"


@pytest.mark.parametrize(
    ("content", "selection"),
    [
        ("{}", Everything()), (" { } ", Everything()),
        ('{"workflowRunIds":["a","b"]}', ByIds(("a", "b"))),
        (f'{{"workflowUrl":"{URL}"}}', ByFilter((URL,))),
        (f'{{"workflowUrl":["{URL}","{URL}/"]}}', ByFilter((URL, f"{URL}/"))),
        ('{"workflow\\u0055rl":"https:\\/\\/a.example\\/"}', ByFilter(("https://a.example/",))),
    ],
)  # fmt: skip
def test_a_json_body_of_the_older_clients_is_read(content: str, selection: Selection) -> None:
    """`{}`, a list of run IDs, or a URL as a string or list, which is a prefix request."""
    request = read_body(content)
    assert request.selection == selection
    assert request.count == (len(selection.ids) if isinstance(selection, ByIds) else 100)
    assert request.dialect is Dialect.BODY


@pytest.mark.parametrize(
    "content",
    [
        "null", "[]", '""', "1", " ", "{", "{}{}", '{"a":NaN}', "\ufeff{}", '{"workflowRunIds":null}',
        '{"workflowRunIds":[]}', '{"workflowRunIds":"a"}', '{"workflowRunIds":[1]}', '{"workflowRunIds":[null]}',
        '{"workflowRunIds":["a"],"workflowRunIds":["b"]}', '{"workflowRunIds":["a"],"count":1}',
        '{"workflowRunIds":["a","a"]}', '{"workflowRunIds":["a,b"]}', '{"workflowRunIds":[""]}',
        '{"WorkflowRunIds":["a"]}', '{"workflowrunids":["a"]}', '{"workflowUrl":""}', '{"workflowUrl":[]}',
        '{"workflowUrl":null}', '{"workflowUrl":{}}', '{"workflowUrl":"https://a.example"}', '{"label":"a"}',
        '{"count":5}', '{"workflowUrl":"https://a.example/,h"}', '{"workflowUrl":"\\ud800"}', '{"x":1}', "{'a':1}",
        '{"workflowUrl":"https://a.example/x?y"}', "[" * 100_000, '{"workflowRunIds":' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_every_other_body_is_malformed(content: str) -> None:
    """Null, empty lists, other keys or cases, duplicates, wrong types: upstream may read each as everything."""
    with pytest.raises(MalformedRequest):
        read_body(content)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_body_is_utf_8_only(encoding: str) -> None:
    """Other encodings that a JSON reader may guess are malformed."""
    with pytest.raises(MalformedRequest):
        parse_cancel(b"", Body('{"workflowRunIds":["é"]}'.encode(encoding), (JSON,)))


@pytest.mark.parametrize(
    "types", [(), (JSON, JSON), (b"text/plain",), (b"application/json; charset=utf-16",), (b"application/jsonx",),
              (b"application/json, text/plain",), (b"",), (b"application/x-www-form-urlencoded",)],
)  # fmt: skip
def test_a_body_needs_exactly_one_json_content_type(types: tuple[bytes, ...]) -> None:
    """No type, two, or another one: malformed."""
    with pytest.raises(MalformedRequest) as refused:
        parse_cancel(b"", Body(b"{}", types))
    assert refused.value.cause == "content_type"


def test_a_compressed_body_and_a_body_beside_a_query_are_malformed() -> None:
    """Content-Encoding is refused even on an empty body, and a query never stands beside a body."""
    with pytest.raises(MalformedRequest, match="compressed"):
        parse_cancel(b"", Body(b"", (), (b"identity",)))
    with pytest.raises(MalformedRequest, match="either"):
        parse_cancel(b"label=a", Body(b"{}", (JSON,)))


def test_equal_requests_are_equal_in_either_dialect() -> None:
    """The dialect is recorded, and is no part of what is asked."""
    assert read("workflowRunIds=a") == read_body('{"workflowRunIds":["a"]}')


def test_what_is_sent_has_upstreams_order_and_always_a_count() -> None:
    """Names in the fixed order, `count` last and always there, for IDs how many; everything else percent-encoded."""
    selection = ByFilter((f"{URL}?a=b+c",), exact=True, from_date=1_700_000_000_000, to_date=1_700_000_000_001,
                         caller_ips=("2001:db8::1",), flow_control_keys=("k",), labels=("a", "b"))  # fmt: skip
    assert Order(selection, 7).query == (
        "workflowUrl=https%3A%2F%2Fa.example%2Fapi%3Fa%3Db%2Bc&workflowUrlExactMatch=true&fromDate=1700000000000"
        "&toDate=1700000000001&callerIp=2001%3Adb8%3A%3A1&flowControlKey=k&label=a&label=b&count=7"
    )
    assert Order(ByIds(("b", "a")), 2).query == "workflowRunIds=b&workflowRunIds=a&count=2"


def test_nothing_that_selects_everything_can_be_sent() -> None:
    """An order cannot be made of Everything, an empty list, an empty filter or a lone exact flag."""
    with pytest.raises(TypeError):
        Order(Everything(), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        order_of(ActionRequest(Everything(), 1))
    for make in (lambda: ByIds(()), ByFilter, lambda: ByFilter(labels=("a",), exact=True)):
        with pytest.raises(ValueError, match=r"empty|names|stands only"):
            make()
    for selection, count in ((ByIds(("a",)), 2), (ByFilter(labels=("a",)), 0), (ByFilter(labels=("a",)), 10**9)):
        with pytest.raises(ValueError, match="count"):
            Order(selection, count)


@pytest.mark.parametrize("date", [-1, 10**13])
def test_a_date_that_no_request_can_carry_cannot_be_constructed(date: int) -> None:
    """Dates are Unix milliseconds of at most 13 digits in the type as well as on the wire."""
    with pytest.raises(ValueError, match="date"):
        ByFilter(from_date=date)
    with pytest.raises(ValueError, match="date"):
        ByFilter(to_date=date)


@pytest.mark.parametrize("query", ["fromDate=0000000000000", "label=x&toDate=0000000000000", "fromDate=0000000000001"])
def test_a_date_that_upstream_may_take_for_none_is_malformed(query: str) -> None:
    """Zero is *not given* to a Go server: the filter would vanish, and a deny would be passed by."""
    with pytest.raises(MalformedRequest):
        parse_cancel(query.encode(), Body())


@pytest.mark.parametrize(
    "query",
    [
        "label=" + "a" * 257,
        "workflowUrl=https%3A%2F%2Fa.example%2F" + "a" * 4096,
        "&".join(f"label=l{number}" for number in range(101)),
        "label=a&label=a",
    ],
    ids=["long label", "long url", "many values", "twice"],
)
def test_what_one_filter_may_hold_is_bounded(query: str) -> None:
    """Each value is judged, proposed and recorded, so a request cannot make any of that long."""
    with pytest.raises(MalformedRequest):
        parse_cancel(query.encode(), Body())


def test_a_gateway_key_is_no_value() -> None:
    """Pasted into the wrong place it would be sent upstream and stand in the record."""
    with pytest.raises(MalformedRequest):
        parse_cancel(b"label=qgk_ci_" + b"k" * 43, Body())
