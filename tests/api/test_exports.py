"""GET /api/v1/features and /api/v1/jobs/{id}/rejections as files"""

import csv
import io
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, datetime
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openpyxl
import psutil
import pyarrow as pa
import pyarrow.parquet
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.conftest import problem
from tests.conftest import InProcess, Programs
from tests.servers import wait_until
from worker import exports, versions
from worker.exports import MEDIA_TYPES, Broken
from worker.jobs import Job

PATH = "/api/v1/features"
FORMATS = list(MEDIA_TYPES)
BIG = (1 << 53) + 1


@pytest.fixture
def published(in_process: InProcess) -> Job:
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.write(f'\n{BIG},"=1+1","a,b@example.com",2024-01-01\nx,=2+2,e,2024-01-01')
    return in_process.run()


def _get(client: FlaskClient, path: str, **options: Any) -> TestResponse:
    """Read the answer to its end, unless told otherwise."""
    return client.get(path, **({"buffered": True} | options))


def _cells(response: TestResponse) -> list[tuple[Any, ...]]:
    """The rows of a CSV file or of a workbook's sheets, headers included."""
    if response.mimetype == "text/csv":
        return [tuple(row) for row in csv.reader(io.StringIO(response.text, newline=""))]
    sheets = openpyxl.load_workbook(io.BytesIO(response.data))
    return [row for sheet in sheets for row in sheet.values]


def _parquet(response: TestResponse) -> pa.Table:
    return pyarrow.parquet.read_table(io.BytesIO(response.data))


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ";".join(map(str, value))
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%fZ")
    return "" if value is None else str(value)


