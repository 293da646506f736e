"""Whether a run counts: the record verifies, and says of each request that reached upstream what came of it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Proof:
    """What the record of one instance holds, beside what its upstream counted; `verified` is the exit code."""

    verified: int
    intents: int
    outcomes: int
    cancelled: int
    upstream: int

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, sent twice, or left unknown."""
        counts = {self.intents, self.outcomes, self.cancelled, self.upstream}
        return self.verified == 0 and len(counts) == 1

    @property
    def sentence(self) -> str:
        """The proof in words."""
        counts = f"intents {self.intents}, outcomes {self.outcomes}, cancelled {self.cancelled}"
        verdict = "counts" if self.holds else "DOES NOT COUNT"
        return f"{verdict}: audit verify {self.verified}, {counts}, at upstream {self.upstream}"


def prove(audit: Path, *, upstream: int) -> Proof:
    """Verifies the record of a gateway that has ended, and counts it against what reached upstream."""
    command = [sys.executable, "-m", "gateway", "audit", "verify", str(audit)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, check=False)
    events = count_events(audit)
    return Proof(
        verified=done.returncode,
        intents=events["intent"],
        outcomes=events["outcome"],
        cancelled=events["cancelled"],
        upstream=upstream,
    )


def count_events(audit: Path) -> Counter[str]:
    """The records by event, and among the outcomes those that are `cancelled`."""
    events: Counter[str] = Counter()
    for path in sorted(audit.glob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                record = orjson.loads(line)
                events[record["event"]] += 1
                events["cancelled"] += record.get("outcome") == "cancelled"
    return events
