#!/usr/bin/env bash
# Measures the pipeline beside four plain scripts that do the same without checks (pandas, Polars, DuckDB, Postgres); with
# `latency` requests and the sample job beside a bare Flask + Celery + Redis app; with `workers` one to four containers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  cat <<'USAGE'
usage: scripts/bench.sh [options]            the pipeline beside four plain scripts that do the same without checks
       scripts/bench.sh latency [options]    requests and the sample job beside a bare Flask, Celery and Redis app
       scripts/bench.sh workers [options]    one to four worker containers
Makes .venv first. Each has options of its own: scripts/bench.sh latency --help; those of the first: docs/bench/throughput.md.
USAGE
  exit 0
fi

# Options: tests/bench/throughput.py, tests/bench/latency.py, tests/bench/workers.py.
bench=throughput
if [[ "${1:-}" == latency || "${1:-}" == workers ]]; then
  bench=$1
  shift
fi
exec "$(scripts/venv.sh)/bin/python" -m "tests.bench.$bench" "$@"
