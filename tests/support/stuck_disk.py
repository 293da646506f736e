"""A disk that hangs when a test says so: the audit log's writes wait until it is free again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.calendar import built

SOURCE = Path(__file__).with_name("stuck_disk.c")


class StuckDisk:
    """A disk for processes that are started with `environment`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        library = built(directory, SOURCE)
        if library is None:
            pytest.skip("there is no C compiler here")
        self._flag = directory / "stuck"
        self.environment = {"LD_PRELOAD": str(library), "STUCK_DISK_FILE": str(self._flag)}

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Hangs until the end of the `with`."""
        self._flag.touch()
        try:
            yield
        finally:
            self._flag.unlink()
