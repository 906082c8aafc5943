"""Clients of the API: many at once, some in turn, and one that asks at a steady rate."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple

from tests.faults.service import Service

NO_ANSWER = 0


class Ask(NamedTuple):
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}


class Answer(NamedTuple):
    """`status` is NO_ANSWER where there was none, and `body` then says why."""

    status: int
    headers: Mapping[str, str]
    body: Any
    seconds: float


def a_job(*, key: str = "", **body: Any) -> Ask:
    return Ask("POST", "/api/v1/jobs", body, {"Idempotency-Key": key} if key else {})


class Client:
    """Keeps its connection open, as a program that asks often does."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=40)

    def ask(self, ask: Ask) -> Answer:
        started = time.monotonic()
        headers = dict(ask.headers) | ({"Content-Type": "application/json"} if ask.body is not None else {})
        try:
            body = json.dumps(ask.body) if ask.body is not None else None
            self._connection.request(ask.method, ask.path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            return Answer(NO_ANSWER, {}, repr(error), time.monotonic() - started)
        return Answer(response.status, dict(response.headers), json.loads(content), time.monotonic() - started)

    def close(self) -> None:
        self._connection.close()


def all_at_once(url: str, asks: Sequence[Ask]) -> list[Answer]:
    """Ask everything in one moment, each over a connection of its own."""
    barrier = threading.Barrier(len(asks))

    def run(ask: Ask) -> Answer:
        client = Client(url)
        barrier.wait()
        answer = client.ask(ask)
        client.close()
        return answer

    with ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(run, asks))


def in_turn(url: str, asks: Sequence[Ask], *, clients: int = 8) -> list[Answer]:
    """Ask everything, shared out among some clients who each wait for their answers."""

    def run(some: Sequence[Ask]) -> list[Answer]:
        client = Client(url)
        answers = [client.ask(ask) for ask in some]
        client.close()
        return answers

    with ThreadPoolExecutor(clients) as pool:
        return [answer for some in pool.map(run, [asks[first::clients] for first in range(clients)]) for answer in some]


def accepted(service: Service, answers: Sequence[Answer]) -> list[str]:
    """Return the ids of the jobs that were accepted, and have the invariants hold the service to them."""
    job_ids = [answer.body["id"] for answer in answers if answer.status == 202]
    service.accepted += dict.fromkeys(job_ids)
    return job_ids


@contextmanager
def asking_steadily(url: str, asks: Sequence[Ask], *, per_second: float) -> Iterator[list[Answer]]:
    """Ask one after the other, over and over, for as long as the block lasts; the list is filled at its end.

    A process of its own: what the tests do meanwhile must not count as the service's time. Who has to wait because the
    answer before came late has waited since the moment when it was to ask.
    """
    answers: list[Answer] = []
    context = get_context("spawn")
    ended, (receiver, sender) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=_ask_steadily, args=(url, asks, per_second, ended, sender))
    process.start()
    try:
        yield answers
    finally:
        ended.set()
        answers += receiver.recv()
        process.join()


def _ask_steadily(url: str, asks: Sequence[Ask], per_second: float, ended: Event, sender: Connection) -> None:
    answers: list[Answer] = []
    client, begin = Client(url), time.monotonic()
    while not ended.is_set():
        due = begin + len(answers) / per_second
        late = max(0.0, time.monotonic() - due)
        if ended.wait(max(0.0, due - time.monotonic())):
            break
        answer = client.ask(asks[len(answers) % len(asks)])
        answers.append(Answer(answer.status, {}, None, late + answer.seconds))
    sender.send(answers)
