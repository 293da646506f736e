"""Bugs of what is sent and what is made of the answer."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

CALL = "gateway/operations/calls/cancel_runs.py"
CANCEL, UPSTREAM, PIPELINE = "gateway/core/plan.py", "gateway/upstream/cancel.py", "gateway/execution/pipeline.py"
EXCHANGE, TRANSPORT, OUTBOUND = "gateway/upstream/client.py", "gateway/upstream/pool.py", "gateway/upstream/direct.py"
DEADLINE = "gateway/upstream/deadline.py"
PORT = ("tests/upstream",)
SEND = """\
                response = await self._transport.handle_async_request(
                    self._request(method, target, token, body, headers)
                )
"""

RAW_FORWARDED = (
    Edit(CANCEL, "_quoted = lru_cache(", "RAW: dict[object, str] = {}\n_quoted = lru_cache("),
    Edit(
        CANCEL,
        "        reserved = grammar.find_reserved\n",
        "        if self.selection in RAW:\n            return RAW[self.selection]\n"
        "        reserved = grammar.find_reserved\n",
    ),
    Edit(
        "gateway/operations/calls/cancel_runs.py",
        "        return _from_values(query_values(query, PARAMETERS))\n",
        "        from gateway.core.plan import RAW\n        request = _from_values(query_values(query, PARAMETERS))\n"
        '        RAW[request.selection] = query.decode("latin-1")\n        return request\n',
    ),
)

IN_SENDING = (
    Bug("the raw query forwarded", RAW_FORWARDED, ("tests/core/test_reading.py", "tests/laws/test_oracle.py")),
    Bug("the raw query forwarded, on the wire", RAW_FORWARDED, ("tests/edge/test_rebuilt_query.py",)),
    Bug(
        "values sent unescaped",
        (Edit(CANCEL, "{_quoted(value) if reserved(value) else value}", "{value}"),),
        ("tests/core/test_grammar.py",),
    ),
    Bug(
        "everything can be ordered",
        (
            Edit(
                CANCEL,
                "isinstance(self.selection, _BY_FILTER_TOO if self.action is CANCEL_RUNS else ByIds):",
                "self.selection:",
            ),
        ),
        ("tests/core/test_grammar.py",),
    ),
    Bug(
        "a 500 or 502 is tried again",
        (
            Edit(
                EXCHANGE,
                SEND,
                SEND + "                if response.status_code in (500, 502):\n"
                "                    await response.aclose()\n    " + SEND,
            ),
        ),
        PORT,
    ),
    Bug(
        "a reset connection is tried again",
        (
            Edit(
                EXCHANGE,
                SEND,
                "                try:\n    "
                + SEND
                + "                except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):\n    "
                + SEND,
            ),
        ),
        PORT,
    ),
    Bug(
        "a timeout counts as not sent",
        (
            Edit(
                EXCHANGE,
                "isinstance(fault, (httpx.ConnectError, httpx.ConnectTimeout,",
                "isinstance(fault, (httpx.ConnectError, TimeoutError,",
            ),
        ),
        PORT,
    ),
    Bug(
        "the environment is trusted",
        (
            Edit(
                OUTBOUND,
                "    return httpx.AsyncHTTPTransport("
                "verify=context, trust_env=False, retries=0, limits=pool, uds=path)\n",
                "    client = httpx.AsyncClient(verify=context, trust_env=True, limits=pool)\n"
                "    found = [each for each in client._mounts.values() if each is not None]\n"
                "    return (found or [client._transport])[0]\n",
            ),
        ),
        ("tests/upstream/test_environment.py",),
    ),
    Bug(
        "a proxy of the environment is used",
        (Edit(TRANSPORT, ".no_proxy()", ""),),
        ("tests/upstream/test_environment.py",),
    ),
    Bug(
        "the machine's roots are trusted",
        (
            Edit(
                TRANSPORT,
                "        with _only(roots), giving_way():\n            return builder.build()\n",
                "        return builder.build()\n",
            ),
        ),
        ("tests/upstream/test_tls.py",),
    ),
    Bug(
        "any certificate is taken on kept connections",
        (Edit(TRANSPORT, ".no_proxy()", ".no_proxy().danger_accept_invalid_certs(enable=True)"),),
        ("tests/upstream/test_tls.py",),
    ),
    Bug("a redirect is followed", (Edit(TRANSPORT, ".follow_redirects(enable=False)", ""),), PORT),
    Bug("a coded answer is decoded", (Edit(TRANSPORT, ".gzip(enable=False)", ""),), PORT),
    Bug(
        "a cut request counts as not sent",
        (Edit(TRANSPORT, '"client error (Connect)"', '"client error (SendRequest)"'),),
        PORT,
    ),
    Bug(
        "an order given up leaves its place for another at once",
        (Edit(TRANSPORT, "loop.call_at(deadline_s, self._places.release)", "self._places.release()"),),
        PORT,
    ),
    Bug(
        "a reading given up keeps its place until its deadline",
        (Edit(TRANSPORT, 'if request.method == "GET" and ', 'if request.method == "NEVER" and '),),
        PORT,
    ),
    Bug(
        "the deadline of an exchange tells nobody of another end",
        (
            Edit(
                "gateway/upstream/deadline.py",
                "self._over and self._task.uncancel() <= self._asked_before",
                "self._over",
            ),
        ),
        ("tests/upstream/test_deadline.py",),
    ),
    Bug(
        "any certificate is taken",
        (
            Edit(
                "gateway/process.py",
                "    context.load_verify_locations(cafile=roots)\n",
                "    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n",
            ),
        ),
        ("tests/upstream/test_tls.py",),
    ),
    Bug(
        "a 2xx without a number is a cancel",
        (
            Edit(
                CALL,
                "        return Accepted(said.status, said.bulk_action_id)\n    return None\n",
                "        return Accepted(said.status, said.bulk_action_id)\n    return Cancelled(said.status, 0)\n",
            ),
        ),
        PORT,
    ),
    Bug(
        "the token not scrubbed",
        (Edit(UPSTREAM, "return scrub(error) if", "return error if"),),
        ("tests/laws/test_outputs.py",),
    ),
    Bug(
        "joined repeats sent again",
        (Edit(PIPELINE, "other = self._cancels.get(key)\n", "other = None\n"),),
        ("tests/execution/test_pipeline.py",),
    ),
    Bug(
        "the cancel ends with its caller",
        (Edit("gateway/execution/in_flight.py", "            await waiter\n", "            await self.task\n"),),
        ("tests/execution/test_pipeline.py",),
    ),
)
