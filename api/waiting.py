"""Long polls: a thousand clients may wait for their jobs, and one statement looks for all of them."""

import logging
import time
from threading import Event, Lock, Thread
from uuid import UUID

import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from worker import jobs
from worker.database import Looks
from worker.jobs import Job

log = logging.getLogger(__name__)

# A small job is done in a tenth of a second: look often at first, then ever less, and never most of the time.
_FIRST_PAUSE_S, _LAST_PAUSE_S, _SLOWER = 0.005, 0.2, 1.02
_PAUSE_PER_LOOK = 5
# While nobody can look, who waits is told so, and may come back at once.
AWAY_PAUSE_S = 1


class Call:
    """One who waits, and what it is told; who has seen the job is told of a job that has changed, too."""

    def __init__(self, seen: Job | None) -> None:
        self.seen = seen
        self.came = Event()
        self.job: Job | None = None

    def tell(self, job: Job | None) -> None:
        if job and not job.is_final and job == self.seen:
            return
        self.job = job
        self.came.set()


class Watch:
    """Tells those who wait for a job when it is finished, or has changed. One for each process."""

    def __init__(self, looks: Looks) -> None:
        self._connections = looks
        self._lock = Lock()
        self._calls: dict[UUID, set[Call]] = {}
        self._somebody_came = Event()
        self._looks = False

    def wait(self, job_id: UUID, seconds: float, *, seen: Job | None = None) -> Job | None:
        """Return the job as soon as it is finished, or is not what was `seen` any more.

        None when the time is over, or when nobody can look.
        """
        call = Call(seen)
        with self._lock:
            self._calls.setdefault(job_id, set()).add(call)
            self._somebody_came.set()
            if not self._looks:
                self._looks = True
                Thread(target=self._look_while_somebody_waits, name="watch", daemon=True).start()
        try:
            call.came.wait(seconds)
        finally:
            with self._lock:
                self._calls[job_id].discard(call)
                if not self._calls[job_id]:
                    del self._calls[job_id]
        return call.job

    def waited_for(self) -> list[UUID]:
        """The jobs that somebody waits for now."""
        with self._lock:
            return list(self._calls)

    def _look_while_somebody_waits(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            with self._lock:
                wanted = list(self._calls)
                changing = [job_id for job_id, calls in self._calls.items() if any(call.seen for call in calls)]
                self._looks = bool(wanted)
                if self._somebody_came.is_set():
                    pause = _FIRST_PAUSE_S
                self._somebody_came.clear()
            if not wanted:
                return
            started = time.monotonic()
            if not self._look(wanted, changing):
                time.sleep(AWAY_PAUSE_S)
            rest = min(_PAUSE_PER_LOOK * (time.monotonic() - started), _LAST_PAUSE_S)
            time.sleep(rest)
            self._somebody_came.wait(max(0, pause - rest))
            pause = min(pause * _SLOWER, _LAST_PAUSE_S)

    def _look(self, wanted: list[UUID], changing: list[UUID]) -> bool:
        """Tell those who wait; False where the database cannot be asked."""
        could_look = True
        try:
            found: dict[UUID, Job | None] = {
                job.id: job for job in jobs.finished(self._connections, wanted, also=changing)
            }
        except (psycopg2.Error, SQLAlchemyError) as error:
            log.warning("nobody can wait for a job: %s", error)
            could_look = False
            found = dict.fromkeys(wanted)  # each then looks for itself, and answers what it sees
        with self._lock:
            for job_id, job in found.items():
                for call in self._calls.get(job_id, ()):
                    if call.seen or not job or job.is_final:
                        call.tell(job)
        return could_look
