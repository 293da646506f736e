"""The receivers as they are used: their URLs and secrets, read from where the configuration says they are.

A URL may be a secret itself, as Slack's are. So no receiver is printed; messages call it by its origin alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from gateway.core.errors import InvalidConfiguration, Problem
from gateway.files.secrecy import Traces, holds_secret, looks_secret
from gateway.files.source import named, read_file, sentence
from gateway.notices.settings import ReceiverSettings, WebhookUrl, literal_problem, webhook_url
from gateway.notices.signature import MAX_SECRET_BYTES, keys_of

MAX_URL_BYTES = 4096


class Receiver:
    """One receiver. `name` stands for its URL in the store: gateways that share it know the same receivers by it."""

    __slots__ = ("_keys", "_traces", "name", "settings", "url")

    def __init__(self, settings: ReceiverSettings, url: WebhookUrl) -> None:
        self.settings = settings
        self.url = url
        self.name = hashlib.sha256(f"{url.origin}{url.target}".encode()).hexdigest()[:32]
        self._keys = list[bytes]()
        self._traces = Traces(_secret_parts(url))

    def __repr__(self) -> str:
        return f"Receiver({self.url.origin})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a receiver is not copied or pickled")

    def keys(self) -> list[bytes]:
        """Read the signing keys, anew each time, so that they may change; none without a secret.

        Raises: InvalidConfiguration: the file cannot be read, or holds no such secret.
        """
        path = self.settings.secret
        if path is None:
            return []
        try:
            keys = keys_of(_content(path, MAX_SECRET_BYTES, self.settings))
        except ValueError as fault:
            problem = f"the secret {named(path)} {fault}"
            raise InvalidConfiguration([self.settings.at.problem(problem)]) from fault
        if keys != self._keys:
            # What was a secret before stays one.
            self._keys, self._traces = keys, self._traces | Traces(form for key in keys for form in _written(key))
        return keys

    def is_in(self, text: str) -> bool:
        """Return whether a text may hold a key that was read so far, or a secret part of the URL."""
        return holds_secret(text, self._traces)


def receivers(settings: Iterable[ReceiverSettings]) -> list[Receiver]:
    """Read the URLs and, once, the secrets. Raises: InvalidConfiguration: with every problem found."""
    found, problems, first = list[Receiver](), list[Problem](), dict[str, Receiver]()
    for one in settings:
        try:
            receiver = Receiver(one, _url(one))
            receiver.keys()
        except InvalidConfiguration as fault:
            problems += fault.problems
            continue
        if first.setdefault(receiver.name, receiver) is not receiver:
            problems.append(one.at.problem("another entry of 'notify' has this URL already: name all events there"))
        found.append(receiver)
    if problems:
        raise InvalidConfiguration(problems)
    return found


def _url(settings: ReceiverSettings) -> WebhookUrl:
    if isinstance(settings.url, WebhookUrl):
        return settings.url
    content = _content(settings.url, MAX_URL_BYTES, settings).rstrip(b"\r\n")
    try:
        url = webhook_url(content.decode("latin-1"))
    except ValueError as fault:
        problem = f"the file {named(settings.url)} holds no URL of a receiver: {fault}"
        raise InvalidConfiguration([settings.at.problem(problem)]) from fault
    if (inside := literal_problem(settings, url)) is not None:
        raise InvalidConfiguration([settings.at.problem(inside)])
    return url


def _content(path: Path, max_bytes: int, settings: ReceiverSettings) -> bytes:
    try:
        return read_file(path, max_bytes=max_bytes).content
    except InvalidConfiguration as fault:
        problem = sentence(f"the file {named(path)} of a receiver", fault)
        raise InvalidConfiguration([settings.at.problem(problem)]) from fault


def _secret_parts(url: WebhookUrl) -> list[str]:
    return [part for part in (url.target, *re.split("[/?&=]", url.target)) if looks_secret(part)]


def _written(key: bytes) -> Iterator[str]:
    """Yield a key as people write it; `Traces` knows what else may be made of each of these."""
    yield base64.b64encode(key).decode("ascii")
    yield key.hex()
    if key.isascii():
        yield key.decode("ascii")
