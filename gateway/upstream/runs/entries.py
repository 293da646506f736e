"""The entries of upstream's workflow log as `Run`s: types checked strictly, values by the grammar of requests."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.core import grammar
from gateway.core.run import Listing, Run

UNKNOWN_ID = "?"
"""The stand-in for an ID that cannot be read."""

_CURSOR = re.compile(r"[!-+\--~]{1,1024}")
_STATE = re.compile(r"[A-Z][A-Z_]{0,39}")

Entry = Mapping[str, object]


def read_entry(entry: object) -> Run | None:
    """Return the run in one entry; None if a value is missing, has another type, or breaks the grammar."""
    if not isinstance(entry, dict):
        return None
    try:
        return Run(
            run_id=grammar.run_id(text_in(entry, "workflowRunId")),
            workflow_url=grammar.url(text_in(entry, "workflowUrl")),
            created_ms=time_in(entry, "workflowRunCreatedAt"),
            state=_state(entry),
            caller_ip=caller_ip_of(optional_in(entry, "workflowRunCallerIp")),
            flow_control_key=key_of(optional_in(entry, "flowControlKey")),
            labels=labels_in(entry),
        )
    except ValueError:
        return None


def entry_id(entry: object) -> str:
    """Return the run ID of an entry, even if nothing else of it can be read; `?` if there is none."""
    try:
        return grammar.run_id(text_in(entry, "workflowRunId")) if isinstance(entry, dict) else UNKNOWN_ID
    except ValueError:
        return UNKNOWN_ID


def texts_of(run: Run) -> str:
    """Return every text of a run that somebody else chose, one per line."""
    return "\n".join((run.run_id, run.failed_run_id or "", run.workflow_url, run.flow_control_key or "", *run.labels))


@dataclass(frozen=True, slots=True)
class Seen:
    """The part of an entry that is kept: its run; or the ID (or `?`) if the run cannot be read or holds a secret.

    Of a run that cannot be read `workflow_url` is known if that part can be.
    """

    run_id: str
    run: Run | None
    workflow_url: str | None = None


def seen(entry: object, is_secret: Callable[[str], bool]) -> Seen:
    """Read one entry. `is_secret` tells whether a text holds a secret."""
    run = read_entry(entry)
    if run is not None and not is_secret(texts_of(run)):
        return Seen(run.run_id, run)
    run_id = entry_id(entry)
    return Seen(UNKNOWN_ID if is_secret(run_id) else run_id, None, url_alone(entry, is_secret))


def url_alone(entry: object, is_secret: Callable[[str], bool]) -> str | None:
    """Return the URL of an entry that cannot be read as a whole; None if it cannot be read either, or is a secret."""
    try:
        url = grammar.url(text_in(entry, "workflowUrl")) if isinstance(entry, dict) else None
    except ValueError:
        return None
    return None if url is None or is_secret(url) else url


@dataclass(slots=True)
class _Starts:
    """The runs of one ID by creation time, and the creation time of the one that is running, if one is."""

    runs: dict[int, Run] = field(default_factory=dict)
    running_ms: int | None = None

    @property
    def newest(self) -> Run:
        """The run created last."""
        return self.runs[max(self.runs)]

    def contradict(self, run: Run) -> bool:
        """Return whether an entry disagrees with one that came before on which run a cancel would hit.

        It does if both are running and were created at different times, or if they were created at the same time and
        differ in another value. The state may differ: it moves on while pages are read.
        """
        if self.runs.get(run.created_ms, run) != run:
            return True
        return run.running and self.running_ms not in (None, run.created_ms)

    def add(self, run: Run) -> None:
        """Keep a run that contradicts none. One that has ended does not run again: shown as running it is older."""
        if run.running and run.created_ms in self.runs:
            return
        self.runs[run.created_ms] = run
        if run.running:
            self.running_ms = run.created_ms
        elif self.running_ms == run.created_ms:
            self.running_ms = None


class Collected:
    """The runs as their entries come in, one for each ID: the one created last. The entries themselves are not kept.

    If one entry of an ID cannot be read, the whole ID counts as unreadable, because that entry may be its newest run.
    So it is with an entry that holds a secret, which may not be recorded, and with entries that contradict each other.
    """

    def __init__(self) -> None:
        self._starts: dict[str, _Starts] = {}
        self._unreadable: dict[str, None] = {}

    @property
    def readable(self) -> int:
        """How many IDs have come in that could be read."""
        return len(self._starts)

    @property
    def unreadable(self) -> int:
        """How many IDs have come in with an entry that cannot be read, or that contradicts another."""
        return len(self._unreadable)

    def knows(self, run_id: str) -> bool:
        """Return whether an entry of this ID has come in."""
        return run_id in self._starts or run_id in self._unreadable

    def add(self, found: Seen) -> None:
        """Add what was read of one entry."""
        run = found.run
        if run is None:
            self._unreadable[found.run_id] = None
            return
        starts = self._starts.setdefault(run.run_id, _Starts())
        if starts.contradict(run):
            self._unreadable[run.run_id] = None
        else:
            starts.add(run)

    def listing(self, *, pages: int) -> Listing:
        """Return what has come in, from so many pages."""
        readable = (starts.newest for run_id, starts in self._starts.items() if run_id not in self._unreadable)
        return Listing(tuple(readable), tuple(self._unreadable), pages)


def checked_cursor(cursor: object) -> str:
    """Return a cursor that can be sent back: printable ASCII without a comma. If there is none, return the empty one.

    Raises: ValueError: it is anything else.
    """
    if cursor is None or cursor == "":
        return ""
    if not isinstance(cursor, str) or not _CURSOR.fullmatch(cursor):
        raise ValueError("a cursor is 1 to 1024 printable characters other than a comma")
    return cursor


def text_in(entry: Entry, name: str) -> str:
    """Return a text of an entry. Raises: ValueError: it is missing, or no text."""
    value = entry.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no string")  # noqa: TRY004 - one kind of error for every unreadable entry
    return value


def optional_in(entry: Entry, name: str) -> str | None:
    """Return a text that may be missing; servers written in Go send an empty one instead."""
    return None if entry.get(name) is None else text_in(entry, name) or None


def time_in(entry: Entry, name: str) -> int:
    """Return a time of an entry in Unix milliseconds. Raises: ValueError: it is none."""
    value = entry.get(name)
    # A bool is an int to Python, and seconds taken for milliseconds would make every run old.
    if type(value) is not int or not 10**12 <= value < 10**13:
        raise ValueError(f"{name} is Unix milliseconds of 13 digits")
    return value


def _state(entry: Entry) -> str:
    state = text_in(entry, "workflowState")
    if not _STATE.fullmatch(state):
        raise ValueError("workflowState is a word in capitals")
    return state


@lru_cache(maxsize=1024)
def caller_ip_of(text: str | None) -> str | None:
    """Return an address in the form in which requests name it. Raises: ValueError: it is none."""
    if text is None:
        return None
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return grammar.ip_address(str(mapped or address))


def key_of(text: str | None) -> str | None:
    """Return a flow-control key. Raises: ValueError: it breaks the grammar."""
    return None if text is None else grammar.key(text)


def labels_in(entry: Entry) -> tuple[str, ...]:
    """Return `labels`, or the one `label` of servers that know only one. If both are given, it must be among them."""
    value, first = entry.get("labels"), optional_in(entry, "label")
    if value is None:
        value = [] if first is None else [first]
    if not isinstance(value, list):
        raise ValueError("labels is no list")  # noqa: TRY004 - as above
    if not all(isinstance(label, str) for label in value):
        raise ValueError("a label is no string")
    if first is not None and first not in value:
        raise ValueError("label is none of the labels")
    labels = tuple(dict.fromkeys(value))
    grammar.check_each("label", grammar.key, labels)
    return labels
