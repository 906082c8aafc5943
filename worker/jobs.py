"""THE LEDGER: Job, its states and every transition. Nothing else touches the table `jobs`."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid6
from psycopg2.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError

from worker.database import Looks

log = logging.getLogger(__name__)

LEASE_S = 20
# A lease that was not renewed for so long is lost earlier where the session that renewed it is gone: then its worker is
# gone too, and not only slow.
GONE_S = 5
ATTEMPTS_MAX = 3
STATES = ("queued", "running", "succeeded", "failed", "cancelled")
FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
MODES = ("publish", "dry_run")


class UnknownJob(Exception):  # noqa: N818
    """No job has this id."""


class QueueFull(Exception):  # noqa: N818
    """As many jobs wait as may."""


class IdempotencyConflict(Exception):  # noqa: N818
    """The key was used before, for another request."""


class AlreadyFinished(Exception):  # noqa: N818
    """The job has ended, so it cannot be ended in another way."""


class LeaseLost(Exception):  # noqa: N818
    """The job is no longer this attempt's: somebody else has it, or it is finished."""


@dataclass(frozen=True)
class Request:
    """What a job is asked to do."""

    dataset: str
    mode: str
    engine: str
    force: bool
    max_rejected_ratio: float


@dataclass(frozen=True)
class Job:
    """One row of the ledger."""

    id: UUID
    dataset: str
    mode: str
    engine: str
    force: bool
    max_rejected_ratio: float
    parent_id: UUID | None
    state: str
    outcome: str | None
    outcome_detail: str | None
    attempt: int
    stage: str | None
    progress_done: int | None
    progress_total: int | None
    progress_unit: str | None
    timings_ms: dict[str, float]
    inputs: list[dict[str, Any]]
    reconciled: bool | None
    error_code: str | None
    error_detail: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def has_version(self) -> bool:
        """Whether it has made a version, which may have been dropped since."""
        return self.outcome in ("published", "held", "dry_run")

    @property
    def request(self) -> Request:
        return Request(self.dataset, self.mode, self.engine, self.force, self.max_rejected_ratio)


# Process ids repeat, and those of one moment do not. The session is one of the worker's pool, which keeps it as long as
# it lives.
_SESSION = "pid || ' since ' || extract(epoch FROM backend_start)"
_LEASE = f"""
    lease_expires_at = now() + make_interval(secs => :lease_s),
    lease_session = (SELECT {_SESSION} FROM pg_stat_get_activity(pg_backend_pid()))
"""
_SIGNATURE = "'job ' || id || ' attempt ' || attempt"
# The fence: the job as the attempt has claimed it.
_MINE = "id = :id AND state = 'running' AND attempt = :attempt"
# A row that is locked is being finished in this moment. NO KEY: one whose version is being entered is not yet.
_RUNNING = "id IN (SELECT id FROM jobs WHERE state = 'running' AND ({}) FOR NO KEY UPDATE SKIP LOCKED)"
# What only an attempt that is at work has.
_NO_ATTEMPT = "lease_expires_at = NULL, stage = NULL, progress_done = NULL, progress_total = NULL, progress_unit = NULL"
_COLUMNS = ", ".join(field.name for field in fields(Job))


def _job(row: sa.Row[Any]) -> Job:
    return Job(**row._mapping)


# --- what the API does


def submit(
    connection: sa.Connection,
    request: Request,
    *,
    max_queued_jobs: int,
    idempotency_key: str | None = None,
    parent_id: UUID | None = None,
) -> tuple[Job, bool]:
    """Insert a queued job; the second value is False where the key has brought back the job that it made before.

    Raises QueueFull, IdempotencyConflict.
    """
    if idempotency_key and (earlier := _with_key(connection, idempotency_key)):
        return _same(earlier, request, parent_id), False
    values = vars(request) | {"id": uuid6.uuid7(), "idempotency_key": idempotency_key, "parent_id": parent_id}
    row = _insert(connection, values, max_queued_jobs - _ALONE)
    if not row:
        # Near the limit one comes after the other: those of the same moment would all see the last free place.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('jobs'))"))
        row = _insert(connection, values, max_queued_jobs)
    if row:
        return _job(row), True
    if idempotency_key and (earlier := _with_key(connection, idempotency_key)):
        return _same(earlier, request, parent_id), False
    raise QueueFull


# More than can be submitting in the same moment.
_ALONE = 100


