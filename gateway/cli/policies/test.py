"""The `test` command, which runs the cases of policies, explains failures, and names rules that no case reaches."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.authoring.cases import Verdict, case_files, judge_cases, load_cases, unreached
from gateway.cli.output import printable
from gateway.cli.policies.explain import lines
from gateway.core.errors import InvalidConfiguration, Problem, counted
from gateway.policy.format.load import CASES_SUFFIX, load_policies

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

OK, FAILED = 0, 4


@dataclass(frozen=True, slots=True)
class _Suite:
    """The judged cases of one policy directory, and the rules that none of them reaches."""

    directory: Path
    verdicts: tuple[Verdict, ...]
    unreached: tuple[str, ...]

    @property
    def failed(self) -> list[Verdict]:
        """The cases whose decision differs from what they expect."""
        return [verdict for verdict in self.verdicts if verdict.differences]


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("test", help="run the policies' own cases (*.cases.yaml)")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a policy directory, or case files in one")
    parser.add_argument("--format", choices=("text", "junit"), default="text", help="junit: XML for CI")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the cases. Return 0 if every case is decided as it expects, else 4."""
    suites = [_judged(directory, files) for directory, files in _grouped(arguments.paths).items()]
    if arguments.format == "junit":
        print(_junit(suites))
    else:
        print("\n".join(printable(line) for suite in suites for line in _text(suite)))
    return FAILED if any(suite.failed for suite in suites) else OK


def _grouped(paths: Sequence[Path]) -> dict[Path, list[Path]]:
    """Return the case files by policy directory.

    Raises: InvalidConfiguration if a path is neither a case file nor a directory with case files.
    """
    grouped: dict[Path, list[Path]] = {}
    for path in paths:
        files = case_files(path) if path.is_dir() else [path]
        if not files or not all(file.name.endswith(CASES_SUFFIX) for file in files):
            problem = Problem(str(path), 1, 1, f"neither a case file (*{CASES_SUFFIX}) nor a directory of them")
            raise InvalidConfiguration([problem])
        beside = grouped.setdefault(path if path.is_dir() else path.parent, [])
        beside += (file for file in files if file not in beside)
    return grouped


def _judged(directory: Path, files: Sequence[Path]) -> _Suite:
    problems: list[Problem] = []
    policies = cases = None
    try:
        policies = load_policies(directory)
    except InvalidConfiguration as exc:
        problems += exc.problems
    try:
        cases = load_cases(files)
    except InvalidConfiguration as exc:
        problems += exc.problems
    if policies is None or cases is None:
        raise InvalidConfiguration(problems)
    verdicts = tuple(judge_cases(policies, cases))
    return _Suite(directory, verdicts, tuple(unreached(policies, verdicts)))


def _text(suite: _Suite) -> Iterator[str]:
    for verdict in suite.failed:
        place = verdict.case.at
        yield f"{place.file}:{place.line}:{place.column}: {verdict.case.it}"
        yield from (f"  {difference}" for difference in verdict.differences)
        yield from (f"    {line}" for line in lines(verdict.explanation))
    yield from (f"no case reaches {rule}" for rule in suite.unreached)
    cases, rules = counted(len(suite.verdicts), "case"), counted(len(suite.unreached), "rule")
    numbers = f"{cases}, {len(suite.failed)} failed, {rules} unreached"
    yield f"{suite.directory}: {numbers}"


def _junit(suites: Sequence[_Suite]) -> str:
    from xml.etree import ElementTree as ET  # `serve` shares this command line, and needs no XML

    root = ET.Element("testsuites")
    for suite in suites:
        numbers = {"tests": str(len(suite.verdicts)), "failures": str(len(suite.failed))}
        element = ET.SubElement(root, "testsuite", {"name": str(suite.directory), **numbers})
        element.extend(_junit_case(verdict, ET.Element) for verdict in suite.verdicts)
        if suite.unreached:
            ET.SubElement(element, "system-out").text = "\n".join(f"no case reaches {rule}" for rule in suite.unreached)
    ET.indent(root)
    # Characters beyond ASCII become references, so that the report is the same in whatever encoding it is printed.
    report: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return report.decode("ascii")


def _junit_case(verdict: Verdict, element: Callable[[str, dict[str, str]], ET.Element]) -> ET.Element:
    place = verdict.case.at
    named = {"classname": place.file, "name": verdict.case.it, "file": place.file, "line": str(place.line)}
    case = element("testcase", named)
    if verdict.differences:
        failure = element("failure", {"message": "; ".join(verdict.differences)})
        failure.text = "\n".join(lines(verdict.explanation))
        case.append(failure)
    return case
