"""Exports: a table of Postgres as a file, made by a process of its own (worker/exporting.py) and passed on as it comes.

Arrow is too large for an API, and formatting millions of rows would hold up everybody else.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import IO, Any

from worker.settings import Settings

log = logging.getLogger(__name__)

MEDIA_TYPES = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

# Of each process that exports: an export takes a processor, and some 150 MB.
AT_ONCE = 2

_PIECE_BYTES = 256 << 10
_ROOT = Path(__file__).parents[1]
_room = BoundedSemaphore(AT_ONCE)


class Busy(Exception):  # noqa: N818
    """As many exports as are allowed run at the moment."""


class Broken(Exception):  # noqa: N818
    """The export failed, or its rows have gone meanwhile: what was passed on is no whole file."""


@dataclass(frozen=True)
class Table:
    """The rows to export; statements have their parameters as psycopg2 writes them.

    `page` selects at most `limit` rows that follow the one with the key `after` (null for the first page), in the order
    of that key, which is its first column and not exported. `intact` selects true as long as no row has gone.
    """

    page: str
    intact: str
    values: Mapping[str, Any]


class Export:
    """The pieces of a file, as they are made. Whoever has one closes it."""

    def __init__(self, settings: Settings, table: Table, format_: str) -> None:
        """Return when the file has begun. Raises Busy, Broken."""
        if not _room.acquire(blocking=False):
            raise Busy
        self._is_closed = False
        self._process: subprocess.Popen[bytes] | None = None
        asked = {"database_url": settings.database_url, "format": format_, "table": asdict(table)}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.exporting"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=_ROOT,
            )
            with _pipe(self._process.stdin) as question:  # it has a password, which no command line may show
                question.write(json.dumps(asked, default=str).encode())
            self._begun = self._read()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> "Export":
        return self

    def __next__(self) -> bytes:
        """Raises Broken."""
        piece, self._begun = self._begun or self._read(), b""
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        """End the process, also where nobody wants the rest."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._process:
            self._process.kill()
            self._process.wait()
            _pipe(self._process.stdout).close()
            _pipe(self._process.stderr).close()
        _room.release()

    def _read(self) -> bytes:
        """Return what there is, or nothing at the end of a whole file. Raises Broken."""
        process = self._process
        if self._is_closed or not process:
            return b""
        if piece := _pipe(process.stdout).read(_PIECE_BYTES):
            return piece
        if process.wait():
            log.error("worker.exporting ended with %d: %s", process.returncode, _pipe(process.stderr).read().decode())
        self.close()
        if process.returncode:
            raise Broken
        return b""


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    assert end  # noqa: S101 - both are asked for
    return end
