"""`audit policy` prints what a digest on record stood for, or what differs between two, and nothing that is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.evidence import texts
from gateway.audit.segment import OsDisk
from gateway.core.forms.texts import PolicyText, PolicyTexts
from tests.audit.decisions.chains import Chain
from tests.cli.running import Done, command

BEFORE = PolicyTexts((PolicyText("a.yaml", b"version: 1\nname: a\ncount: 1\n"), PolicyText("b.yaml", b"gone: 1\n")))
AFTER = PolicyTexts((PolicyText("a.yaml", b"version: 1\nname: a\ncount: 9\n"), PolicyText("c.yaml", b"new: 1")))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    Chain(tmp_path).write(("start", {}))
    for one in (BEFORE, AFTER):
        texts.keep(tmp_path, one, OsDisk())
    return tmp_path


def policy(*arguments: object) -> Done:
    """`audit policy`."""
    return command("audit", "policy", *map(str, arguments))


def test_a_digest_or_its_beginning_stands_for_a_text(directory: Path) -> None:
    """Each file under its name; a path may be a directory, or a file of a chain in it."""
    whole = policy(BEFORE.digest, directory)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout == "==> a.yaml <==\nversion: 1\nname: a\ncount: 1\n==> b.yaml <==\ngone: 1\n"
    segment = next(directory.glob("*.jsonl"))
    assert policy(BEFORE.digest[:12], segment, directory).stdout == whole.stdout


def test_no_text_can_pass_for_another_file(tmp_path: Path) -> None:
    """A description of several lines may hold whatever its author likes, a heading too."""
    text = b'version: 1\ndescription: "\n\n==> guardrails.yaml <==\n\\==> b <==\n"\n'
    kept = PolicyTexts((PolicyText("a.yaml", text), PolicyText("b.yaml", b"gone: 1\n")))
    texts.keep(tmp_path, kept, OsDisk())
    said = policy(kept.digest, tmp_path).stdout.splitlines()
    assert [line for line in said if line.startswith("==>")] == ["==> a.yaml <==", "==> b.yaml <=="]
    assert [line for line in said if line.startswith("\\")] == ["\\==> guardrails.yaml <==", "\\\\==> b <=="]


def test_against_another_the_difference_is_printed(directory: Path) -> None:
    """As `diff -u` prints it, from the other to this one; between a text and itself there is none."""
    done = policy(AFTER.digest, directory, "--against", BEFORE.digest)
    old, new = BEFORE.digest[:12], AFTER.digest[:12]
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"--- {old}/a.yaml",
        f"+++ {new}/a.yaml",
        "@@ -1,3 +1,3 @@",
        " version: 1",
        " name: a",
        "-count: 1",
        "+count: 9",
        f"--- {old}/b.yaml",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-gone: 1",
        "--- /dev/null",
        f"+++ {new}/c.yaml",
        "@@ -0,0 +1,2 @@",
        "+new: 1",
        "+\\ No newline at end of file",
    ]
    assert policy(AFTER.digest, directory, "--against", AFTER.digest).stdout == ""


def test_what_stands_for_no_text_or_for_several_is_a_usage_error(directory: Path) -> None:
    """64, with the digests that would do."""
    unknown = policy("f" * 64, directory)
    assert (unknown.returncode, unknown.stdout) == (64, "")
    assert "no text of" in unknown.stderr
    for digest in (BEFORE.digest, AFTER.digest):
        texts.path_of(directory, digest).rename(texts.path_of(directory, "ab" + digest[2:]))
    several = policy("ab", directory)
    assert (several.returncode, several.stdout) == (64, "")
    assert all("ab" + digest[2:] in several.stderr for digest in (BEFORE.digest, AFTER.digest))
    for wrong in ("", "x", "AB", "../a", "a" * 65, "\x1b[2J"):
        done = policy(wrong, directory)
        assert (done.returncode, done.stdout) == (64, "")
        assert done.stderr.replace("\n", "").isprintable()
    assert policy("ab", directory / "nowhere").returncode == 64


def test_a_text_that_was_changed_is_not_printed(directory: Path) -> None:
    """1, and which file it is; so is what is in its place and no file."""
    path = texts.path_of(directory, BEFORE.digest)
    for content in (b"", b"{}", b"[" * 100_000, texts.path_of(directory, AFTER.digest).read_bytes()):
        path.write_bytes(content)
        done = policy(BEFORE.digest, directory)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(path) in done.stderr
    path.unlink()
    path.symlink_to(texts.path_of(directory, AFTER.digest))
    assert policy(BEFORE.digest, directory).returncode == 1


def test_no_sign_of_a_text_reaches_a_terminal(directory: Path) -> None:
    """Whatever bytes a file holds, and whatever its name is: they are spelled out, lines stay lines."""
    hostile = PolicyTexts((PolicyText("\x1b]0;x\x07.yaml", b"a: \x1b[2J\r\n# \xff\xc2\x9b \xe2\x80\xae\n"),))
    texts.keep(directory, hostile, OsDisk())
    for arguments in ((), ("--against", BEFORE.digest)):
        done = policy(hostile.digest, directory, *arguments)
        assert done.returncode == 0
        assert done.stdout.replace("\n", "").isprintable()
        assert "a: \\x1b[2J\\r\n" in done.stdout
        assert "# \\xff\\x9b \\u202e\n" in done.stdout
