"""Standard streams that fail: no traceback, and every exit code keeps its meaning."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

import pytest

from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.evidence import texts
from gateway.audit.segment import OsDisk
from gateway.cli.main import COMMANDS
from gateway.core.forms.texts import PolicyText, PolicyTexts
from tests.cli.configs import POLICY, write
from tests.cli.running import END_S, interrupt
from tests.cli.terminal import on_terminal
from tests.support import forked
from tests.support.forked import COMMAND

FULL = os.strerror(errno.ENOSPC)
CLOSED = os.strerror(errno.EBADF)
KEPT = PolicyTexts((PolicyText("für.yaml", b"version: 1\n" * 20_000),))
MESSAGE = "Bitte eingrenzen, für alle 😀"
CASES = """\
version: 1
cases:
  - {it: refuses für alle, team: billing, request: count=100, expect: CASE}
"""


@dataclass(frozen=True)
class Place:
    """Logs of every finding, and configurations that hold and do not."""

    root: Path

    def words(self, line: str) -> list[str]:
        """The words of a command line; it is run in the place."""
        return [*COMMAND, *shlex.split(line)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("streams")
    # More than a pipe and every buffer hold.
    denied = [Record(n, "denied", {"decision_id": f"d{n}", "reason": f"für {n} " + "x" * 300}) for n in range(1000)]
    logs = {
        "intact": [Record(1, "start", {}), *denied],
        "open": [Record(1, "start", {}), Record(2, "intent", {"decision_id": "a"})],
    }
    for name, records in logs.items():
        lines, _ = Sealer("one", key=None).seal(GENESIS, records)
        (root / name).mkdir()
        (root / name / "one.000001.jsonl").write_bytes(b"".join(lines))
    whole = (root / "intact" / "one.000001.jsonl").read_bytes()
    for name, data in {"torn": whole[:-9], "tampered": whole.replace(b"d7", b"d8", 1)}.items():
        (root / name).mkdir()
        (root / name / "one.000001.jsonl").write_bytes(data)
    texts.keep(root / "intact", KEPT, OsDisk())
    policy = POLICY + f'deny:\n  - {{id: all, selects: [everything], message: "{MESSAGE}"}}\n'
    for name, text in {"good": policy, "bad": policy + "käse: 1\n", "failing": policy}.items():
        (root / name).mkdir()
        write(root / name, policy=text)
        cases = CASES.replace("CASE", "permit" if name == "failing" else "deny")
        (root / name / "policies" / "all.cases.yaml").write_text(cases, encoding="utf-8")
    return Place(root)


PRODUCTS = {
    "audit show intact": 0,
    "audit show --json intact": 0,
    "audit show --format csv intact": 0,
    "audit report intact": 0,
    "audit report --format json intact": 0,
    f"audit policy {KEPT.digest} intact": 0,
    "audit export --format ocsf intact": 0,
    "audit stats intact": 0,
    "explain --config good/config.yaml --team billing count=100": 0,
    "schema policy": 0,
    "keys new --team billing --id ci": 0,
    "--help": 0,
    "--version": 0,
}
"""Commands that are run for what they print: where that is lost they have failed."""

VERDICTS = {
    "audit verify intact": 0,
    "audit verify tampered": 1,
    "audit verify torn": 2,
    "audit verify open": 3,
    "audit verify nowhere": 64,
    "audit show torn": 1,
    "audit report --format csv torn": 1,
    "audit export --format ndjson torn": 1,
    "check --config bad/config.yaml": 3,
    "check --config good/config.yaml": 0,
    "serve --config bad/config.yaml": 3,
    "test failing/policies": 4,
    "test --format junit good/policies": 0,
    "replay --policies good/policies tampered": 1,
    "explain --config good/config.yaml --team billing labl=1": 1,
    "probe --config good/config.yaml": 1,
    "init good": 1,
    "state check --config good/config.yaml": 3,
    "freeze --reason late --state sqlite:nowhere/state.db": 3,
    "thaw 01890000-0000-7000-8000-000000000000 --state sqlite:nowhere/state.db": 3,
    "approvals": 2,
    "approve 01890000-0000-7000-8000-000000000000 --yes": 2,
    "reject 01890000-0000-7000-8000-000000000000 --yes": 2,
    "cancle": 2,
}
"""Commands whose exit code says what they have found or done."""

READ_TO_THE_END = ("audit show torn", "audit export --format ndjson torn")
"""Commands that end where nobody reads any more, before what is wrong at the end."""

EVERY = {**PRODUCTS, **VERDICTS}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: bytes
    err: str


def started(place: Place, line: str, redirected: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A command whose streams are redirected as a shell does it; what is not, is read to the end."""
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *place.words(line)],
        cwd=place.root,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(place: Place, line: str, redirected: str = "", env: Mapping[str, str] | None = None) -> Ended:
    """Runs a command to its end."""
    process = started(place, line, redirected, env or {})
    out, err = process.communicate(timeout=END_S)
    return Ended(process.returncode, out, err.decode())


