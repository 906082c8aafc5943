"""Real servers for tests and benchmarks: Postgres and Redis on Unix sockets in a folder of their own."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

StrPath = str | os.PathLike[str]


def wait_until(true: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    """Poll until something is true; who waits in vain is told for what."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"in vain: waited {seconds} s until {what}"
        time.sleep(0.02)


@contextmanager
def running(command: Sequence[StrPath], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for as long as the block lasts."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postgres(directory: Path, **settings: str) -> Iterator[str]:
    """Run a new server in `directory`, which must be short enough for a socket's path; yield its URL."""
    binaries, data = _postgres_binaries(), directory / "postgres"
    data.mkdir()
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(data, user)
    initdb: list[StrPath] = [binaries / "initdb", "-D", data / "data", "-U", "etl", "-A", "trust", "--no-sync"]
    subprocess.run([*initdb, "-E", "UTF8", "--locale=C.UTF-8"], check=True, capture_output=True, user=user)
    command: list[StrPath] = [binaries / "postgres", "-D", data / "data"]
    options = {"listen_addresses": "", "unix_socket_directories": str(data), "jit": "off"} | settings
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    with (directory / "postgres.log").open("wb") as log, running(command, user=user, stderr=log):
        url = f"postgresql://etl@/postgres?host={data}"
        wait_until(lambda: _answers(url), "Postgres answers")
        yield url


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    assert found, "PostgreSQL is not installed; scripts/test.sh installs it"
    return found[-1]


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Run a new server that keeps nothing; yield its URL."""
    socket = directory / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)]
    with (directory / "redis.log").open("wb") as log, running(command, stdout=log):
        wait_until(socket.exists, "Redis listens")
        yield f"unix://{socket}?db=0"
