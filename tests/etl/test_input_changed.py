"""A job sees its three files as they were at one moment, or it fails with `input_changed`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.errors import BadInput
from etl.files import Source
from tests.etl.conftest import Service, write

Change = Callable[[Path], object]


def _append(path: Path) -> None:
    with path.open("a") as file:
        file.write("9,x,y,2024-01-01\n")


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def _overwrite(path: Path) -> None:
    """Write as many bytes in place, and put the time of the last change back, as `cp --preserve` and `rsync` do."""
    before = path.stat()
    with path.open("r+") as file:
        file.write(path.read_text().swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    """Put another file of this name into the folder, as a careful export does; the one that is open stays as it was."""
    other = path.with_suffix(".new")
    other.write_text(path.read_text().swapcase())
    other.replace(path)


def _run(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch, *, while_reading: str, change: Change) -> str:
    """Run a job during which something happens once the first bytes of a file were read; return the job's code."""
    read = Source.readinto
    pending = [change]

    def readinto(self: Source, buffer: object) -> int:
        count = read(self, buffer)
        if self.name == while_reading and count and pending:
            pending.pop()(folder)
        return count

    monkeypatch.setattr(Source, "readinto", readinto)
    with pytest.raises(BadInput) as refused:
        service.run(folder)
    assert not pending
    return refused.value.code


@pytest.mark.parametrize(
    "change",
    [
        _append,
        _truncate,
        _touch,
        _overwrite,
        _replace,
    ],
)
def test_a_file_that_changes_while_it_is_read_fails_the_job(
    change: Change, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)

    code = _run(
        service, tmp_path, monkeypatch, while_reading="users.csv", change=lambda folder: change(folder / "users.csv")
    )

    assert code == "input_changed"


@pytest.mark.parametrize("change", [_append, _truncate, _overwrite, _replace])
def test_a_file_that_changes_while_a_later_one_is_read_fails_the_job(
    change: Change, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)

    code = _run(
        service,
        tmp_path,
        monkeypatch,
        while_reading="user_experiments.csv",
        change=lambda folder: change(folder / "users.csv"),
    )

    assert code == "input_changed"
