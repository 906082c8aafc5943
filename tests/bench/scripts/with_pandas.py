"""The features with pandas, loaded by `execute_values`: DIRECTORY URL TABLE. It believes the files."""

import sys
from pathlib import Path

import pandas as pd
import psycopg2
from psycopg2.extras import execute_values

directory, url, table = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

users = pd.read_csv(directory / "users.csv")
compounds = pd.read_csv(directory / "compounds.csv")
experiments = pd.read_csv(directory / "user_experiments.csv", dtype={"experiment_compound_ids": str})

per_user = experiments.groupby("user_id").agg(
    total_experiments=("experiment_id", "size"), average_run_time=("experiment_run_time", "mean")
)
uses = experiments[["experiment_id", "user_id"]].assign(
    compound_id=experiments["experiment_compound_ids"].str.split(";")
)
uses = uses.explode("compound_id").astype({"compound_id": "int64"}).drop_duplicates(["experiment_id", "compound_id"])
counts = uses.groupby(["user_id", "compound_id"]).size().rename("uses").reset_index()
most = counts[counts["uses"] == counts.groupby("user_id")["uses"].transform("max")]
most = most.merge(compounds[["compound_id", "compound_name"]], on="compound_id").sort_values(["user_id", "compound_id"])
most_common = most.groupby("user_id").agg(
    compound_id=("compound_id", "first"),
    compound_name=("compound_name", "first"),
    uses=("uses", "first"),
    compound_ids=("compound_id", list),
)
rows = users.merge(per_user, how="left", on="user_id").merge(most_common, how="left", on="user_id")
rows["total_experiments"] = rows["total_experiments"].fillna(0).astype("int64")
rows["experiment_share"] = rows["total_experiments"] / len(experiments)
rows = rows.astype(object).where(rows.notna(), None)
columns = [
    *users.columns,
    *("total_experiments", "average_run_time", "compound_id", "compound_name", "uses", "compound_ids"),
    "experiment_share",
]

connection = psycopg2.connect(url)
with connection, connection.cursor() as cursor:
    execute_values(
        cursor, f"INSERT INTO {table} VALUES %s", rows[columns].itertuples(index=False, name=None), page_size=1000
    )
    cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (user_id)")
connection.close()
