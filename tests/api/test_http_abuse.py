"""The API behind its real server: clients that are slow, malformed or malicious, and servers that hang."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psutil
import pytest
import redis

from tests import servers
from tests.api.conftest import FORM_TYPE, form
from tests.conftest import SAMPLE, InProcess, Programs, Served
from tests.servers import wait_until
from worker import database, jobs, migrations
from worker.settings import Settings

TOKEN = uuid4().hex
# That of api.gunicorn_worker, which imports gevent: not into this process.
BODY_S = 10


@pytest.fixture
def served(programs: Programs) -> Iterator[Served]:
    with programs.api() as served:
        yield served


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def _ask(served: Served, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def _send(served: Served, request: bytes) -> bytes:
    """Send these bytes and return everything that comes back until the server closes the connection."""
    with served.connect() as client:
        client.sendall(request)
        return _rest(client)


def _rest(client: socket.socket) -> bytes:
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def _is_alive(served: Served) -> None:
    assert _ask(served, "/healthz").status == 200


# --- slow clients

HEAD = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
HALF_SENT = [
    b"",
    b"GE",
    HEAD,
    HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n",
    HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n" + b'{"force"',
    HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
]


def test_hundreds_of_half_sent_requests_hold_up_nobody_and_are_closed(served: Served) -> None:
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(served.connect()) for _ in range(400)]
        for number, client in enumerate(clients):
            client.sendall(HALF_SENT[number % len(HALF_SENT)])

        for _ in range(5):
            _is_alive(served)
            assert _ask(served, "/api/v1/jobs").status == 200

        for client in clients:
            _rest(client)  # until the server closes it
    assert "ERROR" not in {line["level"] for line in served.lines()}


def test_a_client_that_sends_a_byte_now_and_then_is_not_waited_for(served: Served) -> None:
    beginnings = [HEAD + b"X-Slow: ", POST + b"Content-Length: 60000\r\n\r\n"]
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(served.connect()) for _ in beginnings]
        for client, beginning in zip(clients, beginnings, strict=True):
            client.sendall(beginning)

        def is_closed(client: socket.socket) -> bool:
            try:
                client.sendall(b" ")
                time.sleep(0.2)
                client.setblocking(False)
                return client.recv(1, socket.MSG_PEEK) != b"x"
            except BlockingIOError:
                return False
            except OSError:
                return True
            finally:
                client.setblocking(True)

        for client in clients:
            wait_until(lambda client=client: is_closed(client), "it is closed")  # type: ignore[misc]
    _is_alive(served)


def test_a_connection_can_be_used_again_after_a_long_wait(served: Served, in_process: InProcess) -> None:
    """Longer than a body may take: each request has a time of its own."""
    job = in_process.submit()
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.connect()
    kept = connection.sock
    for path in (f"/api/v1/jobs/{job.id}?wait={BODY_S + 1}", "/healthz", "/healthz"):
        connection.request("GET", path)
        assert connection.getresponse().read()
        assert connection.sock is kept, "the server has closed it"
        time.sleep(0.2)  # as a person would
    connection.close()


def test_slow_readers_keep_no_connection_to_the_database(served: Served, in_process: InProcess) -> None:
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.writelines(f"\nx{number},{'n' * 190},e,soon" for number in range(30_000))
    job = in_process.run(max_rejected_ratio=1)
    request = f"GET /api/v1/jobs/{job.id}/rejections HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\n\r\n".encode()

    with ExitStack() as open_clients:
        for _ in range(60):
            client = open_clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", served.port))
            client.sendall(request)
            client.recv(100)

        for _ in range(5):
            assert _ask(served, "/readyz").json()["database"] == "ok"
            assert _ask(served, "/api/v1/jobs").status == 200


def test_hundreds_may_wait_for_a_job_and_all_are_told(served: Served, in_process: InProcess) -> None:
    jobs = [in_process.submit(dataset=f"d{number}") for number in range(5)]
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(served.connect()) for _ in range(500)]
        for number, client in enumerate(clients):
            path = f"/api/v1/jobs/{jobs[number % len(jobs)].id}?wait=30"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        _is_alive(served)
        assert _ask(served, "/api/v1/jobs").status == 200

        for job in jobs:
            in_process.run_job(job)

        assert all(b'"state":"failed"' in _rest(client) for client in clients)  # there are no such datasets


# --- malformed requests

GET = b"GET /healthz HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
POST = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


MALFORMED = [
    ("two Hosts", GET + HOST + HOST + b"\r\n", 400),
    ("two different Hosts", GET + HOST + b"Host: evil.example\r\n\r\n", 400),
    ("a foreign Host first", GET + b"Host: evil.example\r\n" + HOST + b"\r\n", 400),
    ("length and chunked", POST + b"Content-Length: 2\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 400),
    ("chunked and length", POST + CHUNKED + b"Content-Length: 2\r\n\r\n0\r\n\r\n", 400),
    ("two lengths", POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("two different lengths", POST + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}", 400),
    ("a list of lengths", POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    ("a negative length", POST + b"Content-Length: -2\r\n\r\n{}", 400),
    ("a length with a sign", POST + b"Content-Length: +2\r\n\r\n{}", 400),
    ("a hexadecimal length", POST + b"Content-Length: 0x2\r\n\r\n{}", 400),
    ("a superscript length", POST + b"Content-Length: \xb2\r\n\r\n{}", 400),
    ("coded, not chunked", POST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("an unknown coding", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("a blank before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked in HTTP/1.0", POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n", 400),
    ("a chunk's length that is none", POST + CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    ("a chunk longer than it says", POST + CHUNKED + b"\r\n2\r\n{}xx0\r\n\r\n", 400),
    ("a folded header", GET + HOST + b"X-A: 1\r\n folded\r\n\r\n", 400),
    ("NUL in a header", GET + HOST + b"X-A: a\0b\r\n\r\n", 400),
    ("a bare CR in a header", GET + HOST + b"X-A: a\rX-B: b\r\n\r\n", 400),
    ("a bare LF in a header", GET + HOST + b"X-A: a\nX-B: b\r\n\r\n", 400),
    ("a blank in a header's name", GET + HOST + b"X A: a\r\n\r\n", 400),
    ("a header without a colon", GET + HOST + b"no colon\r\n\r\n", 400),
    ("NUL in the path", b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("HTTP/0.9", b"GET /healthz\r\n\r\n", 400),
    ("another version", b"GET /healthz HTTP/3.0\r\n" + HOST + b"\r\n", 400),
    ("a method in small letters", b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("a long path", b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    ("a long header", GET + HOST + b"X-A: " + b"x" * 9000 + b"\r\n\r\n", 431),
    ("many headers", GET + HOST + b"X-A: x\r\n" * 200 + b"\r\n", 431),
    ("an unknown expectation", GET + HOST + b"Expect: a miracle\r\n\r\n", 417),
]


def test_a_malformed_request_is_refused_and_what_follows_it_is_not_read(served: Served) -> None:
    for what, request, status in MALFORMED:
        received = _send(served, request + SMUGGLED)

        assert received.startswith(b"HTTP/1.1 %d " % status), (what, received[:200])
        assert received.count(b"HTTP/1.1 ") == 1, (what, received)
        assert b"Traceback" not in received, (what, received)
        assert b"gunicorn/" not in received, (what, "the server's version")
    assert "ERROR" not in {line["level"] for line in served.lines()}
    _is_alive(served)


def test_a_host_that_is_missing_or_empty_is_refused(served: Served) -> None:
    """These are well-formed enough to be answered by the application, as a problem."""
    for request in (GET, b"GET /healthz HTTP/1.0\r\n", GET + b"Host:\r\n"):
        received = _send(served, request + b"Connection: close\r\n\r\n")
        assert received.partition(b" ")[2].startswith(b"400 "), received
        assert b"Content-Security-Policy" in received


# --- bodies


def _post(served: Served, body: Any, content_type: str = "application/json") -> Answer:
    return _ask(served, "/api/v1/jobs", "POST", body, Content_Type=content_type)


BODIES = [
    b"[" * 20_000 + b"]" * 20_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'{"max_rejected_ratio": NaN}',
    b'{"max_rejected_ratio": -Infinity}',
    b'{"max_rejected_ratio": 1e999}',
    b'{"max_rejected_ratio": ' + b"9" * 5000 + b"}",
    b'{"max_rejected_ratio": 0.' + b"9" * 5000 + b"e999999999999}",
    b'{"dataset": "default", "dataset": "default"}',
    b'{"force": {"a": 1, "a": 2}}',
    b'{"dataset": "\xff"}',
    b'{"dataset": "\\ud800"}',
    b'{"dataset": "\\u0000"}',
    b'{"unknown": 1}',
    b'{"dataset": ["default"]}',
    b"\x00",
    b"null",
]


def test_a_body_that_is_not_what_is_asked_for_is_a_problem_of_the_client(served: Served) -> None:
    for body in BODIES:
        answer = _post(served, body)

        assert 400 <= answer.status < 500, body[:60]
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status
    assert not [line for line in served.lines() if "exc_info" in line]


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/jobs/%s/retry"])
@pytest.mark.parametrize("sent", [b"", b'{"dataset": "default", "mode": "dry_r', b"{}"])
def test_a_body_that_breaks_off_asks_for_nothing(served: Served, in_process: InProcess, path: str, sent: bytes) -> None:
    """Without the rest, `{}` would be a job that publishes."""
    job = in_process.submit()
    with in_process.engine.begin() as connection:
        jobs.cancel(connection, job.id)
    post = POST.replace(b"/api/v1/jobs", (path % job.id if "%" in path else path).encode())
    with served.connect() as client:
        client.sendall(post + b"Content-Length: 52\r\n\r\n" + sent)
        client.shutdown(socket.SHUT_WR)
        answer = _rest(client)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"bad_request"' in answer
    assert in_process.query("SELECT count(*) AS count FROM jobs") == [{"count": 1}]


def test_an_upload_that_breaks_off_behind_its_last_file_is_none(served: Served, settings: Settings) -> None:
    body = form(*((path.name, path.read_bytes()) for path in SAMPLE.glob("*.csv")))
    head = f"PUT /api/v1/datasets/lab HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\n"
    with served.connect() as client:
        client.sendall(f"{head}Content-Length: {len(body) + 5000}\r\n\r\n".encode() + body)
        client.shutdown(socket.SHUT_WR)
        answer = _rest(client)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert settings.directory("lab") is None
    assert list(settings.uploads_dir.iterdir()) == []


def test_an_encoded_body_is_not_read_as_a_plain_one(served: Served, in_process: InProcess) -> None:
    encoded = _ask(served, "/api/v1/jobs", "POST", b"{}", Content_Type="application/json", Content_Encoding="gzip")
    assert (encoded.status, encoded.json()["code"]) == (415, "encoded_body")
    chunk = b"2\r\n{}\r\n0\r\n\r\n"
    transferred = _send(served, POST + b"Connection: close\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + chunk)
    assert transferred.startswith(b"HTTP/1.1 501 ")

    assert in_process.query("SELECT id FROM jobs") == []


def test_a_refused_upload_leaves_no_traceback_in_the_log(served: Served) -> None:
    body = form(("users.csv.gz", b""))
    refused = _ask(served, "/api/v1/datasets/lab", "PUT", body, Content_Type=FORM_TYPE)

    assert refused.status == 422
    assert "Traceback" not in served.log.read_text()


def test_what_follows_a_whole_body_beyond_the_limit_is_not_cut_off_in_silence(served: Served) -> None:
    whole = b"{}".ljust(0x10000)
    for more, status in ((b"", 202), (b" ", 413), (b"garbage", 413)):
        answer = _ask(served, "/api/v1/jobs", "POST", iter([whole, more]), Content_Type="application/json")
        assert answer.status == status, more


def _memory(served: Served) -> int:
    server = psutil.Process(served.process.pid)
    return sum(process.memory_info().rss for process in [server, *server.children()])


def test_a_body_without_an_end_is_refused_as_soon_as_it_is_too_long(served: Served) -> None:
    server = psutil.Process(served.process.pid)
    wait_until(lambda: len(server.children()) == 2, "both are there")
    for _ in range(10):
        _post(served, b"x")
    before = _memory(served)
    for request in (POST + CHUNKED + b"\r\n", POST + b"Content-Length: 100000000\r\n\r\n"):
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with served.connect() as client:
            client.sendall(request)
            sent = 0
            try:
                while sent < 100_000_000:
                    client.sendall(chunk)
                    sent += len(chunk)
            except OSError:
                pass  # it has had enough
            received = _rest(client)
        assert received.startswith(b"HTTP/1.1 413 ") or not received, received[:100]
        _is_alive(served)
    assert _memory(served) - before < 30_000_000

    with served.connect() as client:  # one who listens is told
        client.sendall(POST + CHUNKED + b"\r\n" + chunk * 2)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


# --- what is logged


def _break(in_process: InProcess) -> None:
    """Make whoever lists the jobs run into a defect."""
    in_process.submit()
    in_process.execute("ALTER TABLE jobs ALTER timings_ms DROP DEFAULT, ALTER timings_ms TYPE text USING 'queued'")


def test_no_token_is_ever_logged(programs: Programs, in_process: InProcess) -> None:
    _break(in_process)
    with programs.api(API_TOKEN=TOKEN) as served:
        right = f"Bearer {TOKEN}"
        for given in (right, f"Bearer {TOKEN}-wrong", f"Basic {TOKEN}", TOKEN):
            _ask(served, "/api/v1/jobs", Authorization=given)
        authorization = f"Authorization: {right}".encode()
        _send(served, GET + HOST + authorization + b"\0\r\n\r\n")
        _send(served, GET + HOST + authorization + b"\r\n folded " + TOKEN.encode() + b"\r\n\r\n")
        _send(served, GET + HOST + b"Host: a\r\n" + authorization + b"\r\n\r\n")
        _send(served, GET + HOST + authorization + b"x" * 9000 + b"\r\n\r\n")

        answer = _ask(served, "/api/v1/jobs", Authorization=right)
        assert (answer.status, answer.json()["code"]) == (500, "internal_error")

        [*_, line] = [line for line in served.lines() if line["message"] == "internal error"]
        assert line["request_id"] == answer.json()["request_id"] == answer.headers["X-Request-Id"]
        assert "Traceback" in line["exc_info"]
        assert TOKEN not in served.log.read_text()


def test_nothing_that_a_client_sends_can_forge_a_line_of_the_log(served: Served, in_process: InProcess) -> None:
    _break(in_process)
    forged = '%0A{"level": "INFO", "message": "forged"}%0D%0A%1B[31m%22%00'
    for path in (f"/api/v1/jobs?state={forged}", f"/api/v1/jobs/{forged}", f"/{forged}"):
        _ask(served, path.replace(" ", "%20").replace('"', "%22"))
    _ask(served, "/api/v1/jobs", Idempotency_Key='"}\t{"message":"forged"}', X_Request_Id='"}\t{"message":"forged"}')
    _ask(
        served,
        "/api/v1/jobs",
        "POST",
        b'{"dataset": "\\n{\\"message\\": \\"forged\\"}"}',
        Content_Type="application/json",
    )
    _send(served, b'GET /"}\x1b{"message":"forged"} HTTP/1.1\r\n\r\n')
    _send(served, GET + HOST + b'X-A: "}\r\n{"message": "forged"}\r\n\r\n')

    lines = served.lines()  # each is JSON

    assert "internal error" in {line["message"] for line in lines}
    assert "forged" not in {line["message"] for line in lines}
    assert all("\x1b" not in line for line in served.log.read_text().splitlines())
    assert all(re.fullmatch(r"[0-9a-f]{32}", line["request_id"]) for line in lines if "request_id" in line)


# --- servers that hang


@pytest.fixture
def own(settings: Settings, programs: Programs) -> Iterator[tuple[Path, Programs]]:
    """A Postgres and a Redis that a test may freeze, and the folder that they are in."""
    with TemporaryDirectory(prefix="etl-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with servers.postgres(directory, fsync="off") as url, servers.redis(directory) as redis_url:
            programs = Programs(replace(settings, database_url=url, redis_url=redis_url))
            engine = database.engine(programs.settings)
            migrations.upgrade(engine)
            engine.dispose()
            yield directory, programs


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    server = psutil.Process(pid)
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def test_a_postgres_that_hangs_ends_a_request_and_holds_up_no_other(own: tuple[Path, Programs]) -> None:
    directory, programs = own
    with programs.api() as served:
        assert _ask(served, "/api/v1/jobs", "POST").status == 202
        pid = int((directory / "postgres/data/postmaster.pid").read_text().splitlines()[0])
        with _frozen(pid), ThreadPoolExecutor(80) as threads:
            posts = [threads.submit(_ask, served, "/api/v1/jobs", "POST") for _ in range(60)]
            for _ in range(5):
                _is_alive(served)

            started = time.monotonic()
            answers = [post.result() for post in posts]

            assert {(answer.status, answer.json()["code"]) for answer in answers} == {(503, "database_unavailable")}
            assert time.monotonic() - started < 60
        wait_until(lambda: _ask(served, "/api/v1/jobs", "POST").status == 202, "it is back")


def test_a_redis_that_hangs_costs_a_post_a_moment_and_readiness_says_so(own: tuple[Path, Programs]) -> None:
    _, programs = own
    with programs.api() as served:
        assert _ask(served, "/api/v1/jobs", "POST").status == 202
        with redis.Redis.from_url(programs.settings.redis_url) as connection:
            pid = int(connection.info("server")["process_id"])
        with _frozen(pid), ThreadPoolExecutor(100) as threads:
            started = time.monotonic()
            answers = list(threads.map(lambda _: _ask(served, "/api/v1/jobs", "POST"), range(100)))
            took = time.monotonic() - started
            ready = _ask(served, "/readyz")

        assert {answer.status for answer in answers} == {202}
        assert took < 30, "a hundred would wait for a hundred seconds, one after the other"
        assert (ready.status, ready.json()["queue"]) == (503, "no answer (Unreachable)")


def test_a_worker_that_was_killed_is_replaced(served: Served) -> None:
    server = psutil.Process(served.process.pid)
    wait_until(lambda: len(server.children()) == 2, "both are there")
    first = server.children()
    os.kill(first[0].pid, signal.SIGKILL)

    wait_until(lambda: len(set(server.children()) - set(first)) == 1, "another one is there")
    _is_alive(served)


def test_a_stop_does_not_wait_for_those_who_wait(served: Served, in_process: InProcess) -> None:
    job = in_process.submit()
    with served.connect() as client, served.connect():
        client.sendall(f"GET /api/v1/jobs/{job.id}?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        _is_alive(served)
        served.process.terminate()
        assert served.process.wait(20) == 0


def test_an_explanation_is_found_in_a_process_of_its_own(served: Served, in_process: InProcess) -> None:
    in_process.run()

    explanation = _ask(served, "/api/v1/features/1?explain=true").json()["explanation"]

    assert explanation["total_experiments"][0]["count"] == 3
