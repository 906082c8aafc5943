"""Room on the disk: what is left to the database, so that it never has to stop for want of some."""

import os
from pathlib import Path

# A twentieth of the disk, and of a large one no more than this.
SHARE = 20

# What jobs and indices leave of a large disk to the embedded database.
LEFT_TO_DATABASE_BYTES_MAX = 128 << 20


def is_nearly_full(directory: Path, *, reserve_bytes_max: int, expected_bytes: int = 0) -> bool:
    """Tell whether so many more bytes would leave less of the directory's disk than its reserve."""
    disk = os.statvfs(directory)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return free - expected_bytes < min(size // SHARE, reserve_bytes_max)
