"""Which files a dataset has. They are looked at from outside: nothing is opened, and no link is followed."""

import stat
from dataclasses import dataclass

from etl.contract import TABLES
from worker.settings import Settings


@dataclass(frozen=True)
class DatasetFile:
    """A file as it is stored, under its name in the contract."""

    file: str
    bytes: int


def files(settings: Settings, dataset: str) -> list[DatasetFile]:
    """Return the files, in the contract's order; one that is there plain and as .gz is there twice."""
    directory = settings.directory(dataset)
    if not directory:
        return []
    found = []
    for table in TABLES:
        for name in table.file_names:
            try:
                status = (directory / name).lstat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(DatasetFile(table.file, status.st_size))
    return found
