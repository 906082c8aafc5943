"""What people read, made from the catalogue: the feature columns of the version tables, and the two views over them."""

import hashlib
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl.contract import USERS
from etl.features import SUMMARY_CATALOGUE, USER_CATALOGUE, Catalogue

READER = "reader"


@dataclass(frozen=True)
class View:
    """A view of every dataset's published version, over the table that keeps the rows of all versions."""

    name: str
    table: str
    catalogue: Catalogue
    base: tuple[str, ...] = ()

    @property
    def row_columns(self) -> list[str]:
        return [*self.base, *self.catalogue.columns]

    @property
    def columns(self) -> list[str]:
        return ["dataset", *self.row_columns, "job_id", "computed_at"]


VIEWS = (
    View("user_features", "user_feature_versions", USER_CATALOGUE, base=USERS.column_names),
    View("experiment_summary", "dataset_versions", SUMMARY_CATALOGUE),
)


def synchronize(connection: Connection) -> None:
    """Bring tables and views up to the catalogue, inside the caller's transaction.

    A new feature becomes a column, null in the versions that were published before it existed; a column that left the
    catalogue leaves the view and stays in the table. Raises ValueError where a column's type changed.
    """
    for view in VIEWS:
        _add_columns(connection, view)
        _make(connection, view)
    _grant(connection)


def _columns(connection: Connection, table: str) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            {"table": table},
        )
        return dict(cursor.fetchall())


def _add_columns(connection: Connection, view: View) -> None:
    present = _columns(connection, view.table)
    with connection.cursor() as cursor:
        for name, type_ in view.catalogue.columns.items():
            if name not in present:
                statement = sql.SQL("ALTER TABLE {} ADD COLUMN {} {}")
                cursor.execute(statement.format(sql.Identifier(view.table), sql.Identifier(name), sql.SQL(type_)))
            elif present[name] != type_:
                raise ValueError(
                    f"feature column {name!r} is {type_} in the catalogue and {present[name]} in {view.table}: "
                    "give the new meaning a new name"
                )


def _make(connection: Connection, view: View) -> None:
    """Make the view, unless the one that is there was made like this.

    It is to look up each dataset's pointer, and then to read the one partition that this names: the others are pruned
    while the query runs. Without the ORDER BY, which sorts nothing since one version has one job_id, the planner would
    dissolve the subquery into a join, and hash every version of every dataset for it. Conditions still reach the index.
    """
    definition = sql.SQL(
        "SELECT version.dataset, {columns}, version.job_id, version.computed_at"
        " FROM datasets AS dataset"
        " JOIN dataset_versions AS version ON version.job_id = dataset.published_job_id"
        " CROSS JOIN LATERAL ("
        "SELECT {names} FROM {table} WHERE job_id = dataset.published_job_id ORDER BY job_id"
        ") AS row"
    ).format(
        columns=sql.SQL(", ").join(sql.Identifier("row", name) for name in view.row_columns),
        names=sql.SQL(", ").join(map(sql.Identifier, view.row_columns)),
        table=sql.Identifier(view.table),
    )
    name = sql.Identifier(view.name)
    digest = hashlib.sha256(definition.as_string(connection).encode()).hexdigest()
    comment = f"Each dataset's published version. Made by etl/schema.py: {digest}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(to_regclass(%(view)s), 'pg_class')", {"view": view.name})
        if cursor.fetchone() == (comment,):
            return
        # With the same columns it is replaced, and the views that people have made of it stay.
        if list(_columns(connection, view.name)) != view.columns:
            cursor.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(name))
        cursor.execute(
            sql.SQL("CREATE OR REPLACE VIEW {name} AS {definition}; COMMENT ON VIEW {name} IS {comment}").format(
                name=name, definition=definition, comment=sql.Literal(comment)
            )
        )


def _grant(connection: Connection) -> None:
    """Let the role `reader`, where there is one, read the views and nothing else."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %(reader)s", {"reader": READER})
        if cursor.rowcount:
            views = sql.SQL(", ").join(sql.Identifier(view.name) for view in VIEWS)
            cursor.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(views, sql.Identifier(READER)))