def into(place: Place, line: str, output: IO[bytes]) -> Ended:
    """Runs a command whose output goes there: it is open, so that whoever loaded the command has no part in it."""
    with tempfile.TemporaryFile() as errors:
        words = shlex.split(line)
        process = forked.started(words, stdout=output, stderr=errors, cwd=place.root, environment=os.environ)
        code = process.wait(END_S)
        errors.seek(0)
        return Ended(code, b"", errors.read().decode())


def without_reader(place: Place, line: str) -> Ended:
    """Runs a command into a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        return into(place, line, pipe)


@pytest.mark.parametrize("line", EVERY)
def test_a_reader_that_leaves_changes_no_exit_code(place: Place, line: str) -> None:
    """`… | head`: the output ends quietly, and what the command finds or does is still said by its code."""
    done = without_reader(place, line)
    assert done.code == (0 if line in READ_TO_THE_END else EVERY[line])
    assert "Broken pipe" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("line", EVERY)
def test_a_full_disk_fails_only_what_is_run_for_its_output(place: Place, line: str) -> None:
    """It is said on standard error; a verdict stays the verdict."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        done = into(place, line, full)
    assert done.code == (1 if line in PRODUCTS else EVERY[line])
    assert "Traceback" not in done.err
    assert (f"qstash-gateway: standard output: {FULL}\n" in done.err) == (line not in SILENT)


SILENT = (
    "audit verify nowhere",
    "serve --config bad/config.yaml",
    "explain --config good/config.yaml --team billing labl=1",
    "probe --config good/config.yaml",
    "state check --config good/config.yaml",
    "freeze --reason late --state sqlite:nowhere/state.db",
    "thaw 01890000-0000-7000-8000-000000000000 --state sqlite:nowhere/state.db",
    "approvals",
    "approve 01890000-0000-7000-8000-000000000000 --yes",
    "reject 01890000-0000-7000-8000-000000000000 --yes",
    "cancle",
)
"""Commands that print nothing on standard output here."""


@pytest.mark.parametrize("line", [*PRODUCTS, "audit verify tampered", "cancle"])
def test_closed_streams_are_as_a_full_disk(place: Place, line: str) -> None:
    """Closed before the start: no traceback, and no file that the command opens takes the number."""
    done = ended(place, line, ">&-")
    assert done.code == (1 if line in PRODUCTS else EVERY[line])
    assert "Traceback" not in done.err
    assert (CLOSED in done.err) == (line not in SILENT)


@pytest.mark.parametrize("line", ["audit show intact", "audit verify tampered", "--help"])
def test_a_process_without_any_stream_says_it_by_its_code(place: Place, line: str) -> None:
    """As a supervisor may start it."""
    assert ended(place, line, "<&- >&- 2>&-").code == (1 if line in PRODUCTS else EVERY[line])


@pytest.mark.parametrize("line", ["audit verify tampered", "audit verify nowhere", "serve --config bad/config.yaml"])
@pytest.mark.parametrize("fault", ["2>/dev/full", "2>&-", ">/dev/full 2>/dev/full"])
def test_standard_error_changes_no_exit_code(place: Place, line: str, fault: str) -> None:
    """Where the reason cannot be said the code still says what it is."""
    assert ended(place, line, fault).code == EVERY[line]


TELLING = ("explain", "check", "test", "audit show", "audit report", "audit policy", "audit export")
ASCII = ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})


@pytest.mark.parametrize("env", ASCII, ids=["encoding", "locale"])
@pytest.mark.parametrize(
    "line",
    [line for line in EVERY if line.startswith(TELLING)],
)
def test_words_that_an_encoding_lacks_are_spelled_out(place: Place, line: str, env: dict[str, str]) -> None:
    """Policies and reasons may hold any sign; a terminal or a log collector may be ASCII."""
    done = ended(place, line, env=env)
    assert done.code == EVERY[line]
    assert done.out.isascii()
    assert "Traceback" not in done.err


def test_what_machines_read_says_the_same_in_ascii(place: Place) -> None:
    """JSON and XML are valid in any encoding, and mean the same."""
    for line in (
        "explain --json --config good/config.yaml --team billing count=100",
        "check --format json --config good/config.yaml",
        "replay --json --policies good/policies open",
        "schema policy",
    ):
        plain, narrow = ended(place, line), ended(place, line, env={"PYTHONIOENCODING": "ascii"})
        assert json.loads(narrow.out) == json.loads(plain.out)
    shown = ended(place, "audit show --json intact", env={"PYTHONIOENCODING": "ascii"}).out.splitlines()
    assert json.loads(shown[1])["reason"].startswith("für 0 ")
    report = ended(place, "test --format junit failing/policies", env={"PYTHONIOENCODING": "ascii"})
    suites = ET.fromstring(report.out)  # noqa: S314 - it is our own
    case = suites.find("testsuite/testcase")
    assert case is not None
    assert case.get("name") == "refuses für alle"
    assert MESSAGE in str(case.findtext("failure"))


