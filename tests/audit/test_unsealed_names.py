"""Attacks without the key on two chains: whatever no MAC covers takes nothing out of the verifier's sight."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from gateway.audit.chain import GENESIS, Head, MacKey, Record, Sealer, parse_line
from gateway.audit.segment import segment_path
from tests.audit.faults import DONE, findings, opened, plan, segments, split, tampered

KEY = MacKey(b"k" * 32)


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """Two chains with a key, the second of which names the head of the first, which has two files."""
    for chain in ("first", "second"):
        async with opened(tmp_path, chain, mac_key=KEY) as log:
            for number in range(3):
                await log.close(await log.intent(plan(f"{chain}-{number}")), DONE)
    split(tmp_path, "first", [4])
    assert tampered(tmp_path, KEY) == set()
    return tmp_path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def unsealed(chain: str, *records: Record, after: Head = GENESIS) -> bytes:
    """Lines that link rightly, as anybody can make them."""
    return b"".join(Sealer(chain, key=None).seal(after, records)[0])


def head_of(path: Path) -> Head:
    """The head after a file's last line."""
    members = parse_line(lines(path)[-1][:-1])
    assert isinstance(members, dict)
    return Head(int(str(members["seq"])), hashlib.sha256(lines(path)[-1][:-1]).hexdigest())


def _moved_up(directory: Path, content: bytes) -> None:
    segment_path(directory, "second", 1).rename(segment_path(directory, "second", 2))
    segment_path(directory, "second", 1).write_bytes(content)


def _linked(directory: Path) -> None:
    path = segment_path(directory, "second", 1)
    path.rename(directory / "elsewhere")
    path.symlink_to("elsewhere")


def _renamed(directory: Path, name: str) -> None:
    segment_path(directory, "second", 1).rename(directory / name)


def _retired(directory: Path) -> None:
    start = orjson.loads(lines(segment_path(directory, "second", 1))[0])
    gone = {"retired": "first", "at": start["heads"]["first"], "files": {}}
    records = Record(1, "start", {"heads": {}, "damaged": [], "continues": None}), Record(1, "retired", gone)
    segment_path(directory, "third", 1).write_bytes(unsealed("third", *records, Record(1, "stop", {"open": 0})))


def _each(directory: Path, act: Callable[[Path], None]) -> None:
    for path in segments(directory, "first"):
        act(path)


def _cut(directory: Path) -> None:
    segment_path(directory, "first", 2).unlink()
    path = segment_path(directory, "first", 1)
    path.write_bytes(b"".join(lines(path)[:3]))


HIDINGS: dict[str, Callable[[Path], None]] = {
    "nothing more": lambda directory: None,
    "an empty file with a lower number": lambda directory: segment_path(directory, "second", 0).touch(),
    "an empty file with the lowest number": lambda directory: _moved_up(directory, b""),
    "a line of no record before the first": lambda directory: _moved_up(directory, b"{}\n"),
    "a torn line before the first": lambda directory: _moved_up(directory, b"{"),
    "an unsealed start before the first": lambda directory: _moved_up(
        directory, unsealed("second", Record(1, "start", {"heads": {}, "damaged": []}))
    ),
    "a link in the place of the first": _linked,
    "a second spelling of the first": lambda directory: (directory / "second.0000001.jsonl").touch(),
    "the first renamed to a longer number": lambda directory: _renamed(directory, "second.0000001.jsonl"),
    "the first renamed to another case": lambda directory: _renamed(directory, "second.000001.JSONL"),
    "the first renamed to a shorter number": lambda directory: _renamed(directory, "second.1.jsonl"),
    "an unsealed record that says it was retired": _retired,
}


LOSSES: dict[str, Callable[[Path], None]] = {
    "deleted": lambda directory: _each(directory, Path.unlink),
    "emptied": lambda directory: _each(directory, lambda path: os.truncate(path, 0)),
    "cut after its first cancel": _cut,
    "without its last file": lambda directory: segment_path(directory, "first", 2).unlink(),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hiding", HIDINGS)
async def test_a_lost_chain_is_found_whatever_is_put_beside_it(directory: Path, loss: str, hiding: str) -> None:
    """The head that the later start names is missed: nothing but that record's own loss hides it, and that shows."""
    LOSSES[loss](directory)
    HIDINGS[hiding](directory)
    assert tampered(directory, KEY)
    if "renamed" not in hiding and "link" not in hiding:
        assert "first" in tampered(directory, KEY)


@pytest.mark.parametrize("hiding", [name for name in HIDINGS if name != "nothing more"])
async def test_each_of_these_is_a_finding_by_itself(directory: Path, hiding: str) -> None:
    """Also where nothing is lost: the log never makes such a file."""
    HIDINGS[hiding](directory)
    assert tampered(directory, KEY)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 7])
async def test_an_empty_file_is_only_ever_the_last(directory: Path, number: int) -> None:
    """With number 0, and between others, it is a finding; behind the last it is what a crash leaves."""
    if number in (1, 2):
        for later in (2, 1)[: 3 - number]:
            segment_path(directory, "first", later).rename(segment_path(directory, "first", later + 1))
    segment_path(directory, "first", number).touch()
    assert tampered(directory, KEY) == (set() if number == 3 else {"first"})


async def test_a_gap_in_the_numbers_is_a_finding(directory: Path) -> None:
    """A chain whose second file has the number 3 has lost one, or was handled by somebody."""
    segment_path(directory, "first", 2).rename(segment_path(directory, "first", 3))
    assert tampered(directory, KEY) == {"first"}


@pytest.mark.parametrize("own", [False, True])
async def test_an_unsealed_line_gives_up_no_lines(directory: Path, *, own: bool) -> None:
    """A first line that calls its own file suspect, or an earlier one, is not believed without a MAC."""
    path = segment_path(directory, "first", 2)
    head = head_of(path)
    suspect = segment_path(directory, "first", 3 if own else 2).name
    named = {"reason": "segment_suspect", "suspect": [suspect], "last_good": {"seq": 4, "head": head.digest}}
    forged = unsealed("first", Record(1, "recovery", {**named, "open": 0, "left_out": 0}), after=head)
    segment_path(directory, "first", 3).write_bytes(forged + b"{}\n")
    assert tampered(directory, KEY) == {"first"}


async def test_a_chain_goes_on_as_it_began(directory: Path) -> None:
    """Records without a MAC behind records with one are a finding, also for who has no key."""
    path = segment_path(directory, "first", 2)
    head = head_of(path)
    path.write_bytes(path.read_bytes() + unsealed("first", Record(1, "denied", {"decision_id": "d"}), after=head))
    assert findings(directory)["first"] == "TAMPERED"


async def test_a_start_that_says_hmac_has_one(directory: Path) -> None:
    """A history whose MACs were taken off contradicts its own first record, also for who has no key."""
    members = [orjson.loads(line) for path in segments(directory, "second") for line in lines(path)]
    records = [Record(1, record["event"], dict(list(record.items())[5:-2])) for record in members]
    segment_path(directory, "second", 1).write_bytes(unsealed("second", *records))
    assert findings(directory)["second"] == "TAMPERED"


async def test_a_pipe_with_a_segments_name_holds_nobody_up(directory: Path) -> None:
    """It is named, and never opened: reading it would wait for a writer for ever."""
    os.mkfifo(segment_path(directory, "first", 3))
    (directory / "second.000002.jsonl").mkdir()
    assert tampered(directory, KEY) == {"first", "second"}
