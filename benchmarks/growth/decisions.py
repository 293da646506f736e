"""`python -m benchmarks.growth.decisions`: what it costs to look decisions up among many (`--records`, a million).

It writes chains as gateways do, starts a gateway on them, and measures: how long the index takes to be made, how large
it is, and how long one decision, a page of 20 and a page of 100 take over HTTP, for decisions of any age.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gateway.audit.chain import GENESIS, Head, Record, Sealer
from gateway.audit.decisions.index import NAME
from gateway.audit.decisions.lines import id_of
from gateway.audit.events.catalogue import Start, Stop
from gateway.audit.events.starts import start_members
from gateway.audit.record import intent_members, outcome_members
from gateway.audit.segment import segment_path
from gateway.core.outcome import Cancelled, Closing
from gateway.core.plan import Permit, Plan, order_of
from gateway.core.request import ActionRequest, ByFilter, Principal
from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup

DIRECTORY = Path("build/growth-decisions")
CHAIN_BYTES = 8 * 1024 * 1024
BATCH = 500
FIRST_MS = 1_760_000_000_000
ASKED = 2_000
PATH = "/gateway/v1/decisions"

URL = "https://billing.example.com/api/invoice"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the chains, measure, and print the figures as a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth.decisions", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    records = parser.parse_args(argv).records
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    audit = DIRECTORY / "gateway" / "audit"
    audit.mkdir(parents=True)
    audit.chmod(0o700)
    written = write(audit, records)
    with SimulatorServer(Simulator([]), token=REAL_TOKEN) as upstream:
        rows = measured(RunningGateway(Setup(upstream.url, DIRECTORY / "gateway")), records)
    size = sum(path.stat().st_size for path in audit.glob("*.jsonl"))
    rows.insert(0, ("chains", f"{written}, {size / 1e6:.0f} MB"))
    rows.append(("index", f"{sum(path.stat().st_size for path in audit.glob(NAME + '*')) / 1e6:.0f} MB"))
    sys.stdout.write(f"{records} records, {os.cpu_count()} processors\n")
    sys.stdout.writelines(f"| {name} | {value} |\n" for name, value in rows)
    shutil.rmtree(DIRECTORY)
    return 0


def decision_ids(number: int) -> Iterator[str]:
    """Yield that many IDs as requests have them, in order, and the same ones each time."""
    rest = random.Random(0)  # noqa: S311 - the same ones each time
    for each in range(number):
        bits = ((FIRST_MS + each) << 80) | (7 << 76) | (rest.getrandbits(12) << 64) | (2 << 62) | rest.getrandbits(62)
        yield id_of(bits.to_bytes(16, "big"))


def write(directory: Path, records: int) -> int:
    """Write half as many decisions as records, of three teams, into chains; return how many chains."""
    batch: list[Record] = []
    chain = Chain(directory, 0)
    for number, decision_id in enumerate(decision_ids(records // 2)):
        team = ("billing", "search", "oncall")[number % 3]
        batch += decision(decision_id, Principal(team, f"{team}-key"), (FIRST_MS + number) * 1_000_000)
        if len(batch) >= BATCH:
            chain.append(batch)
            batch = []
            if chain.size >= CHAIN_BYTES:
                chain.end()
                chain = Chain(directory, chain.number + 1)
    chain.append(batch)
    chain.end()
    return chain.number + 1


def decision(decision_id: str, principal: Principal, at_ns: int) -> list[Record]:
    """Return an intent and its outcome."""
    asked = ActionRequest(ByFilter((URL,), exact=True), 50, reason="a run that waits for a deploy")
    permit = Permit("billing/own-workflows", "permit", None, asked)
    plan = Plan(decision_id, principal, asked, permit, (order_of(asked),), "0" * 64, "192.0.2.1")
    closing = Closing(Cancelled(200, 7), over_cancelled=0, duration_ms=31, caller_gone=False)
    return [
        Record(at_ns, "intent", intent_members(plan, upstream="https://qstash.upstash.io")),
        Record(at_ns + 31_000_000, "outcome", outcome_members(decision_id, closing)),
    ]


class Chain:
    """One chain, written as fast as it can be."""

    def __init__(self, directory: Path, number: int) -> None:
        self.number = number
        self.size = 0
        name = f"01890000-0000-7000-8000-{number:012x}"
        self._sealer = Sealer(name, key=None)
        self._file = segment_path(directory, name, 1).open("wb")
        self._head: Head = GENESIS
        start = Start(version="1", policy_digest="0" * 64).members()
        self.append([Record(FIRST_MS * 1_000_000, "start", start_members(start, None))])

    def append(self, records: Sequence[Record]) -> None:
        """Append sealed records."""
        lines, self._head = self._sealer.seal(self._head, records)
        self.size += self._file.write(b"".join(lines))

    def end(self) -> None:
        """Append a stop, and close the file."""
        self.append([Record(FIRST_MS * 1_000_000, "stop", Stop(open=0).members())])
        self._file.close()


def measured(gateway: RunningGateway, records: int) -> list[tuple[str, str]]:
    """Start the gateway, and return the figures."""
    chosen = random.Random(1)  # noqa: S311 - as above
    ids = [one for number, one in enumerate(decision_ids(records // 2)) if number % 3 == 0]
    with gateway:
        started_s = time.monotonic()
        while gateway.request("GET", f"{PATH}/{ids[0]}").status == 503:
            time.sleep(0.5)
        made_s = time.monotonic() - started_s
        cursors = [""]

        def page(limit: int) -> Callable[[], None]:
            """Return a reading of the next page of a listing."""

            def read() -> None:
                """Read it, and remember where it ended."""
                cursor = f"&cursor={cursors[0]}" if cursors[0] else ""
                answer = gateway.request("GET", f"{PATH}?limit={limit}{cursor}")
                assert answer.status == 200, answer
                cursors[0] = json.loads(answer.body)["cursor"]

            return read

        def one() -> None:
            """Read one decision of any age."""
            answer = gateway.request("GET", f"{PATH}/{chosen.choice(ids)}")
            assert answer.status == 200, answer

        rows = [("index made after", f"{made_s:.0f} s")]
        for name, reading in (("one decision", one), ("a page of 20", page(20)), ("a page of 100", page(100))):
            rows.append((name, quantiles(reading)))
        rows.append(("memory of the process", memory(gateway.process.pid)))
    return rows


def quantiles(reading: Callable[[], None]) -> str:
    """Time many readings, and return the middle and the slow end of them."""
    took = []
    for _ in range(ASKED):
        began_s = time.perf_counter()
        reading()
        took.append((time.perf_counter() - began_s) * 1000)
    took.sort()
    return f"p50 {took[len(took) // 2]:.1f} ms, p99 {took[len(took) * 99 // 100]:.1f} ms"


def memory(pid: int) -> str:
    """Return how much memory a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
