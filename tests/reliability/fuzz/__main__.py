"""The command: `python -m tests.reliability.fuzz --minutes 10 [--target NAME] [--jobs N]`; exits 1 on a finding.

It makes an environment of its own under build/, so that the one for development stays as it is locked.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.reliability.fuzz import report
from tests.reliability.fuzz.seeds import PROJECT, seeds, words
from tests.reliability.fuzz.targets import TARGETS
from tests.reliability.tables import table

BUILD = PROJECT / "build" / "fuzz"
MAX_INPUT_BYTES = 4096
LONGEST_INPUT_S = 10
MEMORY_MB = 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzzes the targets, with a line for each on the way, and prints the table."""
    arguments = _arguments(argv)
    try:
        python = _environment()
    except subprocess.CalledProcessError as failed:
        sys.stderr.write(f"{failed}\nThe locked atheris has wheels for Linux on x86-64 and Python 3.11 to 3.13 only.\n")
        return 1
    names = [arguments.target] if arguments.target else list(TARGETS)
    done = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for figures in pool.map(lambda name: _fuzz(name, python, seconds=round(arguments.minutes * 60)), names):
            sys.stderr.write(f"{figures.target}: {figures.executions:,} executions, {figures.findings} findings\n")
            done.append(figures)
    found = sum(figures.findings for figures in done)
    lines = [*table(report.TITLES, [figures.row for figures in done]), "", f"{found} findings in {len(done)} targets"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--target", choices=list(TARGETS))
    parser.add_argument("--jobs", type=int, default=1, help="targets at once")
    return parser.parse_args(argv)


def _environment() -> Path:
    """The interpreter of the fuzzing environment, made from the lock files where they are newer."""
    home = BUILD / "venv"
    locks = [PROJECT / "requirements" / name for name in ("run.txt", "fuzz.txt")]
    stamp = home / ".made"
    python = home / "bin" / "python"
    if stamp.exists() and all(stamp.stat().st_mtime > lock.stat().st_mtime for lock in locks):
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    required = [word for lock in locks for word in ("-r", str(lock))]
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-qqq", "--require-hashes"]
    subprocess.run([*install, *required], check=True)
    stamp.touch()
    return python


def _fuzz(name: str, python: Path, *, seconds: int) -> report.Figures:
    home = BUILD / name
    corpus, given, crashes = home / "corpus", home / "seeds", home / "crashes"
    for directory in (corpus, given, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (given / f"{number:04}").write_bytes(seed)
    (home / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in words(name)))
    options = {
        "max_total_time": seconds, "max_len": MAX_INPUT_BYTES, "timeout": LONGEST_INPUT_S, "rss_limit_mb": MEMORY_MB,
        "print_final_stats": 1, "artifact_prefix": f"{crashes}/", "dict": home / "words",
    }  # fmt: skip
    command = [str(python), "-m", "tests.reliability.fuzz.child", name]
    command += [f"-{option}={value}" for option, value in options.items()]
    # What was found before is tried first: a finding stays one until it is mended.
    command += [str(directory) for directory in (corpus, given, crashes)]
    with (home / "log").open("w") as log:
        ended = subprocess.run(command, cwd=PROJECT, stdout=log, stderr=log, check=False)
    return report.figures(name, (home / "log").read_text(errors="replace"), exit_code=ended.returncode)


def _escaped(word: str) -> str:
    return "".join(char if char.isalnum() else f"\\x{ord(char):02x}" for char in word)


if __name__ == "__main__":
    sys.exit(main())
