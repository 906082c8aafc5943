"""PUT /api/v1/datasets/{name}"""

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import uploads as uploads_api
from tests.api.conftest import FORM_TYPE, ClientWith, form, problem
from tests.conftest import SAMPLE, InProcess
from worker import disk, incoming
from worker.settings import Settings

SAMPLE_FILES = {path.name: path.read_bytes() for path in SAMPLE.glob("*.csv")}
NAMES = ["users.csv", "compounds.csv", "user_experiments.csv"]


def _put(client: FlaskClient, name: str, *files: tuple[str, bytes], **options: Any) -> TestResponse:
    return client.put(f"/api/v1/datasets/{name}", data=form(*files), content_type=FORM_TYPE, **options)


def _put_sample(client: FlaskClient, name: str, **changed: bytes) -> TestResponse:
    return _put(client, name, *(SAMPLE_FILES | {f"{table}.csv": content for table, content in changed.items()}).items())


def _left(settings: Settings) -> set[str]:
    """What is in the directory of uploads, beside what datasets need."""
    root = settings.uploads_dir
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    return names - {str((root / name).readlink()) for name in names if (root / name).is_symlink()}


def test_three_files_become_a_dataset_that_a_job_can_run_on(client: FlaskClient, in_process: InProcess) -> None:
    response = _put_sample(client, "lab-1")

    assert response.status_code == 201
    body = response.get_json()
    assert list(body) == ["name", "files", "links"]
    assert body["name"] == "lab-1"
    assert body["files"] == [
        {"file": name, "bytes": len(SAMPLE_FILES[name]), "sha256": hashlib.sha256(SAMPLE_FILES[name]).hexdigest()}
        for name in NAMES
    ]
    job = client.post(body["links"]["jobs"], json={"dataset": "lab-1"}).get_json()
    in_process.runner.run_job(job["id"])
    job = client.get(job["links"]["self"]).get_json()
    assert (job["outcome"], job["reconciled"]) == ("published", True)
    assert [read["sha256"] for read in job["inputs"]] == [file["sha256"] for file in body["files"]]
    assert len(client.get(body["links"]["features"]).get_json()["items"]) == 14
    assert client.get(body["links"]["publication"]).get_json()["job_id"] == job["id"]


def test_compressed_files_are_kept_as_they_come(client: FlaskClient, in_process: InProcess) -> None:
    files = [(f"{name}.gz", gzip.compress(content)) for name, content in SAMPLE_FILES.items()]

    body = _put(client, "zipped", *files).get_json()

    sent = {name: hashlib.sha256(content).hexdigest() for name, content in files}
    assert {file["file"]: file["sha256"] for file in body["files"]} == sent
    assert in_process.run(dataset="zipped").outcome == "published"


def test_a_second_upload_takes_the_place_of_the_first(client: FlaskClient, in_process: InProcess) -> None:
    assert _put_sample(client, "lab").status_code == 201
    in_process.run(dataset="lab")
    assert _put_sample(client, "lab").status_code == 200
    assert in_process.run(dataset="lab").outcome == "unchanged"

    fewer = SAMPLE_FILES["user_experiments.csv"].rpartition(b"\n")[0]
    assert _put_sample(client, "lab", user_experiments=fewer).status_code == 200

    assert in_process.run(dataset="lab").outcome == "published"
    assert client.get("/api/v1/summary?dataset=lab").get_json()["total_experiments"] == 36
    assert _left(in_process.settings) == {"lab"}


def test_a_file_that_is_missing_is_named(client: FlaskClient, settings: Settings) -> None:
    for missing in NAMES:
        files = [(name, content) for name, content in SAMPLE_FILES.items() if name != missing]
        assert missing in problem(_put(client, "lab", *files), 422, "missing_file")["detail"]
    body = b"--b--\r\n"
    nothing = client.put("/api/v1/datasets/lab", data=body, content_type=FORM_TYPE)
    problem(nothing, 422, "missing_file")

    assert _left(settings) == set()
    assert settings.directory("lab") is None


