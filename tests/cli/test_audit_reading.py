"""What the readers of a record read: each record once, and what continues a decision after its beginning."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from tests.audit.decisions.chains import Chain, an_id, denied, intent, outcome, settled
from tests.audit.faults import DONE, FailingDisk, findings, opened, plan, segments
from tests.cli.running import command
from tests.support.waiting import soon

EARLY, LATE, LATEST = (f"01890000-0000-7000-8000-00000000000{digit}" for digit in "abc")


def cancelled(*paths: Path) -> str:
    """The last line of `audit stats`."""
    done = command("audit", "stats", *map(str, paths))
    return done.stdout.splitlines()[-1]


def states(*paths: Path) -> list[tuple[str, int | None]]:
    """The state of each decision of the report, and how many runs it cancelled."""
    done = command("audit", "report", "--format", "json", *map(str, paths))
    assert (done.returncode, done.stderr) == (0, "")
    return [(one["state"], one["cancelled"]) for one in json.loads(done.stdout)["decisions"]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A record with one cancel of seven runs, and one refusal."""
    (tmp_path / "audit").mkdir()
    chain = Chain(tmp_path / "audit")
    chain.write(("start", {}), intent(1), outcome(1, cancelled=7), denied(2))
    return tmp_path / "audit"


def test_a_copy_beside_the_record_counts_nothing_twice(directory: Path) -> None:
    """Also an older one, whose last line is not whole, and the same directory by another name."""
    once = states(directory)
    copy = shutil.copytree(directory, directory.parent / "copy")
    assert states(copy, directory) == once == [("cancelled", 7), ("denied", 0)]
    assert cancelled(directory, copy) == "cancelled runs: 7; lines that are no records: 0"
    (segment,) = copy.iterdir()
    segment.write_bytes(segment.read_bytes()[:-100])
    assert states(copy, directory) == states(directory, copy) == once
    assert states(directory, directory / ".." / directory.name) == once


def test_a_file_that_is_no_copy_hides_nothing(directory: Path) -> None:
    """What was changed in one of two is shown beside the other, however long they are."""
    copy = shutil.copytree(directory, directory.parent / "copy")
    (segment,) = copy.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b'"cancelled":7', b'"cancelled":9') + b"\n" * 1000)
    assert sorted(states_of_lines(directory, copy)) == [7, 9]


def states_of_lines(*paths: Path) -> list[int]:
    """How many runs each outcome says that it cancelled."""
    done = command("audit", "show", "--event", "outcome", "--json", *map(str, paths))
    return [json.loads(line)["cancelled"] for line in done.stdout.splitlines()]


def test_a_clock_that_was_set_back_leaves_no_decision_without_its_end(tmp_path: Path) -> None:
    """The next chain, of this process or of another, has a name before that of the one that it goes on for."""
    first = Chain(tmp_path, LATEST)
    first.write(("start", {"heads": {}}), intent(1), intent(2), outcome(2, "unknown", None))
    origin = {"chain": first.name, "seq": first.head.seq, "head": first.head.digest}
    second = Chain(tmp_path, LATE)
    second.write(("start", {"continues": origin, "intents": [an_id(1)], "heads": {}}), outcome(1, cancelled=7))
    third = Chain(tmp_path, EARLY)
    heads = {second.name: {"seq": second.head.seq, "head": second.head.digest}}
    third.write(("start", {"heads": heads}), settled(2, 4))
    assert states(tmp_path) == [("cancelled", 7), ("unknown", 4)]
    done = command("audit", "show", "--team", "billing", "--format", "json", str(tmp_path))
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()].count("settled") == 1


def test_chains_that_name_each_other_are_read_all_the_same(tmp_path: Path) -> None:
    """Somebody made them; each is read once, and verify says what is wrong."""
    for name, other in ((EARLY, LATE), (LATE, EARLY)):
        Chain(tmp_path, name).write(("start", {"heads": {other: {"seq": 1, "head": "0" * 64}}}), denied(1))
    assert states(tmp_path) == [("denied", 0)] * 2


async def test_what_was_given_up_in_a_suspect_file_is_not_counted_twice(tmp_path: Path) -> None:
    """It is written again in the next file: the sum is what QStash cancelled, and a word says what was left out."""
    disk = FailingDisk("fdatasync", 3, errno.EIO, uncut=True)
    async with opened(tmp_path, "one", disk=disk) as log:
        await log.close(await log.intent(plan("d")), DONE)
        await soon(lambda: log.state.ready)
    assert findings(tmp_path) == {"one": "INTACT"}
    assert [path.read_bytes().count(b'"outcome":"cancelled"') for path in segments(tmp_path)] == [1, 1]
    assert cancelled(tmp_path) == "cancelled runs: 3; lines that are no records: 0"
    done = command("audit", "show", "--event", "outcome", str(tmp_path))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert done.stderr == "one.000001.jsonl: 1 line is left out, of files that were set aside as suspect\n"


def test_a_file_that_is_none_of_a_record_is_not_followed(tmp_path: Path) -> None:
    """It would never have a line, and nobody would know why; a directory may get a chain later."""
    (tmp_path / "notes.txt").write_text("no record\n")
    done = command("audit", "follow", str(tmp_path / "notes.txt"))
    assert (done.returncode, done.stdout) == (64, "")
    assert "not a file of an audit log" in done.stderr
