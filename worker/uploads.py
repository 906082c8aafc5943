"""Uploaded datasets: what arrives is staged apart, and becomes the dataset whole and in one step.

In STATE_DIR/datasets:

    .upload-XXXX/files/    the files of one upload, also while they arrive
    NAME                   a link to the upload that is the dataset; another one takes its place by one rename

Whoever changes what is there holds a lock on that directory for a moment. An upload under way holds another one, on its
own directory, so that what a process left behind when it was killed is known by having none.
"""

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from etl.contract import TABLES
from etl.errors import BadInput
from worker import restores
from worker.directories import locked, sync, target, try_lock
from worker.incoming import IncomingFile, ReceivedFile, refuse_full_disk
from worker.settings import UPLOADED_FILES, Settings

log = logging.getLogger(__name__)

FILE_NAMES = {name: table.file for table in TABLES for name in table.file_names}

_PREFIX = ".upload-"
_LINK = "link"


class Refused(Exception):  # noqa: N818
    """The upload was not taken and nothing of it is left; `code` is stable, the message is for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


Value = TypeVar("Value")


class Aside(Protocol):
    """Does what may take long, such as waiting for the disk, where it holds up nobody else; returns what came of it."""

    def __call__(self, work: Callable[[], Value]) -> Value: ...


def _here(work: Callable[[], Value]) -> Value:
    return work()


class Upload:
    """The files of one upload, written one after the other into a directory that nobody reads yet.

    What cannot be a file of a dataset raises BadInput, of which staged() makes Refused.
    """

    def __init__(self, directory: Path, settings: Settings, aside: Aside) -> None:
        self._directory = directory
        self._settings = settings
        self._aside = aside
        self._incoming: IncomingFile | None = None
        self._received: dict[str, ReceivedFile] = {}
        self.leftover: Path | None = directory

    def begin(self, name: str | None) -> None:
        """Open the file of that name, which is one of FILE_NAMES and never a path. Raises Refused."""
        file = FILE_NAMES.get(name or "")
        if not name or not file:
            what = f"{name!r} is no file of a dataset" if name else "a part has no file name"
            raise Refused("unknown_file", f"{what}; send {_listed()}")
        if file in self._received:
            raise Refused("ambiguous_file", f"{file}: the upload has it twice; send it or its .gz, once")
        self._incoming = IncomingFile(self._directory / UPLOADED_FILES / name, self._settings)

    def write(self, data: bytes) -> None:
        """Add to the file that was begun. Raises BadInput."""
        if self._incoming:
            self._incoming.write(data)

    def end(self) -> None:
        """Complete the file that was begun. Raises BadInput."""
        if self._incoming:
            received = self._aside(self._incoming.complete)
            self._received[FILE_NAMES[received.file]] = received
        self.close()

    def close(self) -> None:
        if self._incoming:
            self._incoming.close()
        self._incoming = None

    def received(self) -> list[ReceivedFile]:
        """Return the files, in the contract's order. Raises Refused where one is missing."""
        for table in TABLES:
            if table.file not in self._received:
                raise Refused("missing_file", f"{table.file}: the upload has neither this file nor its .gz")
        return [self._received[table.file] for table in TABLES]

    def publish(self, dataset: str) -> bool:
        """Make the files the dataset of that name; return whether it is a new one. Raises Refused."""
        self.received()
        return self._aside(lambda: self._publish(dataset))

    def _publish(self, dataset: str) -> bool:
        root, link = self._directory.parent, self._directory / _LINK
        link.symlink_to(self._directory.name)
        for directory in (self._directory / UPLOADED_FILES, self._directory):
            sync(directory)
        with locked(root):
            replaced = target(root / dataset)
            link.replace(root / dataset)
            # From here on it is the dataset, whatever fails.
            self.leftover = root / replaced if replaced else None
        sync(root)
        return not replaced


@contextmanager
def staged(settings: Settings, expected_bytes: int, aside: Aside = _here) -> Iterator[Upload]:
    """A place for one upload; what was not published when the block ends is removed. Raises Refused."""
    root = settings.uploads_dir
    upload = None
    try:
        directory, alive = aside(lambda: stage(root, expected_bytes))
        upload = Upload(directory, settings, aside)
        yield upload
    except BadInput as error:
        raise Refused(error.code, error.detail) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refused("disk_full", "the disk is full; nothing was kept") from error
    finally:
        if upload:
            upload.close()
            if leftover := upload.leftover:
                aside(lambda: shutil.rmtree(leftover, ignore_errors=True))
            os.close(alive)


def stage(root: Path, expected_bytes: int) -> tuple[Path, int]:
    """Make a directory for an upload; the descriptor holds its lock."""
    root.mkdir(parents=True, exist_ok=True)
    refuse_full_disk(root, expected_bytes)
    with locked(root):
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        alive = try_lock(directory)
    (directory / UPLOADED_FILES).mkdir(mode=0o700)
    return directory, alive


def drop_leftovers(settings: Settings) -> None:
    """Remove what uploads that were killed have left: what is no dataset's and has nobody at work on it."""
    root = settings.uploads_dir
    if not root.is_dir():
        return
    with locked(root):
        if restores.is_unsettled(settings):
            return  # which of them are in use will be known then
        in_use = {target(path) for path in root.iterdir()}
        # Nobody begins with one of these any more, so they can be removed when the others need not wait.
        leftovers = [path for path in root.glob(f"{_PREFIX}*") if path.name not in in_use and _is_abandoned(path)]
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
        log.info("removed what is left of an upload: %s", path.name)


def _is_abandoned(directory: Path) -> bool:
    try:
        os.close(try_lock(directory))
    except (BlockingIOError, FileNotFoundError, NotADirectoryError):
        return False  # somebody is at work on it, or is removing it
    return True


def _listed() -> str:
    return ", ".join(table.file for table in TABLES) + ", each also with .gz"
