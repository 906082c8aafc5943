"""Publication: reconcile, attach, move the pointer, all in the caller's one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl.account import FileAccount
from etl.contract import USERS, LineCode
from etl.load import table_of


@dataclass(frozen=True)
class Version:
    """What a job derived for a dataset: its rows are loaded, `summary` are the columns of the one row about all."""

    job_id: UUID
    dataset: str
    fingerprint: str
    summary: dict[str, Any]


# Makes something of a loaded version and names the outcome.
Publication = Callable[[Connection, Version], str]


class NotReconciled(Exception):  # noqa: N818 - it reads as what it says
    """Lines went missing between the files and Postgres: a defect of the program, for which nothing is published."""


def has_version(connection: Connection, dataset: str) -> bool:
    """Tell whether anything is published of the dataset."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM datasets WHERE name = %(dataset)s AND published_job_id IS NOT NULL", {"dataset": dataset}
        )
        return cursor.rowcount == 1


def is_published(connection: Connection, dataset: str, fingerprint: str) -> bool:
    """Tell whether the dataset's published version was derived from exactly these files by exactly this pipeline."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM datasets JOIN dataset_versions ON job_id = published_job_id"
            " WHERE name = %(dataset)s AND fingerprint = %(fingerprint)s",
            {"dataset": dataset, "fingerprint": fingerprint},
        )
        return cursor.rowcount == 1


def publish(connection: Connection, version: Version) -> str:
    """Make the version the dataset's published one; it is, once the caller commits."""
    row = {
        "job_id": str(version.job_id),
        "dataset": version.dataset,
        "fingerprint": version.fingerprint,
        **version.summary,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("ALTER TABLE user_feature_versions ATTACH PARTITION {} FOR VALUES IN ({})").format(
                table_of(version.job_id), sql.Literal(str(version.job_id))
            )
        )
        cursor.execute(
            sql.SQL("INSERT INTO dataset_versions ({}) VALUES ({})").format(
                sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
            ),
            row,
        )
        cursor.execute("UPDATE datasets SET published_job_id = %(job_id)s WHERE name = %(dataset)s", row)
    return "published"


def rehearse(connection: Connection, version: Version) -> str:
    """Stop where somebody could see the version: a dry run keeps its rejections and its account only."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE {}").format(table_of(version.job_id)))
    return "dry_run"


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
