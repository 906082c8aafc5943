"""News of the job list: who listens is told of each job that is new or has changed; one statement looks for all."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock, Thread
from uuid import UUID

import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from worker import jobs
from worker.database import Looks
from worker.jobs import Job

log = logging.getLogger(__name__)

PAUSE_S = 0.2


class Listener:
    """One who listens, and what it has not been told yet: of each job the newest state."""

    def __init__(self, seen: Mapping[UUID, Job], dataset: str | None) -> None:
        self._seen = seen
        self._dataset = dataset
        self._news: dict[UUID, Job] = {}
        self._came = Event()

    def tell(self, found: Mapping[UUID, Job]) -> None:
        for job_id, job in found.items():
            if self._seen.get(job_id) != job and self._dataset in (None, job.dataset):
                self._news[job_id] = job
        self._seen = found  # what is found again, because a transaction is not over yet, is no news
        if self._news:
            self._came.set()

    def wait(self, seconds: float) -> list[Job]:
        """Return the jobs that are new or have changed, as soon as there is one; none when the time is over."""
        self._came.wait(seconds)
        self._came.clear()
        news, self._news = self._news, {}
        return list(news.values())


class News:
    """Looks for what has changed while somebody listens. One for each process."""

    def __init__(self, looks: Looks) -> None:
        self._connections = looks
        self._lock = Lock()
        self._listeners: set[Listener] = set()
        self._since = 0
        self._looks = False

    @contextmanager
    def listening(self, since: int, seen: list[Job], dataset: str | None) -> Iterator[Listener]:
        """Listen for what has changed since that look (jobs.changed); who has `seen` a job so is not told of it."""
        listener = Listener({job.id: job for job in seen}, dataset)
        with self._lock:
            self._listeners.add(listener)
            self._since = min(since, self._since) if self._looks else since
            if not self._looks:
                self._looks = True
                Thread(target=self._look_while_somebody_listens, name="news", daemon=True).start()
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def _look_while_somebody_listens(self) -> None:
        while True:
            with self._lock:
                self._looks = bool(self._listeners)
                since = self._since
            if not self._looks:
                return
            self._look(since)
            time.sleep(PAUSE_S)

    def _look(self, since: int) -> None:
        try:
            horizon, changed = jobs.changed(self._connections, since)
        except (psycopg2.Error, SQLAlchemyError) as error:
            log.warning("there are no news of jobs: %s", error)
            return
        found = {job.id: job for job in changed}
        with self._lock:
            if self._since == since:  # who has come meanwhile may want more
                self._since = horizon
            for listener in self._listeners:
                listener.tell(found)
