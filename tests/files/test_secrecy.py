"""One test says whether a text holds a secret, in every form of a closed list, at a cost that is linear in the text."""

from __future__ import annotations

import base64
import json
import random
import secrets
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.files import secrecy
from gateway.files.secrecy import MOST_ESCAPES, Traces, holds_secret, holds_text, looks_secret, masked
from gateway.upstream.token import KNOWN_BEFORE, AccountTokens, TokenHolder, UpstreamToken

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
TOKEN = base64.b64encode(b'{"UserID":"42f7c0de-user","Password":"8f3a9c51d2e64b70"}').decode()
KEY = "qgk_billing-ci_" + "aB3-_dEfGh" * 4 + "xyz"

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "backwards": lambda text: text[::-1],
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: quote(text, safe="").lower(),
    "percent-encoded in part": lambda text: "".join(f"%{ord(c):02x}" if at % 3 else c for at, c in enumerate(text)),
    "percent-encoded as a whole": lambda text: "".join(f"%{ord(char):02X}" for char in text),
    "percent-encoded twice": lambda text: quote(quote("".join(f"%{ord(char):02X}" for char in text))),
    "hex": lambda text: text.encode().hex(),
    "hex in capitals with colons escaped": lambda text: text.encode().hex().upper(),
    "a list of its bytes": lambda text: json.dumps({"type": "Buffer", "data": list(text.encode())}),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 behind Bearer": lambda text: base64.b64encode(f"Bearer {text}".encode()).decode(),
    "base64 at the second alignment": lambda text: base64.b64encode(f"x{text}y".encode()).decode(),
    "base64 at the third alignment": lambda text: base64.b64encode(f"xx{text}yy".encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(f'{{"authorization": "{text}"}}'.encode()).decode(),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(f'{{"a": "{text}"}}'.encode())).decode(),
    "base64, percent-encoded": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "JSON escapes": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "JSON escapes in JSON": lambda text: json.dumps(json.dumps("".join(f"\\u{ord(char):04X}" for char in text))),
    "JavaScript escapes": lambda text: "".join(f"\\x{ord(char):02x}" for char in text),
    "JavaScript escapes in braces": lambda text: "".join(f"\\u{{{ord(char):x}}}" for char in text),
    "HTML in decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML in hex": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "HTML by name": lambda text: text.replace("=", "&equals;").replace("/", "&sol;").replace("+", "&plus;"),
    "in pieces": lambda text: "\n".join(text[at : at + 7] for at in range(0, len(text), 7)),
    "with signs that nobody sees": "\u200b".join,
    "in quotes inside JSON": lambda text: json.dumps({"steps": [{"body": json.dumps({"h": f"Bearer {text}"})}]}),
    "in part": lambda text: text[5:40],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_token_is_seen_in_every_form(form: str) -> None:
    """Alone and in the middle of a payload."""
    shown = FORMS[form](TOKEN)
    for text in (shown, f'{{"body":"{shown}"}}', "a" * 1003 + shown + "b" * 77):
        assert holds_secret(text, Traces((TOKEN,))), text


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("in capitals", "backwards", "in part")])
def test_what_has_the_shape_of_a_gateways_key_is_seen_without_knowing_it(form: str) -> None:
    """The gateway keeps no key; its shape is enough, also behind escapes."""
    if form not in ("a list of its bytes", "base64 twice"):
        assert holds_secret(f'{{"body": "{FORMS[form](KEY)}"}}'), form


@given(st.text(ALPHABET, min_size=12, max_size=120), st.binary(max_size=5), st.binary(max_size=5))
def test_base64_of_any_text_around_any_token_is_seen(token: str, before: bytes, after: bytes) -> None:
    """At every alignment, in both alphabets, with and without padding."""
    plain = base64.b64encode(before + token.encode() + after).decode()
    traces = Traces((token,))
    for text in (plain, plain.rstrip("="), plain.replace("+", "-").replace("/", "_")):
        assert holds_secret(text, traces)


