"""What is looked at all the time while a case runs: the views, the API's health, and the states of jobs."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg2

from tests.faults.inputs import CHECKSUM
from tests.faults.service import FINAL_STATES, READER_PASSWORD, Service
from tests.faults.session import Unavailable

READER_WAIT_MAX_S = 1.0
HEALTH_WAIT_MAX_S = 10.0

Breach = str


@contextmanager
def every(seconds: float, look: Callable[[], None]) -> Iterator[None]:
    """Look again and again, in a thread of its own, for as long as the block lasts."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            look()

    thread = threading.Thread(target=run, name=type(look).__name__)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Reader:
    """A person's connection to the views; it opens another when the server went away."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connection: Any = None
        self.breaches: list[Breach] = []
        self.slowest_s = 0.0
        self._seen: set[str] = set()

    def look(self) -> None:
        try:
            self._connection = self._connection or self._connect()
            started = time.monotonic()
            with self._connection.cursor() as cursor:
                cursor.execute(_WHAT_A_READER_SEES)
                [(checksum, versions, is_of_the_summary)] = cursor.fetchall()
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._connection = None  # the server is down, or went down: that is no wait
            return
        except psycopg2.errors.UndefinedTable as error:
            if self._seen:
                self.breaches.append(f"I4 a view has gone: {error}")
            return
        self._judge(time.monotonic() - started, checksum, versions, is_of_the_summary=is_of_the_summary)

    def _judge(self, waited_s: float, checksum: str | None, versions: int, *, is_of_the_summary: bool | None) -> None:
        self.slowest_s = max(self.slowest_s, waited_s)
        if waited_s > READER_WAIT_MAX_S:
            self.breaches.append(f"I4 a reader waited {waited_s:.2f} s at {time.strftime('%X')}")
        if checksum is None:
            if self._seen:
                self.breaches.append("I4 a reader saw nothing after there was a version")
            return
        self._seen.add(checksum)
        if checksum not in self._service.inputs.checksums.values():
            self.breaches.append(f"I4 a reader saw the checksum {checksum}, which is that of no input")
        if versions != 1 or not is_of_the_summary:
            self.breaches.append(f"I4 a reader saw {versions} versions at once; the summary's: {is_of_the_summary}")

    def _connect(self) -> Any:
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self._service.reader_port,
            user="reader",
            password=READER_PASSWORD,
            dbname="experiment_etl",
            connect_timeout=5,
        )
        connection.autocommit = True
        return connection


# One statement, so one snapshot.
_WHAT_A_READER_SEES = f"""
    SELECT {CHECKSUM}, count(DISTINCT job_id),
        min(job_id::text) = (SELECT job_id::text FROM experiment_summary WHERE dataset = 'default')
    FROM user_features WHERE dataset = 'default'
"""  # noqa: S608


class Health:
    """Asks /healthz; `excused` while the API is down by the case's own doing."""

    def __init__(self, service: Service) -> None:
        self._address = service.parts["api"].url.removeprefix("http://")
        self.breaches: list[Breach] = []
        self.excused = False
        self.slowest_s = 0.0
        self._was_answered = True

    def look(self) -> None:
        was_excused, started = self.excused, time.monotonic()
        connection = http.client.HTTPConnection(self._address, timeout=HEALTH_WAIT_MAX_S)
        try:
            connection.request("GET", "/healthz")
            problem = "" if connection.getresponse().status == 200 else "not 200"
        except (OSError, http.client.HTTPException) as error:
            problem = repr(error)
        finally:
            connection.close()
        if not problem:
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        elif self._was_answered and not (was_excused or self.excused):  # an outage is told once
            self.breaches.append(f"I8 /healthz at {time.strftime('%X')}: {problem}")
        self._was_answered = not problem


class States:
    """Reads the ledger, and notes a final state that changes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._final: dict[str, tuple[str, str | None]] = {}
        self.breaches: list[Breach] = []

    def look(self) -> None:
        try:
            rows = self._service.rows("SELECT id, state, outcome, attempt FROM jobs")
        except Unavailable:
            return
        now = {row["id"]: (row["state"], row["outcome"]) for row in rows if row["state"] in FINAL_STATES}
        changed = {job_id: (was, now.get(job_id)) for job_id, was in self._final.items() if now.get(job_id) != was}
        self.breaches += [f"I7 {job_id} was {was} and is {is_}" for job_id, (was, is_) in changed.items()]
        self.breaches += [f"I7 {row['id']} has attempt {row['attempt']}" for row in rows if row["attempt"] > 3]
        self._final |= now


class Watch:
    """All of them together, from the start of a service until `stop`."""

    def __init__(self, service: Service) -> None:
        self.reader, self.health, self.states = Reader(service), Health(service), States(service)
        self._threads = ExitStack()
        self._threads.enter_context(every(0.05, self.reader.look))
        self._threads.enter_context(every(0.5, self.health.look))
        self._threads.enter_context(every(2, self.states.look))

    def stop(self) -> None:
        self._threads.close()

    @property
    def breaches(self) -> list[Breach]:
        """Each once, however often it was seen."""
        return list(dict.fromkeys([*self.reader.breaches, *self.states.breaches, *self.health.breaches]))
