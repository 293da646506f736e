"""A clock that is set back: nothing that had ended begins again, nothing stands still, and there is a way out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from gateway.callers.admission import Admission
from gateway.callers.authenticate import Authenticator
from gateway.callers.settings import CallerKey
from gateway.core.errors import Throttled, Unauthenticated
from gateway.core.outcome import Cancelled
from gateway.core.request import ByFilter
from gateway.execution.pipeline import Pipeline
from gateway.execution.ports import Call
from gateway.policy.conditions import CreatedCondition
from gateway.simulator.server import SimulatorServer
from tests.cli.running import command
from tests.execution.fakes import HeldUpstream, MemoryLog, StillClock
from tests.execution.test_pipeline import ANN, POLICIES, REQUEST
from tests.support.calendar import Calendar, built
from tests.support.gateway import RunningGateway, Setup
from tests.support.waiting import findings, until

KEY = b"qgk_ci_" + b"k" * 43
HOUR_MS = 3_600_000
EXPIRY_MS = 1_795_046_400_000
"""2026-11-19T00:00Z, the end of the key's last day."""


def authenticator() -> Authenticator:
    """Knows one key, good until the end of 2026-11-18."""
    key = CallerKey("ci", "billing", hashlib.sha256(KEY).digest(), expires=date(2026, 11, 18))
    return Authenticator([key], is_upstream_token=lambda digest: False)


def test_an_expired_key_stays_expired_when_the_clock_is_set_back() -> None:
    """The last millisecond is good, the next is not, and two hours back it is still not."""
    known = authenticator()
    assert known.authenticate(b"Bearer " + KEY, EXPIRY_MS - 1).key_id == "ci"
    for now_ms in (EXPIRY_MS, EXPIRY_MS - 1, EXPIRY_MS - 2 * HOUR_MS):
        with pytest.raises(Unauthenticated) as refused:
            known.authenticate(b"Bearer " + KEY, now_ms)
        assert refused.value.cause == "expired_key"


def test_a_minutes_requests_are_counted_by_a_clock_that_is_not_set() -> None:
    """The bucket takes monotonic seconds: it fills with time that passed, and with nothing else."""
    admission = Admission(max_in_flight=9, principal_in_flight=9, requests_per_minute=1)
    with admission.place(ANN, 100.0):
        pass
    with pytest.raises(Throttled), admission.place(ANN, 100.0):
        pass
    with admission.place(ANN, 161.0):
        pass


async def test_a_duration_is_never_negative() -> None:
    """The wall clock steps back an hour between intent and outcome; the duration is what passed."""
    clock, log, upstream = StillClock(), MemoryLog(), HeldUpstream()
    pipeline = Pipeline(upstream=upstream, upstream_url="https://up.example", audit=log, clock=clock)

    async def there() -> bool:
        return False

    running = asyncio.ensure_future(pipeline.run(Call(POLICIES, ANN, REQUEST, "d1", "127.0.0.1", there, lambda: None)))
    await upstream.called.wait()
    clock.wall_ms -= HOUR_MS
    clock.steady_s += 1.5
    upstream.answer.set_result(Cancelled(200, 1))
    await running
    assert [closing.duration_ms for closing in log.closings()] == [1500]


def test_a_clock_before_this_project_existed_opens_no_window() -> None:
    """With a clock in 1970 every date would lie within the last day: nothing is contained, everything overlaps."""
    last_day = CreatedCondition(within_last_ms=24 * HOUR_MS)
    since_ever, long_ago = ByFilter(labels=("x",), from_date=10**12), ByFilter(labels=("x",), to_date=10**12)
    assert not last_day.contains(since_ever, 60_000)
    assert last_day.overlaps(long_ago, 60_000)


def test_a_key_that_ended_before_this_project_existed_never_begins_again() -> None:
    """A start with the clock in 1970 revives no key."""
    key = CallerKey("ci", "billing", hashlib.sha256(KEY).digest(), expires=date(2025, 12, 31))
    with pytest.raises(Unauthenticated):
        Authenticator([key], is_upstream_token=lambda digest: False).authenticate(b"Bearer " + KEY, 60_000)


OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true&count=1"
KEYED = "{directory: audit, durability: os, mac_key: {file: mac-key}}"


@pytest.fixture
def calendar(tmp_path: Path) -> Calendar:
    """The calendar of gateways that are started with its environment."""
    library = built(tmp_path)
    if library is None:
        assert os.environ.get("CI") != "true", "a C compiler is missing"
        pytest.skip("there is no C compiler here")
    return Calendar(library, tmp_path / "calendar")


