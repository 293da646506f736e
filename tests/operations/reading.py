"""A call as the operation of a method and path reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.core.parse import Body
from gateway.core.request import ActionRequest
from gateway.operations.operation import Asked, Operation
from gateway.operations.table import asked_by

JSON = (b"application/json",)


def asked(
    line: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    encodings: tuple[bytes, ...] = (),
) -> tuple[Operation, ActionRequest]:
    """The operation that a line (`METHOD /path?query`) asks for, and its reading; a body that is no text is JSON."""
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    found = asked_by(method, path)
    assert found is not None
    operation, form = found
    given = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
    content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    sent = Body(content, JSON if content else (), encodings)

    def header(name: bytes) -> tuple[bytes, ...]:
        """Every value of a header."""
        return (given[name],) if name in given else ()

    return operation, operation.read(
        form, Asked(form.named(path), query.encode("latin-1"), sent, header, [*given.items()])
    )


def read(line: str, body: object = None, **more: object) -> ActionRequest:
    """The reading alone."""
    return asked(line, body, **more)[1]  # type: ignore[arg-type]
