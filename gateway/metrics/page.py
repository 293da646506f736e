"""The page `/metrics`: all families as Prometheus text, written in slices so that no request waits for a whole page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.metrics.families import FAMILIES, PREFIX, Family
from gateway.metrics.sources import Metrics, States
from gateway.process import Net, report

SLICE = 100
"""The most samples that are written before other work of the loop has its turn: about half a millisecond."""


class _Only(Collector):
    """A collector of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        return (self._metric,)


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """The page of one process."""

    metrics: Metrics
    states: States
    families: Sequence[Family] = FAMILIES

    @property
    def content_type(self) -> str:
        """The media type of the text."""
        return CONTENT_TYPE_PLAIN_0_0_4

    async def text(self) -> bytes:
        """Return the page. A family that cannot be read is left out, and the fault is reported."""
        parts: list[bytes] = []
        for family in self.families:
            with Net() as net:
                for part in _rendered(family, list(family.read(self.metrics, self.states))):
                    parts.append(part)
                    await asyncio.sleep(0)
            if net.fault is not None:
                report(net.fault, "a metric cannot be read")
        self._report_uncounted()
        return b"".join(parts)

    def _report_uncounted(self) -> None:
        """Report what went wrong where nobody could be told: on the thread that writes, or amid a request."""
        numbers = self.metrics
        for taken in (numbers.counts, numbers.requests, numbers.upstream, numbers.look_ups, numbers.writes):
            if taken.fault is not None:
                report(taken.fault, "a metric did not count")
                taken.fault = None


def _rendered(family: Family, samples: Sequence[tuple[str, tuple[str, ...], float]]) -> Iterator[bytes]:
    """Yield a family as text, its head with the first slice of its samples."""
    full = PREFIX + family.name
    names = (*family.labels, "le") if family.kind == "histogram" else family.labels
    for start in range(0, len(samples) or 1, SLICE):
        metric = Metric(full.removesuffix("_total"), family.help, family.kind)
        for suffix, labels, value in samples[start : start + SLICE]:
            metric.add_sample(full + suffix, dict(zip(names, labels, strict=False)), value)
        text = generate_latest(_Only(metric))
        # The library begins each text with the two lines of the head.
        yield text if start == 0 else text.split(b"\n", 2)[2]
