"""ETL_SCHEDULE: jobs that start by the clock, which is the database's, in UTC."""

from datetime import UTC, datetime

import sqlalchemy as sa
from cronsim import CronSim

from worker import jobs
from worker.jobs import Job, QueueFull, Request


class NoRoom(Exception):  # noqa: N818
    """The queue is full; the time `due` has come and waits."""

    def __init__(self, due: datetime) -> None:
        super().__init__(f"the queue is full at {due}")
        self.due = due


def fire(connection: sa.Connection, expression: str, request: Request, *, max_queued_jobs: int) -> Job | None:
    """Submit a job where the expression's time has come since the one before; each time comes once, whoever looks.

    Where several have passed while nobody looked, the newest stands for all. An expression begins to count when it is
    seen first. Raises NoRoom.
    """
    row = connection.execute(sa.text("SELECT expression, fired_for, now() AS now FROM schedule")).one_or_none()
    if not row or row.expression != expression:
        connection.execute(_BEGIN, {"expression": expression})
        return None
    due = newest(expression, row.now)
    # Of several who see the same row one changes it; the others wait for that and find another one.
    if due <= row.fired_for or not connection.execute(_FIRE, {"due": due, "before": row.fired_for}).rowcount:
        return None
    try:
        job, _is_new = jobs.submit(connection, request, max_queued_jobs=max_queued_jobs)
    except QueueFull as error:
        raise NoRoom(due) from error
    return job


def newest(expression: str, now: datetime) -> datetime:
    """Return the last time of the expression before now."""
    time: datetime = next(CronSim(expression, now.astimezone(UTC), reverse=True))
    return time


_BEGIN = sa.text("""
    INSERT INTO schedule (expression, fired_for) VALUES (:expression, now())
    ON CONFLICT (only_row) DO UPDATE SET expression = excluded.expression, fired_for = excluded.fired_for
""")
_FIRE = sa.text("UPDATE schedule SET fired_for = :due WHERE fired_for = :before")
