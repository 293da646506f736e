"""A cancel and its repeat, which comes while the first is in flight."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support.gateway import Answer, RunningGateway
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until


def repeated(gateway: RunningGateway, upstream: HeldAnswers, query: str) -> tuple[Answer, Answer]:
    """Returns both answers; upstream answers once the repeat has joined, or was refused."""

    def number(event: str) -> int:
        return len(gateway.records(event))

    intents, joins = number("intent"), number("joined")
    with ThreadPoolExecutor(2) as callers, upstream.held():
        first = callers.submit(gateway.cancel, query)
        until(lambda: number("intent") > intents)
        repeat = callers.submit(gateway.cancel, query)
        until(lambda: number("joined") > joins or repeat.done())
    return first.result(), repeat.result()
