"""Uploads through the real server: what is cut off, what is never read, and how much memory it takes."""

import gzip
import json
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import FORM_TYPE, form
from tests.conftest import SAMPLE, Programs
from tests.servers import wait_until
from worker.settings import Settings

MIB = 1 << 20
WORKERS = 2  # as in api/gunicorn_config.py, which cannot be imported: it makes calls cooperative
PATH = "/api/v1/datasets/lab"
# For a few uploads at once; a body that was kept would be several times as much.
GROWTH_MAX = 24 * MIB

SAMPLE_FILES = [(path.name, path.read_bytes()) for path in SAMPLE.glob("*.csv")]
HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n'


class Server:
    """The API as it is deployed, with a limit of 64 MiB."""

    def __init__(self, address: str, pid: int, settings: Settings) -> None:
        self.address = urlsplit(address)
        self._pid = pid
        self._settings = settings

    def put(self, body: bytes | Iterable[bytes]) -> tuple[int, dict[str, object]]:
        """Send a body, in chunks where its length is not known; the answer may come before its end."""
        assert self.address.hostname
        connection = HTTPConnection(self.address.hostname, self.address.port, timeout=60)
        try:
            with suppress(ConnectionError):
                connection.request("PUT", PATH, body, {"Content-Type": FORM_TYPE})
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        finally:
            connection.close()

    def peak_bytes(self) -> int:
        """The most memory that one of the server's processes ever took."""
        found = [re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) for pid in self.processes()]
        return max(int(kib) << 10 for [kib] in found)

    def processes(self) -> list[str]:
        return Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()

    def leftovers(self) -> list[Path]:
        root = self._settings.uploads_dir
        in_use = {root / path.readlink() for path in root.iterdir() if path.is_symlink()} if root.is_dir() else set()
        return [path for path in root.glob(".upload-*") if path not in in_use]


@pytest.fixture
def server(programs: Programs, settings: Settings) -> Iterator[Server]:
    with programs.api(MAX_UPLOAD_BYTES="64MiB") as served:
        server = Server(served.url, served.process.pid, settings)
        wait_until(lambda: len(server.processes()) == WORKERS, "all of its processes are there")
        for _ in range(8):  # each of the processes has done it once
            assert server.put(form(*SAMPLE_FILES))[0] in (200, 201)
        yield server


@contextmanager
def _little_memory(server: Server) -> Iterator[None]:
    before = server.peak_bytes()
    yield
    assert server.peak_bytes() - before < GROWTH_MAX


def _endless(name: bytes, content: bytes, sent: list[int]) -> Iterator[bytes]:
    yield HEAD % name
    for _ in range(2048):
        sent[0] += len(content)
        yield content


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(server: Server) -> None:
    sent = [0]
    with _little_memory(server):
        status, problem = server.put(_endless(b"users.csv", bytes(MIB), sent))

    assert (status, problem["code"]) == (413, "request_entity_too_large")
    assert 64 * MIB < sent[0] < 256 * MIB, "nobody waited for the two GiB"
    assert server.leftovers() == []


def test_a_body_of_unknown_length_may_be_as_long_as_is_allowed(server: Server) -> None:
    files = dict(SAMPLE_FILES)
    files["users.csv"] += b"\n" * (64 * MIB - len(form(*files.items())))
    body = form(*files.items())
    assert len(body) == 64 * MIB

    assert server.put(iter([body]))[0] == 200
    assert server.put(iter([body, b"\n"]))[0] == 413
    assert server.put(body)[0] == 200


def test_a_body_that_is_announced_as_too_long_is_refused_before_it_is_sent(server: Server) -> None:
    with socket.create_connection((server.address.hostname, server.address.port), timeout=20) as connection:
        request = f"PUT {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\n"
        connection.sendall(f"{request}Content-Length: {64 * MIB + 1}\r\n\r\n".encode())
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert server.leftovers() == []


def test_a_large_upload_takes_little_memory(server: Server) -> None:
    lines = b"".join(b"%d,name,name@example.com,2024-01-01\n" % (100 + n) for n in range(30_000))
    users = dict(SAMPLE_FILES)["users.csv"] + b"\n" + lines * 48
    assert len(users) > 48 * MIB
    body = form(*(dict(SAMPLE_FILES) | {"users.csv": users}).items())

    with _little_memory(server):
        threads = [threading.Thread(target=server.put, args=(body,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.put(body)[0] == 200

    assert server.leftovers() == []


def test_ten_gib_in_ten_mb_are_refused_in_little_memory(server: Server) -> None:
    """Members one after the other are one file."""
    bomb = gzip.compress(bytes(64 * MIB)) * 160
    assert 10_000_000 < len(bomb) < 11_000_000

    with _little_memory(server):
        status, problem = server.put(form(("users.csv.gz", bomb)))

    assert (status, problem["code"]) == (413, "too_large")
    assert server.leftovers() == []


def test_a_client_that_goes_away_leaves_nothing(server: Server) -> None:
    with socket.create_connection((server.address.hostname, server.address.port), timeout=20) as connection:
        request = f"PUT {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\n"
        connection.sendall(f"{request}Content-Length: {MIB}\r\n\r\n".encode() + HEAD % b"users.csv" + bytes(100_000))
        wait_until(lambda: len(server.leftovers()) == 1, "the upload has begun")

    wait_until(lambda: server.leftovers() == [], "it is gone")
    assert server.put(form(*SAMPLE_FILES))[0] == 200
