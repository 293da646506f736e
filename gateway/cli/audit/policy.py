"""The command `audit policy`: the policies that a digest on record stands for, or what changed in them."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.audit.evidence import texts
from gateway.audit.segment import NotAFile
from gateway.cli.audit.reading import USAGE, Parser, UsageError, add_paths
from gateway.cli.output import FAILED, fault_in_words, printable
from gateway.core.forms.texts import PolicyTexts

_DIGEST = re.compile("[0-9a-f]{1,64}")
_SHOWN = 12
"""How many digits of a digest stand in the headings of a difference."""


class _Damaged(Exception):
    """A kept text that is not that of its digest; the text says so."""


def register(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("policy", help="print the text of policies that a digest stands for")
    parser.add_argument("digest", type=_digest, metavar="DIGEST", help="a policy_digest on record, or how it begins")
    parser.add_argument("--against", type=_digest, metavar="DIGEST", help="print what changed since this one instead")
    parser.set_defaults(run=run_policy, product=True)
    add_paths(parser)


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise argparse.ArgumentTypeError("expected a digest, or how it begins: at most 64 digits of 0-9a-f")
    return text


def run_policy(arguments: argparse.Namespace) -> int:
    """Print a text or a difference, safe for any terminal.

    Return 1 if a text was changed since it was kept, 64 if there is none of that digest, or more than one.
    """
    try:
        digest, policies = _found(arguments.digest, arguments.paths)
        before = None if arguments.against is None else _found(arguments.against, arguments.paths)
    except (_Damaged, NotAFile) as exc:
        print(f"audit policy: {fault_in_words(exc)}", file=sys.stderr)
        return FAILED
    except (UsageError, OSError) as exc:
        print(f"audit policy: {fault_in_words(exc)}", file=sys.stderr)
        return USAGE
    lines = _text(policies) if before is None else _difference(before, (digest, policies))
    for line in lines:
        print(printable(line))
    return 0


def _found(digest: str, paths: Sequence[Path]) -> tuple[str, PolicyTexts]:
    """Return the one text whose digest begins so, with its digest.

    Raises:
        UsageError: there is none, or more than one.
        _Damaged: it was changed.
        OSError: it cannot be read.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or directory")
        directory = path if path.is_dir() else path.parent
        found.update((one, directory) for one in texts.kept(directory) if one.startswith(digest))
    if not found:
        raise UsageError(f"no text of {digest} is kept in {', '.join(map(str, paths))}")
    if len(found) > 1:
        raise UsageError(f"{digest} is how several begin: {', '.join(sorted(found))}")
    ((whole, directory),) = found.items()
    try:
        return whole, texts.read(directory, whole)
    except (ValueError, RecursionError):
        raise _Damaged(f"{texts.path_of(directory, whole)} was changed: it is not the text of its name") from None


def _text(policies: PolicyTexts) -> Iterator[str]:
    for file in policies.files:
        yield f"==> {file.name} <=="
        # A text of several lines could hold what looks like the heading of another file.
        yield from (f"\\{line}" if line.lstrip("\\").startswith("==>") else line for line in _lines(file.content))


def _lines(content: bytes) -> list[str]:
    """Return the lines of a file, of which one without an end says so, as `diff` does."""
    text = content.decode("utf-8", "backslashreplace")
    lines = text.split("\n")
    if lines[-1]:
        return [*lines, "\\ No newline at end of file"]
    return lines[:-1]


def _difference(before: tuple[str, PolicyTexts], after: tuple[str, PolicyTexts]) -> Iterator[str]:
    """Yield the unified difference of two texts, file by file; nothing for files that are the same."""
    old, new = ({file.name: file.content for file in policies.files} for _, policies in (before, after))
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) == new.get(name):
            continue
        was, now = (
            f"{digest[:_SHOWN]}/{name}" if name in files else "/dev/null"
            for (digest, _), files in ((before, old), (after, new))
        )
        yield from difflib.unified_diff(_lines(old.get(name, b"")), _lines(new.get(name, b"")), was, now, lineterm="")
