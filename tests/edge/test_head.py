"""What HTTP forbids in a head, and what two readers could take differently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ExpectationFailed, MalformedRequest
from gateway.edge.head import Checked, Head, check_head

Headers = tuple[tuple[bytes, bytes], ...]
HOST = (b"host", b"gateway.example")


def head(*headers: tuple[bytes, bytes], target: bytes = b"/v2/workflows/runs?label=a", **changes: object) -> Head:
    values = {"method": b"DELETE", "version": "1.1", **changes}
    return Head(target=target, headers=headers or (HOST,), **values)  # type: ignore[arg-type]


def cause(refused: Head) -> str:
    with pytest.raises(MalformedRequest) as error:
        check_head(refused)
    return error.value.cause


@pytest.mark.parametrize(
    "headers",
    [
        (HOST,), (HOST, (b"content-length", b"0")), (HOST, (b"content-length", b"28")),
        (HOST, (b"transfer-encoding", b"chunked")), (HOST, (b"authorization", b"Bearer x")),
        (HOST, (b"accept", b"*/*")),
        ((b"host", b"127.0.0.1:8080"),), ((b"host", b"[::1]:8080"),), ((b"host", b"[::1]"),),
        ((b"host", b"LOCALHOST"),),
    ],
)  # fmt: skip
def test_an_ordinary_head_passes(headers: Headers) -> None:
    """What clients send is let through, in HTTP/1.0 too where the framing is of that version."""
    check_head(head(*headers))
    if (b"transfer-encoding", b"chunked") not in headers:
        check_head(head(*headers, version="1.0"))


@pytest.mark.parametrize(
    "target",
    [
        b"", b"*", b"http://gateway.example/v2/workflows/runs", b"gateway.example:443", b"v2/workflows/runs",
        b"//v2/workflows/runs", b"//gateway.example/v2/workflows/runs", b"/x#y", b"/x?y#z", b"/x y", b"/x\t", b"/x\x00",
        b"/x\x7f", b"/x\xc3\xa9", b"/x\r\n", b"/x\n",
    ],
)  # fmt: skip
def test_a_target_is_a_path_and_a_query_in_printable_ascii(target: bytes) -> None:
    """No absolute form, authority form, fragment, doubled first slash, space, control or raw byte beyond ASCII."""
    assert cause(head(target=target)) == "target"


@pytest.mark.parametrize(
    "hosts",
    [
        (), (b"a", b"a"), (b"a", b"b"), (b"",), (b"a b",), (b"a,b",), (b"a/b",), (b"u@a",), (b"a:",), (b"a:x",),
        (b"a:123456",), (b"[::1",), (b"::1",), (b"a\n",), (b"a#",), (b"a\xff",),
    ],
)  # fmt: skip
def test_exactly_one_valid_host(hosts: tuple[bytes, ...]) -> None:
    """RFC 9112, 3.2: none, two or an invalid one is a 400."""
    other = (b"accept", b"*/*")
    assert cause(head(other, *((b"host", value) for value in hosts))) == "host"


@pytest.mark.parametrize(
    ("headers", "version", "word"),
    [
        (((b"content-length", b"1"), (b"transfer-encoding", b"chunked")), "1.1", "framing"),
        (((b"content-length", b"0"), (b"transfer-encoding", b"identity")), "1.1", "framing"),
        (((b"content-length", b"1"), (b"content-length", b"1")), "1.1", "content_length"),
        (((b"content-length", b"1"), (b"content-length", b"2")), "1.1", "content_length"),
        (((b"content-length", b"+1"),), "1.1", "content_length"),
        (((b"content-length", b"-1"),), "1.1", "content_length"),
        (((b"content-length", b"1, 1"),), "1.1", "content_length"),
        (((b"content-length", b"0x1"),), "1.1", "content_length"),
        (((b"content-length", b"1_0"),), "1.1", "content_length"),
        (((b"content-length", b""),), "1.1", "content_length"),
        (((b"content-length", b"9" * 19),), "1.1", "content_length"),
        (((b"transfer-encoding", b"gzip, chunked"),), "1.1", "transfer_encoding"),
        (((b"transfer-encoding", b"identity"),), "1.1", "transfer_encoding"),
        (((b"transfer-encoding", b"xchunked"),), "1.1", "transfer_encoding"),
        (((b"transfer-encoding", b"chunked\x0b"),), "1.1", "transfer_encoding"),
        (((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")), "1.1", "transfer_encoding"),
        (((b"transfer-encoding", b"chunked"),), "1.0", "transfer_encoding"),
        (((b"upgrade", b"h2c"),), "1.0", "upgrade"),
        (((b"upgrade", b"h2"),), "1.1", "upgrade"),
        (((b"upgrade", b""),), "1.1", "upgrade"),
        (((b"upgrade", b"h2c, websocket"),), "1.1", "upgrade"),
        (((b"upgrade", b"h2c"), (b"upgrade", b"websocket")), "1.1", "upgrade"),
        (((b"upgrade", b"websocket"),), "1.1", "upgrade"),
        (((b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")), "1.1", "two_credentials"),
        ((), "0.9", "version"), ((), "2", "version"), ((), "2.0", "version"), ((), "1.2", "version"),
    ],
)  # fmt: skip
def test_what_two_readers_could_frame_differently_is_refused(headers: Headers, version: str, word: str) -> None:
    """Lengths beside codings, two lengths, odd numbers, other codings, upgrades, two credentials."""
    assert cause(head(HOST, *headers, version=version)) == word


@pytest.mark.parametrize("offer", [b"h2c", b"H2C", b"h2C"])
def test_an_offer_of_http_2_is_left_out(offer: bytes) -> None:
    """RFC 9110, 7.8: a server may ignore it; where the body ends is known all the same."""
    offered = check_head(head(HOST, (b"upgrade", offer), (b"content-length", b"3")))
    assert offered == Checked(b"/v2/workflows/runs", b"label=a", (b"content-length", b"3"), offers_h2c=True)
    assert not check_head(head(HOST)).offers_h2c


@pytest.mark.parametrize("expected", [b"100-continue", b"100-Continue", b"200-ok", b""])
def test_an_expectation_fails(expected: bytes) -> None:
    """RFC 9110, 10.1.1: 417 makes a client repeat the request without it; of HTTP/1.0 it MUST be ignored."""
    with pytest.raises(ExpectationFailed):
        check_head(head(HOST, (b"expect", expected)))
    check_head(head(HOST, (b"expect", expected), version="1.0"))


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED"])
def test_the_name_of_a_coding_has_no_case(coding: bytes) -> None:
    """RFC 9112, 7."""
    assert check_head(head(HOST, (b"transfer-encoding", coding))).framing == (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz"])
@pytest.mark.parametrize("form", [b"%s", b"%s?verbose", b"http://10.0.0.1:8081%s", b"HTTPS://[::1]%s?x=1"])
def test_probes_may_be_old_and_terse(path: bytes, form: bytes) -> None:
    """HTTP/1.0 without a Host, an empty Host, a whole URL: nothing can be done on the two pages."""
    target = form % path
    for headers, version in (((), "1.0"), ((b"host", b""), "1.0"), ((b"host", b""), "1.1"), (HOST, "1.1")):
        lines = (headers,) if headers else ((b"accept", b"*/*"),)
        assert check_head(head(*lines, target=target, version=version, method=b"HEAD")).path == path


@pytest.mark.parametrize(
    ("headers", "version", "target"),
    [
        (((b"accept", b"*/*"),), "1.1", b"/healthz"),
        ((HOST, HOST), "1.0", b"/healthz"),
        (((b"host", b""), (b"host", b"")), "1.1", b"/readyz"),
        (((b"host", b"a b"),), "1.0", b"/readyz"),
        (((b"accept", b"*/*"),), "1.0", b"/readyz/"),
        (((b"accept", b"*/*"),), "1.0", b"/Readyz"),
        (((b"host", b""),), "1.1", b"/v2/workflows/runs?/healthz"),
    ],
)
def test_the_leniency_towards_probes_ends_there(headers: Headers, version: str, target: bytes) -> None:
    """HTTP/1.1 without a Host, two of them, an invalid one, and every other path are refused as ever."""
    assert cause(head(*headers, version=version, target=target)) == "host"


@pytest.mark.parametrize(
    ("target", "word"),
    [
        (b"//v2/workflows/runs", "double slash"), (b"//", "double slash"), (b"/v2/workflows/runs#x", "'#'"),
        (b"http://gateway.example/v2/workflows/runs", "base URL"), (b"HTTPS://x/", "base URL"),
        (b"http://gateway.example/healthz/", "base URL"), (b"/v2/\xe9", "printable ASCII"), (b"*", "a path"),
    ],
)  # fmt: skip
def test_the_sentence_names_what_is_wrong_with_the_target(target: bytes, word: str) -> None:
    """A person reads what to change."""
    with pytest.raises(MalformedRequest) as error:
        check_head(head(target=target))
    assert word in error.value.sentence


def test_connect_is_refused() -> None:
    """A tunnel is no request of ours."""
    assert cause(head(method=b"CONNECT")) == "upgrade"


@given(
    st.binary(max_size=30),
    st.lists(st.tuples(st.sampled_from((b"host", b"content-length", b"transfer-encoding", b"upgrade", b"expect", b"x")),
                       st.binary(max_size=12)), max_size=5),
    st.sampled_from(("1.0", "1.1", "")),
)  # fmt: skip
def test_checking_is_total(target: bytes, headers: list[tuple[bytes, bytes]], version: str) -> None:
    """Any head passes or is malformed; one that passes has an origin-form target, one host and one framing."""
    checked = head(*headers, (b"x", b""), target=target, version=version)
    try:
        check_head(checked)
    except (MalformedRequest, ExpectationFailed):
        return
    assert target.startswith(b"/")
    assert len(checked.values(b"host")) == 1
    assert len(checked.values(b"content-length") + checked.values(b"transfer-encoding")) <= 1