class EndingSetup(Setup):
    """Every key is good until the end of the day after tomorrow, and records are sealed."""

    def write(self) -> Path:
        path = super().write()
        (self.directory / "mac-key").write_bytes(b"k" * 32)
        (self.directory / "mac-key").chmod(0o600)
        last = (datetime.now(UTC) + timedelta(days=2)).date()
        path.write_text(re.sub('(sha256: "[0-9a-f]+")', rf"\1, expires: {last}", path.read_text()))
        return path


def clock_notices(gateway: RunningGateway) -> list[str]:
    """What `/readyz` says of the clock; it is ready."""
    answer = gateway.request("GET", "/readyz", team=None)
    assert answer.status == 200
    found = answer.json()["notices"]
    assert isinstance(found, list)
    return [notice for notice in found if "judged" in notice]


@pytest.mark.parametrize("kill", [False, True])
def test_a_clock_that_was_a_year_ahead_does_not_keep_the_gateway_from_its_work_for_a_year(
    simulator: SimulatorServer, calendar: Calendar, tmp_path: Path, kill: bool
) -> None:
    """What had ended by it stays ended, also after a restart, as sealed records tell; retiring the chain is the end."""
    setup = EndingSetup(simulator.url, tmp_path / "gateway", audit=KEYED, environment=calendar.environment)
    with RunningGateway(setup) as gateway:
        assert gateway.cancel(OWN).status == 200
        calendar.set(days=400)
        assert gateway.cancel(OWN).status == 401
        calendar.set(days=0)
        assert gateway.cancel(OWN).status == 401
        [notice] = clock_notices(gateway)
        assert "it was set back while this gateway served" in notice
        until(lambda: '"event": "clock_behind"' in gateway.stderr())
        until(lambda: any(record["event"] == "refused" for record in gateway.records()))
        if kill:
            gateway.kill()
    [ahead] = {path.name.partition(".")[0] for path in gateway.audit_directory.glob("*.jsonl")}
    config = str(setup.directory / "config.yaml")
    with RunningGateway(setup) as gateway:
        assert gateway.cancel(OWN).status == 401
        [notice] = clock_notices(gateway)
        assert f"records of the chain {ahead} are of that time" in notice
        [line] = [json.loads(line) for line in gateway.stderr().splitlines() if "records of the chain" in line]
        assert (line["event"], line["level"]) == ("clock_behind", "error")
        checked = command("check", "--config", config)
        assert (checked.returncode, f"the chain {ahead} are of that time" in checked.stdout) == (0, True)
        (tmp_path / "archive").mkdir()
        retire = ("--chain", ahead, "--to", str(tmp_path / "archive"), "--config", config)
        done = command("audit", "retire", str(gateway.audit_directory), *retire)
        assert (done.returncode, f"retired {ahead}" in done.stdout) == (0, True), done
    with RunningGateway(setup) as gateway:
        assert clock_notices(gateway) == []
        assert gateway.cancel(OWN).status == 200
    assert findings(gateway.audit_directory) == {"INTACT"}


def test_a_clock_that_is_behind_the_record_does_not_begin_again_what_has_ended(
    simulator: SimulatorServer, calendar: Calendar, tmp_path: Path
) -> None:
    """A start with the clock set back by a year serves, by the time on record, until the clock is set."""
    setup = EndingSetup(simulator.url, tmp_path / "gateway", audit=KEYED, environment=calendar.environment)
    calendar.set(days=4)
    with RunningGateway(setup) as gateway:
        assert gateway.cancel(OWN).status == 401
        assert clock_notices(gateway) == []
    for _ in range(3):
        calendar.set(days=0)
        with RunningGateway(setup) as gateway:
            assert gateway.cancel(OWN).status == 401
            assert len(clock_notices(gateway)) == 1
            calendar.set(days=5)
            assert clock_notices(gateway) == []
            until(lambda: '"event": "clock_caught_up"' in gateway.stderr())


def test_times_that_callers_compare_with_their_own_are_the_machines(
    simulator: SimulatorServer, calendar: Calendar, tmp_path: Path
) -> None:
    """Judged time a year ahead tells no client to come back in a year: its limit ends in a minute."""
    limits = "{per_principal: {in_flight: 9, requests_per_minute: 1}}"
    setup = Setup(simulator.url, tmp_path / "gateway", environment=calendar.environment, limits=limits)
    calendar.set(days=400)
    with RunningGateway(setup) as gateway:
        assert gateway.cancel(OWN).status == 200
        calendar.set(days=0)
        assert len(clock_notices(gateway)) == 1
        throttled = gateway.cancel(OWN)
    assert throttled.status == 429
    resets_at = datetime.fromtimestamp(int(throttled.headers["burst-ratelimit-reset"]), UTC)
    assert abs(resets_at - datetime.now(UTC)) < timedelta(days=1)