def test_a_reader_that_takes_one_line_ends_the_output(place: Place) -> None:
    """`audit show | head -1` ends with 0, without a word, long before the end of the record."""
    with started(place, "audit show intact", "", {}) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(END_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_output_that_is_full_for_now_is_waited_for(place: Place) -> None:
    """A descriptor that somebody else made non-blocking loses no line."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    with os.fdopen(writer, "wb") as pipe:
        words = place.words("audit show intact")
        process = subprocess.Popen(words, cwd=place.root, stdout=pipe, stderr=subprocess.PIPE)
    with os.fdopen(reader, "rb") as lines:
        assert lines.readline()
        # Meanwhile the pipe is full, again and again.
        time.sleep(0.2)
        assert len(lines.readlines()) == 1000
    _, err = process.communicate(timeout=END_S)
    assert (process.returncode, err) == (0, b"")


def test_output_that_is_not_buffered_is_the_same(place: Place) -> None:
    """As containers run Python: nothing is cut, and a full disk is a full disk."""
    unbuffered = {"PYTHONUNBUFFERED": "1"}
    assert ended(place, "audit show intact", env=unbuffered).out == ended(place, "audit show intact").out
    assert ended(place, "audit show intact", ">/dev/full", unbuffered).code == 1
    assert ended(place, "audit verify torn", ">/dev/full", unbuffered).code == 2


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "answers"
    os.mkfifo(path)
    yield path
    path.unlink()


def test_ctrl_c_ends_with_130(place: Place, answers: Path) -> None:
    """As shells say it, without a traceback; here while the command waits for an answer to its question."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = started(place, "probe-upstream --config good/config.yaml", f"<{answers}", {})
    finally:
        signal.signal(signal.SIGINT, before)
    with process, answers.open("wb"):
        assert process.stdout is not None
        assert process.stderr is not None
        asked = b""
        while not asked.endswith(b"[y/N] "):
            asked += process.stdout.read1()  # type: ignore[attr-defined]
            assert process.poll() is None
        interrupt(process)
        assert process.wait(END_S) == 130
        assert process.stderr.read() == b""


@pytest.mark.parametrize("given", ["</dev/null", "<&-", "<garbage"])
def test_input_that_fails_agrees_to_nothing(place: Place, given: str) -> None:
    """No answer, a closed stream, bytes that are no text: nothing is sent."""
    (place.root / "garbage").write_bytes(b"\xff\xfe\x80\n")
    done = ended(place, "probe-upstream --config good/config.yaml", given)
    assert done.code == (1 if given == "<garbage" else 2)
    assert "Traceback" not in done.err
    env = {"QSTASH_GATEWAY_URL": "http://127.0.0.1:9", "QSTASH_GATEWAY_KEY": "qgk"}
    asked = ended(place, "cancel --label a", given, env)
    assert (asked.code, asked.out) == (2, b"")
    assert "no terminal to ask on" in asked.err


def test_nothing_is_asked_where_the_question_cannot_be_read(place: Place) -> None:
    """What would be sent has to be seen before somebody agrees to it."""
    with Path("/dev/full").open("wb") as full:
        words = place.words("probe-upstream --config good/config.yaml")
        process = subprocess.Popen(words, cwd=place.root, stdin=subprocess.PIPE, stdout=full, stderr=subprocess.PIPE)
    _, err = process.communicate(b"y\n", timeout=END_S)
    assert process.returncode == 2
    assert b"Traceback" not in err


def test_a_terminal_is_still_one(place: Place) -> None:
    """The question stands on it, and Ctrl-C at the question is no traceback."""
    with on_terminal("probe-upstream", "--config", str(place.root / "good" / "config.yaml"), env={}) as terminal:
        terminal.until(r"\[y/N\] ")
        terminal.types("no\n")
        assert terminal.exit_code() == 1
        assert "Nothing was sent." in terminal.seen
    with on_terminal("probe-upstream", "--config", str(place.root / "good" / "config.yaml"), env={}) as terminal:
        terminal.until(r"\[y/N\] ")
        interrupt(terminal.process)
        assert terminal.exit_code() == 130
        assert "Traceback" not in terminal.seen


def test_every_command_is_tried() -> None:
    """A command that is added is tried here, or named among those that serve until they are stopped."""
    tried = {line.split()[0] for line in EVERY} | {"cancel", "decisions", "probe-upstream"}
    assert set(COMMANDS) - tried == {"demo", "simulate"}