def test_a_refused_upload_leaves_the_dataset_as_it_was(client: FlaskClient, in_process: InProcess) -> None:
    _put_sample(client, "lab")
    in_process.run(dataset="lab")

    problem(_put(client, "lab", ("users.csv", b"user_id\n")), 422, "missing_file")

    assert in_process.run(dataset="lab").outcome == "unchanged"
    assert _left(in_process.settings) == {"lab"}


def test_a_file_that_comes_twice_is_refused(client: FlaskClient, settings: Settings) -> None:
    for second in ("users.csv", "users.csv.gz"):
        response = _put(client, "lab", *SAMPLE_FILES.items(), (second, gzip.compress(b"x")))
        assert "users.csv" in problem(response, 422, "ambiguous_file")["detail"]

    assert _left(settings) == set()


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "Users.csv",
        "users.csv.bz2",
        "users.csv/",
        "../users.csv",
        "../../data/users.csv",
        "/etc/users.csv",
        "C:\\users.csv",
        "a/users.csv",
        "users.csv\\..",
        "..",
        ".",
        "link",
        "users.csv\0.txt",
        "users.csv ",
        "users.csv",  # with a Cyrillic e
    ],
)
def test_another_file_name_is_refused_with_those_that_are_allowed(
    name: str, client: FlaskClient, settings: Settings, tmp_path: Path
) -> None:
    name = name.replace("users.csv", "us\u0435rs.csv") if name == "users.csv" else name
    before = sorted(path for path in tmp_path.rglob("*") if settings.state_dir not in path.parents)

    body = problem(_put(client, "lab", *SAMPLE_FILES.items(), (name, b"x")), 422, "unknown_file")

    assert "send users.csv, compounds.csv, user_experiments.csv, each also with .gz" in body["detail"]
    assert _left(settings) == set()
    after = sorted(path for path in tmp_path.rglob("*") if settings.state_dir not in path.parents)
    assert [path for path in after if path != settings.state_dir] == before


def test_a_part_that_is_no_file_is_refused(client: FlaskClient, settings: Settings) -> None:
    for disposition in ('form-data; name="users.csv"', 'form-data; name="f"; filename=""', "form-data"):
        body = f"--b\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--b--\r\n".encode()
        response = client.put("/api/v1/datasets/lab", data=body, content_type=FORM_TYPE)
        assert "no file name" in problem(response, 422, "unknown_file")["detail"]

    assert _left(settings) == set()


@pytest.mark.parametrize(
    "body",
    [
        b"no form at all",
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data; filename=users.csv",
        b"--b\r\nContent-Disposition: form-data; filename=users.csv\r\n\r\nuser_id,na",
        b"--b\r\nContent-Disposition: form-data; filename=users.csv\r\n\r\nuser_id,name\r\n--b",
        b"--b\r\nContent-Type: text/csv\r\n\r\nuser_id,name\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data; filename=\xff.csv\r\n\r\nuser_id,name\r\n--b--\r\n",
    ],
)
def test_a_body_that_breaks_off_or_is_no_form_is_a_400(body: bytes, client: FlaskClient, settings: Settings) -> None:
    response = client.put("/api/v1/datasets/lab", data=body, content_type=FORM_TYPE)

    problem(response, 400, "invalid_multipart")
    assert _left(settings) == set()


def test_headers_and_margins_that_do_not_end_are_refused(client: FlaskClient, settings: Settings) -> None:
    part = b"--b\r\nContent-Disposition: form-data; filename=users.csv\r\n\r\nx\r\n"
    for body in (b"x" * 300_000, b"--b\r\nX: " + b"x" * 300_000, part + b"--b--\r\n" + b"x" * 300_000):
        response = client.put("/api/v1/datasets/lab", data=body, content_type=FORM_TYPE)
        problem(response, 413, "request_entity_too_large")

    assert _left(settings) == set()


