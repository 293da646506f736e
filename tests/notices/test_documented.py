"""What operations.md says of notices: its configuration is taken, its examples are what is sent, its check works."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_config
from gateway.notices import events
from gateway.notices.events import KINDS
from gateway.notices.formats import formatted
from gateway.notices.signature import keys_of, signatures
from gateway.state.freezes import Freeze, Scope
from gateway.state.notices import EVENTS
from tests.config.test_state import MINIMAL
from tests.notices.house import AT_MS, SECRET
from tests.notices.test_formats import ALL
from tests.support.project import ROOT

_PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTION = _PAGE.partition("\n## Notices\n")[2].partition("\n## ")[0]
FREEZE = Freeze(
    "01890000-0000-7000-8000-00000000000a", Scope("billing", "billing/own"), "QStash is ill", "platform/ana", AT_MS
)


def blocks(language: str) -> list[str]:
    """The blocks of the section in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


def test_the_configuration_is_taken(tmp_path: Path) -> None:
    """As it stands there."""
    [section] = blocks("yaml")
    path = tmp_path / "gateway.yaml"
    path.write_text(f"{MINIMAL}{section}")
    first, slack, inside = load_config(path).notify
    assert (first.events, slack.format, len(inside.networks)) == (
        ("freeze", "over_cancelled", "filter_wider"),
        "slack",
        1,
    )


def test_the_examples_are_what_is_sent() -> None:
    """One of each format, of the same freeze."""
    event, text = map(json.loads, blocks("json"))
    notice = events.frozen(FREEZE)
    sent = [formatted(form, notice.notice_id, notice.document()).content for form in ("cloudevents", "slack")]
    assert [json.loads(one) for one in sent] == [event, text]
    assert list(json.loads(sent[0])) == list(event)


def test_every_event_and_every_type_is_named() -> None:
    """In the table, and in the sentence about types."""
    assert sorted(re.findall(r"^\| `(\w+)` \|", SECTION, re.MULTILINE)) == sorted(EVENTS)
    assert all(f"`{kind}`" in SECTION for kind in KINDS)


def test_every_member_of_the_data_is_named() -> None:
    """A receiver is written from the page alone."""
    assert [name for notice in ALL for name in notice.data if f"`{name}`" not in SECTION] == []


@pytest.fixture
def believed() -> Callable[[dict[str, str], bytes, str], bool]:
    """The check as people paste it."""
    [code] = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(code, "operations.md", "exec"), names)  # noqa: S102 - it is our own page
    found: Callable[[dict[str, str], bytes, str], bool] = names["believed"]
    return found


@pytest.mark.parametrize("secret", [SECRET, b"a secret that is no base64 at all"])
def test_the_check_believes_the_gateway_and_nobody_else(
    believed: Callable[[dict[str, str], bytes, str], bool], secret: bytes
) -> None:
    """Not a changed body, another secret, or an old notice."""
    body, now_s = b'{"id": "n1"}', int(time.time())

    def headers(at_s: int, keys: list[bytes]) -> dict[str, str]:
        signature = signatures(keys, "n1", at_s, body)
        return {"webhook-id": "n1", "webhook-timestamp": str(at_s), "webhook-signature": signature}

    signed = headers(now_s, keys_of(secret))
    assert believed(signed, body, secret.decode())
    assert believed(headers(now_s, [b"x" * 32, *keys_of(secret)]), body, secret.decode())
    assert not believed(signed, body + b" ", secret.decode())
    assert not believed(signed, body, "another secret that is long enough")
    assert not believed(headers(now_s - 301, keys_of(secret)), body, secret.decode())
