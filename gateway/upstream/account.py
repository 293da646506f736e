"""The account's tokens in a running process: read once at the start, and again whenever their files change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from gateway.core.errors import InvalidConfiguration, Problem
from gateway.files.secret import SecretSource, read_secret
from gateway.files.watch import WatchedFile, fingerprint
from gateway.upstream.settings import UpstreamSettings
from gateway.upstream.token import AccountTokens, TokenHolder, UpstreamToken


@dataclass(frozen=True, slots=True)
class WatchedTokens:
    """The tokens in use, and the files from which they are read again."""

    tokens: AccountTokens
    watched: tuple[WatchedFile, ...]


def read_tokens(
    settings: UpstreamSettings, environ: MutableMapping[str, str], monotonic_s: Callable[[], float]
) -> WatchedTokens:
    """Read the tokens, and remove them from the environment, because child processes would inherit them.

    Raises: InvalidConfiguration: a token cannot be read, or both tokens are the same.
    """
    sources = [source for source in (settings.token, settings.read_token) if source is not None]
    seen = [fingerprint(source.file) if source.file is not None else None for source in sources]
    holders = [TokenHolder(_read(source, environ), monotonic_s()) for source in sources]
    tokens = AccountTokens(*holders)
    if settings.read_token is not None:
        _refuse_same(settings.read_token, holders[1].current, tokens.writing)
    watched = [
        WatchedFile(source.file, _again(source, holder, tokens, monotonic_s=monotonic_s), seen=before)
        for source, holder, before in zip(sources, holders, seen, strict=True)
        if source.file is not None
    ]
    for source in sources:
        if source.env is not None:
            environ.pop(source.env, None)
    return WatchedTokens(tokens, tuple(watched))


def token_problems(
    settings: UpstreamSettings, keys: Collection[bytes], environ: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield the reasons why the tokens cannot be used as they are now. Nothing is taken over.

    `keys` are the digests of the callers' keys.
    """
    digests: set[bytes] = set()
    for source in (settings.token, settings.read_token):
        if source is None:
            continue
        try:
            token = _read(source, environ)
        except InvalidConfiguration as exc:
            yield from exc.problems
            continue
        if token.digest in digests:
            yield _same(source)
        elif token.digest in keys:
            yield source.at.problem("a caller's key is the upstream token itself")
        digests.add(token.digest)


def _again(
    source: SecretSource, holder: TokenHolder, tokens: AccountTokens, *, monotonic_s: Callable[[], float]
) -> Callable[[], None]:
    other = tokens.reading if holder is tokens.writing else tokens.writing

    def reload() -> None:
        """Read the token from its file again, and take it over unless it is the account's other token."""
        token = _read(source, {})
        if other is not None:
            _refuse_same(source, token, other)
        holder.replace(token, monotonic_s())

    return reload


def _read(source: SecretSource, environ: Mapping[str, str]) -> UpstreamToken:
    return UpstreamToken(read_secret(source, environ))


def _refuse_same(source: SecretSource, token: UpstreamToken, other: TokenHolder) -> None:
    if other.is_upstream_token(token.digest):
        raise InvalidConfiguration([_same(source)])


def _same(source: SecretSource) -> Problem:
    return source.at.problem(f"{source} holds the account's other token: a read-only token is another token")
