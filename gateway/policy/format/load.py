"""The loader of a policy directory: it returns the rules of its files, or every problem of every file at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from gateway.core.errors import InvalidConfiguration, Problem
from gateway.core.forms.texts import PolicyText, PolicyTexts
from gateway.files.mappings import report_twice
from gateway.files.source import (
    BY_ANYONE,
    FileBytes,
    all_kept,
    anyone_may_change,
    named,
    parse_document,
    read_anyway,
    unnamed,
)
from gateway.policy.format.keys import PolicyFile, RuleEntry, allowed_at_all, policy_file
from gateway.policy.model import Rule
from gateway.policy.rules import Policies

SUFFIX = ".yaml"
CASES_SUFFIX = ".cases.yaml"


def load_policies(directory: Path) -> Policies:
    """Load all rules of the `*.yaml` files of a directory; `*.cases.yaml` are not policies.

    Raises:
        InvalidConfiguration: with all problems of all files, also if there is no policy file.
    """
    problems: list[Problem] = []
    with all_kept():
        sources = _read_sources(directory, problems)
        files = [file for source in sources if (file := _read_policy(directory, source, problems))]
        report_twice("policy name", [(file.at, file.name) for file in files], problems)
        if problems:
            raise InvalidConfiguration(problems)
        texts = PolicyTexts(tuple(sources))
        return Policies(tuple(rule for file in files for rule in _rules(file)), texts.digest, texts)


def policies_of(texts: PolicyTexts) -> Policies:
    """Return the rules of files whose text was kept. Raises: InvalidConfiguration: this version cannot read them."""
    files = [parse_policy(text.name, text.content) for text in texts.files]
    return Policies(tuple(rule for file in files for rule in _rules(file)), texts.digest, texts)


def parse_policy(file: str, content: bytes) -> PolicyFile:
    """Read one policy file from its bytes; `file` is its name in problems.

    Raises:
        InvalidConfiguration: with all problems of the file.
    """
    node, problems = parse_document(file, content)
    policy = policy_file().read(node, problems)
    if policy is not None:
        report_twice("rule id", [(rule.at, rule.id) for rule in policy.rules], problems)
        problems += _everyone_and_others(policy)
        if not problems:
            problems += (problem for rule in policy.allow for problem in allowed_at_all(rule))
    if problems or policy is None:
        raise InvalidConfiguration(problems)
    return policy


def hidden_policies(directory: Path) -> list[Path]:
    """Return the hidden files of a directory that a reader may take for policies or their cases.

    Raises:
        OSError: the directory cannot be read.
    """
    names = sorted(entry.name for entry in directory.iterdir() if is_hidden(entry.name))
    return [directory / name for name in names if re.search(r"\.ya?ml", name, re.IGNORECASE)]


def is_hidden(name: str) -> bool:
    """Return whether a file beside the policies is none of them: editors and archives leave copies and locks there."""
    return name.startswith(".")


def _read_policy(directory: Path, source: PolicyText, problems: list[Problem]) -> PolicyFile | None:
    try:
        return parse_policy(str(directory / source.name), source.content)
    except InvalidConfiguration as exc:
        problems += exc.problems
        return None


def _read_sources(directory: Path, problems: list[Problem]) -> list[PolicyText]:
    names = _names(directory, problems)
    problems += (problem for name in names for problem in _misnamed(directory / name))
    policies = [name for name in names if name.endswith(SUFFIX) and not name.endswith(CASES_SUFFIX)]
    if not policies:
        problems.append(Problem(str(directory), 1, 1, f"there is no policy file (*{SUFFIX}) in this directory"))
    read = [(name, _read_source(directory, name, problems)) for name in policies]
    return [PolicyText(name, file.content) for name, file in read if file is not None]


def _names(directory: Path, problems: list[Problem]) -> list[str]:
    try:
        if anyone_may_change(directory):
            problems.append(Problem(str(directory), 1, 1, BY_ANYONE))
        return sorted(entry.name for entry in directory.iterdir() if not is_hidden(entry.name))
    except OSError as exc:
        raise InvalidConfiguration([_unreadable(directory, str(exc.strerror))]) from exc


def _unreadable(directory: Path, why: str) -> Problem:
    if unnamed(directory) is None:
        return Problem(str(directory), 1, 1, f"the policy directory cannot be read: {why}")
    # The nearest place that exists; the rest of the path may be a secret, pasted by mistake.
    above = next(parent for parent in directory.absolute().parents if os.path.lexists(parent))
    return Problem(str(above), 1, 1, f"the policy directory {named(directory)} cannot be read: {why}")


def _misnamed(path: Path) -> Iterable[Problem]:
    """Yield the problem of a file that its author takes for a policy but that would not be read: perhaps a `deny`."""
    if path.suffix.lower() in (".yml", ".yaml") and path.suffix != SUFFIX:
        yield Problem(str(path), 1, 1, f"would not be read: rename it to {path.stem}{SUFFIX}")
    if path.is_dir() and any(path.rglob(f"*{SUFFIX}")):
        yield Problem(str(path), 1, 1, "its policies would not be read: a policy directory has no subdirectories")


def _read_source(directory: Path, name: str, problems: list[Problem]) -> FileBytes | None:
    path = directory / name
    try:
        # Kubernetes mounts each file as a link through `..data`, which stays inside the directory.
        target = path.resolve(strict=True)
        inside = target.is_relative_to(directory.resolve(strict=True))
        file = read_anyway(target) if inside else None
    except OSError as exc:
        problems.append(Problem(str(path), 1, 1, f"cannot be read: {exc.strerror}"))
        return None
    except InvalidConfiguration as exc:
        problems += (Problem(str(path), fault.line, fault.column, fault.message) for fault in exc.problems)
        return None
    if file is None:
        problems.append(Problem(str(path), 1, 1, "a link that leads out of the policy directory"))
        return None
    if file.by_anyone:
        problems.append(Problem(str(path), 1, 1, BY_ANYONE))
    return file


def _everyone_and_others(policy: PolicyFile) -> list[Problem]:
    if "*" in policy.teams and len(policy.teams) > 1:
        return [policy.at.problem("teams: '*' stands alone, it is every team")]
    return []


def _rules(file: PolicyFile) -> list[Rule]:
    return [_rule(file, entry) for entry in file.rules]


def _rule(file: PolicyFile, entry: RuleEntry) -> Rule:
    return Rule(
        policy=file.name,
        id=entry.id,
        effect=entry.effect,
        conditions=entry.conditions,
        count=entry.count,
        selects=None if entry.selects is None else frozenset(entry.selects),
        exact_match=entry.exact_match,
        owner_unchecked=entry.owner is not None,
        message=entry.message,
        shadow=(entry.mode or file.mode) == "shadow",
        teams=frozenset(file.teams),
        excepted=(*file.excepted, *entry.excepted),
        during=entry.during,
        until_ms=entry.until_ms,
        reason_required=entry.reason,
        resolution=entry.runs if entry.resolve else None,
        logs_full=entry.logs == "full",
        budget=entry.budget,
        approval=entry.approve,
        actions=entry.actions,
        overrides=entry.overrides,
        owner=file.owner,
        at=entry.at,
    )
