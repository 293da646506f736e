"""`cancel`: what a person sees is what is cancelled, and nothing before they say so."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.accounts import HOST, INVOICE, POLICY, Account, an_account
from tests.cli.running import command, ended, interrupt
from tests.cli.terminal import Terminal, on_terminal
from tests.support.forked import COMMAND
from tests.support.gateway import RunningGateway
from tests.support.waiting import until


@pytest.fixture
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Account]:
    """300 runs of three teams; the parameter is upstream's latency in milliseconds."""
    with an_account(tmp_path / "gateway", latency_ms=getattr(request, "param", 0)) as made:
        yield made


@pytest.fixture
def terminal(account: Account) -> Iterator[Terminal]:
    """`cancel` of all running invoices, on a terminal."""
    with on_terminal("cancel", "--url", INVOICE, "--count", "500", env=account.environment) as running:
        yield running


def test_a_dry_run_shows_the_runs_and_cancels_none(account: Account) -> None:
    """How many of each workflow and label, the oldest, those left out; plain text, since it is read by no terminal."""
    done = account.cancel("--prefix", HOST, "--count", "500", "--label", "batch", "--dry-run")
    assert (done.returncode, done.stderr, account.cancelled) == (0, "", ())
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [INVOICE, str(len(account.meant(INVOICE, label="batch")))] in rows
    assert account.meant(INVOICE, label="batch")[0] in done.stdout
    assert "younger than the rule lets be cancelled" in done.stdout
    assert done.stdout.endswith("Only a dry run. Nothing was cancelled.\n")
    assert "\x1b" not in done.stdout
    assert not account.gateway.records("intent")


def test_more_than_the_rule_allows_is_refused_with_the_number(account: Account) -> None:
    """Before `count` is applied; nothing is cancelled."""
    done = account.cancel("--prefix", HOST, "--count", "5", "--yes")
    assert (done.returncode, done.stdout, account.cancelled) == (1, "", ())
    assert "150" in done.stderr
    assert "Refused by billing/own." in done.stderr


def test_exactly_the_runs_shown_are_cancelled(account: Account) -> None:
    """By an exact address, not the neighbour that begins like it; with the reason in the record."""
    done = account.cancel("--url", INVOICE, "--count", "500", "--yes", "--reason", "stuck since noon")
    assert (done.returncode, done.stderr) == (0, "")
    meant = account.meant(INVOICE)
    assert sorted(account.cancelled) == sorted(meant)
    (intent,) = account.gateway.records("intent")
    assert intent["reason"] == "stuck since noon"
    assert f"{len(meant)} runs cancelled, under decision {intent['decision_id']}." in done.stdout


def test_only_older_runs_and_the_oldest_of_them(account: Account) -> None:
    """`--older-than` bounds the time of creation, `--count` takes the oldest; the last line says how many are left."""
    older = account.meant(INVOICE, older_ms=3_600_000)
    done = account.cancel("--url", INVOICE, "--older-than", "1h", "--count", "20", "--yes")
    assert done.returncode == 0
    assert sorted(account.cancelled) == sorted(older[:20])
    assert done.stdout.count("Left out") == 1
    assert f"Left out: {len(older) - 20} runs beyond the count" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("20 runs cancelled, under decision ")
    assert done.stdout.endswith(f" {len(older) - 20} runs beyond the count are left: run the command again.\n")


def test_runs_by_host_and_path(account: Account) -> None:
    """They narrow what a rule admits by other fields; several are any of them, and none is ever sent."""
    meant = account.meant(INVOICE, label="batch")
    words = ("--prefix", HOST, "--label", "batch", "--count", "500", "--yes")
    nowhere = account.cancel(*words, "--host", "billing.example.com:8443")
    assert (nowhere.returncode, account.cancelled) == (0, ())
    hosts = ("--host", "billing.example.com:8443", "--host", "billing.example.com")
    done = account.cancel(*words, *hosts, "--path", "/api/invoice", "--path", "/api")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(account.cancelled) == sorted(meant) != []
    (intent,) = account.gateway.records("intent")
    assert (intent["asked"]["path"], intent["asked"]["host"]) == (["/api/invoice", "/api"], [*hosts[1::2]])  # type: ignore[index]
    assert not any("path" in order or "host" in order for order in intent["orders"])  # type: ignore[attr-defined]


