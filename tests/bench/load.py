"""Load on an HTTP server: as much as it takes (wrk), or so many requests a second."""

import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 16


@dataclass(frozen=True)
class Target:
    """What is asked for, again and again."""

    port: int
    path: str
    body: str | None = None

    @property
    def request(self) -> bytes:
        head = f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        if self.body is None:
            return f"{head}\r\n".encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n{self.body}".encode()


def requests_per_second(target: Target, seconds: int, folder: Path) -> float:
    """Ask without a pause over CONNECTIONS connections. An answer that is no success ends the benchmark."""
    script = folder / "wrk.lua"
    lines = []
    if target.body is not None:
        lines = [
            'wrk.method = "POST"',
            f"wrk.body = {target.body!r}",
            'wrk.headers["Content-Type"] = "application/json"',
        ]
    script.write_text("\n".join(lines))
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "-s", str(script)]
    url = f"http://127.0.0.1:{target.port}{target.path}"
    report = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", report)
    if not rate or "Non-2xx" in report or "Socket errors" in report:
        raise SystemExit(f"{url}: {report}")
    return float(rate[1])


def latencies_ms(target: Target, per_second: float, seconds: int) -> list[float]:
    """Ask so often, over CONNECTIONS connections, and return how long each answer took, in ascending order.

    A request's time begins when it was due: one that had to wait for an answer that was late has waited, too.
    """
    taken: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    pause = CONNECTIONS / per_second
    start = time.monotonic() + 0.1

    def ask(number: int) -> None:
        with socket.create_connection(("127.0.0.1", target.port), timeout=30) as connection:
            due = start + number * pause / CONNECTIONS
            while due < start + seconds:
                time.sleep(max(0.0, due - time.monotonic()))
                connection.sendall(target.request)
                _read_answer(connection)
                taken[number].append(1000 * (time.monotonic() - due))
                due += pause

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(one for some in taken for one in some)


def _read_answer(connection: socket.socket) -> None:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: ([0-9]+)", head.lower())
    if not head.startswith(b"HTTP/1.1 2") or not length:
        raise SystemExit(f"{answer!r}")
    missing = int(length[1]) - len(body)
    while missing > 0:
        missing -= len(_received(connection))


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise SystemExit("the server closed the connection")
    return received
