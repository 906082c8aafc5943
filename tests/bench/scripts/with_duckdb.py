"""The features with one DuckDB query on typed columns, loaded by COPY: DIRECTORY URL TABLE. It believes the files."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psycopg2

directory, url, table = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

QUERY = """
WITH experiments AS (
    FROM read_csv($directory || '/user_experiments.csv', header = true, columns = {
        'experiment_id': 'BIGINT', 'user_id': 'BIGINT', 'experiment_compound_ids': 'VARCHAR',
        'experiment_run_time': 'DOUBLE'
    })
),
per_user AS (
    SELECT user_id, count(*) AS total_experiments, avg(experiment_run_time) AS average_run_time
    FROM experiments GROUP BY user_id
),
counts AS (
    SELECT user_id, compound_id, count(*) AS uses
    FROM (
        SELECT user_id, unnest(list_distinct(string_split(experiment_compound_ids, ';')::BIGINT[])) AS compound_id
        FROM experiments
    )
    GROUP BY user_id, compound_id
),
most_common AS (
    SELECT user_id, min(compound_id) AS compound_id, any_value(uses) AS uses,
        list_sort(list(compound_id)) AS compound_ids
    FROM (SELECT *, max(uses) OVER (PARTITION BY user_id) AS most FROM counts)
    WHERE uses = most
    GROUP BY user_id
)
SELECT
    user_id, name, email, signup_date, coalesce(total_experiments, 0) AS total_experiments, average_run_time,
    compound_id, compound_name, uses, '{' || array_to_string(compound_ids, ',') || '}' AS compound_ids,
    coalesce(total_experiments, 0) / (SELECT count(*) FROM experiments) AS experiment_share
FROM read_csv($directory || '/users.csv', header = true, columns = {
    'user_id': 'BIGINT', 'name': 'VARCHAR', 'email': 'VARCHAR', 'signup_date': 'DATE'
})
LEFT JOIN per_user USING (user_id)
LEFT JOIN most_common USING (user_id)
LEFT JOIN (
    SELECT compound_id, compound_name FROM read_csv($directory || '/compounds.csv', header = true, columns = {
        'compound_id': 'BIGINT', 'compound_name': 'VARCHAR', 'compound_structure': 'VARCHAR'
    })
) USING (compound_id)
"""

with TemporaryDirectory() as folder:
    result = Path(folder) / "result.csv"
    engine = duckdb.connect(config={"temp_directory": folder, "preserve_insertion_order": False})
    engine.execute(f"CREATE TABLE result AS {QUERY}", {"directory": str(directory)})
    engine.execute(f"COPY result TO '{result}' (HEADER false)")
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor, result.open("rb") as file:
        cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT csv)", file)
        cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (user_id)")
    connection.close()
