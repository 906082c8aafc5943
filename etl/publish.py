"""Publication: reconcile, compare with what is published, move the pointer, in the caller's one transaction."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl.account import FileAccount
from etl.contract import USERS, LineCode
from etl.load import table_of

_READERS_PATIENCE_S = 1
_LOOK_AGAIN_S = 0.01


@dataclass(frozen=True)
class Version:
    """What a job derived for a dataset: its rows are loaded, `summary` are the columns of the one row about all."""

    job_id: UUID
    dataset: str
    fingerprint: str
    summary: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of a version; `detail` says why, where it is not what was asked for."""

    name: str
    detail: str | None = None


# Opens a transaction, and commits it in the end.
Transaction = Callable[[], AbstractContextManager[Connection]]
# Makes something of a loaded version.
Publication = Callable[[Connection, Version], Outcome]


class NotReconciled(Exception):  # noqa: N818 - it reads as what it says
    """Lines went missing between the files and Postgres: a defect of the program, for which nothing is published."""


def announce(transaction: Transaction) -> None:
    """Return when every session knows the partitions that are attached by now; only then a pointer may lead to one.

    A query is planned with the partitions that its session knows, and looks at the pointer a moment later. Where a new
    partition and the pointer to it are committed in that moment, the query finds nothing at all.
    """
    _outlast_readers(transaction)
    # A session that was just making its list of partitions may keep it although it was told of a change meanwhile. Who
    # makes one now finds all of them. The statement changes nothing but has every session make its list again.
    with transaction() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ONLY user_feature_versions ALTER job_id SET STATISTICS -1")
    _outlast_readers(transaction)


def _outlast_readers(transaction: Transaction) -> None:
    """Wait for the transactions that read versions just now; one that takes long has looked at the pointer long ago."""
    with transaction() as connection:
        readers = _readers(connection)
    end = time.monotonic() + _READERS_PATIENCE_S
    while readers and time.monotonic() < end:
        with transaction() as connection:
            readers &= _readers(connection, after_s=_LOOK_AGAIN_S)


def _readers(connection: Connection, after_s: float = 0) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%(after_s)s)", {"after_s": after_s})
        cursor.execute(
            "SELECT DISTINCT virtualtransaction FROM pg_locks"
            " WHERE relation = 'user_feature_versions'::regclass AND pid <> pg_backend_pid()"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return {reader for (reader,) in cursor}


def has_version(connection: Connection, dataset: str) -> bool:
    """Tell whether anything is published of the dataset."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM datasets WHERE name = %(dataset)s AND published_job_id IS NOT NULL", {"dataset": dataset}
        )
        return cursor.rowcount == 1


def is_published(connection: Connection, dataset: str, fingerprint: str) -> bool:
    """Tell whether the dataset's published version was derived from exactly these files by exactly this pipeline.

    If so, it stays the published one until the caller commits.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM datasets JOIN dataset_versions ON job_id = published_job_id"
            " WHERE name = %(dataset)s AND fingerprint = %(fingerprint)s FOR SHARE OF datasets",
            {"dataset": dataset, "fingerprint": fingerprint},
        )
        return cursor.rowcount == 1


def publish(connection: Connection, version: Version) -> Outcome:
    """Make the version the dataset's published one; it is, once the caller commits.

    A version that would drop more than half of the users published now is held: kept, for a person to look at.
    """
    published = _lock_pointer(connection, version.dataset)
    if published:
        users, dropped = _compare_users(connection, published, version.job_id)
        if 2 * dropped > users:
            _keep(connection, version, "held")
            return Outcome("held", f"{dropped} of the {users} published users would be dropped")
    _keep(connection, version, "published")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE datasets SET published_job_id = %(job_id)s WHERE name = %(dataset)s",
            {"job_id": str(version.job_id), "dataset": version.dataset},
        )
    return Outcome("published")


def rehearse(connection: Connection, version: Version) -> Outcome:
    """Keep the version for those who ask for this job's; the views do not show it."""
    _keep(connection, version, "dry_run")
    return Outcome("dry_run")


def _lock_pointer(connection: Connection, dataset: str) -> UUID | None:
    """Return the job whose version is published; it stays that until the caller commits.

    NO KEY: who submits a job holds a KEY SHARE on the dataset and need not wait.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT published_job_id::text FROM datasets WHERE name = %(dataset)s FOR NO KEY UPDATE",
            {"dataset": dataset},
        )
        [(published,)] = cursor.fetchall()
    return UUID(published) if published else None


def _compare_users(connection: Connection, old: UUID, new: UUID) -> tuple[int, int]:
    """Count the users of the old version, and those of them whom the new one does not have."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "SELECT count(*), count(*) FILTER (WHERE new.user_id IS NULL)"
                " FROM {old} AS old LEFT JOIN {new} AS new USING (user_id)"
            ).format(old=table_of(old), new=table_of(new))
        )
        [(users, dropped)] = cursor.fetchall()
    return users, dropped


def _keep(connection: Connection, version: Version, outcome: str) -> None:
    """Enter the version among those that are kept."""
    row = {
        "job_id": str(version.job_id),
        "dataset": version.dataset,
        "fingerprint": version.fingerprint,
        "outcome": outcome,
        **version.summary,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("INSERT INTO dataset_versions ({}) VALUES ({})").format(
                sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
            ),
            row,
        )


def reconcile(connection: Connection, job_id: UUID, accounts: Sequence[FileAccount]) -> None:
    """Compare the account with itself and with what arrived in Postgres. Raises NotReconciled."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT file, code, count(*) FROM rejections WHERE job_id = %(job_id)s GROUP BY file, code",
            {"job_id": str(job_id)},
        )
        stored = cursor.fetchall()
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table_of(job_id)))
        [(loaded,)] = cursor.fetchall()
    for account in accounts:
        codes = {code: rejections for file, code, rejections in stored if file == account.file}
        lines = sum(rejections for code, rejections in codes.items() if code in set(LineCode))
        if not account.reconciled or lines != account.rejected or codes != account.codes:
            raise NotReconciled(f"{account}, rejections stored: {codes}")
        if account.file == USERS.file and loaded != account.accepted:
            raise NotReconciled(f"{account}, {loaded} rows loaded")
