"""The features with Polars' streaming engine, loaded by COPY: DIRECTORY URL TABLE. It believes the files."""

import io
import sys
from pathlib import Path

import polars as pl
import psycopg2

directory, url, table = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

users = pl.scan_csv(directory / "users.csv")
compounds = pl.scan_csv(directory / "compounds.csv")
experiments = pl.scan_csv(directory / "user_experiments.csv", schema_overrides={"experiment_compound_ids": pl.String})

per_user = experiments.group_by("user_id").agg(
    total_experiments=pl.len(), average_run_time=pl.col("experiment_run_time").mean()
)
counts = (
    experiments.select("user_id", compound_id=pl.col("experiment_compound_ids").str.split(";").list.unique())
    .explode("compound_id")
    .with_columns(pl.col("compound_id").cast(pl.Int64))
    .group_by("user_id", "compound_id")
    .agg(uses=pl.len())
)
most_common = (
    counts.join(counts.group_by("user_id").agg(pl.col("uses").max()), on=["user_id", "uses"], how="semi")
    .group_by("user_id")
    .agg(
        most_common_compound_id=pl.col("compound_id").min(),
        most_common_compound_uses=pl.col("uses").first(),
        most_common_compound_ids=pl.col("compound_id").sort(),
    )
)
named = compounds.select(most_common_compound_id="compound_id", most_common_compound_name="compound_name")
rows = (
    users.join(per_user, on="user_id", how="left")
    .join(most_common, on="user_id", how="left")
    .join(named, on="most_common_compound_id", how="left")
    .with_columns(pl.col("total_experiments").fill_null(0))
    .with_columns(experiment_share=pl.col("total_experiments") / pl.col("total_experiments").sum())
    .with_columns(
        most_common_compound_ids="{" + pl.col("most_common_compound_ids").cast(pl.List(pl.String)).list.join(",") + "}"
    )
    .select(
        *("user_id", "name", "email", "signup_date", "total_experiments", "average_run_time"),
        *("most_common_compound_id", "most_common_compound_name", "most_common_compound_uses"),
        *("most_common_compound_ids", "experiment_share"),
    )
    .collect(engine="streaming")
)

buffer = io.BytesIO()
rows.write_csv(buffer, include_header=False)
buffer.seek(0)
connection = psycopg2.connect(url)
with connection, connection.cursor() as cursor:
    cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT csv)", buffer)
    cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (user_id)")
connection.close()