@given(st.text(max_size=400), st.integers(0, 2**32))
def test_a_text_that_shares_nothing_holds_nothing(text: str, seed: int) -> None:
    """What is withheld is withheld for a reason."""
    token = base64.b64encode(seed.to_bytes(8, "big") * 6).decode()
    assert not holds_secret(text, Traces((token,)))


def test_another_token_of_the_same_account_format_is_not_ours() -> None:
    """Every development token begins alike; that much says nothing."""
    other = base64.b64encode(b'{"UserID":"defaultUser","Password":"defaultPassword"}').decode()
    assert not holds_secret(json.dumps({"body": other}), Traces((TOKEN,)))


def test_a_text_made_of_escapes_is_not_read_and_counts_as_one_that_holds_a_secret() -> None:
    """To read it would take too long, and in doubt nothing is shown."""
    assert not holds_secret("%61." * MOST_ESCAPES)
    assert holds_secret("%61." * (MOST_ESCAPES + 1))
    assert holds_text("&#61;" * (MOST_ESCAPES + 1), "another")


@pytest.mark.parametrize("form", ["as it is", "percent-encoded as a whole", "JSON escapes", "in pieces"])
def test_the_credential_of_a_caller_is_seen_as_it_is_and_behind_escapes(form: str) -> None:
    """A signed token has no shape of its own; so exactly the one that came with the request is looked for."""
    credential = f"{secrets.token_urlsafe(40)}.{secrets.token_urlsafe(60)}.{secrets.token_urlsafe(40)}"
    assert holds_text(f"label={FORMS[form](credential)}&x", credential)
    assert not holds_text(f"label={credential[:-1]}", credential)
    assert not holds_text("label=a", "")


HARD = {
    "nothing": "x",
    "escapes": "%61",
    "escapes of escapes": "%25",
    "percent signs": "%",
    "backslashes": "\\",
    "ampersands": "&a",
    "zeros of an entity": "&#x0",
    "the beginning of a key": "qgk_",
    "a key without an end": "qgk_a-",
    "the beginning of a key in base64": "cWdrX",
    "the beginning of a key in hex": "71676b5f",
    "the middle of a token": TOKEN[10:20],
}


