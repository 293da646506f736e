"""Attacks on a log at rest, and what `audit verify` answers."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.chain import GENESIS, MacKey, Record, Sealer
from gateway.audit.evidence.verify import verify
from gateway.audit.segment import load_mac_key
from gateway.cli.audit import command
from gateway.core.errors import AuditFailure
from tests.audit.faults import DONE, findings, open_log, opened, plan, segments, split

SECRET = b"k" * 32
KEY = MacKey(SECRET)

MakeLog = Callable[..., Awaitable[Path]]


@pytest.fixture
async def log_of(tmp_path: Path) -> MakeLog:
    """Makes a directory with one chain of five files."""

    async def make(name: str = "audit", chain: str = "one", **settings: Any) -> Path:
        async with opened(tmp_path / name, chain, **settings) as log:
            for number in range(6):
                await log.close(await log.intent(plan(f"{chain}-{number}")), DONE)
        split(tmp_path / name, chain, [3, 6, 9, 12])
        return tmp_path / name

    return make


def run(*words: object) -> int:
    """The exit code of a command line."""
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    try:
        arguments = parser.parse_args(["audit", *map(str, words)])
    except SystemExit as exc:
        return int(exc.code or 0)
    return int(arguments.run(arguments))


def lines_of(directory: Path) -> list[tuple]:
    """Every line as (path, its index in the file)."""
    return [(path, at) for path in segments(directory) for at in range(len(path.read_bytes().splitlines()))]


async def test_an_untouched_log_is_intact(log_of: MakeLog) -> None:
    """Exit code 0, with and without a key."""
    assert run("verify", await log_of()) == 0
    assert findings(await log_of("keyed", mac_key=KEY), keys=[KEY]) == {"one": "INTACT"}


async def test_every_changed_byte_is_found(log_of: MakeLog) -> None:
    """With a key, no byte of any line can be changed: sampled over all files, each with two other values."""
    directory = await log_of(mac_key=KEY)
    sample = random.Random(7)  # noqa: S311 - the same sample each time
    for path in segments(directory):
        content = path.read_bytes()
        for offset in {0, len(content) - 1, len(content) - 2, *sample.sample(range(len(content)), 120)}:
            for flip in (0x01, 0x20):
                path.write_bytes(content[:offset] + bytes([content[offset] ^ flip]) + content[offset + 1 :])
                assert findings(directory, keys=[KEY]) != {"one": "INTACT"}, (path.name, offset, flip)
        path.write_bytes(content)
    assert findings(directory, keys=[KEY]) == {"one": "INTACT"}


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("attack", ["remove", "swap", "repeat"])
async def test_removed_swapped_and_repeated_lines_are_found(log_of: MakeLog, key: MacKey | None, attack: str) -> None:
    """Each line but the last of all, which only a head or a checkpoint can vouch for."""
    directory = await log_of(mac_key=key)
    for path, at in lines_of(directory)[:-1]:
        content = path.read_bytes()
        lines = content.splitlines(keepends=True)
        if attack == "remove":
            del lines[at]
        elif attack == "repeat":
            lines.insert(at, lines[at])
        elif at + 1 < len(lines):
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        else:
            continue
        path.write_bytes(b"".join(lines))
        assert run("verify", directory) == 1, (path.name, at)
        path.write_bytes(content)
    assert run("verify", directory) == 0


async def test_every_changed_line_but_the_last_is_found_without_a_key(log_of: MakeLog) -> None:
    """The chain alone finds a changed word in any line that another follows."""
    directory = await log_of()
    for path, at in lines_of(directory)[:-1]:
        content = path.read_bytes()
        lines = content.splitlines(keepends=True)
        lines[at] = re.sub(rb'"ts":"2', b'"ts":"1', lines[at])
        path.write_bytes(b"".join(lines))
        assert run("verify", directory) == 1
        path.write_bytes(content)


async def test_a_removed_file_is_found(log_of: MakeLog) -> None:
    """First, middle: the chain does not run through."""
    directory = await log_of()
    for path in segments(directory)[:-1]:
        content = path.read_bytes()
        path.unlink()
        assert run("verify", directory) == 1
        path.write_bytes(content)


async def test_stripped_macs_are_found_given_the_key(log_of: MakeLog, tmp_path: Path) -> None:
    """An unkeyed history in place of a keyed one is refused as soon as a key is given."""
    directory = await log_of()
    (tmp_path / "key").write_bytes(SECRET + b"\n")
    assert run("verify", directory) == 0
    assert run("verify", directory, "--mac-key", tmp_path / "key") == 1


async def test_a_wrong_key_is_said_once_for_each_chain(
    log_of: MakeLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an untouched log no record is called changed; the exit code says that it was not verified all the same."""
    await log_of("audit", "one", mac_key=KEY)
    directory = await log_of("audit", "two", mac_key=KEY)
    (tmp_path / "wrong").write_bytes(b"w" * 32)
    assert run("verify", directory, "--mac-key", tmp_path / "wrong") == 1
    told = [line for line in capsys.readouterr().out.splitlines() if "TAMPERED" in line]
    assert told == [
        f"  TAMPERED {chain}: no record is sealed with a given key: is it the right one?" for chain in ("one", "two")
    ]


