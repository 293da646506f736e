"""A house for the tests of one module: nothing that one of them does stays for the next, but sessions and decisions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.people import House, house


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway with a console and shared state."""
    with house(tmp_path_factory.mktemp("console") / "gateway") as one:
        yield one
