#!/usr/bin/env bash
# Measures the pipeline beside four plain scripts that do the same without checks (pandas, Polars, DuckDB, Postgres); with
# `latency` requests and the sample job beside a bare Flask + Celery + Redis app; with `workers` one to four containers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# --help and the rest: tests/bench/throughput.py, tests/bench/latency.py, tests/bench/workers.py.
bench=throughput
if [[ "${1:-}" == latency || "${1:-}" == workers ]]; then
  bench=$1
  shift
fi
exec "$(scripts/venv.sh)/bin/python" -m "tests.bench.$bench" "$@"