# One statement, since a request waits for each. The condition on the dataset is for one that is being published: ON
# CONFLICT alone would wait for that transaction.
_INSERT = sa.text(f"""
    WITH new_dataset AS (
        INSERT INTO datasets (name) SELECT :dataset WHERE NOT EXISTS (SELECT FROM datasets WHERE name = :dataset)
        ON CONFLICT DO NOTHING
    )
    INSERT INTO jobs (id, dataset, mode, engine, force, max_rejected_ratio, idempotency_key, parent_id, rung_at)
    SELECT :id, :dataset, :mode, :engine, :force, :max_rejected_ratio, :idempotency_key, :parent_id, now()
    WHERE (SELECT count(*) FROM jobs WHERE state = 'queued') < :max_queued_jobs
    ON CONFLICT ON CONSTRAINT jobs_idempotency_key DO NOTHING
    RETURNING {_COLUMNS}
""")


def _insert(connection: sa.Connection, values: Mapping[str, Any], max_queued_jobs: int) -> sa.Row[Any] | None:
    return connection.execute(_INSERT, {**values, "max_queued_jobs": max_queued_jobs}).one_or_none()


def _with_key(connection: sa.Connection, idempotency_key: str) -> Job | None:
    query = sa.text(f"SELECT {_COLUMNS} FROM jobs WHERE idempotency_key = :key")
    row = connection.execute(query, {"key": idempotency_key}).one_or_none()
    return _job(row) if row else None


def _same(earlier: Job, request: Request, parent_id: UUID | None) -> Job:
    if (earlier.request, earlier.parent_id) != (request, parent_id):
        raise IdempotencyConflict
    return earlier


def cancel(connection: sa.Connection, job_id: UUID) -> Job:
    """End the job for good, whether it waits or runs. Raises UnknownJob, AlreadyFinished.

    An attempt that is at work can finish nothing any more, and learns so when it renews its lease.
    """
    row = connection.execute(
        sa.text(f"""
            UPDATE jobs SET state = 'cancelled', finished_at = clock_timestamp(), {_NO_ATTEMPT}
            WHERE id = :id AND state IN ('queued', 'running') RETURNING {_COLUMNS}
        """),
        {"id": job_id},
    ).one_or_none()
    if not row:
        raise AlreadyFinished(get(connection, job_id).state)
    return _job(row)


def get(connection: sa.Connection, job_id: UUID) -> Job:
    """Return the job. Raises UnknownJob."""
    row = connection.execute(_GET, {"id": job_id}).one_or_none()
    if not row:
        raise UnknownJob
    return _job(row)


_GET = sa.text(f"SELECT {_COLUMNS} FROM jobs WHERE id = :id")


def look(looks: Looks, job_id: UUID) -> Job:
    """Return the job as get() does, in half the time. Raises UnknownJob."""
    rows = looks.rows(_LOOK, {"id": job_id})
    if not rows:
        raise UnknownJob
    return Job(*rows[0])


_LOOK = f"SELECT {_COLUMNS} FROM jobs WHERE id = %(id)s"


def finished(looks: Looks, job_ids: list[UUID], *, also: list[UUID]) -> list[Job]:
    """Return those of the jobs that are finished, and those of `also`, finished or not."""
    return [Job(*row) for row in looks.rows(_FINISHED, {"ids": job_ids, "also": also})]


_FINISHED = f"""
    SELECT {_COLUMNS} FROM jobs
    WHERE id = ANY(%(ids)s) AND (state NOT IN ('queued', 'running') OR id = ANY(%(also)s::uuid[]))
"""


def changed(looks: Looks, since: int | None = None, told: Collection[int] = ()) -> tuple[int, list[tuple[int, Job]]]:
    """Return the jobs that have changed since an earlier look, and the number by which the next look goes on.

    Each comes with the number of its change: by those that were `told` since, the next look leaves it out. None is left
    out otherwise, in whichever order transactions are committed.
    """
    values = {"since": None if since is None else str(since), "told": [str(number) for number in told]}
    rows = looks.rows(_CHANGED, values)
    return int(rows[0][0]), [(int(row[1]), Job(*row[2:])) for row in rows if row[1]]


