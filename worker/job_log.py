"""What is logged about jobs, kept in the database: collected as it is logged, written by who is connected anyway."""

import logging
import re
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from worker import logs

log = logging.getLogger(__name__)

# Of one job; the newest that wait to be written, while the database is away; of one message.
LINES_MAX, WAITING_MAX, CHARS_MAX = 300, 200, 1000

# Libraries also log where a job runs: what they say is for the operator.
_OWN = ("worker", "etl")
_SECRET = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=token=)[^;\s]+")


@dataclass(frozen=True)
class Line:
    at: datetime
    level: str
    message: str


class JobLog(logging.Handler):
    """Collects the lines about jobs, until a statement has written them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.addFilter(logs.add_context)
        self._lines: deque[tuple[str, float, str, str]] = deque(maxlen=WAITING_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        job_id = getattr(record, "job_id", None)
        if job_id and record.name.partition(".")[0] in _OWN:
            self._lines.append((job_id, record.created, record.levelname, _message(record, job_id)))

    def keep(self, engine: sa.Engine) -> None:
        """Write what was collected in a transaction of its own. What goes wrong is logged: no job fails of it."""
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                self.write(connection)
        except sa.exc.SQLAlchemyError as error:
            log.warning("the log of a job could not be written: %s", error)

    def write(self, connection: sa.Connection) -> None:
        """Write what was collected; it is there once the caller commits, and gone where the commit fails.

        Call it last. What the statement could not write is tried again.
        """
        lines = self._taken()
        if not lines:
            return
        now = time.time()
        job_ids, times, levels, messages = zip(*lines, strict=True)
        values = {"job_ids": list(job_ids), "levels": list(levels), "messages": list(messages)}
        try:
            connection.execute(_WRITE, values | {"ages_s": [now - at for at in times], "lines_max": LINES_MAX})
        except sa.exc.SQLAlchemyError:
            # Where there is no room for all, the oldest go: put back in front they would push out the newest.
            self._lines.extend(lines + self._taken())
            raise

    def _taken(self) -> list[tuple[str, float, str, str]]:
        return [self._lines.popleft() for _ in range(len(self._lines))]


def _message(record: logging.LogRecord, job_id: str) -> str:
    """The message without a traceback, which is the operator's."""
    message = _SECRET.sub("***", record.getMessage().replace("\0", ""))[:CHARS_MAX]
    return f"{message}: internal error; the log has it with job_id {job_id}" if record.exc_info else message


# By the database's clock. Who has filled the log of a job says no more there.
_WRITE = sa.text("""
    INSERT INTO job_log (job_id, at, level, message)
    SELECT job_id, clock_timestamp() - make_interval(secs => age_s), level, message
    FROM unnest(CAST(:job_ids AS uuid[]), CAST(:ages_s AS float[]), CAST(:levels AS text[]), CAST(:messages AS text[]))
        WITH ORDINALITY AS line (job_id, age_s, level, message, number)
    WHERE (SELECT count(*) FROM job_log AS written WHERE written.job_id = line.job_id) < :lines_max
    ORDER BY number
""")


def add(connection: sa.Connection, job_id: UUID, message: str) -> None:
    """Enter a line that nobody logs, such as what a client did."""
    values = {"job_ids": [str(job_id)], "ages_s": [0.0], "levels": ["INFO"], "messages": [message]}
    connection.execute(_WRITE, values | {"lines_max": LINES_MAX})


def lines(connection: sa.Connection, job_id: UUID) -> list[Line]:
    """Return what was logged about the job, oldest first; nothing once it was dropped."""
    query = sa.text("SELECT at, level, message FROM job_log WHERE job_id = :job_id ORDER BY at, id")
    return [Line(**row._mapping) for row in connection.execute(query, {"job_id": job_id})]
