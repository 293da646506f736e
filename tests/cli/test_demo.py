"""`demo`: the first thing a stranger runs does what it says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Serving, command, ended, require_curl, serving
from tests.console.people import Person
from tests.support.gateway import POLICIES

REAL = "the-token-of-the-real-account"
OWN_URL = "https://billing.example.com/api/invoice"

CURL = re.compile(r"^ +(curl -sS .*)$", re.MULTILINE)
LEDGER = re.compile(r"^What the simulator really cancelled: (curl .*)$", re.MULTILINE)
AUDIT = re.compile(r"^The record: .* audit show (\S+)$", re.MULTILINE)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Serving]:
    """A demo in a directory of its own, started by somebody who has the real token in the environment."""
    environment = {"QSTASH_TOKEN": REAL, "QSTASH_URL": "https://qstash.upstash.io"}
    with serving("demo", "--port", "0", directory=tmp_path, env=environment) as running:
        running.answering()
        yield running


def pasted(line: str) -> tuple[int, dict]:
    """A printed line, executed by the shell as it stands: the status and the members of the answer."""
    done = ended(["sh", "-c", f"{line} -w '\\n%{{http_code}}'"])
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_the_tour_shows_four_requests_and_what_they_cancelled(tmp_path: Path) -> None:
    """An allowed, a capped, a refused and a cancel-everything request, each with its answer and the ledger's word."""
    done = command("demo", "--tour", "--port", "0", cwd=tmp_path, env={"QSTASH_TOKEN": REAL})
    assert done.returncode == 0, done.stderr
    told = re.sub(r"(?m)^\{.*\}\n", "", done.stdout)  # checkpoints of the record
    steps = [step.strip("\n").splitlines() for step in told.split("\n\n") if "DELETE " in step]
    assert [step[0].partition(":")[0] for step in steps] == ["Allowed", "Capped", "Refused", "Refused"]
    assert [step[2].split()[0] for step in steps] == ["200", "200", "403", "403"]
    ledger = [re.fullmatch(r"  The simulator's ledger: (\d+) of (\d+) running runs cancelled\.", s[3]) for s in steps]
    assert [int(said[1]) for said in ledger if said] == [2, 50, 0, 0]
    assert "Name the runs, or at least the workflow." in steps[3][2]
    assert done.stdout.rstrip().endswith("What was cancelled is what policy allows.")
    assert REAL not in done.stdout + done.stderr


