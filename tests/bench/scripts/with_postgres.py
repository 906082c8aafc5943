"""The features inside Postgres: COPY of the files, and SQL: DIRECTORY URL TABLE. It believes the files."""

import sys
from pathlib import Path

import psycopg2

directory, url, table = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

FILES = {
    "users": "user_id bigint, name text, email text, signup_date date",
    "compounds": "compound_id bigint, compound_name text, compound_structure text",
    "user_experiments": (
        "experiment_id bigint, user_id bigint, experiment_compound_ids text, experiment_run_time double precision"
    ),
}

QUERY = """
WITH counts AS (
    SELECT user_id, compound_id, count(*) AS uses
    FROM (
        SELECT DISTINCT experiment_id, user_id, compound_id
        FROM user_experiments, unnest(string_to_array(experiment_compound_ids, ';')::bigint[]) AS compound_id
    ) AS uses
    GROUP BY user_id, compound_id
),
most_common AS (
    SELECT user_id, min(compound_id) AS compound_id, max(uses) AS uses,
        array_agg(compound_id ORDER BY compound_id) AS compound_ids
    FROM (SELECT *, max(uses) OVER (PARTITION BY user_id) AS most FROM counts) AS counts
    WHERE uses = most
    GROUP BY user_id
),
per_user AS (
    SELECT user_id, count(*) AS total_experiments, avg(experiment_run_time) AS average_run_time
    FROM user_experiments GROUP BY user_id
)
SELECT
    user_id, name, email, signup_date, coalesce(total_experiments, 0) AS total_experiments, average_run_time,
    compound_id AS most_common_compound_id, compound_name AS most_common_compound_name,
    uses AS most_common_compound_uses, compound_ids AS most_common_compound_ids,
    coalesce(total_experiments, 0) / (SELECT count(*) FROM user_experiments)::double precision AS experiment_share
FROM users
LEFT JOIN per_user USING (user_id)
LEFT JOIN most_common USING (user_id)
LEFT JOIN compounds USING (compound_id)
"""

connection = psycopg2.connect(url)
with connection, connection.cursor() as cursor:
    for name, columns in FILES.items():
        cursor.execute(f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP")
        with (directory / f"{name}.csv").open("rb") as file:
            cursor.copy_expert(f"COPY {name} FROM STDIN (FORMAT csv, HEADER)", file)
        cursor.execute(f"ANALYZE {name}")
    cursor.execute(f"INSERT INTO {table} {QUERY}")
    cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (user_id)")
connection.close()
