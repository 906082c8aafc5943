#!/usr/bin/env bash
# Measures the pipeline beside four plain scripts that do the same without checks: pandas, Polars, DuckDB, Postgres.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# --help and the rest: tests/bench/throughput.py.
exec "$(scripts/venv.sh)/bin/python" -m tests.bench.throughput "$@"