def test_parquet_is_the_view_with_its_columns_and_types(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    rows = in_process.query("SELECT * FROM user_features ORDER BY user_id")

    response = _get(client, f"{PATH}?format=parquet")

    assert (response.status_code, response.mimetype) == (200, "application/vnd.apache.parquet")
    assert response.headers["Content-Disposition"] == f'attachment; filename="features-{published.id}.parquet"'
    table = _parquet(response)
    assert table.to_pylist() == [row | {"job_id": str(row["job_id"])} for row in rows]
    assert table.column_names == list(rows[0])
    types = {
        "dataset": pa.string(),
        "user_id": pa.int64(),
        "signup_date": pa.date32(),
        "average_run_time": pa.float64(),
        "computed_at": pa.timestamp("us", "UTC"),
    }
    assert {name: table.schema.field(name).type for name in types} == types
    assert table.schema.field("most_common_compound_ids").type.value_type == pa.int64()


def test_csv_is_the_view_and_runs_nothing(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    rows = in_process.query("SELECT * FROM user_features ORDER BY user_id")

    response = _get(client, f"{PATH}?format=csv")

    assert response.headers["Content-Disposition"] == f'attachment; filename="features-{published.id}.csv"'
    header, *lines = _cells(response)
    assert header == tuple(rows[0])
    for line, row in zip(lines, rows, strict=True):
        for cell, (name, value) in zip(line, row.items(), strict=True):
            if isinstance(value, float):
                assert float(cell) == value
            else:
                assert cell == ("'=1+1" if value == "=1+1" else _as_text(value)), name


def test_a_workbook_is_the_view_and_rounds_no_id(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    rows = in_process.query("SELECT * FROM user_features ORDER BY user_id")

    response = _get(client, f"{PATH}?format=xlsx")

    assert response.mimetype == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert response.headers["Content-Disposition"] == f'attachment; filename="features-{published.id}.xlsx"'
    header, *cells = _cells(response)
    assert header == tuple(rows[0])
    assert cells[-1][1:4] == (str(BIG), "=1+1", "a,b@example.com")
    for line, row in zip(cells, rows, strict=True):
        for cell, value in zip(line, row.values(), strict=True):
            if isinstance(cell, datetime):
                assert cell.date() == value
            elif isinstance(cell, str):
                assert cell == _as_text(value)
            else:
                assert cell == value
    assert isinstance(rows[0]["signup_date"], date)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_header_accept_asks_for_a_file_and_the_parameter_comes_first(
    client: FlaskClient, published: Job, format_: str
) -> None:
    headers = {"Accept": MEDIA_TYPES[format_]}
    for path in (PATH, f"/api/v1/jobs/{published.id}/rejections"):
        response = _get(client, path, headers=headers)
        assert (response.mimetype, response.headers["Vary"]) == (MEDIA_TYPES[format_], "Accept")
        json = _get(client, f"{path}?format=json", headers=headers)
        assert (json.mimetype, json.headers["Vary"]) == ("application/json", "Accept")
        assert _get(client, f"{path}?format=csv", headers=headers).mimetype == "text/csv"


@pytest.mark.usefixtures("published")
def test_a_browser_and_a_client_that_takes_anything_get_json(client: FlaskClient) -> None:
    for accept in ("*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json, text/csv", "image/png"):
        assert _get(client, PATH, headers={"Accept": accept}).mimetype == "application/json"


@pytest.mark.usefixtures("published")
def test_a_file_holds_what_the_filters_let_through(client: FlaskClient, in_process: InProcess) -> None:
    def ids(**query: Any) -> list[int]:
        table = _parquet(_get(client, PATH, query_string=query | {"format": "parquet"}))
        found: list[int] = table.column("user_id").to_pylist()
        return found

    assert ids(search="a") == [1, BIG]
    assert ids(search="b") == [2]
    assert ids(search="3") == [3]
    assert ids(user_id=4) == [4]
    assert ids(user_id=4, search="b") == []
    assert len(ids()) == 15
    in_process.lose_users(left=14)
    assert len(ids(job=in_process.run(mode="dry_run").id)) == 14


@pytest.mark.usefixtures("published")
def test_a_file_is_no_page(client: FlaskClient, published: Job) -> None:
    cursor = _get(client, f"{PATH}?limit=1").get_json()["next_cursor"]
    for name, value in (("limit", 5), ("cursor", cursor), ("sort", "name")):
        body = problem(_get(client, f"{PATH}?format=csv&{name}={value}"), 422, "invalid_parameter")
        assert body["parameter"] == name
    problem(_get(client, f"/api/v1/jobs/{published.id}/rejections?format=csv&limit=5"), 422, "invalid_parameter")
    problem(_get(client, f"{PATH}?format=ods"), 422, "invalid_parameter")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_that_is_known_is_not_sent_again(
    client: FlaskClient, in_process: InProcess, published: Job, format_: str
) -> None:
    for path in (PATH, f"/api/v1/jobs/{published.id}/rejections"):
        tag = _get(client, f"{path}?format={format_}").headers["ETag"]
        known = _get(client, f"{path}?format={format_}", headers={"If-None-Match": tag})
        assert (known.status_code, known.data, known.headers["ETag"]) == (304, b"", tag)
        assert known.headers["Cache-Control"] == "private, no-cache", (
            "a client that may not keep it has no tag to ask by"
        )
        others = [_get(client, f"{path}?format={other}").headers["ETag"] for other in FORMATS if other != format_]
        assert tag not in others

    tag = _get(client, f"{PATH}?format={format_}").headers["ETag"]
    assert _get(client, f"{PATH}?format={format_}&search=a").headers["ETag"] != tag
    in_process.run(force=True)
    assert _get(client, f"{PATH}?format={format_}", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("format_", FORMATS)
def test_the_head_of_a_file_starts_no_process(
    client: FlaskClient, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _get(client, f"{PATH}?format={format_}")
    monkeypatch.setattr(subprocess, "Popen", None)

    head = client.head(f"{PATH}?format={format_}")

    assert (head.status_code, head.data) == (200, b"")
    for name in ("ETag", "Content-Disposition", "Content-Type"):
        assert head.headers[name] == whole.headers[name]
    assert "Content-Length" not in head.headers


def test_what_is_not_published_has_no_file(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    for format_ in FORMATS:
        problem(_get(client, f"{PATH}?format={format_}"), 404, "not_published")
        problem(_get(client, f"{PATH}?format={format_}&job={job.id}"), 404, "unknown_version")


@pytest.mark.parametrize("format_", FORMATS)
def test_the_rejections_are_a_file(client: FlaskClient, published: Job, format_: str) -> None:
    path = f"/api/v1/jobs/{published.id}/rejections"
    [item] = _get(client, path).get_json()["items"]

    response = _get(client, f"{path}?format={format_}")

    if format_ == "parquet":
        assert _parquet(response).to_pylist() == [item]
        assert _parquet(_get(client, f"{path}?format={format_}&code=x")).to_pylist() == []
    else:
        header, values = _cells(response)
        assert header == tuple(item)
        assert list(map(_as_text, values)) == list(map(_as_text, item.values()))
    name = f"rejections-{published.id}.{format_}"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'


def test_a_file_of_a_job_that_may_yet_have_rejections_is_not_kept(client: FlaskClient, in_process: InProcess) -> None:
    response = _get(client, f"/api/v1/jobs/{in_process.submit().id}/rejections?format=csv")

    assert response.status_code == 200
    assert "ETag" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"


def test_too_many_files_at_once_are_refused_for_a_moment(client: FlaskClient, published: Job) -> None:
    begun = [_get(client, f"{PATH}?format=csv", buffered=False) for _ in range(exports.AT_ONCE)]

    response = _get(client, f"/api/v1/jobs/{published.id}/rejections?format=csv")
    problem(response, 503, "export_unavailable")
    assert response.headers["Retry-After"] == "5"

    for one in begun:
        one.close()
    assert _get(client, f"{PATH}?format=csv").status_code == 200


def test_a_process_that_cannot_begin_is_told_of(
    client: FlaskClient, published: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_ROOT", Path("/"))  # there is no such module

    for _ in range(exports.AT_ONCE + 1):
        response = _get(client, f"{PATH}?format=csv&job={published.id}")
        assert "could not be written" in problem(response, 503, "export_unavailable")["detail"]


# --- what breaks off


def _add_users(in_process: InProcess, users: int) -> None:
    """Many users, with names that no compression makes small."""
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.writelines(
            f"\n{100 + n},{n * 2654435761 % 10**9:x}{'n' * 60},{n}@example.com,2024-01-01" for n in range(users)
        )


def _drop(in_process: InProcess) -> None:
    in_process.run(force=True)
    versions.drop_old(in_process.engine, keep=1)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_whose_version_goes_breaks_off(client: FlaskClient, in_process: InProcess, format_: str) -> None:
    _add_users(in_process, 70_000)
    in_process.run()
    response = _get(client, f"{PATH}?format={format_}", buffered=False)
    pieces = response.iter_encoded()
    next(pieces)

    in_process.lose_users(left=200)
    in_process.execute("UPDATE datasets SET published_job_id = NULL")
    _drop(in_process)

    with pytest.raises(Broken):
        list(pieces)
    response.close()


def test_rejections_that_go_break_off(client: FlaskClient, in_process: InProcess) -> None:
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.writelines(f"\n{'x' * 60}{n},n,e,2024-01-01" for n in range(70_000))
    job = in_process.run(max_rejected_ratio=1)
    response = _get(client, f"/api/v1/jobs/{job.id}/rejections?format=csv", buffered=False)
    pieces = response.iter_encoded()
    next(pieces)

    in_process.execute("DELETE FROM rejections WHERE id IN (SELECT min(id) FROM rejections)")

    with pytest.raises(Broken):
        list(pieces)
    response.close()


def _exporting(served_by: psutil.Process) -> list[psutil.Process]:
    return [
        process
        for process in served_by.children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and "worker.exporting" in process.cmdline()
    ]


@pytest.fixture
def large(in_process: InProcess) -> Job:
    _add_users(in_process, 70_000)
    return in_process.run()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("format_", FORMATS)
def test_a_client_that_goes_away_ends_the_process(programs: Programs, format_: str) -> None:
    with programs.api() as served:
        gunicorn = psutil.Process(served.process.pid)
        with served.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(f"GET {PATH}?format={format_} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert connection.recv(16).startswith(b"HTTP/1.1 200")
            assert len(_exporting(gunicorn)) == 1

        wait_until(lambda: not _exporting(gunicorn), "the process has ended")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("format_", FORMATS)
def test_a_process_that_is_killed_breaks_the_answer_off(programs: Programs, format_: str) -> None:
    with programs.api() as served:
        gunicorn = psutil.Process(served.process.pid)
        with urlopen(f"{served.url}{PATH}?format={format_}", timeout=60) as response:
            response.read(1)
            [process] = _exporting(gunicorn)
            process.kill()
            with pytest.raises(IncompleteRead):
                response.read()


@pytest.mark.usefixtures("large")
def test_a_slow_reader_holds_up_no_transaction(programs: Programs, in_process: InProcess) -> None:
    with programs.api() as served, served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET {PATH}?format=csv HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(16).startswith(b"HTTP/1.1 200")

        busy = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_until(lambda: {row["state"] for row in in_process.query(busy)} <= {"idle"}, "nobody is in a transaction")

        with urlopen(Request(f"{served.url}{PATH}?format=csv", method="HEAD"), timeout=60) as head:
            assert head.status == 200


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("format_", FORMATS)
def test_a_large_file_is_whole(programs: Programs, format_: str) -> None:
    with programs.api() as served:
        with urlopen(f"{served.url}{PATH}?format={format_}", timeout=120) as response:
            data = io.BytesIO(response.read())
        known = Request(f"{served.url}{PATH}?format={format_}", headers={"If-None-Match": response.headers["ETag"]})
        with pytest.raises(HTTPError, match="304"):
            urlopen(known, timeout=60)

    read: dict[str, Callable[[], Iterator[Any]]] = {
        "csv": lambda: (row["user_id"] for row in csv.DictReader(io.StringIO(data.getvalue().decode()))),
        "parquet": lambda: iter(pyarrow.parquet.read_table(data).column("user_id").to_pylist()),
        "xlsx": lambda: (
            row[1] for row in openpyxl.load_workbook(data, read_only=True).worksheets[0].iter_rows(2, values_only=True)
        ),
    }
    assert [int(user_id) for user_id in read[format_]()] == [*range(1, 15), *range(100, 70_100)]
