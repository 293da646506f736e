"""The texts of policies are kept beside the chain before a record names them, and nobody can change one unseen."""

from __future__ import annotations

import base64
import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.events.catalogue import Start
from gateway.audit.evidence import texts
from gateway.audit.segment import OsDisk
from gateway.core.errors import AuditFailure
from gateway.core.forms.texts import PolicyText, PolicyTexts
from tests.audit.faults import DONE, FailingDisk, findings, open_log, opened, plan, tampered
from tests.audit.test_retire import KEY, retire

OURS = PolicyTexts((PolicyText("a.yaml", b"version: 1\n"), PolicyText("b.yaml", b"\xff no UTF-8")))
NAMED = st.builds(PolicyText, st.text(min_size=1), st.binary())


def start(digest: str = OURS.digest) -> dict[str, object]:
    """The members of a start that names policies whose text is kept."""
    return dict(Start(policy_digest=digest, policies="kept").members())


async def one_chain(directory: Path, name: str = "one", *, kept: PolicyTexts = OURS, **settings: Any) -> Path:
    """A chain whose start names the policies; their text is kept before it."""

    def before() -> None:
        texts.keep(directory, kept, OsDisk())

    async with opened(directory, name, start=start(kept.digest), before_start=before, **settings) as log:
        await log.close(await log.intent(plan(f"{name}-1")), DONE)
    return directory


@given(st.lists(NAMED, max_size=4))
def test_a_text_comes_back_byte_for_byte(files: list[PolicyText]) -> None:
    """So that its digest can be computed again, whatever the files hold."""
    kept = PolicyTexts(tuple(files))
    assert PolicyTexts.from_json(kept.to_json()) == kept


async def test_a_chain_is_intact_with_its_texts_and_not_without(tmp_path: Path) -> None:
    """A missing, a changed and an exchanged text are each a finding; one that no record names is none."""
    directory = await one_chain(tmp_path / "audit")
    assert set(findings(directory).values()) == {"INTACT"}
    texts.keep(directory, PolicyTexts(()), OsDisk())
    assert set(findings(directory).values()) == {"INTACT"}
    path = texts.path_of(directory, OURS.digest)
    whole = path.read_bytes()
    for damaged in (b"", b"{}", whole.replace(b"a.yaml", b"c.yaml"), texts.path_of(directory, PolicyTexts(()).digest)):
        path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.read_bytes())
        assert tampered(directory) == {"one"}, damaged
    path.unlink()
    assert tampered(directory) == {"one"}
    path.symlink_to(tmp_path / "elsewhere")
    assert tampered(directory) == {"one"}


async def test_a_chain_of_before_needs_no_text(tmp_path: Path) -> None:
    """Only a start that says so promises it."""
    old = dict(Start(policy_digest=OURS.digest).members())
    async with opened(tmp_path / "audit", "one", start=old) as log:
        await log.close(await log.intent(plan("d")), DONE)
    assert findings(tmp_path / "audit") == {"one": "INTACT"}


async def test_where_the_text_cannot_be_kept_no_chain_begins(tmp_path: Path) -> None:
    """The record would name what nobody could read again."""

    def before() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AuditFailure, match="Make room"):
        await open_log(tmp_path / "audit", "one", start=start(), before_start=before)
    assert not list((tmp_path / "audit").glob("*.jsonl"))


@pytest.mark.parametrize("operation", ["open", "write", "fdatasync", "sync_directory"])
@pytest.mark.parametrize("torn", [False, True])
def test_whatever_fails_a_text_is_whole_or_not_there(tmp_path: Path, operation: str, *, torn: bool) -> None:
    """It is made beside its name, and named when it is durable."""
    with pytest.raises(OSError, match="No space"):
        texts.keep(tmp_path, OURS, FailingDisk(operation, 1, errno.ENOSPC, torn=torn))
    assert texts.problem(tmp_path, OURS.digest) in (None, "is missing")
    assert not list(tmp_path.glob(f"{texts.FOLDER}/*.part"))
    texts.keep(tmp_path, OURS, OsDisk())
    assert texts.read(tmp_path, OURS.digest) == OURS


@dataclass
class Shared(OsDisk):
    """A disk that another gateway uses as well: it keeps the same text during one operation of ours."""

    directory: Path
    during: str

    def write(self, descriptor: int, data: bytes) -> int:
        """Writes half of it."""
        self._meanwhile("write")
        return super().write(descriptor, data[: len(data) // 2 + 1])

    def fdatasync(self, descriptor: int) -> None:
        """Syncs."""
        self._meanwhile("fdatasync")
        super().fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        """Closes."""
        super().close(descriptor)
        self._meanwhile("close")

    def _meanwhile(self, operation: str) -> None:
        if operation == self.during:
            self.during = ""
            texts.keep(self.directory, OURS, OsDisk())
            assert texts.problem(self.directory, OURS.digest) is None
        elif not self.during:
            # What the other one has named in its record by now stays whole.
            assert texts.problem(self.directory, OURS.digest) is None


@pytest.mark.parametrize("during", ["write", "fdatasync", "close"])
def test_gateways_that_keep_one_text_at_once_do_not_disturb_each_other(tmp_path: Path, during: str) -> None:
    """As replicas do when they begin, or read the same new policies, in the same second."""
    texts.keep(tmp_path, OURS, Shared(tmp_path, during))
    assert texts.read(tmp_path, OURS.digest) == OURS
    assert [path.name for path in (tmp_path / texts.FOLDER).iterdir()] == [f"{OURS.digest}.json"]


async def test_retired_chains_take_the_texts_with_them_that_they_name(tmp_path: Path) -> None:
    """And leave them for those that stay."""
    directory, to = await one_chain(tmp_path / "audit", "a", mac_key=KEY), tmp_path / "kept"
    await one_chain(directory, "b", mac_key=KEY)
    to.mkdir()
    assert retire(directory, "a", to=to).gone == ["a"]
    assert texts.read(to, OURS.digest) == texts.read(directory, OURS.digest) == OURS
    assert set(findings(directory).values()) == {"INTACT"}


def test_a_text_is_json_that_others_can_read(tmp_path: Path) -> None:
    """Names, and bytes in base64."""
    texts.keep(tmp_path, OURS, OsDisk())
    members = json.loads(texts.path_of(tmp_path, OURS.digest).read_bytes())
    assert [base64.b64decode(one["content"]) for one in members["files"]] == [one.content for one in OURS.files]
