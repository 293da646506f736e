"""The reading of a call that selects by IDs alone: in its path, repeated in its query, or as a list in a JSON body.

What names nothing is `Everything`, which only policy may allow; every other way to select is refused in words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core import grammar
from gateway.core.errors import MalformedRequest, TooLarge
from gateway.core.forms.query import COUNT, Parameters, Repeatable, query_values
from gateway.core.parse import Body, json_members
from gateway.core.request import DEFAULT_COUNT, Action, ActionRequest, ByIds, Dialect, Everything
from gateway.operations.operation import NO_ID, Asked, CallForm
from gateway.operations.overrides import no_overrides

MOST_IDS = 100
"""The most IDs in one call, as `DELETE /v2/dlq` takes them (docs/upstream-contract.md, 7).

Of the other calls no bound is known, and a hundred IDs are about 4 kB of request target.
"""

_BESIDE_LETTERS = re.compile(r"[^a-z]")


@dataclass(frozen=True, slots=True)
class IdList:
    """The grammar of one such call: the wire name of its IDs, and a sentence on what a filter would risk."""

    action: Action
    name: str
    risk: str
    most: int = MOST_IDS

    def read(self, form: CallForm, asked: Asked) -> ActionRequest:
        """Return the request of a call in one of its forms.

        Raises:
            MalformedRequest: it selects by anything but IDs, or cannot be read in exactly one way.
            TooLarge: it names more IDs than one order takes.
        """
        no_overrides(asked.headers)
        if form.field is not None:
            return self._of_path(asked)
        body = asked.body
        if body.content_encodings:
            raise MalformedRequest("content_encoding", "The body must not be compressed: leave Content-Encoding out.")
        if asked.query and body.content:
            raise MalformedRequest("query_and_body", "Send either a query or a body, not both.")
        return self._of_body(body) if body.content else self._of_query(asked.query)

    @property
    def how(self) -> str:
        """What to send, as a sentence."""
        return f"Select by IDs: {self.name}=ID, once for each, or the ID in the path."

    def _of_path(self, asked: Asked) -> ActionRequest:
        if asked.query:
            sentence = "The path names the ID, so nothing else selects beside it: leave the query out."
            raise MalformedRequest("path_and_query", sentence)
        if asked.body.content_encodings or asked.body.content:
            raise MalformedRequest("path_and_body", "The path names the ID, so send no body and no Content-Encoding.")
        # Read as a call for many, one without a query would ask for everything.
        assert asked.named is not None
        return self._of_ids((asked.named,), in_path=True)

    def _of_query(self, query: bytes) -> ActionRequest:
        listed = Repeatable(self.name)
        try:
            values = query_values(query, Parameters(listed, COUNT, unknown=self._unknown))
            count = COUNT.of(values)
        except ValueError as exc:
            raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None
        if self.name not in values:
            # QStash takes it for everything, whatever the count.
            return ActionRequest(Everything(), DEFAULT_COUNT if count is None else count, action=self.action)
        if len(values) > 1:
            raise self._beside("count")
        return self._of_ids(listed.of(values))

    def _of_body(self, body: Body) -> ActionRequest:
        members = json_members(body)
        if not members:
            return ActionRequest(Everything(), DEFAULT_COUNT, Dialect.BODY, action=self.action)
        others = [name for name in members if name != self.name]
        if self.name not in members:
            raise self._unknown(others[0])
        if others:
            raise self._beside(others[0])
        return self._of_ids(self._texts(members), Dialect.BODY)

    def _texts(self, members: Mapping[str, object]) -> tuple[str, ...]:
        body = f'A body is {{"{self.name}": ["…"]}}, and nothing else.'
        match members[self.name]:
            case []:
                sentence = f"'{self.name}' is empty, which QStash takes for everything: name what you mean. {body}"
                raise MalformedRequest("body_shape", sentence)
            case [*values] if all(isinstance(value, str) for value in values):
                return tuple(value for value in values if isinstance(value, str))
        raise MalformedRequest("body_shape", f"'{self.name}' is a list of strings. {body}")

    def _of_ids(
        self, ids: tuple[str, ...], dialect: Dialect = Dialect.QUERY, *, in_path: bool = False
    ) -> ActionRequest:
        if len(ids) > self.most:
            raise TooLarge("run_ids", f"At most {self.most} IDs stand in one request of this kind: split the list.")
        if NO_ID in ids:
            sentence = f"'{NO_ID}' is no ID: it is what a client writes that was given none."
            raise MalformedRequest("no_id", sentence)
        try:
            selection = ByIds(ids, self.name)
        except ValueError as exc:
            raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None
        return ActionRequest(selection, len(ids), dialect, action=self.action, in_path=in_path)

    def _unknown(self, name: str) -> MalformedRequest:
        """Return the refusal of another name: a filter, or one that QStash does not know and would ignore."""
        if not name:
            sentence = "The query has an empty pair: two '&' without a parameter between them, or one at an end."
            return MalformedRequest("empty_pair", sentence)
        shown = grammar.showable(name)
        what = f"'{shown}' does not select here" if shown else "The request has a name that does not select here"
        known = self.name.lower()
        if _BESIDE_LETTERS.sub("", shown.lower()) in (known, known.removesuffix("s"), "ids", "id"):
            what = f"{what}; did you mean '{self.name}'"
            return MalformedRequest("unknown_parameter", f"{what}? {self.risk} {self.how}")
        return MalformedRequest("unknown_parameter", f"{what}. {self.risk} {self.how}")

    def _beside(self, name: str) -> MalformedRequest:
        shown = grammar.showable(name) or "the other name"
        sentence = f"QStash ignores everything beside {self.name}, so nothing may stand beside it: leave '{shown}' out."
        return MalformedRequest("beside_ids", sentence)
