"""A dataset's files on disk: found without following links, read once while they are hashed."""

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.contract import TABLES, FileCode, Table
from etl.errors import BadInput

READ_BYTES = 4 << 20

# Never a link, never blocked by a FIFO without a writer.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Source(io.RawIOBase):
    """An open file of a dataset that counts and hashes the bytes read from it.

    `bytes_read` and `sha256` speak of the bytes on disk, also where the file is compressed.
    """

    def __init__(self, table: Table, name: str, descriptor: int) -> None:
        self.table = table
        self.name = name
        self._file = io.FileIO(descriptor, closefd=True)
        self._before = os.fstat(descriptor)
        self._hash = hashlib.sha256()
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        self.bytes_read += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def size(self) -> int:
        return self._before.st_size

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def content(self) -> Iterator[bytes]:
        """Yield the file's content, decompressed, in blocks of a few MiB.

        Raises BadInput (`encoding`) where a compressed file is damaged, and (`input_changed`) where the file was
        written to while it was being read.
        """
        compressed = self.name.endswith(".gz")
        stream = gzip.GzipFile(fileobj=io.BufferedReader(self, READ_BYTES)) if compressed else self
        try:
            while block := stream.read(READ_BYTES):
                yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadInput(FileCode.ENCODING, f"{self.name}: not a whole gzip file ({error})") from error
        self._refuse_change()

    def _refuse_change(self) -> None:
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise BadInput(FileCode.INPUT_CHANGED, f"{self.name}: the file was written to while it was being read")


@dataclass(frozen=True)
class Dataset:
    """The directory that holds one dataset's files."""

    directory: Path

    @contextmanager
    def open(self, table: Table) -> Iterator[Source]:
        """Open the one file of `table`, plain or .gz.

        Raises BadInput: `missing_file`, `ambiguous_file` (both forms are there), `not_a_regular_file`.
        """
        try:
            directory = os.open(self.directory, _OPEN_FLAGS | os.O_DIRECTORY)
        except OSError as error:
            raise BadInput(FileCode.MISSING_FILE, f"{table.file}: the dataset's directory cannot be opened") from error
        try:
            names = [name for name in (table.file, f"{table.file}.gz") if _exists(name, directory)]
            if not names:
                raise BadInput(FileCode.MISSING_FILE, f"{table.file}: the dataset has neither this file nor its .gz")
            if len(names) > 1:
                raise BadInput(FileCode.AMBIGUOUS_FILE, f"{table.file}: both {' and '.join(names)} exist; keep one")
            descriptor = _open_regular(names[0], directory)
        finally:
            os.close(directory)
        with Source(table, names[0], descriptor) as source:
            yield source

    def sizes(self) -> dict[str, int]:
        """Return the size of each file on disk, in bytes."""
        sizes = {}
        for table in TABLES:
            with self.open(table) as source:
                sizes[table.file] = source.size
        return sizes

    def sha256s(self) -> dict[str, str]:
        """Return the sha256 of each file, read without looking inside."""
        sums = {}
        for table in TABLES:
            with self.open(table) as source:
                while source.read(READ_BYTES):
                    pass
                sums[table.file] = source.sha256
        return sums


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise BadInput(FileCode.NOT_A_REGULAR_FILE, f"{name}: cannot be read ({error.strerror})") from error
    return True


def _open_regular(name: str, directory: int) -> int:
    try:
        descriptor = os.open(name, _OPEN_FLAGS, dir_fd=directory)
    except OSError as error:
        raise BadInput(
            FileCode.NOT_A_REGULAR_FILE, f"{name}: cannot be opened as a regular file ({error.strerror})"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadInput(FileCode.NOT_A_REGULAR_FILE, f"{name}: links, pipes, devices and directories are not read")
    return descriptor
