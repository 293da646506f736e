"""The headers that change what is resumed or restarted: a closed list, each read strictly and written anew.

The forms are those of QStash's documentation (docs/upstream-contract.md#7-the-calls-that-destroy-other-things). Of a
caller's bytes nothing is sent: a value is rebuilt of the numbers and words that were read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from gateway.core.errors import MalformedRequest
from gateway.core.request import IDS

FLOW_CONTROL_KEY = "Upstash-Flow-Control-Key"
FLOW_CONTROL_VALUE = "Upstash-Flow-Control-Value"

MAX_CHARS = 200
"""The longest value of an override, in characters."""
MAX_DEPTH = 8
"""How deep the parentheses of a retry delay may be nested."""

_OURS = b"upstash-"
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?=[0-9])(?:([0-9]{1,7})d)?(?:([0-9]{1,7})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,7})s)?")
_MAX_DELAY_S = 90 * 86_400
_MAX_PERIOD_S = 7 * 86_400
_WHOLE = re.compile(r"[1-9][0-9]{0,5}")


def overrides_in(headers: Sequence[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Return the overrides among the headers of a request (names in lower case), rebuilt, in the order of `NAMES`.

    Raises:
        MalformedRequest: a header of QStash's is none of the list, is repeated, or cannot be read.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if not name.startswith(_OURS):
            continue
        if name not in _READERS:
            raise MalformedRequest("override", f"{_refused(name)} The headers that may stand here are {_LISTED}.")
        if name in found:
            raise MalformedRequest("override", f"Send the header {_READERS[name][0]} once.")
        found[name] = value
    made = tuple((said, _read(said, reads, found[name])) for name, (said, reads) in _READERS.items() if name in found)
    names = [name for name, _ in made]
    if FLOW_CONTROL_VALUE in names and FLOW_CONTROL_KEY not in names:
        raise MalformedRequest("override", f"{FLOW_CONTROL_VALUE} stands only beside {FLOW_CONTROL_KEY}.")
    return made


def no_overrides(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise MalformedRequest if there is a header of QStash's, for a call with which none is passed."""
    for name, _ in headers:
        if name.startswith(_OURS):
            raise MalformedRequest("override", f"{_named(name)} is not passed with this call: leave it out.")


def _read(said: str, reads: Callable[[str], str], value: bytes) -> str:
    try:
        text = value.decode("ascii")
        if not 1 <= len(text) <= MAX_CHARS:
            raise ValueError(f"it is 1 to {MAX_CHARS} characters")  # noqa: TRY301 - one error for all of them
        return reads(text)
    except UnicodeDecodeError:
        raise MalformedRequest("override", f"The header {said} is not ASCII.") from None
    except ValueError as exc:
        raise MalformedRequest("override", f"The header {said} cannot be read in exactly one way: {exc}.") from None


def _named(name: bytes) -> str:
    """Return a header as it is shown; a name is a token of HTTP, so it holds nothing but its letters."""
    return f"The header '{name.decode('latin-1').title()[:60]}'"


def _refused(name: bytes) -> str:
    why = _NEVER.get(name)
    return f"{_named(name)} is never passed on{'' if why is None else f', because {why}'}."


_NEVER: Mapping[bytes, str] = {
    b"upstash-label": "a run would leave the labels that policies know it by",
    b"upstash-failure-callback": "it would send the run's payload to an address of the caller's choice",
}


def _retries(text: str) -> str:
    if not re.fullmatch("[0-5]", text):
        raise ValueError("it is a whole number from 0 to 5")
    return text


def _duration(text: str, most_s: int) -> str:
    match = _DURATION.fullmatch(text)
    seconds = 0 if match is None else sum(int(n or 0) * s for n, s in zip(match.groups(), _UNITS.values(), strict=True))
    if match is None or seconds > most_s:
        raise ValueError(f"a time is as 50s, 10m, 3h or 1d10h30m, at most {most_s // 86_400} days")
    return f"{seconds}s"


