"""A file that arrives: written as it comes, hashed, and refused as soon as it cannot be a file of a dataset."""

import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from etl.contract import FileCode
from etl.errors import BadInput
from worker import disk
from worker.settings import Settings

# CSV is compressed to a thirtieth at the best; what holds more than a hundred times its size is no data.
RATIO_MAX = 100
CONTENT_BYTES_FREE = 64 << 20

# What uploads leave of a large disk to the database on it.
LEFT_BYTES_MAX = 1 << 30

_INFLATED_BYTES = 1 << 20
_GZIP = 31  # zlib's number for a gzip stream of any window


@dataclass(frozen=True)
class ReceivedFile:
    """A whole file: its name, and the size and hash of what was sent, compressed or not."""

    file: str
    bytes: int
    sha256: str


class IncomingFile:
    """A new file at `path`."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._bytes_max = settings.max_file_bytes
        self._content = GzipContent(path.name, self._bytes_max) if path.suffix == ".gz" else None

    def write(self, data: bytes) -> None:
        """Write the next bytes. Raises BadInput (`too_large`, `encoding`, `disk_full`), and OSError."""
        self._bytes += len(data)
        self._hash.update(data)
        if self._content:
            self._content.feed(data)
        elif self._bytes > self._bytes_max:
            raise _too_large(self._path.name, self._bytes_max)
        refuse_full_disk(self._path.parent, len(data))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def complete(self) -> ReceivedFile:
        """Put the file on the disk for good. Raises BadInput (`encoding`), and OSError."""
        if self._content:
            self._content.end()
        os.fsync(self._descriptor)
        return ReceivedFile(self._path.name, self._bytes, self._hash.hexdigest())

    def close(self) -> None:
        os.close(self._descriptor)


class GzipContent:
    """What a compressed file holds, counted while it arrives and never kept."""

    def __init__(self, name: str, bytes_max: int) -> None:
        self._name = name
        self._bytes_max = bytes_max
        self._member = zlib.decompressobj(_GZIP)
        self._compressed = 0
        self.bytes = 0

    def feed(self, data: bytes) -> None:
        """Raises BadInput: `too_large` as soon as the content is, `encoding` where the file is damaged."""
        self._compressed += len(data)
        block = b""
        while data or len(block) == _INFLATED_BYTES:
            if self._member.eof:
                # Another member may follow, and zeros may fill the file up.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = zlib.decompressobj(_GZIP)
            try:
                block = self._member.decompress(data, _INFLATED_BYTES)
            except zlib.error as error:
                raise self._damaged(str(error)) from error
            data = self._member.unconsumed_tail or self._member.unused_data
            self._count(len(block))

    def end(self) -> None:
        if not self._member.eof:
            raise self._damaged("it breaks off")

    def _count(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self._bytes_max:
            raise _too_large(self._name, self._bytes_max)
        if self.bytes > max(CONTENT_BYTES_FREE, RATIO_MAX * self._compressed):
            raise BadInput(FileCode.TOO_LARGE, f"{self._name}: the file holds more than {RATIO_MAX} times its size")

    def _damaged(self, reason: str) -> BadInput:
        return BadInput(FileCode.ENCODING, f"{self._name}: not a whole gzip file ({reason})")


def refuse_full_disk(directory: Path, expected_bytes: int) -> None:
    """Raise BadInput (`disk_full`) where so many more bytes would not leave the reserve free."""
    if disk.is_nearly_full(directory, reserve_bytes_max=LEFT_BYTES_MAX, expected_bytes=expected_bytes):
        raise BadInput("disk_full", "the disk is too full for this upload; nothing was kept")


def _too_large(name: str, bytes_max: int) -> BadInput:
    return BadInput(FileCode.TOO_LARGE, f"{name}: the file holds more than {bytes_max} bytes (MAX_FILE_BYTES)")
