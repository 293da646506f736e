"""One started gateway in front of one simulated upstream for each module of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.edge.wire import Edge, started

LIMITS = "{receive_timeout_s: 2, per_principal: {in_flight: 64, requests_per_minute: 0}}"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with started(tmp_path_factory.mktemp("edge") / "gateway", LIMITS) as running:
        yield running
