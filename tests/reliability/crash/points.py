"""Where a gateway dies: at a random moment, or at a named point that is brought about from outside.

Upstream's answers say that a cancel was sent; strace kills at the entry of a system call, which then does not happen;
a limit of the file's size makes the kernel take a part of a write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.crash.ledger import Ledger
from tests.reliability.crash.load import Told, call
from tests.reliability.crash.victim import Tracer, Victim

CALLERS = 6
REACH_S = 10.0
ROTATIONS = 3
CHAIN_BYTES = 12_000
LESS_THAN_A_LINE_BYTES = 300
RECOVERY_CALLS = ("write:when=1", "write:when=2", "fdatasync:when=1", "fdatasync:when=2", "fsync:when=1")
TORN_CALLS = ("openat:when=1", "ftruncate:when=1", "write:when=1", "fdatasync:when=1")


@dataclass(slots=True)
class Scene:
    """One life of a gateway under load: who calls it, and what they were told."""

    victim: Victim
    ledger: Ledger
    tracer: Tracer
    asked: Iterator[str]
    told: Told
    rng: random.Random
    _sent_before: int = 0

    def load(self) -> asyncio.Task[object]:
        """The callers, until the gateway is gone."""
        victim = self.victim
        calls = (call(victim.port, victim.key, self.asked, self.told) for _ in range(CALLERS))
        return asyncio.ensure_future(asyncio.gather(*calls))

    async def under_load(self, point: Awaitable[object]) -> bool:
        """Waits for the point, while callers call; kills what has not died of itself. Whether the point was reached."""
        load = self.load()
        try:
            async with asyncio.timeout(REACH_S):
                reached = await point is not False
        except TimeoutError:
            reached = False
        await self.victim.kill()
        self.ledger.hang_up()
        await load
        return reached

    async def in_flight(self) -> None:
        """Returns when each caller's cancel has arrived upstream, where the answers are held."""
        await self.ledger.until_arrived(CALLERS, since=self._sent_before)

    def hold(self) -> None:
        """From now on upstream answers nobody."""
        self._sent_before = len(self.ledger.sent)
        self.ledger.open.clear()


Point = Callable[[Scene], Awaitable[bool]]


async def at_random(scene: Scene) -> bool:
    """Any moment of the first 200 ms of load."""
    return await scene.under_load(asyncio.sleep(scene.rng.uniform(0.0, 0.2)))


async def after_intent(scene: Scene) -> bool:
    """The intent is durable, and the connection to upstream about to be made."""
    await scene.tracer.attach(f"connect:signal=KILL:when={scene.rng.randint(1, 3)}")
    return await scene.under_load(scene.victim.until_ended(REACH_S))


async def after_send(scene: Scene) -> bool:
    """Upstream has one or more cancels and answers none."""
    scene.hold()
    wanted = scene.rng.randint(1, CALLERS)
    return await scene.under_load(scene.ledger.until_arrived(wanted, since=len(scene.ledger.sent)))


async def before_outcome(scene: Scene) -> bool:
    """Upstream has answered, and the first outcome is about to be written."""
    scene.hold()

    async def point() -> bool:
        await scene.in_flight()
        await scene.tracer.attach("write:signal=KILL:when=1", paths=scene.victim.next_segments(1))
        scene.ledger.open.set()
        return await scene.victim.until_ended(REACH_S)

    return await scene.under_load(point())


async def mid_write(scene: Scene) -> bool:
    """The kernel has taken a part of a batch, of intents or of outcomes, and the rest is about to be written."""

    async def tear() -> bool:
        await _tear_next_write(scene)
        scene.ledger.open.set()
        return await scene.victim.until_ended(REACH_S)

    async def tear_outcome() -> bool:
        await scene.in_flight()
        return await tear()

    if scene.rng.random() < 0.5:
        scene.hold()
        return await scene.under_load(tear_outcome())
    await _tear_next_write(scene)
    return await scene.under_load(scene.victim.until_ended(REACH_S))


async def _tear_next_write(scene: Scene) -> None:
    newest = scene.victim.segments()[-1]
    await scene.tracer.attach("write:signal=KILL:when=2", paths=[newest])
    scene.victim.limit_file_size(newest.stat().st_size + scene.rng.randint(1, LESS_THAN_A_LINE_BYTES))


async def mid_rotate(scene: Scene) -> bool:
    """The next chain's file is about to be made, is not durable yet, is still empty, or its start is not durable."""
    number = scene.rng.randint(1, ROTATIONS)
    coming = scene.victim.next_segments(ROTATIONS)[number:][:1]
    match scene.rng.choice(("openat", "fsync", "write", "fdatasync")):
        case "fsync":
            await scene.tracer.attach(f"fsync:signal=KILL:when={number}")
        case name:
            await scene.tracer.attach(f"{name}:signal=KILL:when=1", paths=coming)
    return await scene.under_load(scene.victim.until_ended(REACH_S))


def recovery_injection(victim: Victim, rng: random.Random) -> tuple[str, list[Path]]:
    """A system call of the recovery of what `victim` left, and the files that it must concern."""
    last = [path for path in victim.segments() if path.stat().st_size][-1]
    torn = not last.read_bytes().endswith(b"\n")
    name, when = rng.choice(TORN_CALLS if torn else RECOVERY_CALLS).split(":")
    paths = {"fsync": [], "ftruncate": [last]}.get(name, [last.with_suffix(".torn") if torn else last])
    return f"{name}:signal=KILL:{when}", paths


POINTS: dict[str, Point] = {
    "at random": at_random,
    "after intent": after_intent,
    "after send": after_send,
    "before outcome": before_outcome,
    "mid-write": mid_write,
    "mid-rotate": mid_rotate,
}
