"""Twenty thousand requests of every kind: what the process holds does not grow. `make soak` sends a million."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.harness.machine import Cores
from benchmarks.soak.run import MAX_UPSTREAM, Plan, soak
from benchmarks.soak.verdict import Sample, judge, rows

REQUESTS = 20_000
SHORT_GROWTH = 1.10
"""Half a kilobyte for each request would show; so few requests do not tell less from a larger heap."""

FLAT = Sample(0, 60.0, 50.0, 40.0, 58_000, 5, 3, 0, 18, {"serve": 1})


def series(change: Callable[[int], Sample]) -> list[Sample]:
    return [replace(change(number), requests=number * 1000) for number in range(40)]


def failed(samples: list[Sample]) -> list[str]:
    return [law.name for law in judge(samples, max_upstream=MAX_UPSTREAM) if not law.holds]


@pytest.fixture
def cores() -> Cores:
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[-1])


def test_after_many_requests_the_gateway_holds_what_it_held_before(tmp_path: Path, cores: Cores) -> None:
    """Memory flat; descriptors, threads and tasks the same; each request at upstream has its intent and its outcome."""
    soaked = soak(Plan(REQUESTS, parts=16), directory=tmp_path / "soak", cores=cores)
    laws = judge(soaked.samples, max_upstream=MAX_UPSTREAM, max_growth=SHORT_GROWTH)
    assert [f"{law.name}: {law.found}" for law in laws if not law.holds] == []
    assert soaked.proof.holds, soaked.proof.sentence
    assert sum(soaked.answers.values()) + soaked.hung_up == REQUESTS
    assert soaked.answers.keys() == {200, 400, 401, 403, 404}


def test_a_gateway_that_leaks_is_caught(tmp_path: Path, cores: Cores) -> None:
    """The same run over a gateway that keeps ten kilobytes, a descriptor and a task of every request."""
    plan = Plan(2000, parts=8, run_as="tests.benchmarks.leaking")
    soaked = soak(plan, directory=tmp_path / "soak", cores=cores)
    assert {"memory (RSS)", "memory (anonymous)", "objects", "descriptors", "tasks"} == {*failed([*soaked.samples])}


def test_what_stays_the_same_breaks_no_law() -> None:
    """Also if it wavers a little, and if it was less while warming up."""
    wavering = series(lambda number: replace(FLAT, rss_mib=60.0 + number % 3, threads=4 if number < 9 else 5))
    assert failed(wavering) == []


@pytest.mark.parametrize(
    ("leak", "law"),
    [
        (lambda n: replace(FLAT, rss_mib=60 + n * 0.3), "memory (RSS)"),
        (lambda n: replace(FLAT, anonymous_mib=40 + n * 0.3), "memory (anonymous)"),
        (lambda n: replace(FLAT, objects=58_000 + n * 300), "objects"),
        (lambda n: replace(FLAT, other_descriptors=18 + n // 20), "descriptors"),
        (lambda n: replace(FLAT, threads=5 + n // 5), "threads"),
        (lambda n: replace(FLAT, tasks={"serve": 1, "run": n // 20}), "tasks"),
        (lambda n: replace(FLAT, caller_connections=n // 20), "connections of callers that are gone"),
        (lambda n: replace(FLAT, upstream_connections=3 * n), "connections to upstream"),
    ],
)
def test_a_slow_leak_is_seen(leak: Callable[[int], Sample], law: str) -> None:
    """Each kind by its own law, and by no other."""
    assert failed(series(leak)) == [law]


def test_a_sample_tells_connections_from_other_descriptors() -> None:
    """By the ends of each socket; the one that listens is none of them."""
    descriptors = {"8080->0": 1, "8080->51000": 2, "51001->9000": 3, "/audit/x.jsonl": 1, "socket": 2}
    held = {
        "rss_kib": 1024, "pss_kib": 1024, "anonymous_kib": 1024, "objects": 1, "threads": 1,
        "tasks": {"serve": 1}, "descriptors": descriptors,
    }  # fmt: skip
    sample = Sample.of(5, held, port=8080, upstream_port=9000)
    assert (sample.caller_connections, sample.upstream_connections, sample.other_descriptors) == (2, 3, 4)


def test_the_table_ends_with_the_last_sample() -> None:
    """However many are left out."""
    shown = list(rows(series(lambda _: FLAT)))
    assert shown[-1][0] == "39,000"
    assert len(shown) <= 14
