"""What must hold in Postgres after every case. Each function yields what does not."""

import time
from collections import Counter
from collections.abc import Callable, Iterator

from tests.faults.inputs import CHECKSUM, EXPERIMENTS
from tests.faults.service import STATE, Service
from tests.faults.watch import Breach

SETTLED_S = 30  # housekeeping comes every 10 s, and has patience with readers


def accepted_jobs_have_one_row(service: Service) -> Iterator[Breach]:
    rows = Counter(row["id"] for row in service.rows("SELECT id FROM jobs"))
    lost = [job_id for job_id in service.accepted if rows[job_id] != 1]
    if lost:
        yield f"I1 of {len(service.accepted)} accepted jobs {len(lost)} have no row: {lost[:3]}"


def nothing_waits_in_vain(service: Service) -> Iterator[Breach]:
    for row in service.rows(_WAITING_IN_VAIN):
        yield f"I2 {row['id']} is {row['state']}, attempt {row['attempt']}, and nobody works on it"


_WAITING_IN_VAIN = """
    SELECT id, state, attempt FROM jobs AS w
    WHERE state = 'running' AND lease_expires_at < now()
        OR state = 'queued' AND due_at < now() - interval '5 s'
            AND NOT EXISTS (SELECT FROM jobs AS r WHERE r.dataset = w.dataset AND r.state = 'running')
            AND NOT EXISTS (SELECT FROM jobs WHERE finished_at > now() - interval '5 s')
            AND (SELECT count(*) FROM jobs WHERE state = 'running')
                < (SELECT greatest(count(*), 1) FROM worker_heartbeats WHERE seen_at > now() - interval '15 s')
"""


def the_published_version_is_that_of_one_job(service: Service) -> Iterator[Breach]:
    published = service.rows("""
        SELECT jobs.id, outcome, inputs FROM datasets JOIN jobs ON jobs.id = published_job_id WHERE name = 'default'
    """)
    [seen] = service.rows(f"SELECT {CHECKSUM} AS checksum FROM user_features WHERE dataset = 'default'")  # noqa: S608
    if not published:
        yield "I3 nothing is published"
        return
    [job] = published
    [sha256] = [of["sha256"] for of in job["inputs"] if of["file"] == EXPERIMENTS]
    if job["outcome"] != "published":
        yield f"I3 the published job {job['id']} came to {job['outcome']}"
    if service.inputs.checksums.get(sha256) != seen["checksum"]:
        yield f"I3 the published version of {job['id']} is not what its files come to"


def nothing_is_left_behind(service: Service) -> Iterator[Breach]:
    service.psql("CHECKPOINT")  # until then Postgres keeps the empty files of tables that were dropped
    for what, query in _LEFTOVERS.items():
        for row in service.rows(query):
            yield f"I5 {what}: {row['name']}"
    for name in service.table_names() - service.tables:
        yield f"I5 a table that was not there at the start: {name}"
    for role, find in (
        ("postgres", f"find {STATE}/postgres/*/base -path '*pgsql_tmp*' -type f"),
        # A worker without a job keeps an engine ready, with an empty directory.
        ("api", f"find {STATE}/spill -type f 2>/dev/null || true"),
    ):
        for path in service.parts[role].execute(find).splitlines():
            yield f"I5 a temporary file: {path}"


_LEFTOVERS = {
    "a version's table without its version": """
        SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relname LIKE 'user\\_feature\\_versions\\_%'
            AND NOT EXISTS (SELECT FROM dataset_versions
                WHERE relname = 'user_feature_versions_' || replace(job_id::text, '-', ''))
    """,
    "a version without its table": """
        SELECT job_id AS name FROM dataset_versions WHERE dropping_at IS NULL
            AND to_regclass('user_feature_versions_' || replace(job_id::text, '-', '')) IS NULL
    """,
    "a temporary table": "SELECT relname AS name FROM pg_class WHERE relpersistence = 't'",
    "an idle transaction": """
        SELECT application_name || ' since ' || state_change AS name FROM pg_stat_activity
        WHERE state LIKE 'idle in transaction%' AND state_change < now() - interval '2 s'
    """,
    "an advisory lock": "SELECT 'of process ' || pid AS name FROM pg_locks WHERE locktype = 'advisory'",
    "a relation's file without the relation": """
        SELECT file AS name FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = 'experiment_etl'))
            AS file
        WHERE file ~ '^t?[0-9]' AND NOT EXISTS (
            SELECT FROM pg_class WHERE pg_relation_filenode(oid)::text = substring(file FROM '^[0-9]+'))
    """,
}


def nothing_published_is_unlogged(service: Service) -> Iterator[Breach]:
    unlogged = "SELECT relname AS name FROM pg_class WHERE relpersistence = 'u'"
    for row in service.rows(unlogged):
        yield f"I6 {row['name']} would not survive a crash"


INVARIANTS: tuple[Callable[[Service], Iterator[Breach]], ...] = (
    accepted_jobs_have_one_row,
    nothing_waits_in_vain,
    the_published_version_is_that_of_one_job,
    nothing_is_left_behind,
    nothing_published_is_unlogged,
)


def breaches(service: Service) -> list[Breach]:
    """Return what does not hold. What is only about to be cleared away, the sweeper gets a moment for."""
    end = time.monotonic() + SETTLED_S
    while (found := [breach for check in INVARIANTS for breach in check(service)]) and time.monotonic() < end:
        time.sleep(1)
    return found