# What the first look did not show is in transactions that were not over by then. The upper bound is for a database that
# was restored from a dump: its old rows have the numbers of another server.
_CHANGED = f"""
    SELECT pg_snapshot_xmin(snapshot)::text, changed.*
    FROM pg_current_snapshot() AS snapshot LEFT JOIN (SELECT changed_in, {_COLUMNS} FROM jobs) AS changed
        ON changed_in >= %(since)s::xid8 AND changed_in < pg_snapshot_xmax(snapshot)
        AND changed_in <> ALL(%(told)s::xid8[])
    ORDER BY created_at, id
"""


def newest(
    connection: sa.Connection,
    *,
    limit: int,
    after: UUID | None = None,
    state: str | None = None,
    dataset: str | None = None,
) -> list[Job]:
    """Return jobs, newest first, from the one after `after` on. Raises UnknownJob where there is no such job."""
    conditions: list[str] = ["true"]
    values: dict[str, Any] = {"limit": limit, "state": state, "dataset": dataset}
    if after:
        values |= {"after": after, "after_created_at": get(connection, after).created_at}
        conditions.append("(created_at, id) < (:after_created_at, :after)")
    conditions += [f"{name} = :{name}" for name in ("state", "dataset") if values[name]]
    query = (
        f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY created_at DESC, id DESC LIMIT :limit"
    )
    return [_job(row) for row in connection.execute(sa.text(query), values)]


# --- what a worker does


def claim(connection: sa.Connection, job_id: UUID, worker: str) -> Job | None:
    """Take a queued job; None where it is not there to be taken, so somebody else has it or its turn has not come."""
    try:
        row = connection.execute(
            sa.text(f"""
                UPDATE jobs SET state = 'running', attempt = attempt + 1, worker = :worker, started_at = now(),
                    {_LEASE}, stage = NULL, progress_done = NULL, progress_total = NULL, progress_unit = NULL,
                    timings_ms = jsonb_build_object('queued', round(1000 * extract(epoch FROM now() - created_at), 1))
                WHERE id = :id AND state = 'queued' AND due_at <= now() AND attempt < :attempts_max
                    AND NOT EXISTS (SELECT FROM jobs AS o WHERE o.dataset = jobs.dataset AND o.state = 'running')
                RETURNING {_COLUMNS}
            """),
            {"id": job_id, "worker": worker, "lease_s": LEASE_S, "attempts_max": ATTEMPTS_MAX},
        ).one_or_none()
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        return None  # jobs_one_running_per_dataset: another job of the dataset was claimed in the same moment
    return _job(row) if row else None


def sign(connection: sa.Connection, job: Job) -> None:
    """Name the transaction after the attempt, so that it can be ended from outside (and seen in pg_stat_activity).

    Raises LeaseLost.
    """
    signed = connection.execute(
        sa.text(f"SELECT set_config('application_name', {_SIGNATURE}, true) FROM jobs WHERE {_MINE}"),
        {"id": job.id, "attempt": job.attempt},
    )
    if not signed.rowcount:
        raise LeaseLost


def renew(connection: sa.Connection, job: Job, stage: str | None, progress: tuple[int, int, str] | None) -> bool:
    """Hold the lease for another LEASE_S seconds and tell how far the job is; False where it is lost."""
    done, total, unit = progress or (None, None, None)
    return _fenced(
        connection,
        job,
        f"{_LEASE}, stage = :stage, progress_done = :done, progress_total = :total, progress_unit = :unit",
        {"lease_s": LEASE_S, "stage": stage, "done": done, "total": total, "unit": unit},
    )


def succeed(
    connection: sa.Connection,
    job: Job,
    outcome: str,
    inputs: Sequence[Mapping[str, Any]],
    timings_ms: Mapping[str, float],
    *,
    outcome_detail: str | None = None,
) -> None:
    """Finish the job in its publication's transaction. Raises LeaseLost, and then that must not be committed."""
    changes = (
        "state = 'succeeded', outcome = :outcome, outcome_detail = :outcome_detail, inputs = :inputs,"
        " reconciled = true, timings_ms = timings_ms || CAST(:timings_ms AS jsonb), finished_at = clock_timestamp(),"
        f" {_NO_ATTEMPT}"
    )
    values = {
        "outcome": outcome,
        "outcome_detail": outcome_detail,
        "inputs": json.dumps(inputs),
        "timings_ms": json.dumps(timings_ms),
    }
    if not _fenced(connection, job, changes, values):
        raise LeaseLost