@pytest.mark.parametrize("contract", ["2025", "2026-09"])
def test_the_tour_shows_a_plan_and_applies_it(tmp_path: Path, contract: str) -> None:
    """A plan cancels nothing; applied, it cancels exactly the runs it found, whatever `count` means upstream."""
    done = command("demo", "--tour", "--port", "0", "--contract", contract, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    steps = {step.partition(":")[0]: step.splitlines() for step in done.stdout.strip().split("\n\n")}
    found = re.fullmatch(r"  201 (\d+) runs found", steps["Planned"][2])
    assert found is not None
    assert steps["Planned"][3].startswith("  The simulator's ledger: 0 of ")
    assert steps["Applied"][2] == f"  200 {{'cancelled': {found[1]}}}"
    assert steps["Applied"][3].startswith(f"  The simulator's ledger: {found[1]} of ")


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        pytest.param("billing.yaml", "{cap: 50}", "{cap: 60}", id="more-than-the-cap"),
        pytest.param("guardrails.yaml", "deny:", "deny:\n  - {id: none, label: {any_of: [nightly]}}", id="no-plan"),
    ],
)
def test_the_tour_fails_where_the_ledger_says_otherwise(tmp_path: Path, file: str, before: str, after: str) -> None:
    """Policies beside it that let more through than the tour says, or less: exit code 1, and the step is marked."""
    shutil.copytree(POLICIES, tmp_path / "policies", ignore=shutil.ignore_patterns("*.cases.yaml"))
    path = tmp_path / "policies" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    done = command("demo", "--tour", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert " WRONG" in done.stdout
    assert done.stdout.rstrip().endswith("NOT what policy allows.")


@pytest.mark.parametrize("contract", ["2025", "2026-09"])
def test_the_printed_command_shows_what_it_would_cancel(tmp_path: Path, contract: str) -> None:
    """`cancel … --dry-run` with the key of those on call, pasted in another directory: it cancels nothing."""
    with serving("demo", "--port", "0", "--contract", contract, directory=tmp_path) as running:
        running.answering()
        assert set(re.findall(r"(?m)^  (\S+): qgk_", running.said)) == {"billing", "oncall", "search"}
        line = running.find(r"(?m)^  (QSTASH_GATEWAY_URL=.*qstash-gateway cancel .* --dry-run)$")[1]
        done = ended(["sh", "-c", line], cwd=Path("/"))
        assert (done.returncode, done.stderr) == (0, "")
        assert "allowed by oncall/runaway" in done.stdout
        assert done.stdout.endswith("Only a dry run. Nothing was cancelled.\n")
        record = ended(["sh", "-c", running.find(r"(?m)^The record: (.*)$")[1]], cwd=Path("/"))
        assert [line.split()[2] for line in record.stdout.splitlines()] == ["start", "plan"]


def test_the_printed_lines_work_in_a_shell(demo: Serving) -> None:
    """Pasted as printed: one is allowed and capped, two are refused, and those on call start failed runs again."""
    require_curl(shutil.which("curl"))
    allowed, prefix, everything, restart = (pasted(line) for line in CURL.findall(demo.said))
    assert allowed == (200, {"cancelled": 50})
    assert (prefix[0], prefix[1]["rule"]) == (403, "guardrails/exact-url")
    assert (everything[0], everything[1]["rule"]) == (403, "guardrails/everything")
    assert OWN_URL in str(everything[1]["error"])
    assert (restart[0], len(restart[1]["workflowRuns"])) == (200, 2)


def test_the_console_is_where_it_says_and_takes_the_printed_keys(demo: Serving) -> None:
    """A key of each team of the policies, and one of operators, who see all."""
    port = int(demo.find(r"(?m)^The console, for people: http://127\.0\.0\.1:(\d+)/ ")[1])
    keys = dict(re.findall(r"(?m)^  (\S+|\S+ \(operators\)): (qgk_\S+)$", demo.said))
    assert set(keys) == {"billing", "oncall", "search", "platform (operators)"}
    for name, key in keys.items():
        person = Person(port)
        assert person.log_in(key).status == 303
        assert [person.get(path).status for path in ("/", "/policies", "/freezes")] == [200] * 3
        assert ('action="/freezes"' in person.text) is ("operators" in name)


def test_the_ledger_and_the_record_are_where_the_demo_says(demo: Serving) -> None:
    """The ledger shows 50 runs of one send, and what was started again; the record shows it all, and two denials."""
    require_curl(shutil.which("curl"))
    for line in CURL.findall(demo.said):
        pasted(line)
    status, members = pasted(demo.find(LEDGER)[1])
    assert status == 200
    assert [len(entry["cancelled"]) for entry in members["ledger"]] == [50, 0]
    assert sorted(members["ledger"][1]["hit"]) == ["dlq_run_1", "dlq_run_2"]
    shown = command("audit", "show", demo.find(AUDIT)[1], "--json")
    events = [json.loads(line)["event"] for line in shown.stdout.splitlines()]
    assert events == ["start", "intent", "outcome", "denied", "denied", "plan", "intent", "chunk", "outcome"]


def test_the_token_of_the_environment_is_ignored(demo: Serving) -> None:
    """A demo next to a real account never uses or shows its token, and its upstream is the simulator all the same."""
    require_curl(shutil.which("curl"))
    (allowed, *_) = CURL.findall(demo.said)
    key = re.search(r"Bearer (\S+)'", allowed)
    assert key is not None
    assert pasted(allowed.replace(key[1], REAL))[0] == 401
    assert pasted(allowed)[0] == 200
    directory = Path(demo.find(AUDIT)[1]).parent
    kept = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    assert REAL.encode() not in kept + demo.output.read_bytes() + demo.errors.read_bytes()


def test_the_end_leaves_nothing_behind(demo: Serving) -> None:
    """SIGTERM ends it with 0, and its configuration and record are gone."""
    directory = Path(demo.find(AUDIT)[1]).parent
    assert directory.is_dir()
    assert demo.stop() == 0
    assert not directory.exists()


def test_no_line_points_to_a_record_that_is_gone(tmp_path: Path) -> None:
    """It is said beforehand that the record goes, and how to keep it; and so of the tour, which names no path."""
    with serving("demo", "--port", "0", directory=tmp_path) as running:
        running.answering()
        assert "The record goes when the demo ends; demo --keep DIR keeps it." in running.said
        assert running.stop() == 0
        assert running.said.endswith("The demo has ended, and its record is gone with it.\n")
    tour = command("demo", "--tour", "--port", "0", cwd=tmp_path)
    assert "demo --keep DIR keeps it." in tour.stdout
    assert "audit show" not in tour.stdout


@pytest.mark.parametrize("tour", [(), ("--tour",)], ids=["demo", "tour"])
def test_a_record_that_is_kept_is_where_it_was_said(tmp_path: Path, tour: tuple[str, ...]) -> None:
    """The line works as pasted after the end; a directory with something in it is left alone."""
    keep = tmp_path / "kept here"
    words = ("demo", *tour, "--port", "0", "--keep", str(keep))
    if tour:
        said = command(*words, cwd=tmp_path).stdout
    else:
        with serving(*words, directory=tmp_path) as running:
            running.answering()
            assert running.stop() == 0
            said = running.said
    line = re.findall(r"(?m)^The record stays: (.*)$", said)[-1]
    shown = ended(["sh", "-c", line], cwd=Path("/"))
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[-1].split()[2] == "stop"
    before = sorted(keep.rglob("*"))
    again = command(*words, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (1, "")
    assert f"{keep} is not empty" in again.stderr
    assert sorted(keep.rglob("*")) == before


def test_policies_of_the_working_directory_win(tmp_path: Path) -> None:
    """A stranger tries their own policies by starting the demo beside them: keys are made for the teams they name."""
    policy = (
        'version: 1\nname: ours\nteams: [ours]\nallow:\n  - {id: any, workflowUrl: {prefix: ["https://a.example"]}}\n'
    )
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "ours.yaml").write_text(policy)
    with serving("demo", "--port", "0", directory=tmp_path) as running:
        running.answering()
        assert re.findall(r"(?m)^  (\S+): qgk_", running.said) == ["ours"]


def test_a_broken_policy_beside_the_demo_is_said_with_its_position(tmp_path: Path) -> None:
    """Exit code 3, as everywhere."""
    shutil.copytree(POLICIES, tmp_path / "policies")
    (tmp_path / "policies" / "billing.yaml").write_text("version: 1\nname: billing\nteam: [billing]\n")
    done = command("demo", "--tour", "--port", "0", cwd=tmp_path)
    assert done.returncode == 3
    assert re.search(r"billing\.yaml:3:1: ", done.stderr)


@pytest.mark.parametrize("name", ["demo", "simulate"])
def test_without_the_simulator_the_command_says_so(tmp_path: Path, name: str) -> None:
    """The image leaves the simulator out: exit code 2 and a sentence, no traceback."""
    import gateway

    package = Path(gateway.__file__).parent
    shutil.copytree(package, tmp_path / "gateway", ignore=shutil.ignore_patterns("simulator", "__pycache__"))
    done = command(name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("This installation has no simulator")