def _delay(text: str) -> str:
    return _duration(text, _MAX_DELAY_S)


def _key(text: str) -> str:
    return IDS["flowControlKey"](text)


def _flow_control(text: str) -> str:
    """Rebuild `parallelism=…, rate=…, period=…`: each once at most, one of the first two at least."""
    parts: dict[str, str] = {}
    for part in re.split(r" *, *", text):
        name, _, value = part.partition("=")
        if name not in ("parallelism", "rate", "period") or name in parts:
            raise ValueError("it is parallelism=N, rate=N and period=TIME, each once at most, joined by commas")
        if name == "period":
            seconds = f"{value}s" if value.isascii() and value.isdigit() else value
            parts[name] = _duration(seconds, _MAX_PERIOD_S)
        elif not _WHOLE.fullmatch(value):
            raise ValueError(f"{name} is a whole number from 1 to 999999")
        else:
            parts[name] = value
    if parts.keys() == {"period"} or parts.get("period") == "0s" or ("period" in parts and "rate" not in parts):
        raise ValueError("a period stands beside a rate, and is not 0")
    return ", ".join(f"{name}={parts[name]}" for name in ("parallelism", "rate", "period") if name in parts)


_TOKEN = re.compile(r" *([0-9]{1,12}(?:\.[0-9]{1,6})?|[a-z]{1,8}|[-+*/(),])")
_FUNCTIONS = {"pow": 2, "sqrt": 1, "abs": 1, "exp": 1, "floor": 1, "ceil": 1, "round": 1, "min": 2, "max": 2}
_NO_EXPRESSION = (
    "it is a number of milliseconds, or an expression of numbers, 'retried', + - * /, parentheses and "
    f"{', '.join(_FUNCTIONS)}"
)


def _retry_delay(text: str) -> str:
    """Rebuild the expression of a retry delay, as `1000` or `pow(2, retried) * 1000`."""
    tokens: list[str] = []
    rest = text.rstrip(" ")
    while rest:
        match = _TOKEN.match(rest)
        if match is None:
            raise ValueError(_NO_EXPRESSION)
        tokens.append(match[1])
        rest = rest[match.end() :]
    reader = _Expression(tokens)
    written = reader.sum(MAX_DEPTH)
    if reader.rest:
        raise ValueError(_NO_EXPRESSION)
    return written


class _Expression:
    """The tokens of an expression, read from left to right; each method returns what it has read, written anew."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.rest = list(tokens)

    def sum(self, depth: int) -> str:
        """Read values joined by `+ - * /`."""
        written = self._one(depth)
        while self.rest and self.rest[0] in "+-*/":
            written += f" {self.rest.pop(0)} {self._one(depth)}"
        return written

    def _one(self, depth: int) -> str:
        word = self.rest.pop(0) if self.rest and depth else ""
        if word == "retried" or word[:1].isdigit():
            return word
        if word in _FUNCTIONS:
            self._take("(")
            values = [self.sum(depth - 1)]
            for _ in range(1, _FUNCTIONS[word]):
                self._take(",")
                values.append(self.sum(depth - 1))
            self._take(")")
            return f"{word}({', '.join(values)})"
        if word == "(":
            written = self.sum(depth - 1)
            self._take(")")
            return f"({written})"
        raise ValueError(_NO_EXPRESSION)

    def _take(self, mark: str) -> None:
        if not self.rest or self.rest.pop(0) != mark:
            raise ValueError(_NO_EXPRESSION)


_READERS: Mapping[bytes, tuple[str, Callable[[str], str]]] = {
    name.lower().encode("ascii"): (name, reads)
    for name, reads in (
        ("Upstash-Retries", _retries),
        ("Upstash-Delay", _delay),
        ("Upstash-Retry-Delay", _retry_delay),
        (FLOW_CONTROL_KEY, _key),
        (FLOW_CONTROL_VALUE, _flow_control),
    )
}

NAMES = tuple(said for said, _ in _READERS.values())
"""Every override, in the order in which they are sent."""

_LISTED = ", ".join(NAMES)
