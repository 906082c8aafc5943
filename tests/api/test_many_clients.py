"""A thousand clients wait at once, in every way in which one can; others are answered meanwhile."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import suppress
from urllib.request import urlopen

import psutil
import pytest

from tests.conftest import InProcess, Programs, Served
from tests.servers import wait_until
from worker import jobs
from worker.jobs import Job

CLIENTS = 1000
AT_ONCE = 100  # come in the same moment
# Within so long all are told, on a machine that does nothing else: so what is measured is processor time.
TOLD_S = 2
WAYS = ("/api/v1/jobs/{}?wait=30", "/api/v1/jobs/{}/events", "/api/v1/jobs/events")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Each client has a socket here, and one in the server."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, min(4 * CLIENTS, most)), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.fixture
def served(programs: Programs) -> Iterator[Served]:
    with programs.api() as served:
        server = psutil.Process(served.process.pid)
        wait_until(lambda: len(server.children()) == 2, "both processes are there")
        yield served


class Waiting:
    """A client: it has asked, and is told of the job's end sometime."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, way: str) -> None:
        self.is_stream = "events" in way
        self._way = way

    async def ask(self, port: int, job: Job) -> None:
        """Return once it waits; a long poll does as soon as its request is read."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(f"GET {self._way.format(job.id)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if self.is_stream:
            await self._reader.readuntil(b'"queued"')

    async def told(self) -> None:
        await self._reader.readuntil(b'"cancelled"')

    async def leave(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


async def _wait_together(served: Served, job: Job, in_process: InProcess) -> float:
    """Return the processor time that the busier process took to tell everybody."""
    clients = [Waiting(WAYS[number % len(WAYS)]) for number in range(CLIENTS)]
    for first in range(0, CLIENTS, AT_ONCE):
        await asyncio.gather(*(client.ask(served.port, job) for client in clients[first : first + AT_ONCE]))
    await asyncio.to_thread(_others_are_answered, served)

    telling = [asyncio.create_task(client.told()) for client in clients]
    await asyncio.sleep(1)
    assert not any(task.done() for task in telling), "nothing has changed yet"
    before = _busy_s(served)
    await asyncio.to_thread(_cancel, in_process, job)
    async with asyncio.timeout(60):
        await asyncio.gather(*telling)
    after = _busy_s(served)
    await asyncio.gather(*(client.leave() for client in clients))
    return max(after[pid] - before[pid] for pid in before)


def _busy_s(served: Served) -> dict[int, float]:
    processes = psutil.Process(served.process.pid).children()
    return {process.pid: sum(process.cpu_times()[:2]) for process in processes}


def _others_are_answered(served: Served) -> None:
    for path in ("/healthz", "/api/v1/jobs", "/api/v1/datasets", "/metrics") * 5:
        assert urlopen(served.url + path, timeout=10).status == 200
    processes = psutil.Process(served.process.pid).children()
    waiting = [len(process.net_connections()) for process in processes]
    assert sum(waiting) >= CLIENTS
    assert min(waiting) > CLIENTS / 10, "both processes have their share"


def _cancel(in_process: InProcess, job: Job) -> None:
    with in_process.engine.begin() as connection:
        jobs.cancel(connection, job.id)


@pytest.mark.usefixtures("many_files")
def test_a_thousand_who_wait_are_told_of_a_change_at_once(served: Served, in_process: InProcess) -> None:
    job = in_process.submit()

    assert asyncio.run(_wait_together(served, job, in_process)) < TOLD_S