def test_a_host_that_no_resolving_rule_admits_is_refused_with_the_reason(tmp_path: Path) -> None:
    """The sentence says which kind of rule could allow it, and what to write without one."""
    sending = POLICY.replace("    resolve: true\n    runs: {max: 150, older_than: 5m}\n", "")
    with an_account(tmp_path / "gateway", policy=sending) as account:
        done = account.cancel("--url", INVOICE, "--host", "billing.example.com", "--yes")
    assert (done.returncode, account.cancelled) == (1, ())
    assert "never sent to QStash, so only a rule with 'resolve: true' allows them." in done.stderr
    assert "Without such a rule write --url or --prefix in place of --host and --path." in done.stderr


def test_a_nearest_request_with_a_host_is_said_as_options(account: Account) -> None:
    """A person can paste it."""
    done = account.cancel("--host", "billing.example.com", "--yes")
    assert done.returncode == 1
    assert f"Allowed would be: --prefix {HOST}/ --host billing.example.com --count 100" in done.stderr


def test_runs_by_their_ids(account: Account) -> None:
    """Finished ones are left out and named; one of another team refuses all."""
    finished = next(run.run_id for run in account.before if run.url == INVOICE and not run.running)
    mine = account.meant(INVOICE)[0]
    done = account.cancel("--run-id", mine, "--run-id", finished, "--yes")
    assert (done.returncode, account.cancelled) == (0, (mine,)), done.stderr
    assert done.stdout.count("Left out") == done.stdout.count(f"Left out: 1 run already finished: {finished}") == 1
    foreign = next(run.run_id for run in account.before if "search" in run.url and run.running)
    assert account.cancel("--run-id", foreign, "--yes").returncode == 1
    assert account.cancelled == (mine,)


