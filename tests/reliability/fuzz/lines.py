"""The target `audit`: lines of any bytes, and a sealed chain with one edit in it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from gateway.audit.chain import FIRST, GENESIS, LAST, MacKey, Record, Sealer, parse_line
from gateway.audit.evidence.verify import Finding, verify

KEY = MacKey(b"0123456789abcdef")
EDIT_HEAD_BYTES = 3
TS_NS = 1_790_000_000_123_456_789


def chain(key: MacKey | None) -> bytes:
    """A chain as a gateway leaves it: started, two intents closed, one denial, stopped."""
    records = [
        Record(TS_NS, "start", {"version": "0.1.0", "heads": {}, "damaged": []}),
        Record(TS_NS + 1, "intent", {"decision_id": "d1", "orders": ["label=nightly&count=50"]}),
        Record(TS_NS + 2, "intent", {"decision_id": "d2", "orders": ["workflowRunIds=wfr_1&count=1"]}),
        Record(TS_NS + 3, "outcome", {"decision_id": "d2", "outcome": "cancelled", "cancelled": 1}),
        Record(TS_NS + 4, "outcome", {"decision_id": "d1", "outcome": "unknown", "cancelled": None}),
        Record(TS_NS + 5, "denied", {"decision_id": "d3", "rule": None}),
        Record(TS_NS + 6, "stop", {"open": 0}),
    ]
    return b"".join(Sealer("one", key=key).seal(GENESIS, records)[0])


def check_audit(data: bytes) -> None:
    """The first byte chooses: a line, a whole file, an edit of a chain with a key, or of one without."""
    match data[0] % 4 if data else 0:
        case 0:
            check_line(data[1:])
        case 1:
            check_keyed(data[1:])
        case 2:
            check_edited(chain(KEY), data[1:])
        case 3:
            check_unkeyed(chain(None), data[1:])


def check_line(raw: bytes) -> None:
    """A line is a record in its one spelling, or is named as something else."""
    members = parse_line(raw)
    if isinstance(members, str):
        assert members
        return
    again = json.dumps(json.loads(raw), ensure_ascii=False, separators=(",", ":"))
    assert "." in again or "e" in again.lower() or again.encode("utf-8") == raw
    assert tuple(members)[: len(FIRST)] == FIRST
    assert tuple(members)[-len(LAST) :] == LAST


def check_keyed(content: bytes) -> None:
    """Bytes that were not made with the key never pass for a chain."""
    finding = found(content, KEY)
    assert finding in (Finding.TAMPERED, Finding.TORN) or not content


def check_edited(whole: bytes, edit: bytes) -> None:
    """With the key, every edit shows but one: lines cut off at the end."""
    content = edited(whole, edit)
    kept = content[: content.rfind(b"\n") + 1]
    finding = found(content, KEY)
    assert finding is Finding.TAMPERED or whole.startswith(kept), finding
    assert finding is not Finding.INTACT or whole.startswith(content), finding


def check_unkeyed(whole: bytes, edit: bytes) -> None:
    """Without a key an edit shows in the line after it, so only what comes last can be changed unseen."""
    content = edited(whole, edit)
    kept = b"".join(content[: content.rfind(b"\n") + 1].splitlines(keepends=True)[:-1])
    finding = found(content, None)
    assert finding is Finding.TAMPERED or whole.startswith(kept), finding


def edited(whole: bytes, edit: bytes) -> bytes:
    """Two bytes say where, one how many bytes go, and the rest is put there."""
    at = int.from_bytes(edit[:2], "big") % (len(whole) + 1)
    length = edit[2] if len(edit) > 2 else 0
    return whole[:at] + edit[EDIT_HEAD_BYTES:] + whole[at + length :]


def found(content: bytes, key: MacKey | None) -> Finding:
    """What verification says of a directory with this one file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "one.000001.jsonl"
        path.write_bytes(content)
        reports = verify([path], keys=[key] if key is not None else [], checkpoints={}, whole=True)
    order = (Finding.TAMPERED, Finding.OPEN, Finding.TORN, Finding.INTACT)
    return min((report.finding for report in reports), key=order.index)
