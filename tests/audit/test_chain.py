"""Laws of a line: one spelling, in one order, that no configuration changes."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from decimal import Decimal

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import GENESIS, MacKey, Record, Sealer, parse_line
from gateway.core.forms.times import record_time

KEY = MacKey(b"k" * 32)


def test_members_stand_in_the_fixed_order() -> None:
    """The envelope comes first, prev and mac last."""
    (line,), head = Sealer("one", key=None).seal(GENESIS, [Record(1, "denied", {"decision_id": "d", "a": 1})])
    assert list(json.loads(line)) == ["v", "seq", "ts", "event", "instance", "decision_id", "a", "prev", "mac"]
    assert head.digest == hashlib.sha256(line[:-1]).hexdigest()


def test_mac_covers_everything_before_it() -> None:
    """The MAC is over the line's bytes up to and including the value of prev."""
    (line,), _ = Sealer("one", key=KEY).seal(GENESIS, [Record(1, "note", {})])
    signed, mac = line[:-1].rsplit(b',"mac":', 1)
    assert json.loads(mac[:-1]) == hmac.new(KEY.secret, signed, hashlib.sha256).hexdigest()


def test_structlog_configuration_changes_nothing() -> None:
    """A log line is the same whatever `structlog.configure` was called with."""
    before = Sealer("one", key=KEY).seal(GENESIS, [Record(1, "note", {"x": "é"})])
    structlog.configure(
        processors=[lambda *_: "forged"], wrapper_class=structlog.stdlib.BoundLogger, context_class=OrderedDict
    )
    try:
        assert Sealer("one", key=KEY).seal(GENESIS, [Record(1, "note", {"x": "é"})]) == before
    finally:
        structlog.reset_defaults()


def test_secret_is_in_no_repr() -> None:
    """A key shows its id, never its bytes."""
    assert "kkk" not in repr(KEY)
    assert KEY.key_id == hashlib.sha256(KEY.secret).hexdigest()[:8]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(value=anything)
def test_every_value_becomes_one_canonical_line(value: object) -> None:
    """Rendering is total, even for integers above 64 bits and lone surrogates, and yields one line that reads back."""
    (line,), _ = Sealer("one", key=None).seal(GENESIS, [Record(1, "note", {"value": value})])
    assert line.count(b"\n") == 1
    assert isinstance(parse_line(line[:-1]), dict)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1 << 64, str(1 << 64)),
        (-(1 << 63) - 1, str(-(1 << 63) - 1)),
        ("a\ud800b", "a\\ud800b"),
        (
            ["x\udfff", (1 << 63, -(1 << 63)), None, True, 0.5],
            ["x\\udfff", [str(1 << 63), -(1 << 63)], None, True, 0.5],
        ),
        ({"\udcff": {"in": 1 << 70}, "plain": 7}, {"\\udcff": {"in": str(1 << 70)}, "plain": 7}),
        ([Decimal("1.5"), {2: "two"}], ["1.5", {"2": "two"}]),
    ],
)
def test_what_json_cannot_tell_is_told_as_a_text(value: object, told: object) -> None:
    """An integer above 64 bits, a lone surrogate, any other object, at every depth; what is beside them stays."""
    (line,), _ = Sealer("one", key=None).seal(GENESIS, [Record(1, "note", {"value": value})])
    assert json.loads(line)["value"] == told


@given(raw=st.binary(max_size=300) | anything.map(lambda value: json.dumps(value).encode()))
def test_reading_a_line_is_total(raw: bytes) -> None:
    """Any bytes are a record or a sentence about why not."""
    assert isinstance(parse_line(raw), (dict, str))


def test_a_record_has_one_spelling() -> None:
    """Duplicate keys, spaces, other escapes, other clocks and other types are not the record."""
    (line,), _ = Sealer("one", key=None).seal(GENESIS, [Record(1, "note", {"a": "/"})])
    line = line[:-1]
    assert isinstance(parse_line(line), dict)
    for wrong in (
        line.replace(b'"a":', b'"a":1,"a":'),
        line.replace(b":", b": ", 1),
        line.replace(b'"/"', b'"\\/"'),
        line.replace(b".000000Z", b"Z"),
        line.replace(b"Z", b"+00:00"),
        line.replace(b'"seq":1', b'"seq":true'),
        line.replace(b'"v":1', b'"v":2'),
        line.replace(b'"seq":1,', b"") + b"",
        line + b" ",
    ):
        assert isinstance(parse_line(wrong), str), wrong


def test_timestamps_have_microseconds_at_any_time() -> None:
    """1970, a whole second and the last nanosecond are spelled alike."""
    assert record_time(0) == "1970-01-01T00:00:00.000000Z"
    assert record_time(1_769_851_800_000_001_999) == "2026-01-31T09:30:00.000001Z"
    assert record_time(-1) == "1969-12-31T23:59:59.999999Z"
    assert orjson.loads(orjson.dumps(record_time(0)))
