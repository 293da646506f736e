"""Prints the oracle's table, model by path, at the end of the run."""

from __future__ import annotations

from collections import Counter

import pytest

Table = Counter[tuple[str, str]]
TABLE = pytest.StashKey[Table]()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    """Counts the permitted requests that each model selected runs for, by (model, path)."""
    return request.config.stash.setdefault(TABLE, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line a model, one column a path; each number is a permitted request for which the model selected runs."""
    counter = config.stash.get(TABLE, None)
    if not counter:
        return
    paths = sorted({path for _, path in counter})
    terminalreporter.section("permitted requests that selected runs, by model of upstream and path of the permit")
    terminalreporter.write_line(" " * 30 + "".join(f"{path:>12}" for path in paths))
    for model in dict.fromkeys(model for model, _ in counter):
        terminalreporter.write_line(f"{model:30}" + "".join(f"{counter[model, path]:>12}" for path in paths))
