"""Names, links and files that are none: nothing beside the three files of a dataset is ever opened, or waited for."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from etl.files import Source
from tests.conftest import SAMPLE, InProcess, missing
from tests.etl.conftest import write
from worker.settings import Settings

JOBS = "/api/v1/jobs"
USERS_OF_OTHERS = "user_id,name,email,signup_date\n1,secret,secret@example.com,2024-01-01\n"

NAMES = [
    "..",
    ".",
    "",
    "../secret",
    "lab/../../secret",
    "lab/",
    "lab/.",
    "a/b",
    "/etc",
    "//etc",
    "%2f",
    "..%2f..%2fetc",
    "%2e%2e",
    "..\\secret",
    "lab\0",
    "lab\n",
    " lab",
    "LAB",
    "l" * 64,
    "file:///etc",
    "http://127.0.0.1/lab",
    "s3://bucket/lab",
    "\uff4c\uff41\uff42",  # full-width letters
    "l\u0430b",  # a Cyrillic a
    "lab\u200b",
    "\u2024\u2024",  # dots that are none
    "lab\u2044secret",
    "*",
    "$HOME",
    "~",
    ".upload-lab",
]

_recording: list[list[str]] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if _recording and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | os.PathLike):
        _recording[-1].append(os.fspath(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    """It stays for as long as the process does."""
    sys.addaudithook(_record)


@pytest.fixture
def opened(in_process: InProcess) -> Iterator[list[str]]:
    """What this process opens or lists during the test."""
    in_process.run()  # what is opened once, such as modules and time zones
    _recording.append([])
    yield _recording[-1]
    _recording.pop()


@pytest.fixture
def secret(settings: Settings) -> Path:
    """A folder with a dataset's files, beside DATA_DIR."""
    return write(settings.data_dir.parent / "secret", users=USERS_OF_OTHERS)


@pytest.fixture
def lab(settings: Settings) -> Path:
    """The folder of a dataset in DATA_DIR."""
    shutil.copytree(SAMPLE, settings.data_dir / "lab")
    return settings.data_dir / "lab"


@pytest.mark.usefixtures("secret", "lab")
def test_what_is_no_name_names_no_dataset_and_nothing_is_opened(
    client: FlaskClient, in_process: InProcess, opened: list[str]
) -> None:
    for name in NAMES:
        response = client.post(JOBS, json={"dataset": name})
        assert (response.status_code, response.get_json()["code"]) == (404, "unknown_dataset"), name

    assert [path for path in opened if str(in_process.settings.data_dir.parent) in path] == []
    assert len(in_process.query("SELECT id FROM jobs")) == 1


def test_the_ledger_takes_no_such_name_whoever_writes_it(in_process: InProcess) -> None:
    for name in NAMES:
        with pytest.raises((sa.exc.IntegrityError, ValueError)):  # a NUL does not reach Postgres
            in_process.submit(dataset=name)


def test_a_folder_that_is_a_link_is_no_dataset(
    client: FlaskClient, in_process: InProcess, secret: Path, opened: list[str]
) -> None:
    (in_process.settings.data_dir / "linked").symlink_to(secret)

    assert client.post(JOBS, json={"dataset": "linked"}).status_code == 404
    assert in_process.run(dataset="linked").error_code == "unknown_dataset"
    assert [path for path in opened if "linked" in path or "secret" in path] == []


def test_a_data_directory_that_is_a_link_is_read(settings: Settings, in_process: InProcess) -> None:
    """It is the operator's."""
    real = settings.data_dir.rename(settings.data_dir.parent / "real")
    settings.data_dir.symlink_to(real)

    assert in_process.run().outcome == "published"


# --- what is in the place of a file


def _link(path: Path) -> None:
    path.symlink_to(path.parents[2] / "secret" / path.name)


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "absent")


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o644 | 0o020000, os.makedev(1, 5))
        path.open("rb").close()
    except OSError as error:
        missing(f"no device can be made here: {error}")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["users.csv", "user_experiments.csv.gz"])
@pytest.mark.parametrize("make", [_link, _link_to_itself, _link_to_nothing, os.mkfifo, _device, Path.mkdir, _socket])
def test_what_is_no_file_fails_the_job_at_once(
    make: Callable[[Path], object], name: str, client: FlaskClient, in_process: InProcess, secret: Path, lab: Path
) -> None:
    assert secret.is_dir()
    (lab / name.removesuffix(".gz")).unlink()
    make(lab / name)

    submitted = client.post(JOBS, json={"dataset": "lab"}).get_json()
    in_process.runner.run_job(submitted["id"])

    job = client.get(submitted["links"]["self"]).get_json()
    assert (job["state"], job["error"]["code"]) == ("failed", "not_a_regular_file")
    assert name in job["error"]["detail"]


# --- what is changed behind the back


def test_a_file_that_becomes_a_link_after_the_job_was_accepted_is_not_followed(
    client: FlaskClient, in_process: InProcess, secret: Path, lab: Path
) -> None:
    submitted = client.post(JOBS, json={"dataset": "lab"}).get_json()
    (lab / "users.csv").unlink()
    (lab / "users.csv").symlink_to(secret / "users.csv")

    in_process.runner.run_job(submitted["id"])

    assert client.get(submitted["links"]["self"]).get_json()["error"]["code"] == "not_a_regular_file"


def test_a_folder_that_becomes_a_link_after_the_job_was_accepted_is_not_followed(
    client: FlaskClient, in_process: InProcess, secret: Path, lab: Path
) -> None:
    submitted = client.post(JOBS, json={"dataset": "lab"}).get_json()
    lab.rename(lab.parent / "old")
    lab.symlink_to(secret)

    in_process.runner.run_job(submitted["id"])

    assert client.get(submitted["links"]["self"]).get_json()["error"]["code"] == "unknown_dataset"


@pytest.mark.parametrize("reading", ["users.csv", "compounds.csv", "user_experiments.csv"])
def test_a_folder_that_becomes_a_link_during_the_run_is_not_followed(
    reading: str, in_process: InProcess, secret: Path, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job fails either way, so what counts is which files were read."""
    read, pending, inodes = Source.readinto, [True], set()

    def readinto(self: Source, buffer: object) -> int:
        count = read(self, buffer)
        inodes.add(os.fstat(self._file.fileno()).st_ino)
        if self.name == reading and pending.pop() if pending else False:
            lab.rename(lab.parent / "old")
            lab.symlink_to(secret)
        return count

    monkeypatch.setattr(Source, "readinto", readinto)

    job = in_process.run(dataset="lab")

    assert not pending
    assert inodes.isdisjoint(path.stat().st_ino for path in secret.iterdir())
    assert inodes <= {path.stat().st_ino for path in (lab.parent / "old").iterdir()}
    assert (job.state, job.error_code) in [("failed", "missing_file"), ("failed", "input_changed")]
    assert in_process.query("SELECT * FROM user_features WHERE dataset = 'lab'") == []
