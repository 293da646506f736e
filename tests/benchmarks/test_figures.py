"""Medians, ratios, verdicts, tables and charts of what was measured."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.compare.bounds import BOUNDS, Bound, judged
from benchmarks.compare.report import bars, chart, report, table
from benchmarks.compare.samples import Samples
from benchmarks.compare.svg import svg
from benchmarks.growth.__main__ import report as growth_report

MORE = Bound("more", ("a", "x"), ("b", "x"), must=0.6, aim=1.0, at_least=True)
LESS = Bound("less", ("a", "x"), ("b", "x"), must=1.0, aim=0.6, at_least=False)


def samples(a: list[float], b: list[float], figure: str = "x") -> Samples:
    made = Samples()
    for value in a:
        made.add("a", figure, value)
    for value in b:
        made.add("b", figure, value)
    return made


def test_a_ratio_is_taken_round_by_round() -> None:
    """A round in which the whole machine was slow changes nothing."""
    ratio = samples([10, 1, 10], [20, 2, 20]).ratio(("a", "x"), ("b", "x"))
    assert ratio == (0.5, 0.5, 0.5)


def test_a_ratio_says_how_far_its_rounds_lie_apart() -> None:
    """Median, least and most."""
    assert samples([1, 2, 6], [2, 2, 2]).ratio(("a", "x"), ("b", "x")) == (1.0, 0.5, 3.0)


def test_what_was_not_measured_has_no_figure() -> None:
    """Neither a median, nor a ratio, nor a verdict that could be taken for a good one."""
    none = Samples()
    assert none.median("a", "x") is None
    assert none.ratio(("a", "x"), ("b", "x")) is None
    assert {one.verdict for one in judged(none)} == {"not measured"}


@pytest.mark.parametrize(
    ("bound", "value", "verdict"),
    [
        (MORE, 0.59, "missed"), (MORE, 0.6, "reached"), (MORE, 0.99, "reached"), (MORE, 1.0, "aim"),
        (LESS, 1.01, "missed"), (LESS, 1.0, "reached"), (LESS, 0.61, "reached"), (LESS, 0.6, "aim"),
    ],
)  # fmt: skip
def test_a_promise_is_kept_on_its_own_side_of_the_limit(bound: Bound, value: float, verdict: str) -> None:
    """Both limits belong to the side that keeps the promise."""
    assert bound.judge(samples([value], [1.0])).verdict == verdict


def test_every_aim_is_at_least_as_hard_as_what_must_be() -> None:
    """No promise could reach its aim and be missed."""
    assert all(bound.reached_by(bound.aim, bound.must) for bound in BOUNDS)


def test_every_row_of_a_report_has_the_cells_of_its_titles() -> None:
    """Markdown drops what stands beyond the titles."""
    measured = samples([1.0], [2.0], "per_s c=32")
    measured.add("caddy", "per_s c=32", 4.0)
    text = report(measured, judged(measured), connections=(1, 32)) + growth_report(measured, {"row": ["a", "b"]})
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_bars_are_as_long_as_their_values() -> None:
    """In characters and in pixels; upstream alone is no competitor and has none."""
    measured = samples([1.0], [2.0], "per_s c=32")
    measured.add("caddy", "per_s c=32", 4.0)
    measured.add("upstream alone", "per_s c=32", 400.0)
    found = bars(measured, 32)
    assert found == [("a", 0.25), ("b", 0.5), ("caddy", 1.0)]
    lengths = [line.count("█") for line in chart(measured, (32,)).splitlines()[1:]]
    assert lengths == pytest.approx([lengths[2] / 4, lengths[2] / 2, lengths[2]], abs=1)
    root = ET.fromstring(svg("<title>", [("c=32", found)]))  # noqa: S314 - made here
    widths = [int(bar.attrib["width"]) for bar in root if bar.attrib.get("height") == "18"]
    assert widths == pytest.approx([widths[2] / 4, widths[2] / 2, widths[2]], abs=1)


def test_a_table_without_rows_is_still_a_table() -> None:
    """Its titles and the line below them."""
    assert table(["a", "b"], []) == "| a | b |\n|---|--:|\n"