def publisher(connection: sa.Connection, dataset: str) -> Job:
    """Return the job that made the dataset's published version."""
    query = f"SELECT {_COLUMNS} FROM jobs WHERE id = (SELECT published_job_id FROM datasets WHERE name = :dataset)"
    return _job(connection.execute(sa.text(query), {"dataset": dataset}).one())


def fail(
    connection: sa.Connection,
    job: Job,
    code: str,
    detail: str,
    timings_ms: Mapping[str, float],
    inputs: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Finish the job as failed; False where it is not this attempt's any more."""
    return _fenced(
        connection,
        job,
        "state = 'failed', error_code = :code, error_detail = :detail, inputs = :inputs,"
        " timings_ms = timings_ms || CAST(:timings_ms AS jsonb), finished_at = clock_timestamp(),"
        f" {_NO_ATTEMPT}",
        {"code": code, "detail": detail, "inputs": json.dumps(list(inputs)), "timings_ms": json.dumps(timings_ms)},
    )


def postpone(connection: sa.Connection, job: Job, code: str, detail: str, *, pause_s: float = 1) -> bool:
    """Put the job back for another attempt `pause_s` seconds later, or twice that; after the last attempt it fails."""
    values = {"attempts_max": ATTEMPTS_MAX, "code": code, "detail": detail, "pause_s": pause_s}
    return _fenced(connection, job, _BACK_TO_QUEUE, values)


def release(
    connection: sa.Connection, worker: str, code: str = "worker_stopped", detail: str = "the worker was stopped"
) -> list[UUID]:
    """Put back what a worker was running that is about to stop or lost its process; return the ids that wait again."""
    return _put_back(connection, "worker = :worker", {"worker": worker}, code, detail)


# --- what the sweeper does


def are_unfinished(connection: sa.Connection) -> bool:
    """Tell whether a job waits or runs, or an attempt that has lost its job may still be in a transaction."""
    query = """
        SELECT EXISTS (SELECT FROM jobs WHERE state IN ('queued', 'running'))
            OR EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'job %')
    """
    return bool(connection.scalar(sa.text(query)))


def end_abandoned(connection: sa.Connection) -> None:
    """End the transactions of attempts that have lost their job.

    A worker that hangs may hold locks in one, which others wait for: the next attempt, and who takes the job back.
    """
    running = f"SELECT {_SIGNATURE} FROM jobs WHERE state = 'running' AND lease_expires_at > now()"
    signed = connection.execute(
        sa.text("""
            SELECT pid, application_name FROM pg_stat_activity
            WHERE application_name LIKE 'job %' AND datname = current_database() AND usename = current_user
        """)
    ).all()
    # A statement of its own: it sees the claim of whoever had signed by the time of the first.
    connection.execute(
        sa.text(f"""
            SELECT pg_terminate_backend(pid)
            FROM unnest(CAST(:pids AS int[]), CAST(:names AS text[])) AS signed (pid, name)
            JOIN pg_stat_activity USING (pid) WHERE application_name = name AND name NOT IN ({running})
        """),
        {"pids": [row.pid for row in signed], "names": [row.application_name for row in signed]},
    )


def take_back_lost(connection: sa.Connection) -> list[UUID]:
    """Put back the jobs whose worker has gone or hangs; return the ids of those that wait again."""
    lost = f"""
        lease_expires_at < now() OR lease_expires_at < now() + make_interval(secs => :lease_s - :gone_s)
            AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE lease_session = {_SESSION})
    """
    values = {"lease_s": LEASE_S, "gone_s": GONE_S}
    return _put_back(connection, lost, values, "worker_lost", "the worker stopped responding")


def end_overdue(connection: sa.Connection, limit_s: float) -> list[UUID]:
    """Fail the jobs whose attempt takes longer than is allowed; return their ids.

    Like one that is cancelled, the attempt learns so when it renews its lease.
    """
    rows = connection.execute(
        sa.text(f"""
            UPDATE jobs SET state = 'failed', error_code = 'time_limit', error_detail = :detail,
                finished_at = clock_timestamp(), {_NO_ATTEMPT}
            WHERE {_RUNNING.format("started_at < now() - make_interval(secs => :limit_s)")} RETURNING id
        """),
        {"limit_s": limit_s, "detail": f"the attempt took longer than {limit_s:g} s (JOB_TIME_LIMIT)"},
    )
    return list(rows.scalars())


def waiting(connection: sa.Connection, *, limit: int, unrung_s: float) -> list[UUID]:
    """Return the oldest jobs that could run now and that the queue was not told of for `unrung_s` seconds.

    They count as rung from now on.
    """
    rows = connection.execute(
        sa.text("""
            WITH rung AS (UPDATE jobs SET rung_at = now()
            WHERE id IN (
                SELECT id FROM jobs AS w
                WHERE state = 'queued' AND due_at <= now()
                    AND (rung_at IS NULL OR rung_at < now() - make_interval(secs => :unrung_s))
                    AND NOT EXISTS (SELECT FROM jobs AS r WHERE r.dataset = w.dataset AND r.state = 'running')
                ORDER BY created_at, id LIMIT :limit
            ) AND state = 'queued'
            RETURNING id, created_at)
            SELECT id FROM rung ORDER BY created_at, id
        """),
        {"limit": limit, "unrung_s": unrung_s},
    )
    return list(rows.scalars())


def next_of(connection: sa.Connection, dataset: str) -> UUID | None:
    """Return the job of the dataset whose turn has come, or None."""
    waiting: UUID | None = connection.scalar(
        sa.text(
            "SELECT id FROM jobs WHERE dataset = :dataset AND state = 'queued' AND due_at <= now()"
            " ORDER BY created_at, id LIMIT 1"
        ),
        {"dataset": dataset},
    )
    return waiting


def ended(connection: sa.Connection, job_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of these jobs that have ended."""
    query = sa.text("SELECT id FROM jobs WHERE id = ANY(:job_ids) AND state IN ('succeeded', 'failed', 'cancelled')")
    return list(connection.execute(query, {"job_ids": job_ids}).scalars())


def old_without_version(connection: sa.Connection, table: str, keep: int) -> list[UUID]:
    """Return the jobs that have ended without a version and have rows in the table `rejections` or `job_log`.

    The newest `keep` of each dataset that ended in one way are not among them. Rows are many and the jobs that have any
    are few, so the index is asked for one job after the other.
    """
    rows = connection.execute(
        sa.text(f"""
            WITH RECURSIVE owner AS (
                (SELECT job_id FROM {table} ORDER BY job_id LIMIT 1)
                UNION ALL
                SELECT next.job_id FROM owner CROSS JOIN LATERAL (
                    SELECT job_id FROM {table} WHERE job_id > owner.job_id ORDER BY job_id LIMIT 1
                ) AS next
            )
            SELECT id FROM (
                SELECT id, row_number() OVER (
                    PARTITION BY jobs.dataset, state ORDER BY finished_at DESC, id DESC
                ) AS age
                FROM jobs JOIN owner ON owner.job_id = id
                WHERE finished_at IS NOT NULL
                    AND NOT EXISTS (SELECT FROM dataset_versions AS version WHERE version.job_id = id)
            ) AS without_version
            WHERE age > :keep
        """),
        {"keep": keep},
    )
    return list(rows.scalars())


# --- what all jobs came to


def count(connection: sa.Connection, *, limit: int = 10_000) -> None:
    """Add jobs that have ended to the totals; each is added once, whoever else counts."""
    connection.execute(_COUNT, {"limit": limit, "bounds_ms": list(STAGE_BOUNDS_MS)})


def totals(connection: sa.Connection) -> list[tuple[str, dict[str, str], float]]:
    """Return name, labels and value of each total, also of jobs that were not counted yet: none ever becomes less.

    `jobs` by state, outcome and error; `lines` by what became of them; `rejections` by code; `stage_ms` by stage; and
    `stages` by stage and `le`, the least of STAGE_BOUNDS_MS that is not below their duration. An unchanged job has read
    no lines.
    """
    return [
        (row.name, row.labels, float(row.value))
        for row in connection.execute(_TOTALS, {"bounds_ms": list(STAGE_BOUNDS_MS)})
    ]


def unfinished(connection: sa.Connection) -> tuple[int, int, float]:
    """Return how many jobs wait and run, and for how many seconds the oldest has been waiting."""
    queued, running, age_s = connection.execute(_UNFINISHED).one()
    return queued, running, age_s


STAGE_BOUNDS_MS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 1_800_000)

# Decimals: what binary fractions come to depends on the order in which they are added.
_NUMBERS = """
    files AS (SELECT json_array_elements(inputs) AS file FROM ended WHERE outcome IS DISTINCT FROM 'unchanged'),
    stages AS (SELECT key AS stage, CAST(value AS numeric) AS ms FROM ended, jsonb_each_text(timings_ms)),
    numbers (name, labels, value) AS (
        SELECT 'jobs', jsonb_build_object(
            'state', state, 'outcome', coalesce(outcome, ''), 'error', coalesce(error_code, '')
        ), 1 FROM ended
        UNION ALL
        SELECT 'lines', jsonb_build_object('outcome', what), CAST(file ->> what AS numeric)
        FROM files, unnest(ARRAY['read', 'accepted', 'duplicate', 'rejected']) AS what
        UNION ALL
        SELECT 'rejections', jsonb_build_object('code', key), CAST(value AS numeric)
        FROM files, json_each_text(file -> 'codes')
        UNION ALL
        SELECT 'stage_ms', jsonb_build_object('stage', stage), ms FROM stages
        UNION ALL
        SELECT 'stages', jsonb_build_object('stage', stage, 'le', coalesce(CAST((
            SELECT min(bound) FROM unnest(CAST(:bounds_ms AS numeric[])) AS bound WHERE bound >= ms
        ) AS text), 'Infinity')), 1 FROM stages
    )
"""
_ENDED = "state, outcome, error_code, inputs, timings_ms"
# In one order, so that two who count do not wait for each other.
_COUNT = sa.text(f"""
    WITH ended AS (
        UPDATE jobs SET counted = true WHERE id IN (
            SELECT id FROM jobs WHERE finished_at IS NOT NULL AND NOT counted
            LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
        ) RETURNING {_ENDED}
    ), {_NUMBERS}
    INSERT INTO totals (name, labels, value)
    SELECT name, labels, sum(value) FROM numbers GROUP BY name, labels ORDER BY name, labels
    ON CONFLICT (name, labels) DO UPDATE SET value = totals.value + excluded.value
""")
_TOTALS = sa.text(f"""
    WITH ended AS (SELECT {_ENDED} FROM jobs WHERE finished_at IS NOT NULL AND NOT counted), {_NUMBERS}
    SELECT name, labels, sum(value) AS value
    FROM (SELECT name, labels, value FROM numbers UNION ALL SELECT name, labels, value FROM totals) AS every
    GROUP BY name, labels ORDER BY name, labels
""")
_UNFINISHED = sa.text("""
    SELECT queued, (SELECT count(*) FROM jobs WHERE state = 'running') AS running, age_s
    FROM (
        SELECT count(*) AS queued, CAST(coalesce(extract(epoch FROM now() - min(created_at)), 0) AS float) AS age_s
        FROM jobs WHERE state = 'queued'
    ) AS waiting
""")


# --- transitions out of `running`

# An attempt that ends like this waits, and the next one twice as long, so that what was away can come back.
_BACK_TO_QUEUE = f"""
    state = CASE WHEN attempt < :attempts_max THEN 'queued' ELSE 'failed' END,
    error_code = CASE WHEN attempt >= :attempts_max THEN :code END,
    error_detail = CASE WHEN attempt >= :attempts_max THEN :detail || ' (attempt ' || attempt || ', the last)' END,
    finished_at = CASE WHEN attempt >= :attempts_max THEN clock_timestamp() END,
    due_at = now() + make_interval(secs => attempt * :pause_s), rung_at = NULL, {_NO_ATTEMPT}
"""


def _fenced(connection: sa.Connection, job: Job, changes: str, values: Mapping[str, Any]) -> bool:
    result = connection.execute(
        sa.text(f"UPDATE jobs SET {changes} WHERE {_MINE}"),
        {**values, "id": job.id, "attempt": job.attempt},
    )
    return result.rowcount == 1


def _put_back(
    connection: sa.Connection, condition: str, values: Mapping[str, Any], code: str, detail: str
) -> list[UUID]:
    rows = connection.execute(
        sa.text(f"UPDATE jobs SET {_BACK_TO_QUEUE} WHERE {_RUNNING.format(condition)} RETURNING id, state, attempt"),
        {**values, "attempts_max": ATTEMPTS_MAX, "code": code, "detail": detail, "pause_s": 1},
    ).all()
    for row in rows:
        then = "the job waits again" if row.state == "queued" else "it was the last, so the job has failed"
        log.warning("attempt %d has ended: %s; %s", row.attempt, detail, then, extra={"job_id": str(row.id)})
    return [row.id for row in rows if row.state == "queued"]
