"""News of the job list: who listens is told of each job that is new or has changed; one statement looks for all."""

import logging
import time
from collections.abc import Sequence
from threading import Event, Lock, Thread
from uuid import UUID

import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from api.waiting import AWAY_PAUSE_S
from worker import jobs
from worker.database import Looks
from worker.jobs import Job

log = logging.getLogger(__name__)

PAUSE_S = 0.2


class Listener:
    """One who listens, and what it has not been told yet: of each job the newest state."""

    def __init__(self, dataset: str | None) -> None:
        self._dataset = dataset
        self._news: dict[UUID, Job] = {}
        self._came = Event()

    def tell(self, changed: Sequence[Job]) -> None:
        self._news |= {job.id: job for job in changed if self._dataset in (None, job.dataset)}
        if self._news:
            self._came.set()

    def has_seen(self, found: Sequence[Job]) -> None:
        """Who knows a job as it is needs no news of it."""
        for job in found:
            if self._news.get(job.id) == job:
                del self._news[job.id]

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
        self._told: set[int] = set()
        self._looks = False

    def listen(self, dataset: str | None) -> Listener:
        """Listen from now on, until leave(). What is read after this shows every change that is not told."""
        since, _ = jobs.changed(self._connections)
        listener = Listener(dataset)
        with self._lock:
            self._listeners.add(listener)
            if not self._looks:
                self._looks, self._since, self._told = True, since, set()
                Thread(target=self._look_while_somebody_listens, name="news", daemon=True).start()
        return listener

    def leave(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.discard(listener)

    def _look_while_somebody_listens(self) -> None:
        while True:
            with self._lock:
                self._looks = bool(self._listeners)
            if not self._looks:
                return
            time.sleep(PAUSE_S if self._look() else AWAY_PAUSE_S)

    def _look(self) -> bool:
        """Tell those who listen; False where the database cannot be asked."""
        try:
            since, changed = jobs.changed(self._connections, self._since, self._told)
        except (psycopg2.Error, SQLAlchemyError) as error:
            log.warning("there are no news of jobs: %s", error)
            return False
        # While a transaction takes long, all that come after it are looked through again.
        self._told = {number for number in (*self._told, *(number for number, _ in changed)) if number >= since}
        self._since = since
        with self._lock:
            for listener in self._listeners:
                listener.tell([job for _, job in changed])
        return True
