"""Uploads on disk: never a mixture of two, and nothing is left of one that was not finished."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from etl import files
from etl.contract import TABLES
from etl.errors import BadInput
from etl.files import Dataset, Source
from tests.conftest import ROOT, SAMPLE, InProcess, missing
from tests.servers import running
from worker import directories, incoming, sweeper, uploads
from worker.settings import Settings
from worker.uploads import Refused, Upload


def _contents(mark: str = "") -> dict[str, bytes]:
    """The sample, with a column that makes every file another one."""
    return {
        path.name: b"".join(line.rstrip() + f",{mark}\n".encode() for line in path.read_bytes().splitlines() if line)
        for path in SAMPLE.glob("*.csv")
    }


def _upload(settings: Settings, dataset: str = "lab", mark: str = "") -> bool:
    with uploads.staged(settings, 0) as upload:
        for name, content in _contents(mark).items():
            upload.begin(name)
            upload.write(content)
            upload.end()
        return upload.publish(dataset)


def _leftovers(settings: Settings) -> list[str]:
    in_use = {str(path.readlink()) for path in settings.uploads_dir.iterdir() if path.is_symlink()}
    return [path.name for path in settings.uploads_dir.glob(".upload-*") if path.name not in in_use]


def test_nothing_is_seen_of_an_upload_before_it_is_whole(settings: Settings) -> None:
    with uploads.staged(settings, 0) as upload:
        for name, content in _contents().items():
            assert settings.directory("lab") is None
            upload.begin(name)
            upload.write(content)
            upload.end()
        assert settings.directory("lab") is None
        upload.publish("lab")
        assert settings.directory("lab")

    directory = settings.directory("lab")
    assert directory
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == _contents()


def test_an_upload_of_which_a_file_is_missing_is_not_published(settings: Settings) -> None:
    with pytest.raises(Refused, match=r"users\.csv") as refused, uploads.staged(settings, 0) as upload:
        upload.publish("lab")

    assert refused.value.code == "missing_file"
    assert list(settings.uploads_dir.iterdir()) == []


def test_an_upload_whose_directory_is_not_surely_on_the_disk_is_no_reason_to_remove_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the dataset by then."""

    def fail_last(directory: Path) -> None:
        if directory == settings.uploads_dir:
            raise OSError(errno.EIO, "Input/output error")
        directories.sync(directory)

    monkeypatch.setattr("worker.uploads.sync", fail_last)

    with pytest.raises(OSError, match="Input/output error"):
        _upload(settings)

    directory = settings.directory("lab")
    assert directory
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == _contents()


def test_files_are_for_the_services_user_only(settings: Settings) -> None:
    _upload(settings)

    [upload] = settings.uploads_dir.glob(".upload-*")
    assert {path.stat().st_mode & 0o77 for path in [upload, *upload.rglob("*.csv")]} == {0}


# --- never a mixture


def _during(monkeypatch: pytest.MonkeyPatch, reading: str, act: Any) -> list[Any]:
    """Do something once while a job reads that file."""
    read, pending = Source.readinto, [act]

    def readinto(self: Source, buffer: object) -> int:
        count = read(self, buffer)
        if self.name == reading and pending:
            pending.pop()()
        return count

    monkeypatch.setattr(Source, "readinto", readinto)
    return pending


