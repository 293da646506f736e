"""Bugs of the order of things: the body and its end, the record before the act, the record after a crash."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

CLOSING = "gateway/execution/closing.py"
PIPELINE, INBOUND, SEGMENT = "gateway/execution/pipeline.py", "gateway/edge/inbound.py", "gateway/audit/segment.py"
RECOVERY, PROTOCOL = "gateway/audit/recovery.py", "gateway/edge/protocol.py"
WRITER, JOURNAL = "gateway/audit/writer.py", "gateway/audit/journal.py"
AT_ONCE = ("tests/audit/test_at_once.py",)
RUN = ("tests/execution/test_pipeline.py", "tests/execution/test_closing.py", "tests/execution/test_panics.py")

SENT_FIRST = (
    Edit(
        PIPELINE,
        "self._sent_once(plan, await self._audit.intent(plan), call,",
        "self._sent_once(plan, Receipt(plan.decision_id, 1), call,",
    ),
    Edit(
        PIPELINE,
        "                result = await self._send_only(plan, receipt)\n",
        "                result = await self._send_only(plan, receipt)\n"
        "                receipt = await self._audit.intent(plan)\n",
    ),
)

IN_ORDER = (
    Bug(
        "disconnect taken for the end of the body",
        (
            Edit(
                INBOUND,
                '            raise MalformedRequest("incomplete", "The body ended before its announced length.")\n',
                "            return False\n",
            ),
        ),
        ("tests/edge/test_whole_looking_bodies.py",),
    ),
    Bug(
        "an answer that stays in the process counts as written",
        (
            Edit(
                "gateway/edge/routing/cancels.py",
                "            written = inbound.was_taken() and not gone\n",
                "            written = not gone\n",
            ),
        ),
        ("tests/edge/test_answers_in_hand.py",),
    ),
    Bug(
        "what TLS has sealed and nobody took counts as written",
        (
            Edit(
                "gateway/edge/protocol.py", "return size if self.below is None else ", "return size if size >= 0 else "
            ),
        ),
        ("tests/edge/test_answers_in_hand.py",),
    ),
    Bug(
        "the intent noted after the send",
        SENT_FIRST,
        RUN,
    ),
    Bug(
        "the intent noted after the send, by system calls",
        SENT_FIRST,
        ("tests/system/test_record_then_act.py",),
    ),
    Bug(
        "the answer does not wait for the outcome's record",
        (
            Edit(
                CLOSING,
                "        try:\n            await self.audit.close(receipt, closing)\n",
                "        try:\n            import asyncio\n"
                "            _late = asyncio.ensure_future(self.audit.close(receipt, closing))\n",
            ),
        ),
        RUN,
    ),
    Bug(
        "an error after the receipt leaves the intent open",
        (
            Edit(
                "gateway/process.py",
                "if fault is None or isinstance(fault, ENDINGS):\n",
                "if fault is None or isinstance(fault, (*ENDINGS, ZeroDivisionError)):\n",
            ),
            Edit(
                "gateway/process.py",
                "if isinstance(caught, ENDINGS):\n",
                "if isinstance(caught, (*ENDINGS, ZeroDivisionError)):\n",
            ),
        ),
        RUN,
    ),
    Bug(
        "a panic passes every net",
        (
            Edit(
                "gateway/process.py",
                "if fault is None or isinstance(fault, ENDINGS):\n",
                "if not isinstance(fault, Exception):\n",
            ),
            Edit(
                "gateway/process.py",
                "if isinstance(caught, ENDINGS):\n",
                "if not isinstance(caught, Exception):\n",
            ),
        ),
        ("tests/execution/test_panics.py",),
    ),
    Bug(
        "fdatasync left out",
        (Edit(SEGMENT, "                self._disk.fdatasync(self._descriptor)\n", "                pass\n"),),
        ("tests/system/test_record_then_act.py",),
    ),
    Bug(
        "fdatasync left out, before the log's own tests",
        (Edit(SEGMENT, "                self._disk.fdatasync(self._descriptor)\n", "                pass\n"),),
        ("tests/audit",),
    ),
    Bug(
        "a failed fdatasync is tried again",
        (
            Edit(
                SEGMENT,
                "            self.cut(self.size)\n            raise AppendFailed(error, suspect=True) from error\n",
                "            self._disk.fdatasync(self._descriptor)\n",
            ),
        ),
        ("tests/audit",),
    ),
    Bug(
        "a short write counts as whole",
        (Edit(SEGMENT, "            data = data[taken:]\n", "            data = b''\n"),),
        ("tests/audit",),
    ),
    Bug(
        "a slow disk holds the event loop with each record",
        (Edit(WRITER, "                self._at_once_from_s = now_s + self._quiet_s\n", "                pass\n"),),
        AT_ONCE,
    ),
    Bug(
        "the event loop opens the next file itself",
        (
            Edit(
                WRITER,
                "committed = self._timed(self._journal.commit_at_once, ",
                "committed = self._timed(self._journal.commit, ",
            ),
            Edit(WRITER, "if not (idle and self._journal.only_appends and ", "if not (idle and "),
        ),
        AT_ONCE,
    ),
    Bug(
        "the event loop overtakes records that the thread was given",
        (Edit(WRITER, "idle = self._worked_off == self._handed_over and ", "idle = "),),
        AT_ONCE,
    ),
    Bug(
        "the thread writes without its turn",
        (
            Edit(
                WRITER,
                "                with self._turns:\n                    self._take(batch)\n",
                "                with threading.Lock():\n                    self._take(batch)\n",
            ),
        ),
        AT_ONCE,
    ),
    Bug(
        "half a batch of the event loop stays in the file",
        (Edit(JOURNAL, "        cut = segment.cut(torn.size)\n", "        cut = True\n"),),
        AT_ONCE,
    ),
    Bug(
        "recovery keeps intents open",
        (
            Edit(
                RECOVERY,
                "        open_intents = list(journal.open_intents)\n",
                "        open_intents: list[str] = []\n",
            ),
        ),
        ("tests/audit",),
    ),
    Bug(
        "recovery says not sent",
        (
            Edit(
                "gateway/audit/record.py",
                'return _closed(decision_id, Unknown("recovered", None, progress))',
                'return _closed(decision_id, NotSent("recovered"))',
            ),
        ),
        ("tests/audit",),
    ),
    Bug(
        "recovery takes a chain that is being written",
        (
            Edit(
                "gateway/audit/segment.py",
                "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
                "fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)",
            ),
        ),
        ("tests/audit",),
    ),
    Bug(
        "any MAC holds",
        (
            Edit(
                "gateway/audit/chain.py",
                "    return any(hmac.compare_digest(",
                "    return bool(mac) or any(hmac.compare_digest(",
            ),
        ),
        ("tests/audit/test_verify.py",),
    ),
    Bug(
        "X-Forwarded-For believed from everyone",
        (
            Edit(
                "gateway/callers/forwarded.py",
                "if not self._networks or peer is None or not self._trusts(ip_address(peer)):",
                "if peer is None:",
            ),
        ),
        ("tests/callers/test_proxies.py", "tests/edge/test_proxies.py"),
    ),
)
