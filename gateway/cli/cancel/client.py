"""The caller's side of the gateway: it asks for plans, applies each once, watches and stops them, reads decisions.

Nothing that may cancel is tried again. No redirect is followed and no proxy is taken from the environment, because the
key would go there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx

from gateway.cli.cancel.answers import (
    Done,
    Lost,
    Refusal,
    ShownDecision,
    approvals_in,
    decisions_in,
    done_in,
    plans_in,
    refusal_in,
)
from gateway.cli.cancel.reached import perhaps_tls, shown, unreached
from gateway.core.forms.shown import APPROVALS, DECISIONS, FREEZES, PLANS, Members, ShownPlan
from gateway.core.forms.strict_json import json_object
from gateway.files.addresses import Origin, UnixListen
from gateway.upstream.direct import bounded, make_transport

MAX_ANSWER_BYTES = 1_048_576
MAX_LIST_BYTES = 16 * MAX_ANSWER_BYTES
"""The most of a list: a hundred decisions, each with the request of up to 128 KiB that it is about."""
CONNECT_S = 5.0
READ_S = 30.0
"""The time limit of one answer; the gateway itself answers after 10 s that it is still looking."""
GLANCE_S = 2.0
APPLY_S = 3600.0
"""The time limit of carrying a plan out: 10,000 runs are 100 orders, each of up to half a minute."""
LOOK_S = 120.0
"""The time limit of a look-up; the gateway itself ends it after a minute."""
STOP_S = 5.0
EVERY_S = 0.5
LOCAL = "http://localhost"
"""The address in the URL if the connection is to a socket in the file system."""

Told = Callable[[ShownPlan], None]
Headers = dict[str, str]
T = TypeVar("T")


class Gateway:
    """One gateway and the key of a caller. `roots` is a file of CA certificates that replaces the public ones."""

    def __init__(self, address: Origin | UnixListen, key: str, *, roots: Path | None = None) -> None:
        self._address = address
        self._key = key
        self._roots = roots

    async def plan(self, request: str, *, reason: str | None, told: Told) -> ShownPlan | Refusal | Lost:
        """Ask for the plan of a request line, and wait until its look-up has ended. Nothing is cancelled.

        `told` is called with the plan as the look-up advances. Being cancelled withdraws the plan.
        """
        asked = {"request": request} | ({} if reason is None else {"reason": reason})
        async with self._client() as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    return await self._looked_up(client, asked, told)
        return Lost(sent=True, why="the gateway is still looking the runs up")

    async def apply(self, plan: ShownPlan, told: Told) -> Done | Refusal | Lost:
        """Cancel the runs that the plan names. `told` is called with the plan as it advances."""
        async with self._client() as client:
            applying = asyncio.create_task(self._applied(client, plan))
            try:
                while not (await asyncio.wait([applying], timeout=EVERY_S))[0]:
                    await self._glance(client, plan.plan_id, told)
                await self._glance(client, plan.plan_id, told)
                return applying.result()
            finally:
                applying.cancel()

    async def look(self, plan_id: str) -> ShownPlan | Refusal | Lost:
        """Return the plan as it stands now."""
        async with self._client() as client:
            return await self._seen(client, plan_id, within_s=GLANCE_S)

    async def stop(self, plan_id: str) -> ShownPlan | Refusal | Lost:
        """Stop the plan before its next order; return it as it stands then, which may be with an order still out."""
        async with self._client() as client:
            return await self._stopped(client, plan_id)

    async def decision(self, decision_id: str) -> ShownDecision | Refusal | Lost:
        """Return what became of one decision."""
        async with self._client() as client:
            answer = await self._answer(client, "GET", f"{DECISIONS}/{decision_id}", within_s=READ_S)
        return _read(answer, ShownDecision.from_json)

    async def decisions(self, limit: int) -> list[ShownDecision] | Refusal | Lost:
        """Return the newest decisions of the caller's team, at most `limit`."""
        async with self._client() as client:
            answer = await self._answer(
                client, "GET", f"{DECISIONS}?limit={limit}", within_s=READ_S, most=MAX_LIST_BYTES
            )
        return _read(answer, decisions_in)

    async def freeze(self, freeze: Members) -> Members | Refusal | Lost:
        """Freeze, as an operator; return the freeze, and who has it in force."""
        body = json.dumps(dict(freeze)).encode()
        async with self._client() as client:
            answer = await self._answer(client, "POST", FREEZES, within_s=READ_S, body=body)
        return answer if isinstance(answer, Refusal | Lost) else answer[0]

    async def thaw(self, freeze_id: str) -> Members | Refusal | Lost:
        """End a freeze, as an operator; return it."""
        async with self._client() as client:
            answer = await self._answer(client, "DELETE", f"{FREEZES}/{freeze_id}", within_s=READ_S)
        return answer if isinstance(answer, Refusal | Lost) else answer[0]

    async def approvals(self) -> list[Members] | Refusal | Lost:
        """Return the plans that wait for the caller's team."""
        async with self._client() as client:
            answer = await self._answer(client, "GET", APPROVALS, within_s=READ_S, most=MAX_LIST_BYTES)
        return _read(answer, approvals_in)

    async def waiting(self, plan_id: str) -> Members | Refusal | Lost:
        """Return a plan that waits for the caller's team, with every run of it."""
        async with self._client() as client:
            answer = await self._answer(client, "GET", f"{PLANS}/{plan_id}", within_s=READ_S, most=MAX_LIST_BYTES)
        return answer if isinstance(answer, Refusal | Lost) else answer[0]

    async def say(self, plan_id: str, said: Members) -> Members | Refusal | Lost:
        """Approve or reject the runs of a plan; return the plan as it is then."""
        body = json.dumps(dict(said)).encode()
        async with self._client() as client:
            answer = await self._answer(client, "POST", f"{PLANS}/{plan_id}/approvals", within_s=READ_S, body=body)
        return answer if isinstance(answer, Refusal | Lost) else answer[0]

    @property
    def _where(self) -> str:
        """The address as messages show it."""
        return shown(self._address)

    def _client(self) -> httpx.AsyncClient:
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "qstash-gateway-cancel",
        }
        unix = self._address.path if isinstance(self._address, UnixListen) else None
        url = self._address.url if isinstance(self._address, Origin) else LOCAL
        # One for what was asked, one for a glance, and one for a stop while the glance is still out.
        transport = make_transport(max_connections=3, roots=self._roots, unix=unix)
        return httpx.AsyncClient(
            base_url=url, headers=headers, transport=transport, trust_env=False, follow_redirects=False
        )

    async def _looked_up(self, client: httpx.AsyncClient, asked: Headers, told: Told) -> ShownPlan | Refusal | Lost:
        asking = asyncio.create_task(self._planned(client, asked))
        plan_id = None
        try:
            with_progress = True
            while not (await asyncio.wait([asking], timeout=EVERY_S))[0]:
                with_progress = with_progress and await self._peek(client, told)
            seen = asking.result()
            while isinstance(seen, ShownPlan) and seen.looking:
                plan_id = seen.plan_id
                told(seen)
                await asyncio.sleep(EVERY_S)
                seen = await self._seen(client, plan_id, within_s=READ_S)
        except asyncio.CancelledError:
            # Otherwise it would go on, in the place of the caller's next look-up.
            await self._withdraw(client, plan_id)
            raise
        finally:
            asking.cancel()
        if isinstance(seen, ShownPlan) and seen.failure is not None:
            return Refusal(seen.failure, f"plan_{seen.state}", seen.members)
        return seen

    async def _planned(self, client: httpx.AsyncClient, asked: Headers) -> ShownPlan | Refusal | Lost:
        body = json.dumps(asked).encode()
        return _read(await self._answer(client, "POST", PLANS, within_s=READ_S, body=body), ShownPlan.from_json)

    async def _peek(self, client: httpx.AsyncClient, told: Told) -> bool:
        """Report the look-up whose plan has not been answered yet; return False if the gateway does not show it."""
        looking = await self._looking(client, within_s=GLANCE_S)
        if looking is not None and len(looking) == 1:
            told(looking[0])
        return looking is not None

    async def _withdraw(self, client: httpx.AsyncClient, plan_id: str | None) -> None:
        """Stop a look-up; one whose plan has not been answered yet is the only one that the gateway lists."""
        looking = [] if plan_id is not None else await self._looking(client, within_s=STOP_S) or []
        for name in [plan_id] if plan_id is not None else [plan.plan_id for plan in looking if len(looking) == 1]:
            await self._stopped(client, name)

    async def _looking(self, client: httpx.AsyncClient, *, within_s: float) -> list[ShownPlan] | None:
        """Return the caller's plans that are being looked up; None if the gateway does not list them."""
        answer = await self._answer(client, "GET", PLANS, within_s=within_s, most=MAX_LIST_BYTES)
        listed = _read(answer, plans_in)
        return [plan for plan in listed if plan.looking] if isinstance(listed, list) else None

    async def _glance(self, client: httpx.AsyncClient, plan_id: str, told: Told) -> None:
        """Report to `told` how far the plan has got. If it cannot be seen nothing is lost: the final answer says it."""
        seen = await self._seen(client, plan_id, within_s=GLANCE_S)
        if isinstance(seen, ShownPlan):
            told(seen)

    async def _seen(self, client: httpx.AsyncClient, plan_id: str, *, within_s: float) -> ShownPlan | Refusal | Lost:
        answer = await self._answer(client, "GET", f"{PLANS}/{plan_id}", within_s=within_s)
        return _read(answer, ShownPlan.from_json)

    async def _stopped(self, client: httpx.AsyncClient, plan_id: str) -> ShownPlan | Refusal | Lost:
        answer = await self._answer(client, "DELETE", f"{PLANS}/{plan_id}", within_s=STOP_S)
        return _read(answer, ShownPlan.from_json)

    async def _applied(self, client: httpx.AsyncClient, plan: ShownPlan) -> Done | Refusal | Lost:
        answer = await self._answer(client, "POST", f"{PLANS}/{plan.plan_id}/apply", within_s=APPLY_S)
        if isinstance(answer, Refusal | Lost):
            return answer
        try:
            return done_in(*answer)
        except ValueError:
            return Lost(sent=True, why="the answer is not one of a gateway")

    async def _answer(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        *,
        within_s: float,
        body: bytes = b"",
        most: int = MAX_ANSWER_BYTES,
    ) -> tuple[Members, Headers] | Refusal | Lost:
        """Return the members and headers of an answer with 2xx, or what came instead; it has at most `most` bytes."""
        timeout = httpx.Timeout(within_s, connect=CONNECT_S)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with client.stream(method, path, content=body, headers=headers, timeout=timeout) as response:
                content = await bounded(response, most)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            why = unreached(exc, there="there", within_s=CONNECT_S)
            return Lost(sent=False, why=f"no connection to {self._where}: {why}")
        except httpx.TimeoutException:
            return Lost(sent=True, why=f"no whole answer came within {within_s:g} s")
        except httpx.HTTPError:
            return Lost(sent=True, why=f"the connection ended before a whole answer came{perhaps_tls(self._where)}")
        try:
            members, headers = json_object(content or b""), dict(response.headers.items())
            if response.status_code >= 300:
                return refusal_in(members, status=response.status_code, headers=headers)
        except ValueError:
            return Lost(sent=True, why=f"the answer with status {response.status_code} is not one of a gateway")
        return members, headers


def _read(answer: tuple[Members, Headers] | Refusal | Lost, read: Callable[[Members], T]) -> T | Refusal | Lost:
    if isinstance(answer, Refusal | Lost):
        return answer
    try:
        return read(answer[0])
    except ValueError:
        return Lost(sent=True, why="the answer is not one of a gateway")
