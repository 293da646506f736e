"""Whether a process holds as much after many requests as it did before; pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

MAX_GROWTH = 1.05
"""The last quarter's median over the second's; the first quarter is warming up."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process held after so many requests, with no connection of callers open; memory in MiB."""

    requests: int
    rss_mib: float
    pss_mib: float
    anonymous_mib: float
    objects: int
    threads: int
    upstream_connections: int
    caller_connections: int
    other_descriptors: int
    tasks: Mapping[str, int]

    @classmethod
    def of(cls, requests: int, held: Mapping[str, object], *, port: int, upstream_port: int) -> Sample:
        """A sample of the line that the process wrote."""
        descriptors, tasks = _counts(held["descriptors"]), _counts(held["tasks"])
        upstream = sum(count for kind, count in descriptors.items() if kind.endswith(f"->{upstream_port}"))
        callers = sum(count for kind, count in descriptors.items() if kind.startswith(f"{port}->"))
        # A socket that listens has no other end.
        callers -= descriptors.get(f"{port}->0", 0)
        return cls(
            requests=requests,
            rss_mib=_number(held["rss_kib"]) / 1024,
            pss_mib=_number(held["pss_kib"]) / 1024,
            anonymous_mib=_number(held["anonymous_kib"]) / 1024,
            objects=_number(held["objects"]),
            threads=_number(held["threads"]),
            upstream_connections=upstream,
            caller_connections=callers,
            other_descriptors=sum(descriptors.values()) - upstream - callers,
            tasks=tasks,
        )


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _counts(value: object) -> dict[str, int]:
    assert isinstance(value, dict)
    return {str(name): int(count) for name, count in value.items()}


POOL_THREADS = 2
"""A thread for looking at files comes when two looks first meet, which may be late in a short run."""


@dataclass(frozen=True, slots=True)
class Law:
    """One thing that must hold, and what was found."""

    name: str
    holds: bool
    found: str


def judge(samples: Sequence[Sample], *, max_upstream: int, max_growth: float = MAX_GROWTH) -> list[Law]:
    """The laws of a run; `max_upstream` is how many connections to upstream the gateway may keep."""
    return [
        _flat("memory (RSS)", samples, lambda sample: sample.rss_mib, max_growth),
        _flat("memory (anonymous)", samples, lambda sample: sample.anonymous_mib, max_growth),
        _flat("objects", samples, lambda sample: sample.objects, max_growth),
        _same("descriptors", samples, lambda sample: sample.other_descriptors),
        _within("threads", samples, lambda sample: sample.threads, POOL_THREADS),
        _same("tasks", samples, lambda sample: sum(sample.tasks.values())),
        _same("connections of callers that are gone", samples, lambda sample: sample.caller_connections),
        _at_most("connections to upstream", (sample.upstream_connections for sample in samples), max_upstream),
    ]


def growth(samples: Sequence[Sample], read: Callable[[Sample], float]) -> float:
    """The median of the last quarter over that of the second."""
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    return statistics.median(map(read, last)) / statistics.median(map(read, second))


def _flat(name: str, samples: Sequence[Sample], read: Callable[[Sample], float], max_growth: float) -> Law:
    grown = growth(samples, read)
    ends = f"{read(samples[len(samples) // 4]):,.1f} to {read(samples[-1]):,.1f}"
    return Law(name, grown <= max_growth, f"last quarter ÷ second quarter {grown:.3f} ({ends})")


def _same(name: str, samples: Sequence[Sample], read: Callable[[Sample], int]) -> Law:
    """The same in every sample after the first quarter."""
    found = sorted({read(sample) for sample in samples[len(samples) // 4 :]})
    return Law(name, len(found) == 1, ", ".join(map(str, found)))


def _within(name: str, samples: Sequence[Sample], read: Callable[[Sample], int], spread: int) -> Law:
    """In every sample after the first quarter nearly the same."""
    found = sorted({read(sample) for sample in samples[len(samples) // 4 :]})
    return Law(name, found[-1] - found[0] <= spread, ", ".join(map(str, found)))


def _at_most(name: str, values: Iterable[int], limit: int) -> Law:
    most = max(values)
    return Law(name, most <= limit, f"at most {most}, allowed {limit}")


def rows(samples: Sequence[Sample], *, at_most: int = 12) -> Iterator[list[str]]:
    """The samples as rows of a table, some of them left out; the last never is."""
    step = max(1, len(samples) // at_most)
    for sample in samples[len(samples) - 1 :: -step][::-1]:
        yield [
            f"{sample.requests:,}",
            *(f"{value:.1f}" for value in (sample.rss_mib, sample.pss_mib, sample.anonymous_mib)),
            f"{sample.objects:,}",
            *map(str, (sample.other_descriptors, sample.upstream_connections, sample.threads)),
            str(sum(sample.tasks.values())),
        ]


TITLES = (
    "requests", "RSS MiB", "PSS MiB", "anonymous MiB", "objects", "descriptors", "to upstream", "threads", "tasks",
)  # fmt: skip
