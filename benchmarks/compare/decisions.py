"""What a decision costs by itself, with small and with large tables: the key looked up, the request judged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.compare.samples import Samples
from benchmarks.harness.configuration import Tables, write_gateway
from benchmarks.harness.requests import EXACT, KEY
from gateway.callers.authenticate import Authenticator
from gateway.config import load_config
from gateway.core.parse import Body
from gateway.core.plan import Permit
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies

NOW_MS = 1_795_000_000_000
_TURNS = 15
_CALLS = 200

Decision = Callable[[], None]


def measure_decisions(samples: Samples, *, rounds: int) -> None:
    """Adds the microseconds of one decision with ten keys and rules, and with ten thousand; taken in turn."""
    few, many = decision(Tables(10, 10)), decision(Tables(10_000, 10_000))
    for _ in range(rounds):
        turns = [(_cost_us(few), _cost_us(many)) for _ in range(_TURNS)]
        # The fastest turn of each: what else runs on the machine only ever adds.
        samples.add("decision", "us with 10", min(cost for cost, _ in turns))
        samples.add("decision", "us with 10,000", min(cost for _, cost in turns))


def decision(tables: Tables) -> Decision:
    """Looks up the key and judges one request, over tables of this size as the project loads them."""
    with tempfile.TemporaryDirectory() as name:
        write_gateway(Path(name), port=1, upstream_port=2, durability="os", tables=tables)
        config = load_config(Path(name) / "config.yaml")
        policies = load_policies(config.policies)
    authenticator = Authenticator(config.keys, is_upstream_token=lambda _: False)
    request = parse_cancel(EXACT.encode("ascii"), Body())
    header = b"Bearer " + KEY.encode("ascii")

    def decide_once() -> None:
        """One decision, which is a permit."""
        principal = authenticator.authenticate(header, NOW_MS)
        assert isinstance(decide(policies, principal, request, NOW_MS), Permit)

    return decide_once


def _cost_us(decide_once: Decision) -> float:
    start_s = time.perf_counter()
    for _ in range(_CALLS):
        decide_once()
    return (time.perf_counter() - start_s) / _CALLS * 1e6
