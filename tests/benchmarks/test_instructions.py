"""Instructions, system calls and switches: how they are read, and which of them may not grow."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from benchmarks.harness.builds import Build, best, described, read_build
from benchmarks.harness.machine import CannotMeasure
from benchmarks.instructions import __main__ as command
from benchmarks.instructions.baseline import BASELINE, grown, report
from benchmarks.instructions.counting import kinds, read_total
from benchmarks.instructions.tracing import count_calls, read_switches

LISTED = """\
7 100.100000 epoll_wait(5, [], 64, 0) = 0
7 100.200000 write(6, ""..., 3 <unfinished ...>
8 100.300000 futex(0x1, FUTEX_WAIT, 1, NULL) = 0
7 100.400000 <... write resumed>) = 3
7 100.500000 --- SIGTERM {si_signo=SIGTERM} ---
7 100.600000 +++ exited with 0 +++
8 102.100000 lstat("keys", {}) = 0
8 103.900000 lstat("keys", {}) = 0
"""


def test_a_call_is_counted_once_and_where_it_began() -> None:
    """Neither the end of an interrupted call, nor a signal, nor an exit is a call."""
    assert count_calls(LISTED, {"idle": (90, 91), "load": (100, 101)}) == {"load": 3}


def test_what_is_called_without_load_is_taken_off() -> None:
    """By the length of the window: one call a second without load is none of the request's."""
    assert count_calls(LISTED, {"idle": (102, 104), "load": (100, 101)}) == {"load": 2}


def test_the_sum_that_valgrind_tells_is_read_and_nothing_else_is_taken_for_it() -> None:
    """No count is no measurement of zero."""
    assert read_total("noise\n==12== \n==12== I   refs:      3,647,437,292\n") == 3_647_437_292
    for nothing in ("", "==12== I refs: none\n", "==1== I   refs:  1\n==2== I   refs:  2\n"):
        with pytest.raises(CannotMeasure):
            read_total(nothing)


def test_switches_are_read_from_the_status_of_a_thread() -> None:
    """The voluntary ones, not those that the scheduler forces."""
    assert read_switches("voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t99\n") == 12
    with pytest.raises(CannotMeasure):
        read_switches("nonvoluntary_ctxt_switches:\t99\n")


@pytest.mark.parametrize(("now", "fails"), [(100.0, False), (110.0, False), (110.1, True), (50.0, False)])
def test_more_than_a_tenth_above_the_baseline_fails(now: float, *, fails: bool) -> None:
    """A tenth does not yet, and fewer never do."""
    assert bool(grown({"instructions, cancel": now}, {"instructions, cancel": 100.0})) is fails


def test_the_command_fails_where_a_request_takes_more(tmp_path: Path) -> None:
    """What was saved is the baseline from then on, and only of the same build of Python."""
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps({"CPython 2.7.18 m68k, LTO, no PGO": {"instructions, cancel": 1.0}}))
    assert command.judge({"instructions, cancel": 100.0}, save=False, path=path) == 0
    assert command.judge({"instructions, cancel": 100.0}, save=True, path=path) == 0
    assert command.judge({"instructions, cancel": 109.0}, save=False, path=path) == 0
    assert command.judge({"instructions, cancel": 111.0}, save=False, path=path) == 1
    assert len(json.loads(path.read_text())) == 2


def test_what_a_busy_machine_changes_is_shown_and_never_fails() -> None:
    """System calls and switches depend on who wakes first."""
    before = {"system calls, cancel c=1": 10.0, "voluntary switches, cancel at 60/s": 1.0}
    assert grown({name: value * 10 for name, value in before.items()}, before) == []


def test_a_judged_figure_that_is_not_measured_fails() -> None:
    """A kind of request that is renamed or left out does not pass unseen."""
    assert grown({}, {"instructions, cancel": 1.0})
    assert "not measured" in report({}, {"instructions, cancel": 1.0})


def test_a_build_without_a_baseline_is_shown_and_does_not_fail() -> None:
    """Another interpreter counts otherwise, and nothing is said of it by the baselines of others."""
    assert grown({"instructions, cancel": 1.0}, {}) == []
    assert "| instructions, cancel | 5,000 | - | new |" in report({"instructions, cancel": 5000.0}, {})


def test_the_baseline_has_every_kind_of_request_for_each_build() -> None:
    """And no figure of zero, beside which everything would be more."""
    for figures in json.loads(BASELINE.read_text()).values():
        assert {f"instructions, {name}" for name in kinds()} <= set(figures)
        assert all(value > 0 for value in figures.values())


def test_without_a_counter_nothing_is_counted_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without valgrind fails nothing."""
    monkeypatch.setenv("PATH", "")
    assert command.main(["--quick"]) == 0
    assert "not counted here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "generate", "use", "build"),
    [
        ("'--enable-optimizations' '--with-lto'", "-fprofile-generate", "-fprofile-use", Build(pgo=True, lto=True)),
        ("'--enable-optimizations'", "-fprofile-generate", "-fprofile-use", Build(pgo=True, lto=False)),
        ("'--enable-shared'", "-fprofile-generate", "-fprofile-use -fcorrection", Build(pgo=False, lto=False)),
        ("'--enable-shared'", "-fprofile-generate", "", Build(pgo=True, lto=True)),
        (None, None, None, Build(pgo=False, lto=False)),
    ],
)
def test_a_build_is_told_from_what_its_python_says(
    arguments: str | None, generate: str | None, use: str | None, build: Build
) -> None:
    """By the arguments of configure; Debian gives none, and clears the flags of the profiles afterwards."""
    assert read_build(arguments, generate, use) == build


def test_a_figure_names_the_build_it_was_measured_on() -> None:
    """Its version, and both optimisations."""
    assert platform.python_version() in described()
    assert "PGO" in described()
    assert "LTO" in described()


def test_a_python_that_cannot_be_started_is_not_measured_with(tmp_path: Path) -> None:
    """Then it is the one that runs."""
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert best([str(broken), str(tmp_path / "none")]) == best([])
