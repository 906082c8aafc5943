"""The least that does what the worker does for a job: pandas, and one `execute_values`. It believes the files."""

import os
from functools import cache
from pathlib import Path

import pandas as pd
import psycopg2
from celery import Celery
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case
from psycopg2.extras import execute_values

celery = Celery("bare", broker=os.environ["BARE_BROKER_URL"], set_as_current=False)
celery.conf.update(task_ignore_result=True, worker_concurrency=1)


@cache
def _database() -> Connection:
    """One for the process, as long as it lives."""
    return psycopg2.connect(os.environ["BARE_DATABASE_URL"])


@celery.task(name="derive")
def derive(job_id: int) -> None:
    directory = Path(os.environ["DATA_DIR"])
    users, compounds, experiments = (
        pd.read_csv(directory / f"{name}.csv", sep=",\t", engine="python")
        for name in ("users", "compounds", "user_experiments")
    )
    per_user = experiments.groupby("user_id").agg(
        total_experiments=("experiment_id", "size"), average_run_time=("experiment_run_time", "mean")
    )
    uses = experiments.assign(compound_id=experiments["experiment_compound_ids"].astype(str).str.split(";"))
    uses = uses.explode("compound_id").astype({"compound_id": "int64"})
    counts = uses.groupby(["user_id", "compound_id"]).size().rename("uses").reset_index()
    most = counts.sort_values(["uses", "compound_id"], ascending=[False, True]).drop_duplicates("user_id")
    most = most.merge(compounds[["compound_id", "compound_name"]], on="compound_id")
    rows = users.merge(per_user, how="left", on="user_id").merge(
        most[["user_id", "compound_id", "compound_name"]], how="left", on="user_id"
    )
    rows["total_experiments"] = rows["total_experiments"].fillna(0)
    rows = rows.astype(object).where(rows.notna(), None)
    rows.insert(0, "job_id", job_id)
    with _database() as connection, connection.cursor() as cursor:
        execute_values(cursor, "INSERT INTO features VALUES %s", rows.itertuples(index=False, name=None))
        cursor.execute("UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE id = %s", (job_id,))
