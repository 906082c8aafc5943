"""Disk and memory that ran out, whichever library says so, as one kind of failure."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import psycopg2.errors

from etl.errors import Transient

CODES = frozenset({"disk_full", "out_of_memory"})


@contextmanager
def named() -> Iterator[None]:
    """Raise Transient, with the code `disk_full` or `out_of_memory`, where something in here failed for want of it."""
    try:
        yield
    except Exception as error:
        if code := _code(error):
            raise Transient(str(error).strip(), code) from error
        raise


def _code(error: Exception) -> str | None:
    # SQLAlchemy puts its own exception around the driver's.
    cause = getattr(error, "orig", error)
    no_space = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    if no_space or isinstance(cause, psycopg2.errors.DiskFull) or any(text in str(cause) for text in _DISK_FULL):
        return "disk_full"
    if isinstance(cause, MemoryError | duckdb.OutOfMemoryException | psycopg2.errors.OutOfMemory):
        return "out_of_memory"
    return None


# DuckDB and Arrow hand on the system's message and no number; and DuckDB's own limit for its temporary files is nine
# tenths of the room that the disk has.
_DISK_FULL = ("No space left on device", "max_temp_directory_size")
