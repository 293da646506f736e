"""Opening a store: a new file is made, and whatever cannot be used is one sentence that says what to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.errors import StateFailure
from gateway.state.freezes import Freeze, Scope
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from gateway.store.tables import REVISION
from gateway.store.upkeep.copying import copy, summary
from gateway.store.upkeep.migrate import migrate
from tests.support.project import ROOT
from tests.support.state.fixtures import HERE, insist, postgresql_settings, sqlite_settings
from tests.support.state.postgres import NOBODY, PASSWORD, Postgres


async def failure(settings: StateSettings, *, create: bool = False) -> str:
    with pytest.raises(StateFailure) as caught:
        await open_store(settings, create=create)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def set_revision(settings: StateSettings, server: Postgres, revision: str) -> None:
    statement = f"UPDATE gateway_revision SET version_num = '{revision}'"  # noqa: S608 - one of the three below
    if settings.file is None:
        assert settings.url is not None
        server.sql(statement, settings.url.rpartition("/")[2])
        return
    await (await open_store(settings, create=True)).aclose()
    with sqlite3.connect(settings.file) as connection:
        connection.execute(statement)
    connection.close()


async def test_a_new_file_is_made_for_the_gateway_alone(tmp_path: Path) -> None:
    """In a directory that is made as that of the record is. Opened again it is the same one."""
    settings = sqlite_settings(tmp_path / "audit")
    store = await open_store(settings, create=True)
    await store.freeze(Freeze("f", Scope(), "why", "ops", 1))
    await store.aclose()
    assert settings.file is not None
    assert [stat.S_IMODE(path.stat().st_mode) for path in (settings.file, settings.file.parent)] == [0o600, 0o700]
    store = await open_store(settings, create=False)
    assert [one.freeze_id for one in (await insist(store.beat, "one", 0)).freezes] == ["f"]
    await store.aclose()


async def test_several_that_make_a_new_file_at_once_share_it(tmp_path: Path) -> None:
    """One makes the tables, and the others find them."""
    stores = await asyncio.gather(*(open_store(sqlite_settings(tmp_path), create=True) for _ in range(4)))
    await stores[0].freeze(Freeze("f", Scope(), "why", "ops", 1))
    assert [len((await insist(store.beat, "one", 0)).freezes) for store in stores] == [1, 1, 1, 1]
    for store in stores:
        await store.aclose()


def entries(directory: Path) -> list[Path]:
    """What lies in a directory."""
    return list(directory.iterdir())


async def test_what_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    """A command that looks must not leave a file behind."""
    settings = sqlite_settings(tmp_path)
    assert "does not exist: start the gateway, which makes it, or run 'qstash-gateway state migrate" in (
        await failure(settings)
    )
    assert entries(tmp_path) == []
    nowhere = sqlite_settings(tmp_path / "no" / "where")
    assert "cannot be made: No such file or directory; make its directory" in await failure(nowhere, create=True)


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        ("0000", f"is older (revision 0000) than this version needs ({REVISION}): run 'qstash-gateway state migrate"),
        (
            "9999",
            f"is newer (revision 9999) than this version knows ({REVISION}): run the version of the gateway that",
        ),
        ("ae1027a6acf", "is the database of something else: give the gateway one of its own"),
    ],
)
async def test_another_revision_is_not_served(
    settings: StateSettings, postgres: Postgres, revision: str, told: str
) -> None:
    """Neither an older nor a newer one is guessed at."""
    await set_revision(settings, postgres, revision)
    assert told in await failure(settings, create=True)


async def test_a_foreign_database_is_left_as_it_is(tmp_path: Path, postgres: Postgres) -> None:
    """Neither served nor migrated, nor changed by a look at it."""
    file = tmp_path / "state.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = file.read_bytes()
    foreign = StateSettings(None, postgres.new_database(), HERE, postgres.password_file)
    assert foreign.url is not None
    postgres.sql("CREATE TABLE customers (name TEXT)", foreign.url.rpartition("/")[2])
    for settings in (sqlite_settings(tmp_path), foreign):
        assert "is the database of something else" in await failure(settings, create=True)
        with pytest.raises(StateFailure, match="is the database of something else"):
            await migrate(settings)
    assert file.read_bytes() == before
    file.write_bytes(b"no database at all, but long enough to be one: " * 100)
    assert "is no SQLite database: name another file" in await failure(sqlite_settings(tmp_path))


async def test_a_server_that_cannot_be_used_is_told_apart(postgres: Postgres, tmp_path: Path) -> None:
    """Empty, read-only, with another password, without the database, or not there."""
    settings = await postgresql_settings(postgres)
    assert settings.url is not None
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    assert "refuses the user" in await failure(replace(settings, password=wrong))
    assert "refuses the user" in await failure(replace(settings, password=None))
    assert "cannot be read: No such file" in await failure(replace(settings, password=tmp_path / "none"))
    assert "does not exist: create it" in await failure(replace(settings, url=f"{settings.url}_none"))
    assert "does not answer" in await failure(replace(settings, url="postgresql://gateway@127.0.0.1:1/gateway"))
    empty = replace(settings, url=postgres.new_database())
    assert "has no tables yet: run 'qstash-gateway state migrate" in await failure(empty, create=True)
    name = settings.url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "is read-only: name the server that takes writes" in await failure(settings)


@pytest.mark.alone
async def test_a_hung_server_does_not_hold_the_start_up(postgres: Postgres) -> None:
    """It is told as one that does not answer."""
    settings = await postgresql_settings(postgres)
    postgres.hang()
    assert "does not answer" in await asyncio.wait_for(failure(settings), 12)


READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from gateway.core.errors import StateFailure
from gateway.store.opened import open_store
from tests.support.state.fixtures import sqlite_settings

async def main():
    # What is loaded late is loaded before the user is another one, who may not read the installation.
    await (await open_store(sqlite_settings(Path(sys.argv[2])), create=True)).aclose()
    if os.geteuid() == 0:
        os.setgid(int(sys.argv[3])), os.setuid(int(sys.argv[3]))
    try:
        await open_store(sqlite_settings(Path(sys.argv[1])), create=True)
    except StateFailure as failure:
        print(failure)

asyncio.run(main())
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that another user finds, too."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def opened_by_nobody(kept: Path, other: Path) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(kept), str(other), str(NOBODY)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_a_file_that_cannot_be_written_is_said_at_the_start(open_to_all: Path, tmp_path: Path) -> None:
    """And not when the first budget is asked."""
    file = open_to_all / "state.db"
    await (await open_store(sqlite_settings(open_to_all), create=True)).aclose()
    file.chmod(0o444)
    told = opened_by_nobody(open_to_all, tmp_path)
    assert f"the state {file} cannot be written: let the gateway's user write" in told


async def test_migrating_makes_the_tables_once(tmp_path: Path, postgres: Postgres) -> None:
    """And then finds them; what is older and unknown to the migrations is an error, not a guess."""
    empty = StateSettings(None, postgres.new_database(), HERE, postgres.password_file)
    for settings in (sqlite_settings(tmp_path), empty):
        assert [await migrate(settings) for _ in range(2)] == [None, REVISION]
        store = await open_store(settings, create=False)
        await store.freeze(Freeze("f", Scope(), "why", "ops", 1))
        await store.aclose()


@pytest.mark.parametrize("kinds", [("sqlite", "postgresql"), ("postgresql", "sqlite")])
async def test_a_copy_is_the_whole_store(kinds: Sequence[str], tmp_path: Path, postgres: Postgres) -> None:
    """From one kind to the other; into a store that holds something nothing is copied."""
    made = {
        "sqlite": sqlite_settings(tmp_path / "audit"),
        "postgresql": StateSettings(None, postgres.new_database(), HERE, postgres.password_file),
    }
    source, target = made[kinds[0]], made[kinds[1]]
    for settings in (source, target):
        await migrate(settings)
    store = await open_store(source, create=False)
    kept = await store.freeze(Freeze("f", Scope(team="billing"), "why", "ops", 1))
    await store.keep_cursor("c", "billing/ci", b"\x00\xff", 600)
    await store.aclose()
    held = await copy(source, target)
    assert {name: number for name, number in held.items() if number} == {"cursors": 1, "freezes": 1}
    assert await summary(target) == held
    store = await open_store(target, create=False)
    snapshot = await insist(store.beat, "one", 0)
    assert (snapshot.freezes, snapshot.number) == ((kept,), kept.number)
    assert await insist(store.cursor, "c", "billing/ci") == b"\x00\xff"
    assert (await insist(store.freeze, Freeze("g", Scope(), "why", "ops", 1))).number == kept.number + 1
    await store.aclose()
    with pytest.raises(StateFailure, match="holds something already: name a store that is new"):
        await copy(source, target)
