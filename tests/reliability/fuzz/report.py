"""What libFuzzer wrote, as figures."""

from __future__ import annotations

import re
from dataclasses import dataclass

TITLES = ("target", "seconds", "executions", "edges: seeds", "end", "new inputs", "findings")

_EDGES = re.compile(r"^#\d+\s+(?P<what>[A-Za-z]+)\s+cov: (?P<edges>\d+)", re.MULTILINE)
_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Figures:
    """One target's run; edges are libFuzzer's `cov`, after the seeds alone and at the end."""

    target: str
    seconds: int
    executions: int
    edges_of_seeds: int
    edges: int
    new_inputs: int
    findings: int

    @property
    def row(self) -> tuple[str, int, int, int, int, int, int]:
        """The figures under `TITLES`."""
        edges = self.edges_of_seeds, self.edges
        return f"`{self.target}`", self.seconds, self.executions, *edges, self.new_inputs, self.findings


def figures(target: str, log: str, *, exit_code: int) -> Figures:
    """Reads a log; a run that did not end well is a finding, whatever it wrote."""
    done = _DONE.search(log)
    statistics = {name: int(value) for name, value in _STATISTIC.findall(log)}
    edges = [(match["what"], int(match["edges"])) for match in _EDGES.finditer(log)]
    return Figures(
        target=target,
        seconds=int(done[2]) if done else 0,
        executions=statistics.get("number_of_executed_units", int(done[1]) if done else 0),
        edges_of_seeds=next((count for what, count in edges if what == "INITED"), 0),
        edges=max((count for _, count in edges), default=0),
        new_inputs=statistics.get("new_units_added", 0),
        findings=int(exit_code != 0 or done is None),
    )
