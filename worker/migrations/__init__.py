"""The schema's history, and the one call that brings a database up to date."""

from pathlib import Path

import sqlalchemy as sa

from etl import schema
from worker import database

_VERSIONS = Path(__file__).parent / "versions"
_LOCK = 7_305_712_918  # any number that nothing else in this database locks


class NewerDatabase(Exception):  # noqa: N818 - it reads as what it says
    """The database is of a revision that this program does not know."""


def knows(revision: str) -> bool:
    """Whether a database of that revision can be brought up to date by this program."""
    return any(_VERSIONS.glob(f"{revision}_*.py"))


def upgrade(engine: sa.Engine) -> None:
    """Bring the schema to database.HEAD and its feature columns up to the catalogue.

    The workers do this when they start, and who restores a backup. Any number of them may call it at once:
    one of them works, the others wait for it. Raises NewerDatabase.
    """
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        revision = database.revision(connection)
        if revision and not knows(revision):
            raise NewerDatabase(
                f"the database is of revision {revision}, which a newer version of this service has made: start that "
                "one, or this one on a new volume"
            )
        if revision != database.HEAD:
            _migrate(connection)
        schema.synchronize(database.driver_connection(connection))


def _migrate(connection: sa.Connection) -> None:
    # Here, because Alembic takes a good part of a program's start and is needed once in a schema's life.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, database.HEAD)
