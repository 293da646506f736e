"""The oracle's table, model by path, printed at the end of the run, whichever worker counted it."""

from __future__ import annotations

from collections import Counter

import pytest

Table = Counter[tuple[str, str]]
TABLE = pytest.StashKey[Table]()
_SENT = "the oracle's table"


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    """Counts the permitted requests that each model selected runs for, by (model, path)."""
    return request.config.stash.setdefault(TABLE, Counter())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its counts to the process that prints."""
    counter, sent = session.config.stash.get(TABLE, None), getattr(session.config, "workeroutput", None)
    if counter and sent is not None:
        sent[_SENT] = [[model, path, number] for (model, path), number in counter.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """The process that prints adds them to its own."""
    config, sent = getattr(node, "config", None), getattr(node, "workeroutput", {})
    if isinstance(config, pytest.Config):
        counter = config.stash.setdefault(TABLE, Counter())
        counter.update({(model, path): number for model, path, number in sent.get(_SENT, ())})


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