def test_json_is_one_object_and_says_what_the_ledger_says(account: Account) -> None:
    """The plan, then what came of it; nothing else on standard output."""
    done = account.cancel("--url", INVOICE, "--yes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    meant = account.meant(INVOICE)[:100]
    assert sorted(account.cancelled) == sorted(meant)
    assert (told["outcome"], told["plan"]["runs"], told["result"]["cancelled"]) == ("cancelled", len(meant), len(meant))
    assert told["result"]["decision_id"] == account.gateway.records("intent")[0]["decision_id"]
    assert told["result"]["skipped"] == told["plan"]["skipped"]
    assert told["plan"]["skipped"].keys() == {"young", "beyond_count"}


def test_nothing_found_is_no_failure(account: Account) -> None:
    """Exit code 0, and no intent."""
    done = account.cancel("--prefix", HOST, "--label", "nowhere", "--yes")
    assert (done.returncode, done.stdout) == (0, "No run to cancel was found. Nothing was cancelled.\n")
    assert (account.cancelled, account.gateway.records("intent")) == ((), [])


def test_a_refusal_says_what_would_be_allowed_as_options(account: Account) -> None:
    """Exit code 1, the gateway's sentence, and something to type: of what was asked, the part that is allowed."""
    both = ("--prefix", "https://search.example.com/api", "--prefix", HOST, "--yes")
    done = account.cancel(*both)
    assert (done.returncode, done.stdout, account.cancelled) == (1, "", ())
    assert done.stderr.startswith("No rule of your team allows this request.")
    assert f"Allowed would be: --prefix {HOST}/ --count 100\n" in done.stderr
    told = json.loads(account.cancel(*both, "--json").stdout)
    assert (told["outcome"], told["plan"], told["problem"]["code"]) == ("refused", None, "policy_denied")


def test_another_workflow_is_never_something_to_type(account: Account) -> None:
    """The sentence says what the rule wants; a pasted line could only cancel runs that nobody asked for."""
    done = account.cancel("--prefix", "https://search.example.com/api", "--yes")
    assert (done.returncode, done.stdout, account.cancelled) == (1, "", ())
    assert f"it wants workflowUrl: {HOST}/ or below" in done.stderr
    assert "Allowed would be" not in done.stderr


def test_where_nobody_can_be_asked_nothing_is_even_planned(account: Account) -> None:
    """Without a terminal, `--yes` or `--dry-run`: exit code 2 and a sentence."""
    done = account.cancel("--url", INVOICE)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no terminal to ask on" in done.stderr
    assert [record["event"] for record in account.gateway.records()] == ["start"]


def test_the_statistics_count_what_upstream_cancelled(account: Account) -> None:
    """Two orders, their outcome, and what went before: each decision once."""
    assert account.cancel("--url", INVOICE, "--count", "500", "--yes").returncode == 0
    assert account.cancel("--prefix", HOST, "--yes").returncode == 0
    assert len(account.gateway.records("chunk")) > 2
    done = command("audit", "stats", str(account.gateway.audit_directory))
    assert f"cancelled runs: {len(account.cancelled)};" in done.stdout
    shown = command("audit", "show", "--principal", "billing/billing-key", str(account.gateway.audit_directory))
    events = [line.split()[2] for line in shown.stdout.splitlines()]
    assert events == [str(record["event"]) for record in account.gateway.records() if "decision_id" in record]


def test_output_that_is_lost_changes_nothing_of_what_became_of_the_runs(account: Account) -> None:
    """A full disk, a reader that has left: the runs are cancelled, and the exit code says so."""
    line = 'exec "$@" --yes --json'
    for count, redirected in enumerate((">/dev/full", "| true", ">&-"), 1):
        words = ["bash", "-o", "pipefail", "-c", f"{line} {redirected}", "bash", *COMMAND, "cancel", "--url", INVOICE]
        done = ended([*words, "--count", "10"], env=account.environment)
        assert (done.returncode, done.stdout) == (0, "")
        assert len(account.cancelled) == 10 * count
        assert "Traceback" not in done.stderr


def test_plain_http_goes_beyond_loopback_only_where_it_is_said(account: Account) -> None:
    """Another container of a network that is nobody else's has no certificate."""
    env = {"QSTASH_GATEWAY_URL": account.gateway.url.replace("127.0.0.1", "0.0.0.0")}
    refused = account.cancel("--url", INVOICE, "--dry-run", env=env)
    assert (refused.returncode, "--allow-http" in refused.stderr) == (2, True)
    done = account.cancel("--url", INVOICE, "--dry-run", "--allow-http", env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_gateway_on_a_socket_file_is_reached(account: Account) -> None:
    """`unix:PATH`, as the configuration says where it listens."""
    account.gateway.stop()
    setup = replace(account.gateway.setup, listen="unix:gateway.sock")
    path = setup.directory / "gateway.sock"
    with RunningGateway(setup):
        env = {"QSTASH_GATEWAY_URL": f"unix:{path}"}
        done = account.cancel("--url", INVOICE, "--yes", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert account.cancelled
    lost = account.cancel("--url", INVOICE, "--yes", env=env)
    assert (lost.returncode, lost.stdout) == (1, "")
    assert lost.stderr.startswith(f"No plan: no connection to unix:{path}: ")


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04", "yess\n"])
def test_everything_but_a_yes_cancels_nothing(account: Account, terminal: Terminal, answer: str) -> None:
    """No, only Enter, the end of input, a typing error."""
    seen = terminal.until(r"Cancel these \d+ runs\? \[y/N\] ")
    [asked] = re.findall(r"Cancel these (\d+) runs", seen)
    assert 0 < int(asked) <= len(account.meant(INVOICE))  # meanwhile a run may have become old enough
    terminal.types(answer)
    assert terminal.exit_code() == 1
    assert "Nothing was cancelled." in terminal.seen
    assert account.cancelled == ()


@pytest.mark.parametrize("account", [100], indirect=True)
def test_a_yes_cancels_behind_a_bar(account: Account, terminal: Terminal) -> None:
    """The bar counts orders of up to 100 runs and ends full."""
    terminal.until(r"\[y/N\] ")
    assert account.cancelled == ()
    terminal.types("y\n")
    assert terminal.exit_code() == 0
    assert sorted(account.cancelled) == sorted(account.meant(INVOICE))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen)
    assert f"2/2 orders, {len(account.cancelled)} runs cancelled" in plain


def test_ctrl_c_at_the_question_cancels_nothing(account: Account, terminal: Terminal) -> None:
    """The first one ends it."""
    terminal.until(r"\[y/N\] ")
    interrupt(terminal.process)
    assert terminal.exit_code() == 1
    assert "Nothing was cancelled." in terminal.seen
    assert "Traceback" not in terminal.seen
    assert account.cancelled == ()


def test_ctrl_c_twice_while_applying_says_where_to_look(account: Account, terminal: Terminal) -> None:
    """The gateway goes on: what was sent is carried out, and the plan closed."""
    terminal.until(r"\[y/N\] ")
    with account.answers.held():
        terminal.types("y\n")
        terminal.until("Cancelling")
        until(lambda: account.cancelled)
        terminal.interrupts()
        terminal.until("Ctrl-C again leaves at once")
        terminal.interrupts()
        assert terminal.exit_code() == 1
    (plan,) = account.gateway.records("plan")
    assert re.search("Left(;| before) .*Look at it: qstash-gateway cancel --plan", terminal.seen, re.DOTALL)
    assert str(plan["decision_id"]) in terminal.seen.replace("\r\n", "")
    assert "Traceback" not in terminal.seen
    until(lambda: account.gateway.records("outcome"))
    (outcome,) = account.gateway.records("outcome")
    assert outcome["cancelled"] == len(account.cancelled)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param({"QSTASH_GATEWAY_KEY": ""}, "QSTASH_GATEWAY_KEY", id="no-key"),
        pytest.param({"QSTASH_GATEWAY_URL": ""}, "QSTASH_GATEWAY_URL", id="no-address"),
        pytest.param({"QSTASH_GATEWAY_KEY": "secret-part\nX-Other: 1"}, "QSTASH_GATEWAY_KEY", id="header-in-key"),
        pytest.param({"QSTASH_GATEWAY_URL": "http://gateway.example"}, "plain http", id="key-in-clear"),
        pytest.param({"QSTASH_GATEWAY_URL": "https://me@gateway.example"}, "https://host", id="user-in-address"),
        pytest.param({"QSTASH_GATEWAY_URL": "unix:"}, "unix:PATH", id="no-path"),
    ],
)
def test_a_key_goes_only_where_it_is_safe(environment: dict[str, str], says: str) -> None:
    """Otherwise exit code 2 before anything is sent, without the key in the words."""
    whole = {"QSTASH_GATEWAY_URL": "http://127.0.0.1:9", "QSTASH_GATEWAY_KEY": "secret-part", **environment}
    done = command("cancel", "--label", "a", "--dry-run", env=whole)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "secret-part" not in done.stderr


def test_no_other_command_loads_what_draws_tables() -> None:
    """Neither directly nor through a library: a process that holds the token holds no more code than it needs."""
    code = (
        "import sys; from gateway.__main__ import main; sys.argv[1:] = ['serve', '--config', 'nowhere']; main(); "
        "print([name for name in ('structlog', 'rich', 'pygments') if sys.modules.get(name)])"
    )
    assert ended([sys.executable, "-c", code]).stdout == "['structlog']\n"
