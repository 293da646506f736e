"""The caller's side of plans: it asks for one, waits for its look-up, applies it once, and watches meanwhile.

Nothing is tried again. No redirect is followed and no proxy is taken from the environment, because the key would go
there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

from gateway.cli.cancel.answers import Done, Lost, Refusal, done_in, refusal_in
from gateway.cli.cancel.reached import perhaps_tls, shown, unreached
from gateway.core.forms.shown import PLANS, Members, ShownPlan
from gateway.core.forms.strict_json import json_object
from gateway.files.addresses import Origin, UnixListen
from gateway.upstream.direct import bounded, make_transport

MAX_ANSWER_BYTES = 1_048_576
CONNECT_S = 5.0
READ_S = 30.0
"""The time limit of one answer; the gateway itself answers after 10 s that it is still looking."""
GLANCE_S = 2.0
APPLY_S = 900.0
"""The time limit of carrying a plan out: 2,000 runs are 20 orders, each of up to half a minute."""
LOOK_S = 120.0
"""The time limit of a look-up; the gateway itself ends it after a minute."""
EVERY_S = 0.5
LOCAL = "http://localhost"
"""The address in the URL if the connection is to a socket in the file system."""

Told = Callable[[ShownPlan], None]


class Gateway:
    """One gateway and the key of a caller. `roots` is a file of CA certificates that replaces the public ones."""

    def __init__(self, address: Origin | UnixListen, key: str, *, roots: Path | None = None) -> None:
        self._address = address
        self._key = key
        self._roots = roots

    async def plan(self, request: str, *, reason: str | None) -> ShownPlan | Refusal | Lost:
        """Ask for the plan of a request line, and wait until its look-up has ended. Nothing is cancelled."""
        asked = {"request": request} | ({} if reason is None else {"reason": reason})
        async with self._client() as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    return await self._looked_up(client, asked)
        return Lost(sent=True, why="the gateway is still looking the runs up")

    async def apply(self, plan: ShownPlan, told: Told) -> Done | Refusal | Lost:
        """Cancel the runs that the plan names. `told` is called with the plan as it advances."""
        async with self._client() as client:
            applying = asyncio.create_task(self._applied(client, plan))
            try:
                while not (await asyncio.wait([applying], timeout=EVERY_S))[0]:
                    await self._glance(client, plan, told)
                await self._glance(client, plan, told)
                return applying.result()
            finally:
                applying.cancel()

    async def look(self, plan: ShownPlan) -> ShownPlan | None:
        """Return the plan as it stands now, or None if it cannot be seen."""
        async with self._client() as client:
            seen = await self._seen(client, plan, within_s=GLANCE_S)
        return seen if isinstance(seen, ShownPlan) else None

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
        transport = make_transport(max_connections=2, roots=self._roots, unix=unix)
        return httpx.AsyncClient(
            base_url=url, headers=headers, transport=transport, trust_env=False, follow_redirects=False
        )

    async def _looked_up(self, client: httpx.AsyncClient, asked: dict[str, str]) -> ShownPlan | Refusal | Lost:
        seen = _plan(await self._answer(client, "POST", PLANS, within_s=READ_S, body=json.dumps(asked).encode()))
        while isinstance(seen, ShownPlan) and seen.looking:
            await asyncio.sleep(EVERY_S)
            seen = await self._seen(client, seen, within_s=READ_S)
        if isinstance(seen, ShownPlan) and seen.failure is not None:
            return Refusal(seen.failure, f"plan_{seen.state}", seen.members)
        return seen

    async def _glance(self, client: httpx.AsyncClient, plan: ShownPlan, told: Told) -> None:
        """Report to `told` how far the plan has got. If it cannot be seen nothing is lost: the final answer says it."""
        seen = await self._seen(client, plan, within_s=GLANCE_S)
        if isinstance(seen, ShownPlan):
            told(seen)

    async def _seen(self, client: httpx.AsyncClient, plan: ShownPlan, *, within_s: float) -> ShownPlan | Refusal | Lost:
        return _plan(await self._answer(client, "GET", f"{PLANS}/{plan.plan_id}", within_s=within_s))

    async def _applied(self, client: httpx.AsyncClient, plan: ShownPlan) -> Done | Refusal | Lost:
        answer = await self._answer(client, "POST", f"{PLANS}/{plan.plan_id}/apply", within_s=APPLY_S)
        if isinstance(answer, Refusal | Lost):
            return answer
        members, headers = answer
        try:
            return done_in(members, headers)
        except ValueError:
            return Lost(sent=True, why="the answer is not one of a gateway")

    async def _answer(
        self, client: httpx.AsyncClient, method: str, path: str, *, within_s: float, body: bytes = b""
    ) -> tuple[Members, dict[str, str]] | Refusal | Lost:
        """Return the members and headers of an answer with 2xx, or what came instead."""
        timeout = httpx.Timeout(within_s, connect=CONNECT_S)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with client.stream(method, path, content=body, headers=headers, timeout=timeout) as response:
                content = await bounded(response, MAX_ANSWER_BYTES)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            why = unreached(exc, there="there", within_s=CONNECT_S)
            return Lost(sent=False, why=f"no connection to {self._where}: {why}")
        except httpx.TimeoutException:
            return Lost(sent=True, why=f"no whole answer came within {within_s:g} s")
        except httpx.HTTPError:
            return Lost(sent=True, why=f"the connection ended before a whole answer came{perhaps_tls(self._where)}")
        try:
            members = json_object(content or b"")
            return refusal_in(members) if response.status_code >= 300 else (members, dict(response.headers.items()))
        except ValueError:
            return Lost(sent=True, why=f"the answer with status {response.status_code} is not one of a gateway")


def _plan(answer: tuple[Members, dict[str, str]] | Refusal | Lost) -> ShownPlan | Refusal | Lost:
    if isinstance(answer, Refusal | Lost):
        return answer
    try:
        return ShownPlan.from_json(answer[0])
    except ValueError:
        return Lost(sent=True, why="the answer is not one of a gateway")