def test_what_is_not_declared_as_a_form_is_refused(client: FlaskClient) -> None:
    for content_type in (None, "application/json", "text/csv", "application/x-www-form-urlencoded"):
        problem(client.put("/api/v1/datasets/lab", data=b"x", content_type=content_type), 415, "not_multipart")
    for boundary in ("", "; boundary=", f"; boundary={'b' * 71}"):
        response = client.put("/api/v1/datasets/lab", data=b"x", content_type=f"multipart/form-data{boundary}")
        problem(response, 400, "invalid_multipart")


def test_a_name_that_is_none_is_refused(client: FlaskClient, settings: Settings) -> None:
    for name in ("A", "_a", "a.b", "a%20b", "%00", "a%00", "x" * 64, "%D0%B0", "%EF%BD%81", ".upload-x", "%2e%2e"):
        assert problem(_put_sample(client, name), 422, "invalid_parameter")["parameter"] == "name"
    for name in ("..%2f..%2fetc", "%2f", "a/b", "%2fetc", "http://example.com"):
        assert _put_sample(client, name).status_code in (404, 308)

    assert not settings.uploads_dir.exists()


# --- mounted and uploaded


def test_what_data_dir_has_cannot_be_uploaded(client: FlaskClient, settings: Settings, tmp_path: Path) -> None:
    (settings.data_dir / "folder").mkdir()
    (settings.data_dir / "file").write_text("x")
    (settings.data_dir / "link").symlink_to(tmp_path)
    (settings.data_dir / "dangling").symlink_to(tmp_path / "absent")

    for name in ("default", "folder", "file", "link", "dangling"):
        problem(_put_sample(client, name), 409, "dataset_is_mounted")

    assert not settings.uploads_dir.exists()


def test_default_can_be_uploaded_where_data_dir_has_no_files_of_its_own(
    client: FlaskClient, in_process: InProcess
) -> None:
    data_dir = in_process.settings.data_dir
    for path in data_dir.iterdir():
        path.unlink()
    assert _put_sample(client, "default").status_code == 201
    assert in_process.run().outcome == "published"

    shutil.copy(SAMPLE / "users.csv", data_dir)

    problem(_put_sample(client, "default"), 409, "dataset_is_mounted")
    assert in_process.run().error_code == "missing_file", "DATA_DIR comes first"


# --- limits


def test_a_request_may_be_as_long_as_is_allowed(client_with: ClientWith, settings: Settings) -> None:
    body = form(*SAMPLE_FILES.items())
    options: dict[str, Any] = {"data": body, "content_type": FORM_TYPE}

    allowed = client_with(max_upload_bytes=len(body)).put("/api/v1/datasets/lab", **options)
    refused = client_with(max_upload_bytes=len(body) - 1).put("/api/v1/datasets/lab", **options)

    assert allowed.status_code == 201
    assert "MAX_UPLOAD_BYTES" in problem(refused, 413, "request_entity_too_large")["detail"]
    assert _left(settings) == {"lab"}


def test_the_limit_of_other_requests_stays(client: FlaskClient) -> None:
    response = client.post("/api/v1/jobs", data=b" " * (65 << 10), content_type="application/json")

    problem(response, 413, "request_entity_too_large")


def test_a_file_that_holds_more_than_is_allowed_is_refused(client_with: ClientWith, settings: Settings) -> None:
    client = client_with(max_file_bytes=100)
    for name, content in (("users.csv", b"x" * 101), ("users.csv.gz", gzip.compress(b"x" * 101))):
        assert "MAX_FILE_BYTES" in problem(_put(client, "lab", (name, content)), 413, "too_large")["detail"]

    assert _left(settings) == set()


def test_a_gzip_bomb_is_refused(client: FlaskClient, settings: Settings) -> None:
    bomb = gzip.compress(bytes(100 << 20))
    assert len(bomb) < 110_000

    assert (
        "more than 100 times its size"
        in problem(_put(client, "lab", ("users.csv.gz", bomb)), 413, "too_large")["detail"]
    )
    assert _left(settings) == set()


