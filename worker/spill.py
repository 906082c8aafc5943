"""Where the engine puts what does not fit into its memory: a directory for each use, locked while it is in use.

Who is killed leaves it behind. The kernel lets go of the lock then, so anybody can tell, in another container too.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl.errors import Transient

_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def directory(parent: Path) -> Iterator[Path]:
    """Make a directory that is removed in the end. Raises Transient where nothing may be written to `parent`."""
    try:
        made, lock = _made(parent)
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            raise Transient(f"user {os.geteuid()}, who runs the worker, cannot write to {parent}: {error}") from error
        raise
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _made(parent: Path) -> tuple[Path, int]:
    """Make a directory and lock it."""
    parent.mkdir(parents=True, exist_ok=True)
    # Shared: nobody tidies up between the moment when it is there and that when it is locked.
    with _opened(parent) as all_of_them:
        fcntl.flock(all_of_them, fcntl.LOCK_SH)
        made = Path(tempfile.mkdtemp(dir=parent))
        lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return made, lock


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the directories that nobody uses any more, and return them."""
    if not parent.is_dir():
        return []
    with _opened(parent) as all_of_them:
        fcntl.flock(all_of_them, fcntl.LOCK_EX)
        return [path for path in parent.iterdir() if _remove(path)]


def _remove(path: Path) -> bool:
    try:
        with _opened(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
    except (BlockingIOError, FileNotFoundError, NotADirectoryError):
        return False  # in use, or going in this moment
    return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