@pytest.mark.parametrize("part", HARD)
def test_the_work_is_linear_in_the_text(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the text is at most two and a half times the work, counted in characters read and in matches."""

    def work(size: int) -> int:
        """How many bytes are gone over, and how often an expression calls back, for a text of this size."""
        text = (HARD[part] * size)[:size]
        monkeypatch.setattr(secrecy, "_character", counted := Counted(secrecy._character))
        try:
            return counted.calls + sum(len(reading) for reading in secrecy.readings(text))
        except secrecy._TooManyEscapes:
            return size

    assert work(60_000) <= 2.5 * work(30_000)


class Counted:
    """A function that counts how often it is called."""

    def __init__(self, function: Callable[..., bytes]) -> None:
        self.calls = 0
        self._function = function

    def __call__(self, *arguments: object) -> bytes:
        self.calls += 1
        return self._function(*arguments)


def test_tokens_that_were_used_before_stay_secret() -> None:
    """After a rotation neither the old nor the new one is shown, of both kinds; of very many the last ones."""
    old, new, reading = (secrets.token_urlsafe(40) for _ in range(3))
    holder = TokenHolder(UpstreamToken(old), 0)
    account = AccountTokens(holder, TokenHolder(UpstreamToken(reading), 0))
    assert not account.is_in(new)
    holder.replace(UpstreamToken(new), 1)
    for token in (old, new, reading):
        assert account.is_in(base64.b64encode(f"Bearer {token}".encode()))
        assert token[5:30] not in account.scrub(f"no {token}")
    for _ in range(KNOWN_BEFORE + 5):
        holder.replace(UpstreamToken(secrets.token_urlsafe(40)), 2)
    assert len(holder.known) == KNOWN_BEFORE + 1
    assert not account.is_in(old)


def test_what_still_holds_a_token_after_scrubbing_is_not_shown_at_all() -> None:
    """Escapes and pieces get past the runs that scrubbing looks for."""
    account = AccountTokens(TokenHolder(UpstreamToken(TOKEN), 0))
    for form in ("percent-encoded in part", "HTML in hex", "in pieces", "JSON escapes"):
        assert account.scrub(f"bad token {FORMS[form](TOKEN)}", longest=2000) == "[redacted]"
    assert account.scrub(f"caller said {KEY}") == "[redacted]"
    assert account.scrub("workflow not found") == "workflow not found"


def test_traces_are_not_printed_or_pickled() -> None:
    """They hold the token in pieces."""
    traces = Traces((TOKEN,))
    assert "Trace" in f"{traces!r}"
    assert TOKEN[:12] not in f"{traces!r}{traces}"
    with pytest.raises(TypeError):
        traces.__reduce__()


SECRET_LOOKING = [
    TOKEN,
    KEY,
    "a3f8" * 9,
    # In these few neighbours are of two kinds.
    "435231884910120116ca3aae42e95593",
    "323696844db1629b6635507758475bebeef21022",
    "74a929c3598dda5350601344893ed01c",
    f"deploy-{'0a' + 'f' * 20}",
    "wMXLR10gtnmg9/XT+C/Krx+918j+Cq63uuGYVJR0+l0=",
    f"Bearer {TOKEN}",
    f"/etc/{TOKEN}",
    "sig_7kYQ5JhVmNdC4jKp8jFhWbXu1uT2",
]
CHOSEN = [
    "https://billing.example.com/api/invoice",
    "https://billing.example.com/api/v2/processNightlyInvoices",
    "owner-unchecked",
    "workflowUrlExactMatch",
    "wfr_billing_nightly-2026-11-29",
    "expected a whole number in plain digits",
    "count-cap-above-the-guardrail",
    "2026-12-20T00:00:00+01:00",
    "/run/secrets/qstash-token",
    "workflowUrlExactMatch=1",
    "workflowRunIds=wfr_billing_1",
    "/v2/flowControl/billing/pause",
    "GATEWAY/v2/workflows/runs",
    "0193a7c4-0000-7000-8000-000000000001",
    "17672688000001767268800000",
]


@pytest.mark.parametrize("text", SECRET_LOOKING)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    """Twenty signs or more that no person would choose."""
    assert looks_secret(text)
    assert len(masked(text)) == len(text)
    assert not looks_secret(masked(text))


@pytest.mark.parametrize("text", CHOSEN)
def test_what_a_person_wrote_is_shown(text: str) -> None:
    """Messages about policies stay readable."""
    assert not looks_secret(text)
    assert masked(text) == text


IN_HEX = {f"hex of {size} bytes": size for size in (16, 20, 24, 32)}
IN_BASE64: dict[str, Callable[[bytes], bytes]] = {"base64": base64.b64encode, "URL-safe": base64.urlsafe_b64encode}


@pytest.mark.parametrize("kind", IN_HEX)
def test_no_random_hex_is_shown(kind: str) -> None:
    """It has digits and letters, and no name that a person chooses has twenty of them in a row."""
    sample = random.Random(kind)  # noqa: S311 - the same samples in every run
    assert all(looks_secret(sample.randbytes(IN_HEX[kind]).hex()) for _ in range(10_000))


@pytest.mark.parametrize("kind", IN_BASE64)
def test_of_random_base64_next_to_none_is_shown(kind: str) -> None:
    """Of 32 random bytes, as keys and tokens are made of, at most one in 5,000, as SECURITY.md says."""
    sample = random.Random(kind)  # noqa: S311 - the same samples in every run
    shown = [text for _ in range(20_000) if not looks_secret(text := IN_BASE64[kind](sample.randbytes(32)).decode())]
    assert len(shown) <= 4


def test_a_long_text_is_looked_through_once() -> None:
    """Neither digits without a letter nor letters without a digit make it look back from every sign."""
    assert not any(map(looks_secret, ("1" * 1_000_000, "a" * 1_000_000, "-" * 1_000_000)))
