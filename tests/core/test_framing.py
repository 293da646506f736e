"""What HTTP forbids in a head, and what two readers could take differently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MalformedRequest
from gateway.framing import Head, check_head

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
        (((b"upgrade", b"h2c"),), "1.1", "upgrade"),
        (((b"upgrade", b"websocket"),), "1.1", "upgrade"),
        (((b"expect", b"100-continue"),), "1.1", "expect"),
        (((b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")), "1.1", "two_credentials"),
        ((), "0.9", "version"), ((), "2", "version"), ((), "2.0", "version"), ((), "1.2", "version"),
    ],
)  # fmt: skip
def test_what_two_readers_could_frame_differently_is_refused(headers: Headers, version: str, word: str) -> None:
    """Lengths beside codings, two lengths, odd numbers, other codings, upgrades, expectations, two credentials."""
    assert cause(head(HOST, *headers, version=version)) == word


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
    except MalformedRequest:
        return
    assert target.startswith(b"/")
    assert len(checked.values(b"host")) == 1
    assert len(checked.values(b"content-length") + checked.values(b"transfer-encoding")) <= 1