def test_a_damaged_gzip_file_is_refused(client: FlaskClient, settings: Settings) -> None:
    whole = gzip.compress(os.urandom(200_000))
    flipped = whole[:50_000] + bytes([whole[50_000] ^ 1]) + whole[50_001:]
    for damaged in (b"", b"no gzip at all", whole[:-9], whole[:-1], flipped, whole + b"more", whole + whole[:20]):
        assert "users.csv.gz" in problem(_put(client, "lab", ("users.csv.gz", damaged)), 422, "encoding")["detail"]

    assert _left(settings) == set()


def test_several_members_and_zeros_after_them_are_a_gzip_file(client: FlaskClient, in_process: InProcess) -> None:
    content = SAMPLE_FILES["users.csv"]
    padded = gzip.compress(content[:100]) + bytes(100_000) + gzip.compress(content[100:]) + bytes(10)
    files = SAMPLE_FILES | {"users.csv.gz": padded}
    del files["users.csv"]

    assert _put(client, "lab", *files.items()).status_code == 201
    assert in_process.run(dataset="lab").outcome == "published"


def test_data_that_compresses_well_is_no_bomb(client: FlaskClient) -> None:
    """A hundred MiB, more than what is free of the ratio, at thirty to one and better."""
    lines = b"".join(b"%d,name,name@example.com,2024-01-01\n" % (1000 + n) for n in range(100_000))
    users = b"user_id,name,email,signup_date\n" + lines * 28
    compressed = gzip.compress(users, 6)
    assert len(users) > 96 << 20
    assert len(users) / len(compressed) > 10
    files = SAMPLE_FILES | {"users.csv.gz": compressed}
    del files["users.csv"]

    assert _put(client, "lab", *files.items()).status_code == 201


def test_a_disk_that_is_too_full_is_a_507(
    client: FlaskClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the reserve were the whole disk."""
    monkeypatch.setattr(disk, "SHARE", 1)
    monkeypatch.setattr(incoming, "LEFT_BYTES_MAX", 1 << 60)

    problem(_put_sample(client, "lab"), 507, "disk_full")
    assert _left(settings) == set()


# --- who may, and how many


def test_a_page_of_another_site_cannot_upload(client: FlaskClient, settings: Settings) -> None:
    """A form of another site needs no preflight; PUT would, and the browser's word for where it is from is enough."""
    headers = {"Origin": "https://evil.example"}

    problem(_put(client, "lab", *SAMPLE_FILES.items(), headers=headers), 403, "foreign_origin")
    response = client.post("/api/v1/datasets/lab", data={"f": (BytesIO(b"x"), "users.csv")}, headers=headers)
    problem(response, 403, "foreign_origin")
    assert not settings.uploads_dir.exists()


def test_a_form_of_the_own_page_can_only_put(client: FlaskClient) -> None:
    problem(client.post("/api/v1/datasets/lab", data={"f": (BytesIO(b"x"), "users.csv")}), 405, "method_not_allowed")


def test_with_a_token_nothing_is_taken_without_it(client_with: ClientWith, settings: Settings) -> None:
    guarded = client_with(api_token="s3cret")

    problem(_put(guarded, "lab", *SAMPLE_FILES.items()), 401, "token_required")
    assert not settings.uploads_dir.exists()
    headers = {"Authorization": "Bearer s3cret"}
    assert _put(guarded, "lab", *SAMPLE_FILES.items(), headers=headers).status_code == 201


@contextmanager
def _all_turns_taken() -> Iterator[None]:
    taken = 0
    while uploads_api._uploading.acquire(blocking=False):
        taken += 1
    yield
    uploads_api._uploading.release(taken)


def test_more_uploads_than_there_are_turns_are_asked_to_come_again(client: FlaskClient) -> None:
    with _all_turns_taken():
        response = _put_sample(client, "lab")
        problem(response, 503, "too_many_uploads")
        assert int(response.headers["Retry-After"]) > 0

    assert _put_sample(client, "lab").status_code == 201
    with _all_turns_taken():
        pass  # and every one was given back
