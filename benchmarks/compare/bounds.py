"""The figures that the project promises, each as a ratio of two figures of the same run; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.compare.samples import Ratio, Samples


@dataclass(frozen=True, slots=True)
class Bound:
    """One promise: `top` over `bottom` (who, figure) is at least, or at most, `must`; `aim` is what we want."""

    name: str
    top: tuple[str, str]
    bottom: tuple[str, str]
    must: float
    aim: float
    at_least: bool

    def judge(self, samples: Samples) -> Judged:
        """The promise with what was measured."""
        return Judged(self, samples.ratio(self.top, self.bottom))

    def reached_by(self, value: float, limit: float) -> bool:
        """Whether a value is on the right side of a limit."""
        return value >= limit if self.at_least else value <= limit


@dataclass(frozen=True, slots=True)
class Judged:
    """A promise and the ratio that was measured; None where one of its figures is missing."""

    bound: Bound
    ratio: Ratio | None

    @property
    def verdict(self) -> str:
        """`aim`, `reached`, `missed` or `not measured`."""
        if self.ratio is None:
            return "not measured"
        if self.bound.reached_by(self.ratio.median, self.bound.aim):
            return "aim"
        return "reached" if self.bound.reached_by(self.ratio.median, self.bound.must) else "missed"


def _at_least(name: str, top: tuple[str, str], bottom: tuple[str, str], must: float, aim: float) -> Bound:
    return Bound(name, top, bottom, must, aim, at_least=True)


def _at_most(name: str, top: tuple[str, str], bottom: tuple[str, str], must: float, aim: float) -> Bound:
    return Bound(name, top, bottom, must, aim, at_least=False)


DIRECT = "upstream alone"
"""Load straight to the stub: what the load itself can do, and no gateway."""

OS, FSYNC, CADDY, MITMPROXY, DECISION = "gateway", "gateway-fsync", "caddy", "mitmproxy", "decision"

BOUNDS = (
    _at_least("throughput at c=32 ÷ Caddy", (OS, "per_s c=32"), (CADDY, "per_s c=32"), 0.6, 1.0),
    _at_least("throughput at c=128 ÷ at c=32", (OS, "per_s c=128"), (OS, "per_s c=32"), 0.85, 1.0),
    _at_least("fsync ÷ os at c=128", (FSYNC, "per_s c=128"), (OS, "per_s c=128"), 0.85, 0.95),
    _at_least("fsync ÷ os at c=32", (FSYNC, "per_s c=32"), (OS, "per_s c=32"), 0.5, 0.7),
    _at_most("p99 at 400/s over 8 connections ÷ Caddy", (OS, "open p99_us"), (CADDY, "open p99_us"), 1.0, 0.6),
    _at_most("decision, 10,000 keys and rules ÷ ten", (DECISION, "us with 10,000"), (DECISION, "us with 10"), 1.2, 1.0),
    _at_most("memory after load ÷ Caddy", (OS, "loaded rss_mib"), (CADDY, "loaded rss_mib"), 1.0, 0.7),
    _at_most("cold start to first 200 ÷ mitmproxy", (OS, "start_ms"), (MITMPROXY, "start_ms"), 0.5, 0.3),
    _at_least("401 ÷ an allowed request", (OS, "per_s 401"), (OS, "per_s allowed"), 1.5, 2.5),
    _at_least("403 ÷ an allowed request", (OS, "per_s 403"), (OS, "per_s allowed"), 1.5, 2.5),
)


def judged(samples: Samples) -> Iterator[Judged]:
    """Every promise with what was measured."""
    return (bound.judge(samples) for bound in BOUNDS)
