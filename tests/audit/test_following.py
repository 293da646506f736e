"""What a gateway writes is followed across the chains that it begins, while ended ones are retired."""

from __future__ import annotations

from pathlib import Path

import orjson

from gateway.audit.chain import parse_line
from gateway.audit.evidence.following import Following
from tests.audit.faults import DONE, opened, plan
from tests.audit.test_beginning_anew import SMALL
from tests.audit.test_retire import KEY, names, retire


def unexpected(path: Path) -> None:
    raise AssertionError(path)


def chains(directory: Path) -> list[str]:
    """The chains that are there, the oldest first."""
    return sorted({name.partition(".")[0] for name in names(directory) if name.endswith(".jsonl")})


async def test_every_record_is_given_once_while_chains_end_and_are_retired(tmp_path: Path) -> None:
    """Of each chain all numbers from its start on, also those that were written since the last look at it."""
    directory = tmp_path / "audit"
    directory.mkdir()
    decisions, seen, gone, lines = [f"d{number}" for number in range(40)], set[str](), list[str](), list[bytes]()
    with Following([directory], unexpected) as following:
        async with opened(directory, "00", chain_bytes=SMALL, mac_key=KEY) as log:
            for number, decision in enumerate(decisions):
                await log.close(await log.intent(plan(decision)), DONE)
                written = chains(directory)
                if number % 5 == 0 and (ended := seen & set(written[:-1])):
                    # What was written to them since the last look is in no file of the directory any more.
                    gone += retire(directory, *ended).gone
                if number % 2 == 0:
                    lines += following.lines()
                    seen = set(chains(directory))
        lines += following.lines()
    assert all(isinstance(parse_line(line), dict) for line in lines)
    found = [orjson.loads(line) for line in lines]
    assert [one["decision_id"] for one in found if one["event"] == "outcome"] == decisions
    numbers: dict[str, list[int]] = {}
    for one in found:
        numbers.setdefault(one["instance"], []).append(one["seq"])
    assert len(numbers) > len(gone) > 1
    assert all(some == list(range(1, len(some) + 1)) for some in numbers.values())
