"""The pipeline: CSV files -> checked tables -> features -> a published version in Postgres."""
