"""A scrape, read by a parser of its own, and the counters that records give, by a reader of its own."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.serving.doors import ask, to_port

SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>[^ ]+)")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)')
PREFIX = "qstash_gateway_"

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name without the prefix, and its labels in order of their names."""


def series(name: str, **labels: str) -> Series:
    """One series."""
    return name, tuple(sorted(labels.items()))


def parsed(text: str) -> dict[Series, float]:
    """Every sample of a page; fails where one stands twice, or a line is none."""
    found: dict[Series, float] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match is not None, line
        assert match["name"].startswith(PREFIX), line
        labels = LABEL.findall(match["labels"] or "")
        key = series(match["name"].removeprefix(PREFIX), **dict(labels))
        assert key not in found, line
        found[key] = float(match["value"])
    return found


def scrape(port: int) -> dict[Series, float]:
    """What a scrape says now."""
    answer = ask(to_port(port), "GET", "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return parsed(answer.body.decode())


def chains(directory: Path) -> set[str]:
    """The chains of a directory."""
    return {path.name.partition(".")[0] for path in directory.glob("*.jsonl")}


COUNTERS = (
    "decisions_total", "outcomes_total", "runs_cancelled_total", "effects_total", "over_cancelled_runs_total",
    "refusals_total", "joins_total", "policy_reloads_total",
)  # fmt: skip
"""The counters that the record gives."""


def shown(scraped: Mapping[Series, float]) -> dict[Series, float]:
    """Those of a scrape, without the ones that are 0."""
    return {key: value for key, value in scraped.items() if key[0] in COUNTERS and value}


def recorded(directory: Path, without: Iterable[str] = ()) -> dict[Series, float]:
    """What the records of all chains but some say."""
    left_out = frozenset(without)
    lines = [
        json.loads(line)
        for path in sorted(directory.glob("*.jsonl"))
        if path.name.partition(".")[0] not in left_out
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]
    return dict(counted(lines))


def counted(records: Iterable[dict[str, object]]) -> Counter[Series]:
    """The counters: each decision once, by the last number that speaks of all of it."""
    found: Counter[Series] = Counter()
    begun: dict[object, tuple[str, str]] = {}
    parts: dict[object, dict[object, int]] = {}
    totals: dict[object, int] = {}
    over: dict[object, int] = {}
    for one in records:
        match one:
            case {"event": "intent" | "denied" as event, "team": str(team), "decision": decision, "enforced": enforced}:
                action = str(one.get("action", "cancel_runs"))
                key = {"team": team, "action": action, "decision": str(decision), "enforced": str(enforced)}
                found[series("decisions_total", **key)] += 1
                if event == "intent":
                    begun[one["decision_id"]] = team, action
            case {"event": "refused" | "throttled"}:
                found[series("refusals_total", code=str(one.get("code", "throttled")))] += 1
            case {"event": "joined"}:
                found[series("joins_total")] += 1
            case {"event": "reload", "outcome": str(result)}:
                found[series("policy_reloads_total", result=result)] += 1
            case {"event": "chunk", "decision_id": decision_id, "number": number}:
                parts.setdefault(decision_id, {})[number] = int(str(one["cancelled"] or 0))
            case {"event": "outcome" | "settled", "decision_id": decision_id}:
                if one["event"] == "outcome":
                    _, action = begun.get(decision_id, ("", "cancel_runs"))
                    found[series("outcomes_total", action=action, outcome=str(one["outcome"]))] += 1
                progress = one.get("progress")
                known = one.get("cancelled")
                if known is None and isinstance(progress, dict):
                    known = progress["cancelled"]
                if isinstance(known, int):
                    totals[decision_id] = known
                over[decision_id] = max(over.get(decision_id, 0), int(str(one.get("over_cancelled") or 0)))
    for decision_id, (team, action) in begun.items():
        number = totals.get(decision_id, sum(parts.get(decision_id, {}).values()))
        found[series("runs_cancelled_total", team=team)] += number * (action == "cancel_runs")
        found[series("effects_total", team=team, action=action)] += number
        found[series("over_cancelled_runs_total")] += over.get(decision_id, 0)
    return Counter({key: value for key, value in found.items() if value})
