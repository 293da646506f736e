"""The look-up of messages. No call of upstream's lists them, so each is read by its ID, a few at once.

A message that does not exist, one that shows a workflow run and one that cannot be read are all left out: nobody learns
by the answer which IDs others have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from gateway.core import grammar
from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.forms.strict_json import page_object
from gateway.core.request import Everything, Filter
from gateway.core.run import Listing, LookUp, Run
from gateway.operations.calls.cancel_messages import PATH
from gateway.operations.id_lists import MOST_IDS
from gateway.upstream.client import Reply
from gateway.upstream.messages.entries import read_message
from gateway.upstream.runs.entries import texts_of
from gateway.upstream.runs.listing import AT_ONCE
from gateway.upstream.runs.log import UpstreamLog
from gateway.upstream.runs.pages import Reader, Source, deadline

MESSAGES = Source(PATH, "", "messages")
"""The messages, which are not listed: there is no page of them."""


class MessageLog:
    """The account's messages, read on the way, at the pace and within the bounds of the `log`.

    A message that holds a token or a key counts as one that cannot be read.
    """

    def __init__(self, log: UpstreamLog) -> None:
        self._log = log

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """Return each of these messages that exists, can be read and shows no workflow run.

        The listing is `narrowed`, so that every message is read once more before its order.

        Raises:
            LookupFailed: upstream cannot be read.
            TooLarge: there are more IDs than one order takes.
        """
        wanted = tuple(dict.fromkeys(run_ids))
        if len(wanted) > MOST_IDS:
            raise TooLarge(
                "run_ids", f"At most {MOST_IDS} messages can be looked up for one request. Nothing was sent."
            )
        reader, places = self._log.reader(MESSAGES), asyncio.Semaphore(AT_ONCE)

        async def one(message_id: str) -> Run | None:
            """Read one message when one of the places is free."""
            async with places:
                return await self._read(reader, message_id)

        try:
            async with deadline(self._log.bounds.seconds, words=MESSAGES.words), asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(message_id)) for message_id in wanted]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        found = (task.result() for task in tasks)
        return Listing(tuple(run for run in found if run is not None), pages=len(wanted), narrowed=True)

    async def look_again(self, runs: Sequence[Run], selection: Filter | Everything, since_ms: int) -> Listing:
        """Return these messages as they are now. Raises: LookupFailed, TooLarge."""
        return await self.look_up([run.run_id for run in runs])

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        """Raise LookupFailed: messages can be looked up by their IDs alone."""
        raise LookupFailed("no_listing", "No call of QStash's lists messages.", "Select by IDs: messageIds=ID.")

    async def _read(self, reader: Reader, message_id: str) -> Run | None:
        reply = await reader.reply(f"{PATH}/{grammar.item_id(message_id)}")
        if reply.status == 404:
            return None
        if reply.status != 200:
            what = f"QStash answered the look-up of a message with status {reply.status}."
            raise LookupFailed("status", what, upstream_status=reply.status)
        run = await reader.read(reply, partial(_message, message_id))
        return None if run is None or self._log.is_secret(texts_of(run)) else run


def _message(message_id: str, reply: Reply) -> Run | None:
    members = reply.members(page_object)
    return None if members is None else read_message(members, message_id)