@pytest.mark.parametrize("reading", ["users.csv", "compounds.csv", "user_experiments.csv"])
def test_a_job_that_an_upload_overtakes_ends_input_changed(
    reading: str, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that has read some of the old files sees the new ones, in whose place nothing else is."""
    _upload(in_process.settings, mark="old")
    pending = _during(monkeypatch, reading, lambda: _upload(in_process.settings, mark="new"))

    job = in_process.run(dataset="lab")

    assert not pending
    assert (job.state, job.error_code) == ("failed", "input_changed")
    assert in_process.run(dataset="lab").outcome == "published"


def test_a_job_that_is_overtaken_by_the_same_files_may_go_on_with_them(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    _upload(in_process.settings)
    _during(monkeypatch, "users.csv", lambda: _upload(in_process.settings))

    assert in_process.run(dataset="lab").error_code == "input_changed", "their times differ"
    assert in_process.run(dataset="lab").outcome == "published"


def test_a_file_that_is_looked_for_where_it_was_a_moment_ago_is_no_missing_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is open, another one takes its place, and it is emptied."""
    _upload(settings)
    directory = settings.directory("lab")
    assert directory
    exists, pending = files._exists, [_upload]

    def overtaken(name: str, descriptor: int) -> bool:
        if pending:
            pending.pop()(settings)
        return exists(name, descriptor)

    monkeypatch.setattr(files, "_exists", overtaken)

    with pytest.raises(BadInput) as refused, Dataset(directory, 1 << 30).open(TABLES[0]):
        pass
    assert refused.value.code == "input_changed"


def test_of_uploads_at_the_same_time_the_last_whole_one_is_the_dataset(settings: Settings) -> None:
    """Readers look on meanwhile: what they see is one of them, or they are told that it changed."""
    _upload(settings, mark="0")
    directory = settings.directory("lab")
    assert directory
    dataset, seen, stop = Dataset(directory, 1 << 30), set(), threading.Event()
    marks = [f"{uploader}{n}" for uploader in "abc" for n in range(20)]

    def read() -> None:
        while not stop.is_set():
            with suppress(BadInput):
                snapshots = dataset.snapshots()
                dataset.refuse_changes(snapshots)
                seen.add(tuple(snapshot.sha256 for snapshot in snapshots))

    def upload(uploader: str) -> None:
        for n in range(20):
            _upload(settings, mark=f"{uploader}{n}")

    reader = threading.Thread(target=read)
    uploaders = [threading.Thread(target=upload, args=(uploader,)) for uploader in "abc"]
    for thread in (reader, *uploaders):
        thread.start()
    for thread in uploaders:
        thread.join()
    stop.set()
    reader.join()

    whole = {
        tuple(hashlib.sha256(_contents(mark)[table.file]).hexdigest() for table in TABLES) for mark in ["0", *marks]
    }
    assert len(seen) > 1
    assert seen <= whole
    assert _leftovers(settings) == []


def test_an_upload_that_comes_between_takes_its_turn_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what is to be replaced and the replacing."""
    _upload(settings, mark="first")
    other = threading.Thread(target=_upload, args=(settings, "lab", "third"))

    def slow(path: Path) -> str | None:
        found = directories.target(path)
        if not other.ident:
            other.start()
            other.join(0.5)
        return found

    monkeypatch.setattr("worker.uploads.target", slow)
    _upload(settings, mark="second")
    other.join()

    assert _leftovers(settings) == []
    directory = settings.directory("lab")
    assert directory
    assert (directory / "users.csv").read_bytes() == _contents("third")["users.csv"]


# --- what is left behind


def test_a_client_that_goes_away_leaves_nothing(settings: Settings) -> None:
    with suppress(ConnectionError), uploads.staged(settings, 0) as upload:
        upload.begin("users.csv")
        upload.write(b"user_id")
        raise ConnectionError

    assert list(settings.uploads_dir.iterdir()) == []
    assert not [path for path in Path("/proc/self/fd").iterdir() if ".upload-" in str(_where(path))]


def _where(descriptor: Path) -> Path:
    try:
        return descriptor.readlink()
    except FileNotFoundError:
        return Path()


_HOLDING = """
import sys, time
from worker import uploads
from worker.settings import Settings
with uploads.staged(Settings.from_env(), 0) as upload:
    upload.begin("users.csv")
    upload.write(b"user_id")
    print("here", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def uploading(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the middle of an upload."""
    environment = os.environ | {"STATE_DIR": str(settings.state_dir)}
    command = [sys.executable, "-c", _HOLDING]
    with running(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"here\n"
        yield process
        process.stdout.close()


def test_what_a_killed_upload_has_left_is_removed_and_a_running_one_is_left_alone(
    in_process: InProcess, uploading: subprocess.Popen[bytes]
) -> None:
    settings = in_process.settings
    _upload(settings)
    [left] = _leftovers(settings)

    sweeper.keep_house(in_process.engine, settings)
    assert _leftovers(settings) == [left]
    uploading.send_signal(signal.SIGKILL)
    uploading.wait()
    sweeper.keep_house(in_process.engine, settings)

    assert _leftovers(settings) == []
    assert settings.directory("lab")


def test_a_version_that_was_replaced_by_a_process_killed_right_then_is_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _upload(settings, mark="old")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        _upload(settings, mark="new")
    assert len(_leftovers(settings)) == 1

    uploads.drop_leftovers(settings)

    assert _leftovers(settings) == []
    directory = settings.directory("lab")
    assert directory
    assert (directory / "users.csv").read_bytes() == _contents("new")["users.csv"]


def test_without_uploads_there_is_nothing_to_remove(settings: Settings) -> None:
    uploads.drop_leftovers(settings)

    assert not settings.uploads_dir.exists()


# --- a full disk


@pytest.fixture
def small_disk(settings: Settings) -> Iterator[Settings]:
    """STATE_DIR on a disk of 16 MiB."""
    settings.state_dir.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", settings.state_dir], capture_output=True, text=True
    )
    if mounted.returncode:
        missing(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield settings
    subprocess.run(["umount", settings.state_dir], check=True)


def _write_too_much(upload: Upload) -> None:
    upload.begin("users.csv")
    for _ in range(17 << 4):
        upload.write(bytes(1 << 16))


def test_an_upload_leaves_a_reserve_of_the_disk(small_disk: Settings) -> None:
    _upload(small_disk, "first")
    with pytest.raises(Refused, match="too full") as refused, uploads.staged(small_disk, 0) as upload:
        _write_too_much(upload)

    assert refused.value.code == "disk_full"
    assert _leftovers(small_disk) == []
    with pytest.raises(Refused, match="too full"), uploads.staged(small_disk, 16 << 20):
        pass
    assert _upload(small_disk, "second")


def test_a_disk_that_others_have_filled_is_told_apart_from_a_defect(
    small_disk: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "LEFT_BYTES_MAX", -1 << 60)

    with pytest.raises(Refused) as refused, uploads.staged(small_disk, 0) as upload:
        _write_too_much(upload)

    assert refused.value.code == "disk_full"
    assert isinstance(refused.value.__cause__, OSError)
    assert refused.value.__cause__.errno == errno.ENOSPC
    assert _leftovers(small_disk) == []
