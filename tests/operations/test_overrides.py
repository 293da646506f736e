"""The headers of a resume or restart: a closed list, each value rebuilt from what was read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import MalformedRequest
from gateway.operations.overrides import MAX_CHARS, NAMES, no_overrides, overrides_in

Pairs = list[tuple[bytes, bytes]]
OTHERS: Pairs = [(b"authorization", b"Bearer x"), (b"user-agent", b"node"), (b"gateway-reason", b"why")]


def read(**given: str) -> dict[str, str]:
    """The overrides in headers whose names are given with `_` for `-`."""
    pairs = [(f"upstash-{name.replace('_', '-')}".encode(), value.encode()) for name, value in given.items()]
    return dict(overrides_in([*OTHERS, *pairs]))


def refusal(pairs: Pairs) -> str:
    with pytest.raises(MalformedRequest) as refused:
        overrides_in(pairs)
    assert refused.value.cause == "override"
    return refused.value.sentence


def test_what_the_client_sends_is_read() -> None:
    """The three headers that were recorded from `dlq.resume` with `retries` and `flowControl`."""
    assert read(flow_control_key="k", flow_control_value="parallelism=1", retries="3") == {
        "Upstash-Retries": "3",
        "Upstash-Flow-Control-Key": "k",
        "Upstash-Flow-Control-Value": "parallelism=1",
    }


@given(st.permutations(["retries", "delay", "retry_delay", "flow_control_key", "flow_control_value"]))
def test_the_order_in_which_they_are_written_makes_no_difference(order: list[str]) -> None:
    """Two requests for the same are equal, so that the second joins the first."""
    values = dict.fromkeys(order, "1")
    values |= {"delay": "1m", "flow_control_value": "rate=1"}
    assert tuple(read(**{name: values[name] for name in order})) == NAMES


@pytest.mark.parametrize(
    ("written", "rebuilt"),
    [("50s", "50s"), ("3m", "180s"), ("1d10h30m", "124200s"), ("0s", "0s"), ("90d", "7776000s")],
)
def test_a_delay_is_rebuilt_in_seconds(written: str, rebuilt: str) -> None:
    """As the documentation writes it: days, hours, minutes and seconds, each with its letter."""
    assert read(delay=written) == {"Upstash-Delay": rebuilt}


@pytest.mark.parametrize(
    "written", ["", "50", "1h1d", "1.5h", "-1s", "1 h", "91d", "1h,2h", "1w", "\u0661s", "s", "1h\n"]
)
def test_a_delay_in_another_form_is_refused(written: str) -> None:
    """Two readers could read it differently, or it is longer than QStash keeps anything."""
    refusal([(b"upstash-delay", written.encode())])


@pytest.mark.parametrize("written", ["-1", "6", "03", "+3", "3.0", "", "three", "3 "])
def test_retries_are_one_digit_from_0_to_5(written: str) -> None:
    """More would try a failing run for days."""
    refusal([(b"upstash-retries", written.encode())])


@pytest.mark.parametrize(
    ("written", "rebuilt"),
    [
        ("1000", "1000"),
        ("1000*(1+retried)", "1000 * (1 + retried)"),
        ("pow( 2,retried ) *1000", "pow(2, retried) * 1000"),
        ("max(10000, min(60000, pow(2, retried)*1000))", "max(10000, min(60000, pow(2, retried) * 1000))"),
        ("0.5*retried", "0.5 * retried"),
    ],
)
def test_a_retry_delay_is_an_expression_written_anew(written: str, rebuilt: str) -> None:
    """Of numbers, `retried` and the functions that the documentation has."""
    assert read(retry_delay=written) == {"Upstash-Retry-Delay": rebuilt}
    assert read(retry_delay=rebuilt) == {"Upstash-Retry-Delay": rebuilt}


@pytest.mark.parametrize(
    "written",
    [
        "retries",
        "1 2",
        "pow(2)",
        "sqrt(1, 2)",
        "1 +",
        "(1",
        "1)",
        "env(1)",
        "1;2",
        "(" * 20 + "1" + ")" * 20,
        "-1",
        "()",
    ],
)
def test_another_expression_is_refused(written: str) -> None:
    """It is not passed on to see what QStash makes of it."""
    refusal([(b"upstash-retry-delay", written.encode())])


@given(st.text(st.sampled_from("0123456789retied pow(),+-*/min."), max_size=60))
def test_reading_an_expression_is_total_and_settles(written: str) -> None:
    """Whatever is written is refused, or read as the same when it is read again."""
    try:
        found = dict(overrides_in([(b"upstash-retry-delay", written.encode())]))
    except MalformedRequest:
        return
    assert dict(overrides_in([(b"upstash-retry-delay", found["Upstash-Retry-Delay"].encode())])) == found


@pytest.mark.parametrize(
    ("written", "rebuilt"),
    [
        ("parallelism=1", "parallelism=1"),
        ("period=1m,rate=10 , parallelism=2", "parallelism=2, rate=10, period=60s"),
        ("rate=10, period=30", "rate=10, period=30s"),
    ],
)
def test_a_flow_control_value_is_rebuilt(written: str, rebuilt: str) -> None:
    """In one order, with the period in seconds."""
    assert read(flow_control_key="k", flow_control_value=written)["Upstash-Flow-Control-Value"] == rebuilt


@pytest.mark.parametrize(
    "written",
    [
        "",
        "parallelism",
        "parallelism=0",
        "parallelism=1, parallelism=2",
        "period=1m",
        "parallelism=1, period=1m",
        "rate=1, period=0s",
        "rate=1, period=8d",
        "limit=1",
        "rate=01",
        "rate=1;period=1",
        "rate=1, ",
        "rate=\uff11",
    ],
)
def test_another_flow_control_value_is_refused(written: str) -> None:
    """A part that is dropped would lift a limit."""
    refusal([(b"upstash-flow-control-key", b"k"), (b"upstash-flow-control-value", written.encode())])


def test_a_value_stands_only_beside_its_key() -> None:
    """Without the key nobody knows whose limit it would be."""
    assert "only beside" in refusal([(b"upstash-flow-control-value", b"rate=1")])


@pytest.mark.parametrize("name", ["upstash-label", "upstash-failure-callback", "upstash-forward-x", "upstash-callback"])
def test_any_other_header_of_qstashs_is_refused_by_its_name(name: str) -> None:
    """A label that policies know a run by, an address that payloads go to: never passed on, and said so."""
    said = refusal([*OTHERS, (name.encode(), b"x")])
    assert name.title() in said
    assert "never passed on" in said


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_is_given_twice_is_refused(name: str) -> None:
    """Nobody knows which of the two counts."""
    pair = (name.lower().encode(), b"1")
    assert f"{name} once" in refusal([pair, pair])


@pytest.mark.parametrize("value", [b"\xff", b"1" * (MAX_CHARS + 1)])
def test_a_value_that_is_not_ascii_or_too_long_is_refused(value: bytes) -> None:
    """Before it is taken apart."""
    refusal([(b"upstash-retry-delay", value)])


def test_a_delete_takes_none() -> None:
    """They say nothing there."""
    no_overrides(OTHERS)
    with pytest.raises(MalformedRequest, match="leave it out"):
        no_overrides([(b"upstash-retries", b"3")])
