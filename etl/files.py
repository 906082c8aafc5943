"""A dataset's files on disk: found without following links, hashed while they are read, limited in size."""

import errno
import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from etl.contract import TABLES, FileCode, Table
from etl.errors import BadInput

READ_BYTES = 4 << 20

# Called with the number of bytes after each block that was read; whoever must stop the reading raises.
OnBytes = Callable[[int], None]

# Never a link, never blocked by a FIFO without a writer.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Snapshot:
    """What a file was when it was read; size and hash are those of the bytes on disk, also where it is compressed."""

    file: str
    size_bytes: int
    mtime_ns: int
    sha256: str


class Range(NamedTuple):
    """Whole lines of a file that is not compressed: from one byte to before another, and the first one's number."""

    start: int
    end: int
    line: int


class Source(io.RawIOBase):
    """An open file of a dataset that counts and hashes the bytes read from it; its content is at most `bytes_max`.

    `range` is what is read of it, if that is not all.
    """

    def __init__(self, table: Table, name: str, descriptor: int, bytes_max: int) -> None:
        self.table = table
        self.name = name
        self._file = io.FileIO(descriptor, closefd=True)
        self._before = os.fstat(descriptor)
        self._bytes_max = bytes_max
        self._hash = hashlib.sha256()
        self.bytes_read = 0
        self.range: Range | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.range:
            buffer = memoryview(buffer)[: self.range.end - self.range.start - self.bytes_read]
        count = self._file.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        self.bytes_read += count
        return count

    def narrow(self, range_: Range) -> None:
        """Have only this range read."""
        self.range = range_
        self._file.seek(range_.start)

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def size(self) -> int:
        return self._before.st_size

    @property
    def buffer_bytes(self) -> int:
        """How much to read at once: to clear a large buffer takes longer than to read a small file."""
        return min(READ_BYTES, self.size + 1)

    @property
    def is_compressed(self) -> bool:
        return self.name.endswith(".gz")

    @property
    def snapshot(self) -> Snapshot:
        """What was read so far."""
        return Snapshot(self.table.file, self.bytes_read, self._before.st_mtime_ns, self._hash.hexdigest())

    def content(self) -> Iterator[bytes]:
        """Yield the file's content, decompressed, in blocks of a few MiB.

        Raises BadInput: `encoding` where a compressed file is damaged, `too_large` as soon as the content is, and
        `input_changed` where the file was written to while it was being read.
        """
        stream = gzip.GzipFile(fileobj=self) if self.is_compressed else self
        at_once = READ_BYTES if self.is_compressed else self.buffer_bytes
        size = 0
        try:
            while block := stream.read(at_once):
                size += len(block)
                self.refuse_more_than_allowed(size)
                yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadInput(FileCode.ENCODING, f"{self.name}: not a whole gzip file ({error})") from error
        self.refuse_change()

    def refuse_more_than_allowed(self, size: int) -> None:
        """Raise BadInput (`too_large`) where that is more than the file may hold."""
        if size > self._bytes_max:
            raise BadInput(
                FileCode.TOO_LARGE, f"{self.name}: the file holds more than {self._bytes_max} bytes (MAX_FILE_BYTES)"
            )

    def refuse_change(self) -> None:
        """Raise BadInput (`input_changed`) where the file was written to since it was opened."""
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise changed(self.table)


@dataclass(frozen=True)
class Dataset:
    """The directory that holds one dataset's files, each of at most `file_bytes_max` when decompressed."""

    directory: Path
    file_bytes_max: int

    @contextmanager
    def open(self, table: Table) -> Iterator[Source]:
        """Open the one file of `table`, plain or .gz.

        Raises BadInput: `missing_file`, `ambiguous_file` (both forms are there), `not_a_regular_file`, `too_large`.
        What is found to be wrong with a file that is being written to, or with a directory in whose place another one
        has come, is `input_changed`.
        """
        try:
            directory = os.open(self.directory, _OPEN_FLAGS | os.O_DIRECTORY)
        except OSError as error:
            raise BadInput(FileCode.MISSING_FILE, f"{table.file}: the dataset's directory cannot be opened") from error
        try:
            name = _only_name(table, directory)
            descriptor = _open_regular(name, directory)
        except BadInput as error:
            if not _is_still(self.directory, directory):
                raise changed(table) from error
            raise
        finally:
            os.close(directory)
        with Source(table, name, descriptor, self.file_bytes_max) as source:
            try:
                source.refuse_more_than_allowed(source.size)
                yield source
            except BadInput:
                source.refuse_change()
                raise

    def sizes(self) -> dict[str, int]:
        """Return the size of each file on disk, in bytes."""
        sizes = {}
        for table in TABLES:
            with self.open(table) as source:
                sizes[table.file] = source.size
        return sizes

    def snapshots(self, on_bytes: OnBytes = lambda _: None) -> list[Snapshot]:
        """Read every file without looking inside."""
        return [self._snapshot(table, on_bytes) for table in TABLES]

    def refuse_changes(self, read: Iterable[Snapshot], on_bytes: OnBytes = lambda _: None) -> None:
        """Raise BadInput (`input_changed`) where a file is not any more what it was when it was read.

        Compared are size, time and content: who reads three files one after the other must know that they belong
        together, and who restores a file's time after writing to it must not go unnoticed.
        """
        for table, before in zip(TABLES, read, strict=True):
            try:
                now = self._snapshot(table, on_bytes)
            except BadInput as error:
                raise changed(table) from error
            if now != before:
                raise changed(table)

    def _snapshot(self, table: Table, on_bytes: OnBytes) -> Snapshot:
        with self.open(table) as source:
            buffer = bytearray(source.buffer_bytes)
            while count := source.readinto(buffer):
                on_bytes(count)
            return source.snapshot


def changed(table: Table) -> BadInput:
    return BadInput(FileCode.INPUT_CHANGED, f"{table.file}: the file was changed while the dataset was being read")


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the open directory is the one that the path names; another upload may have taken its place."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _only_name(table: Table, directory: int) -> str:
    names = [name for name in table.file_names if _exists(name, directory)]
    if not names:
        raise BadInput(FileCode.MISSING_FILE, f"{table.file}: the dataset has neither this file nor its .gz")
    if len(names) > 1:
        raise BadInput(FileCode.AMBIGUOUS_FILE, f"{table.file}: both {' and '.join(names)} exist; keep one")
    return names[0]


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
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise BadInput(FileCode.NOT_A_REGULAR_FILE, f"{name}: cannot be opened as a regular file: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadInput(FileCode.NOT_A_REGULAR_FILE, f"{name}: links, pipes, devices and directories are not read")
    return descriptor
