"""A disk may take fewer bytes than it was given; that is no error, and no record may be half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.segment import OsDisk
from tests.audit.faults import DONE, findings, opened, outcomes, plan


class MiserlyDisk(OsDisk):
    """Takes at most seven bytes at a time."""

    def write(self, descriptor: int, data: bytes) -> int:
        return super().write(descriptor, data[:7])


@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_whole_lines(tmp_path: Path, durability: str) -> None:
    """What was acknowledged is in the file, whole and in order."""
    directory = tmp_path / "audit"
    async with opened(directory, disk=MiserlyDisk(), durability=durability) as log:
        for number in range(3):
            await log.close(await log.intent(plan(f"d{number}")), DONE)
    assert findings(directory) == {"one": "INTACT"}
    assert outcomes(directory) == {f"d{number}": ["cancelled"] for number in range(3)}