async def test_under_a_wrong_key_what_was_changed_is_still_found(
    log_of: MakeLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A question about the key takes the place of nothing but the MACs."""
    directory = await log_of(mac_key=KEY)
    path = segments(directory)[1]
    path.write_bytes(path.read_bytes().replace(b"nightly", b"weeklyy", 1))
    (tmp_path / "wrong").write_bytes(b"w" * 32)
    assert run("verify", directory, "--mac-key", tmp_path / "wrong") == 1
    told = capsys.readouterr().out
    assert "the line before was changed" in told
    assert "is it the right one" not in told


async def test_an_older_key_may_be_given_beside_the_new_one(log_of: MakeLog, tmp_path: Path) -> None:
    """After a rotation both keys together verify what neither does alone."""
    directory = await log_of("both", "old", mac_key=MacKey(b"o" * 16))
    await log_of("both", "new", mac_key=KEY)
    (tmp_path / "old").write_bytes(b"o" * 16)
    (tmp_path / "new").write_bytes(SECRET)
    assert run("verify", directory, "--mac-key", tmp_path / "old") == 1
    assert run("verify", directory, "--mac-key", tmp_path / "new", "--mac-key", tmp_path / "old") == 0


async def test_a_deleted_or_shortened_chain_is_found_by_a_later_start(log_of: MakeLog) -> None:
    """The next chain's start names its head: without the chain, or that record of it, the log is tampered with."""
    directory = await log_of(chain="first")
    await log_of(chain="second")
    assert run("verify", directory) == 0
    last = segments(directory, "first")[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    assert run("verify", directory) == 1
    for path in directory.glob("first.*"):
        path.unlink()
    assert run("verify", directory) == 1


async def test_a_cut_off_end_is_found_with_a_checkpoint(log_of: MakeLog, tmp_path: Path) -> None:
    """What was printed while the log was written says how far it went."""
    printed = tmp_path / "printed"
    with printed.open("wb") as out:
        directory = await log_of(stdout_descriptor=out.fileno(), mac_key=KEY)
    (tmp_path / "key").write_bytes(SECRET)
    keyed = ("--mac-key", tmp_path / "key", "--checkpoint", printed)
    assert run("verify", directory, *keyed) == 0
    last = segments(directory)[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    assert run("verify", directory) == 0
    assert run("verify", directory, *keyed) == 1
    printed.write_bytes(re.sub(rb'"seq":\d+', b'"seq":2', printed.read_bytes()))
    assert run("verify", directory, *keyed) == 64


async def test_a_renamed_chain_is_found(log_of: MakeLog) -> None:
    """A chain copied under another name is not that chain."""
    directory = await log_of()
    for path in list(directory.glob("*.jsonl")):
        shutil.copy(path, path.with_name(path.name.replace("one", "two")))
    assert run("verify", directory) == 1


def forged(directory: Path, *events: str) -> None:
    """A chain that is sealed rightly and says something impossible."""
    directory.mkdir()
    records = [Record(1, "start", {}), *(Record(1, event, {"decision_id": "d"}) for event in events)]
    lines, _ = Sealer("one", key=None).seal(GENESIS, records)
    (directory / "one.000001.jsonl").write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("events", "code"),
    [
        (("intent", "outcome"), 0),
        (("intent",), 3),
        (("intent", "outcome", "joined"), 0),
        (("intent", "outcome", "outcome"), 1),
        (("outcome",), 1),
        (("intent", "intent", "outcome"), 1),
    ],
)
def test_every_intent_has_exactly_one_outcome(tmp_path: Path, events: tuple[str, ...], code: int) -> None:
    """Open: 3. Two outcomes, none to begin with, or two intents: tampered, however well sealed."""
    forged(tmp_path / "audit", *events)
    assert run("verify", tmp_path / "audit") == code


def test_a_torn_tail_says_that_nothing_has_to_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 is not damage; the sentence says what will become of the line."""
    forged(tmp_path / "audit")
    path = tmp_path / "audit" / "one.000001.jsonl"
    path.write_bytes(path.read_bytes() + b"{")
    assert run("verify", tmp_path / "audit") == 2
    out = capsys.readouterr().out
    assert f"{path}:2: an unfinished last line, as a crash leaves it. Nothing has to be done: the next start" in out


async def test_a_chain_that_only_a_checkpoint_names_has_no_head(
    log_of: MakeLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not there is said in words; nothing is said of how it was sealed."""
    printed = tmp_path / "printed"
    with printed.open("wb") as out:
        await log_of(chain="two", stdout_descriptor=out.fileno())
    forged(tmp_path / "other")
    assert run("verify", tmp_path / "other", "--checkpoint", printed) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("chain two: tampered")
    assert lines[at + 1] == "  no record of it is here"
    assert lines[at + 2].startswith("  TAMPERED ")


def test_the_worst_finding_is_the_exit_code(tmp_path: Path) -> None:
    """Tampered before open before torn before intact."""
    forged(tmp_path / "torn")
    path = tmp_path / "torn" / "one.000001.jsonl"
    path.write_bytes(path.read_bytes() + b"{")
    assert run("verify", tmp_path / "torn") == 2
    forged(tmp_path / "open", "intent")
    (tmp_path / "torn" / "two.000001.jsonl").write_bytes(b"")
    path.write_bytes((tmp_path / "open" / "one.000001.jsonl").read_bytes() + b"{")
    assert run("verify", tmp_path / "torn") == 3
    (tmp_path / "torn" / "two.000001.jsonl").write_bytes(b"[]\n")
    assert run("verify", tmp_path / "torn") == 1


def test_mistyped_commands_are_usage_errors(tmp_path: Path) -> None:
    """No path, no such path, a file that is no log, a key that cannot be read: 64, never 2."""
    (tmp_path / "short").write_bytes(b"secret")
    (tmp_path / "audit").mkdir()
    assert run("verify") == 64
    assert run("verify", "--nonsense", tmp_path) == 64
    assert run("verify", tmp_path / "none") == 64
    assert run("verify", tmp_path / "short") == 64
    assert run("verify", tmp_path / "audit", "--mac-key", tmp_path / "none") == 64
    assert run("verify", tmp_path / "audit", "--mac-key", tmp_path / "short") == 64
    assert run("verify", tmp_path / "audit", "--checkpoint", tmp_path / "short") == 64
    assert run("show", tmp_path / "none") == run("stats", tmp_path / "none") == 64
    with pytest.raises(AuditFailure):
        load_mac_key(tmp_path / "short")


async def test_without_a_key_the_report_says_what_that_means(
    log_of: MakeLog, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chain without a key can be rewritten, and nobody should read the report otherwise."""
    run("verify", await log_of())
    assert "chain: sha256 (anyone who can write the directory can rewrite it)" in capsys.readouterr().out


async def test_showing_is_safe_for_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, bidirectional marks and line breaks in a value are spelled out."""
    async with opened(tmp_path) as log:
        await log.note("denied", {"decision_id": "d", "principal": "a/b", "rule": "\x1b[2J\u202e\n\u2028x"})
    assert run("show", tmp_path, "--event", "denied") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\\x1b[2J\\u202e\\n\\u2028x" in out


async def test_showing_selects(log_of: MakeLog, capsys: pytest.CaptureFixture[str]) -> None:
    """By event, by decision, by principal with what came of it; --json prints the lines of the file."""
    directory = await log_of()
    assert run("show", directory, "--decision", "one-3", "--json") == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["event"] for record in shown] == ["intent", "outcome"]
    assert run("show", directory, "--principal", "billing/ci") == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["intent", "outcome"] * 6


async def test_statistics_count(log_of: MakeLog, capsys: pytest.CaptureFixture[str]) -> None:
    """Events, teams, rules, outcomes, and the runs cancelled."""
    assert run("stats", await log_of()) == 0
    out = capsys.readouterr().out
    assert re.search(r"outcome +cancelled +6 decisions, 18 runs cancelled\n", out)
    assert "cancelled runs: 18" in out


def test_a_long_log_is_verified_in_bounded_memory(tmp_path: Path) -> None:
    """Twenty times the records take no more memory: it is the open intents that count."""

    def peak(records: int) -> int:
        directory = tmp_path / str(records)
        directory.mkdir()
        path = directory / "one.000001.jsonl"
        events = [Record(1, "denied", {"decision_id": str(number), "rule": "x" * 200}) for number in range(records)]
        lines, _ = Sealer("one", key=None).seal(GENESIS, [Record(1, "start", {}), *events])
        path.write_bytes(b"".join(lines))
        del lines, events
        tracemalloc.start()
        verify([path], checkpoints={}, whole=True)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(10_000) < 2 * peak(500)


async def test_a_log_being_written_verifies_as_open_at_worst(tmp_path: Path) -> None:
    """Reading beside the writer finds open intents, never damage."""
    log = await open_log(tmp_path)
    await asyncio.gather(*(log.intent(plan(str(number))) for number in range(5)))
    assert run("verify", tmp_path) == 3
    await log.stop({})
