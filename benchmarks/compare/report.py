"""The samples in words: Markdown tables, and a chart of plain characters; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.compare.bounds import CADDY, DIRECT, Judged
from benchmarks.compare.samples import Ratio, Samples

NONE = "-"
BAR_WIDTH = 50


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [f"| {' | '.join(titles)} |", "|---|" + "--:|" * (len(titles) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def number(value: float | None, digits: int = 0) -> str:
    """A number as people write it, or a dash where there is none."""
    return NONE if value is None else f"{value:,.{digits}f}"


def times(ratio: Ratio | None) -> str:
    """A ratio with the range of its rounds."""
    return NONE if ratio is None else f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"


def report(samples: Samples, judged: Iterable[Judged], *, connections: Sequence[int]) -> str:
    """Everything that was measured, as Markdown."""
    parts = [
        "## Promises\n\nMedian of the ratios of all rounds, and their range.\n\n" + _promises(judged),
        "## Throughput, ÷ Caddy in the same round\n\n" + _throughput(samples, connections),
        *(f"## At c={count}\n\n{_detail(samples, count)}" for count in connections),
        "## Open loop: 400 requests/s over 8 connections\n\n" + _open(samples),
        "## Alone: cold start and memory\n\n" + _alone(samples),
        "## Refused, and large tables\n\n" + _others(samples),
        "## Chart: throughput ÷ Caddy\n\n" + chart(samples, connections),
    ]
    return "\n".join(parts)


def _promises(judged: Iterable[Judged]) -> str:
    rows = []
    for one in judged:
        sign = "≥" if one.bound.at_least else "≤"
        limits = [f"{sign} {one.bound.must:.2f}", f"{one.bound.aim:.2f}"]
        rows.append([one.bound.name, *limits, times(one.ratio), one.verdict])
    return table(["what", "must be", "aim", "measured", "verdict"], rows)


def _throughput(samples: Samples, connections: Sequence[int]) -> str:
    titles = ["", *(title for count in connections for title in (f"c={count}, 1/s", "÷ Caddy"))]
    rows = []
    for kind in loaded(samples):
        row = [kind]
        for count in connections:
            figure = f"per_s c={count}"
            row += [number(samples.median(kind, figure)), times(samples.ratio((kind, figure), (CADDY, figure)))]
        rows.append(row)
    return table(titles, rows)


def _detail(samples: Samples, count: int) -> str:
    figures = [f"{name} c={count}" for name in ("per_s", "p50_us", "p99_us", "cpu_us")]
    rows = [[kind, *(number(samples.median(kind, figure)) for figure in figures)] for kind in loaded(samples)]
    return table(["", "requests/s", "p50 µs", "p99 µs", "CPU µs per request"], rows)


def _open(samples: Samples) -> str:
    rows = []
    for kind in _having(samples, "open p99_us"):
        values = [number(samples.median(kind, figure)) for figure in ("open p50_us", "open p99_us")]
        rows.append([kind, *values, times(samples.ratio((kind, "open p99_us"), (CADDY, "open p99_us")))])
    return table(["", "p50 µs", "p99 µs", "p99 ÷ Caddy"], rows)


def _alone(samples: Samples) -> str:
    figures = ("start_ms", "idle rss_mib", "loaded rss_mib", "loaded anonymous_mib")
    rows = []
    for kind in _having(samples, "start_ms"):
        memory = samples.ratio((kind, "loaded rss_mib"), (CADDY, "loaded rss_mib"))
        rows.append([kind, *(number(samples.median(kind, figure)) for figure in figures), times(memory)])
    return table(["", "first 200, ms", "idle, MiB", "after load, MiB", "of it anonymous", "after load ÷ Caddy"], rows)


def _others(samples: Samples) -> str:
    rows = [
        [f"gateway, {cell}", number(samples.median("gateway", f"per_s {cell}")), "requests/s at c=32"]
        for cell in ("allowed", "401", "403")
    ]
    for size in ("10", "10,000"):
        name = f"gateway, {size} keys and rules"
        rows.append([name, number(samples.median(name, "per_s c=32")), "requests/s at c=32"])
        rows.append([f"one decision, {size} keys and rules", number(_decision(samples, size), 2), "µs"])
    return table(["", "median", "unit"], rows)


def _decision(samples: Samples, size: str) -> float | None:
    return samples.median("decision", f"us with {size}")


def loaded(samples: Samples) -> list[str]:
    """Who was loaded in a closed loop, beside upstream alone, but not with tables of different sizes."""
    return [kind for kind in _having(samples, "per_s c=32") if "rules" not in kind]


def _having(samples: Samples, figure: str) -> Iterator[str]:
    return (kind for kind in samples.kinds() if samples.values(kind, figure))


def bars(samples: Samples, count: int) -> list[tuple[str, float]]:
    """Who is how many times as fast as Caddy at so many connections; upstream alone is left out."""
    figure = f"per_s c={count}"
    found = []
    for kind in loaded(samples):
        ratio = samples.ratio((kind, figure), (CADDY, figure))
        if ratio is not None and kind != DIRECT:
            found.append((kind, ratio.median))
    return found


def chart(samples: Samples, connections: Sequence[int]) -> str:
    """Horizontal bars, on one scale."""
    groups = [(count, bars(samples, count)) for count in connections]
    longest = max((value for _, group in groups for _, value in group), default=1.0)
    lines = []
    for count, group in groups:
        lines.append(f"    c={count}")
        lines += [f"    {kind:15} {_bar(value / longest)} {value:.2f}" for kind, value in group]
    return "\n".join(lines) + "\n"


def _bar(share: float) -> str:
    return "█" * max(1, round(share * BAR_WIDTH))
