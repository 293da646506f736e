"""The steps of one cancel, as plain values: what was done, when, under which ids. OpenTelemetry calls them spans."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple, Self

Attributes = dict[str, str | int]


class TracedStep(NamedTuple):
    """One step that has ended: its ids, its times in Unix nanoseconds, and what is known of it.

    `parent_id` is None for a trace that begins here; `remote` says that the parent is a span of the caller.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    started_ns: int
    ended_ns: int
    attributes: Attributes
    failed: bool = False
    remote: bool = False


class Ids(NamedTuple):
    """The ids of a trace: the caller's, or those that the decision gives it; `common` stands on every span."""

    trace_id: int
    parent_id: int | None
    sampled: bool
    common: Attributes


class Trace:
    """The trace of one cancel. Its steps wait here until its ids are known, which is when it has been answered.

    What ends later, as a look-up that its caller no longer waits for, goes on at once.
    """

    def __init__(self, put: Callable[[Sequence[TracedStep]], None]) -> None:
        self._put = put
        self._root_id = _new_id()
        self._started_ns = time.time_ns()
        self._ids: Ids | None = None
        self._waiting: list[tuple[str, int, int, Attributes, bool]] = []
        self.attributes: Attributes = {}
        self.failed = False

    def step(self, name: str, started_ns: int, attributes: Attributes, *, failed: bool) -> None:
        """Add a step that ends now."""
        self._waiting.append((name, started_ns, time.time_ns(), attributes, failed))
        if self._ids is not None and self._ids.sampled:
            self._put(self._ended(self._ids))

    def end(self, ids: Ids) -> None:
        """Tell the whole cancel, and the steps that have ended."""
        self._ids = ids
        if ids.sampled:
            whole = (self._started_ns, time.time_ns(), {**ids.common, **self.attributes})
            remote = ids.parent_id is not None
            root = TracedStep("cancel", ids.trace_id, self._root_id, ids.parent_id, *whole, self.failed, remote)
            self._put([*self._ended(ids), root])

    def _ended(self, ids: Ids) -> list[TracedStep]:
        waiting, self._waiting = self._waiting, []
        return [
            TracedStep(
                *(name, ids.trace_id, _new_id(), self._root_id),
                *(started_ns, ended_ns, {**ids.common, **attributes}, failed),
            )
            for name, started_ns, ended_ns, attributes, failed in waiting
        ]


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the cancel that the running task works for; tasks that it begins inherit it."""


class Step:
    """A context that adds a step to the current trace, if there is one. It neither raises nor keeps an exception."""

    __slots__ = ("_name", "_started_ns", "_trace", "attributes", "failed")

    def __init__(self, name: str) -> None:
        self._name = name
        self._trace = CURRENT.get()
        self._started_ns = 0
        self.attributes: Attributes = {}
        self.failed = False

    def __enter__(self) -> Self:
        self._started_ns = time.time_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._trace is not None:
            self._trace.step(self._name, self._started_ns, self.attributes, failed=self.failed or kind is not None)


def _new_id() -> int:
    return secrets.randbits(64) or 1
