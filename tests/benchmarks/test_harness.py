"""The comparison itself, short and with the gateway alone; skipped where nginx or wrk is missing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.compare.bounds import DIRECT
from benchmarks.compare.lookups import QUICK_MANNERS
from benchmarks.compare.measure import Comparison, Effort
from benchmarks.harness import steady
from benchmarks.harness.instance import Instance
from benchmarks.harness.launch import KINDS, Launch, Place, require
from benchmarks.harness.machine import CannotMeasure, on_core, two_cores

pytestmark = pytest.mark.alone  # it starts a dozen gateways

SHORT = Effort(
    kinds=("gateway",), only_started=(), connections=(2,), rounds=1, seconds=1, starts=1, filling_seconds=1,
    open_rounds=1, open_seconds=0.2, lookups=QUICK_MANNERS, lookup_rounds=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """One short comparison. Its figures count for nothing, so it goes on where the machine stands still meanwhile."""
    try:
        require(())
        cores = two_cores()
    except CannotMeasure as missing:
        pytest.skip(str(missing))
    comparison = Comparison(SHORT, cores=cores, directory=tmp_path_factory.mktemp("compared"))
    with pytest.MonkeyPatch.context() as patch, on_core(cores.load):
        patch.setattr(steady, "STALL_S", math.inf)
        comparison.run()
    return comparison


def test_every_gateway_of_ours_that_was_measured_is_proved(compared: Comparison) -> None:
    """Alone, side by side, and with small and large tables: each record counts."""
    assert len(compared.proofs) == 4
    assert all(proof.holds and proof.intents > 0 for _, proof in compared.proofs)


def test_every_cell_is_measured(compared: Comparison) -> None:
    """Throughput, refusals, open loop, memory, cold start, upstream alone."""
    figures = {figure for kind, figures in compared.samples.wire().items() for figure in figures if kind == "gateway"}
    assert {"per_s c=2", "cpu_us c=2", "per_s allowed", "per_s 401", "per_s 403"} <= figures
    assert {"open p50_us", "open p99_us", "start_ms", "idle rss_mib", "loaded rss_mib"} <= figures
    assert compared.samples.median(DIRECT, "per_s c=2")


def test_who_does_not_do_the_work_is_not_measured(compared: Comparison, tmp_path: Path) -> None:
    """A proxy that passes everything on is refused at its first wrong answer."""

    def open_to_all(place: Place) -> Launch:
        """A gateway that asks for no key."""
        launch = KINDS["nginx"](place)
        conf = place.directory / "nginx.conf"
        conf.write_text(conf.read_text().replace('if ($caller = "") { return 401; }', ""))
        return launch

    with (
        Instance("open", open_to_all, directory=tmp_path / "open", cores=two_cores()) as instance,
        pytest.raises(CannotMeasure, match="open answers 200 to a request that is unknown key"),
    ):
        instance.probe()
