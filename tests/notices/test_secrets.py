"""No secret is in what is kept or sent, however somebody wrote it into a text; and no error shows one."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import InvalidConfiguration
from gateway.files.secrecy import Traces, holds_secret
from gateway.notices import events
from gateway.notices.formats import formatted
from gateway.notices.receivers import Receiver
from gateway.notices.settings import ReceiverSettings, webhook_url
from gateway.state.freezes import Freeze, Scope
from gateway.state.notices import FORMATS, ApprovalStep
from tests.notices.house import AT_MS, HERE, LOOPBACK, outbox
from tests.support.stand_ins import Lines
from tests.support.state.notices import MemoryNotices

TOKEN = "CANARYeyJVc2VySUQiOiI5ZjJkIiwiUGFzc3dvcmQiOiJhM2I0YzVkNiJ9"
CALLERS_KEY = "qgk_billing-ci_" + "Ab3dEf6hIj9" * 3 + "Ab3dEf6hIj"
TARGET = "/services/T0A1B2C3D4/B9Z8Y7X6W5/q8Zt3LmN0pRs7VwX2yKd5Gh1"
KEYS = st.binary(min_size=24, max_size=64)
WAYS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: text[::-1],
    lambda text: text.upper(),
    lambda text: quote(text, safe=""),
    lambda text: text.encode().hex(),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(b"x" + text.encode()).decode(),
    " ".join,
)


def made(directory: Path, key: bytes) -> tuple[Receiver, bytes]:
    """A receiver with a secret of this key, and the content of its file."""
    secret = b"whsec_" + base64.b64encode(key)
    path = directory / "secret"
    path.write_bytes(secret)
    path.chmod(0o600)
    url = webhook_url(f"https://hooks.example.com{TARGET}")
    receiver = Receiver(ReceiverSettings(url, HERE, path, networks=LOOPBACK), url)
    receiver.keys()
    return receiver, secret


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=KEYS,
    which=st.integers(0, 4),
    way=st.sampled_from(WAYS),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
async def test_no_text_that_holds_a_secret_is_kept_or_sent(
    tmp_path: Path, key: bytes, which: int, way: Callable[[str], str], before: str, after: str
) -> None:
    """The account's token, a caller's key, a receiver's signing secret, its URL; in any form, in any member."""
    receiver, secret = made(tmp_path, key)
    secrets = [TOKEN, CALLERS_KEY, secret.decode(), secret.decode().removeprefix("whsec_"), TARGET.rpartition("/")[2]]
    hidden = secrets[which]
    if hidden == CALLERS_KEY and way(hidden) in (hidden[::-1], hidden.upper()):
        return  # a caller's key is known by its shape alone
    text = f"{before}{way(hidden)}{after}"
    account = Traces((TOKEN,))
    store = MemoryNotices()
    box = outbox(store, [receiver], Lines())
    box._is_secret = lambda found: holds_secret(found, account) or receiver.is_in(found)
    step = ApprovalStep("p", "rejected", AT_MS, text, text, text, 3, AT_MS, (text,), 1, (text,), text, text)
    await box.put(
        [
            events.frozen(Freeze("f", Scope(text, text), text, text, AT_MS)),
            events.thawed(Freeze("f", Scope(text, text), text, text, AT_MS, thawed_ms=AT_MS, thawed_by=text)),
            events.reload_refused("r", text, "gw", AT_MS),
            events.audit_changed("a", text, "gw", AT_MS),
            events.approval(step),
        ]
    )
    rows = store.waiting(receiver.name)
    assert len(rows) == 5
    for row in rows:
        for form in FORMATS:
            body = formatted(form, row.notice.notice_id, row.notice.document).content
            assert not holds_secret(body, account, Traces([secret.decode(), TARGET, TARGET.rpartition("/")[2]]))
            assert events.NOT_SHOWN in body.decode()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_no_error_shows_what_is_in_a_file(tmp_path: Path, content: bytes) -> None:
    """Whatever somebody put there in place of a secret or a URL."""
    marked = content + b"HUNTER2hunter2HUNTER2"
    path = tmp_path / "file"
    path.write_bytes(marked)
    path.chmod(0o600)
    url = webhook_url("https://hooks.example.com/in")
    try:
        Receiver(ReceiverSettings(url, HERE, path), url).keys()
    except InvalidConfiguration as refused:
        assert "hunter2" not in str(refused).lower()  # noqa: PT017 - a file of enough bytes is a secret


def test_a_receiver_is_not_copied(tmp_path: Path) -> None:
    """Nor shown with its path."""
    receiver, _ = made(tmp_path, bytes(range(32)))
    assert repr(receiver) == "Receiver(https://hooks.example.com)"
    with pytest.raises(TypeError):
        receiver.__reduce__()
